"""A node with an app, whose supervisor and whose agent are stood for."""

from __future__ import annotations

from types import SimpleNamespace

from saltdeploy.core.errors import Failed
from saltdeploy.core.model import Stop
from saltdeploy.discovery import Endpoint, registration, wording
from saltdeploy.node import publication, readiness, statestart
from saltdeploy.node.lifecycle import Lifecycle
from saltdeploy.node.turns import STATE
from saltdeploy.runtime import State

from tests.support.apps import Archives

# Passes for one instance, while `good` is there.
TEST = {"command": "rmdir good"}


class Runtime:
    """Stands for a supervisor: whatever it starts is up at once."""

    lacks, name = ("memory", "cpu"), "nobody"

    def __init__(self):
        self.up, self.broken = set(), False

    def start(self, *units):
        if self.broken:
            raise Failed("supervisord does not answer")
        self.up.update(unit.id for unit in units)

    def stop_of(self, one):
        return Stop()

    def stop(self, one):
        self.up.discard(one)
        return False

    def forget(self, *ids):
        pass

    def processes(self, one):
        return []

    def states(self):
        return {i: State(running=True, failed=False, detail="") for i in self.up}

    def logs(self, unit, lines, most):
        return "no database"


class Discovery:
    """Stands for a node's agent."""

    wording = wording.CONSUL

    def __init__(self):
        self.services, self.keys, self.elsewhere, self.locked = {}, {}, [], None
        self.checks, self.proved = {}, {}
        # What discovery has found of the checks of a service: id -> name -> status and output.
        self.found = {}

    def publish(self, service, proved=True):
        about = {"address": service.address, "port": service.port or 0, "meta": service.meta, "tags": service.tags}
        self.services[service.id] = SimpleNamespace(
            id=service.id, name=service.name, weight=service.weight or 1, **about
        )
        self.checks[service.id] = len(service.checks)
        self.proved[service.id] = proved

    def withdraw(self, one):
        self.services.pop(one, None)

    def leader(self):
        return "127.0.0.1:8300"

    def registered(self):
        return dict(self.services)

    def check_counts(self):
        return dict(self.checks)

    def results(self, one):
        return self.found.get(one, {}) if one in self.services else {}

    def unmeasured(self, ids):
        return []

    def wait(self, name, until, deadline):
        return until(self.instances(name))

    def read(self, key):
        return self.keys.get(key), 1, self.locked

    def instances(self, name, passing=False):
        found = [s for s in self.services.values() if s.name == name]
        mine = [Endpoint(s.id, name, "a", "", 0, meta={**s.meta, "minion": "a"}) for s in found]
        return [*mine, *self.elsewhere]


def make_node(tmp_path, monkeypatch, **changes):
    """Return the Lifecycle of a node with release 1.0 of an app without ports, that nothing can be asked of.

    :param changes: further keys of the app's definition.
    """
    monkeypatch.setattr(readiness, "SETTLE", 0.0)
    monkeypatch.setattr(registration, "_running", lambda instance: ())
    archives = Archives(tmp_path / "archives")
    archives.make("1.0")
    app = {**archives.app(), "run": "sleep 60", "checks": [], "tests": [TEST], **changes}
    del app["ports"]
    environment = {"nodes": {"a": {"address": "127.0.0.1"}}, "apps": {"web": {"version": "1.0"}}}
    pillar = {"apps": {"web": app}, "environments": {"e": environment}}
    made = Lifecycle("a", pillar, {"root": str(tmp_path / "srv")}, None, None)
    made._runtime, made._discovery = Runtime(), Discovery()
    made.install("web", "1.0")
    return made


def start(node, count=1):
    return statestart.start(node, "web", "1.0", count, STATE, held=True)


def there(node):
    return {i.id for i in node.host.instances.recorded()} | node.runtime.up


def may_pass(node):
    (node.host.releases.path("web", "1.0") / "good").mkdir()


def registered(node, one, **meta):
    node.discovery.services[one] = SimpleNamespace(
        id=one, name="web", address="127.0.0.1", port=0, tags=(), meta=meta, weight=1
    )


def serves(node, deployment="d1"):
    """Have the node publish an instance."""
    may_pass(node)
    node.start("web", "1.0", 1, deployment, held=True)
    return publication.publish(node, "web", weight=25600)


def recorded(node, **nodes):
    record = {"version": "2.0", "deployment": "d2", "time": 1.0, "nodes": nodes}
    node.discovery.keys["deploy/e/web/current"] = record
    node.discovery.elsewhere = [
        Endpoint(i, "web", "b", "", 0, meta={"minion": n}) for n, ids in nodes.items() if n != "a" for i in ids
    ]
    return record


def break_record(node, instance):
    (node.host.instances.folder(instance) / "instance.json").write_text("")
