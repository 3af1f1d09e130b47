"""What one node does with instances it starts: what is left of those that fail, and what is told of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
from saltdeploy import lifecycle as module
from saltdeploy import standing
from saltdeploy.errors import DiscoveryUnavailable, Failed
from saltdeploy.host import STATE
from saltdeploy.lifecycle import Lifecycle
from saltdeploy.runtime import State

from tests.support.apps import Archives

# Passes for one instance, while `good` is there.
TEST = {"command": "rmdir good"}


class Runtime:
    """Stands for a supervisor: whatever it starts is up at once."""

    def __init__(self):
        self.processes, self.broken = set(), False

    def start(self, unit):
        if self.broken:
            raise Failed("supervisord does not answer")
        self.processes.add(unit.id)

    def stop(self, one):
        self.processes.discard(one)

    def states(self):
        return {i: State(running=True, failed=False, detail="") for i in self.processes}

    def logs(self, unit, lines):
        return "no database"


class Discovery:
    """Stands for a node's agent."""

    def __init__(self):
        self.services = {}

    def publish(self, service):
        about = {"address": service.address, "port": service.port or 0, "meta": service.meta}
        self.services[service.id] = SimpleNamespace(id=service.id, weight=1, **about)

    def withdraw(self, one):
        self.services.pop(one, None)

    def registered(self):
        return dict(self.services)

    def wait(self, name, until, deadline):
        return until([])


@pytest.fixture
def node(tmp_path, monkeypatch):
    """The Lifecycle of a node with release 1.0 of an app without ports, that nothing can be asked of."""
    monkeypatch.setattr(module, "SETTLE", 0.0)
    archives = Archives(tmp_path / "archives")
    archives.make("1.0")
    app = {**archives.app(), "run": "sleep 60", "checks": [], "tests": [TEST]}
    del app["ports"]
    environment = {"nodes": {"a": {"address": "127.0.0.1"}}, "apps": {"web": {"version": "1.0"}}}
    pillar = {"apps": {"web": app}, "environments": {"e": environment}}
    made = Lifecycle("a", pillar, {"root": str(tmp_path / "srv")}, None, None)
    made._runtime, made._discovery = Runtime(), Discovery()
    made.install("web", "1.0")
    return made


def start(node, count=1):
    return standing.start(node, "web", "1.0", count, STATE, held=True)


def there(node):
    return {i.id for i in node.host.instances()} | node.runtime.processes


def may_pass(node):
    (node.host.release("web", "1.0") / "good").mkdir()


def test_of_what_fails_for_a_state_nothing_is_left_however_often(node):
    for _ in range(10):
        result = start(node, 2)
        assert not result["ok"] and result["instances"] == [] and there(node) == set()
        assert [text.split(":")[0] for text in result["failures"]] == ["web_1.0_0", "web_1.0_1"]
        for text in result["failures"]:
            assert "test `command rmdir good` failed: " in text and text.endswith("\nits last lines:\nno database")


def test_what_passes_beside_it_stays(node):
    may_pass(node)
    result = start(node, 2)
    assert not result["ok"] and [i["id"] for i in result["instances"]] == ["web_1.0_0"]
    assert there(node) == {"web_1.0_0"} and list(node.discovery.services) == ["web_1.0_0_candidate"]
    assert start(node)["failures"] and there(node) == {"web_1.0_0"}


def test_what_cannot_be_started_for_a_state_leaves_no_folder(node):
    node.runtime.broken = True
    with pytest.raises(Failed, match="supervisord does not answer"):
        start(node)
    assert there(node) == set()


def test_what_a_killed_state_has_left_goes_with_the_next(node):
    node.start("web", "1.0", 1, STATE, held=True)
    assert there(node) == {"web_1.0_0"}
    may_pass(node)
    assert start(node)["ok"] and there(node) == {"web_1.0_1"}


def test_what_died_later_goes_with_the_next(node):
    may_pass(node)
    assert start(node)["ok"]
    node.runtime.processes.clear()
    may_pass(node)
    assert start(node)["ok"] and there(node) == {"web_1.0_1"}


def test_what_somebody_has_started_stays_to_be_looked_at(node):
    result = node.start("web", "1.0", 1, "manual", held=True)
    assert not result["ok"]
    start(node)
    assert there(node) == {"web_1.0_0"}


def test_for_a_state_is_started_again_after_all_of_it_was_stopped(node):
    may_pass(node)
    assert start(node)["ok"]
    assert node.stop("web", deployment=STATE, drain=0) == ["web_1.0_0"]
    may_pass(node)
    assert start(node)["ok"]


# -- what no file of this node has ------------------------------------------------------------


def seen(node):
    """Return what the node says that it has: id -> (running, tested, published, recorded)."""
    found = node.observe("web")["instances"]
    return {i["id"]: tuple(i[k] for k in ("running", "tested", "published", "recorded")) for i in found}


@pytest.fixture
def serving(node):
    """The node with an instance that is published."""
    may_pass(node)
    assert start(node)["ok"]
    node.publish("web")
    return node


@pytest.mark.parametrize("lost", ["file", "folder"])
def test_what_has_lost_its_file_serves_and_is_stopped_with_all_that_is_left(serving, lost):
    folder = serving.host.folder("web_1.0_0")
    shutil.rmtree(folder) if lost == "folder" else (folder / "instance.json").unlink()
    assert seen(serving) == {"web_1.0_0": (True, False, True, False)}
    may_pass(serving)
    # Its number is taken, so another release of it, or the same, comes beside it.
    assert [i["id"] for i in start(serving)["instances"]] == ["web_1.0_1"]
    assert serving.stop("web", ["web_1.0_0"], drain=0) == ["web_1.0_0"]
    assert serving.runtime.processes == {"web_1.0_1"} and list(serving.discovery.services) == ["web_1.0_1_candidate"]
    assert not folder.exists()


def test_what_discovery_has_and_neither_listens_nor_runs_is_dead(serving):
    shutil.rmtree(serving.host.folder("web_1.0_0"))
    serving.runtime.processes.clear()
    assert seen(serving) == {"web_1.0_0": (False, False, True, False)}


def test_what_only_the_supervisor_has_serves_nobody(serving):
    shutil.rmtree(serving.host.folder("web_1.0_0"))
    serving.discovery.services.clear()
    assert seen(serving) == {"web_1.0_0": (True, False, False, False)}


def test_a_copy_from_another_machine_is_stopped_here_and_nowhere_else(serving):
    """Its file names that machine, and so does the catalog: it is not waited for."""
    there = json.loads((serving.host.folder("web_1.0_0") / "instance.json").read_text())
    copy = serving.host.folder("web_1.0_7")
    copy.mkdir()
    (copy / "instance.json").write_text(json.dumps({**there, "id": copy.name, "slot": 7, "node": "b"}))
    elsewhere = SimpleNamespace(id=copy.name, minion="b", address="127.0.0.2")
    serving.discovery.wait = lambda name, until, deadline: until([elsewhere])
    assert seen(serving)[copy.name] == (False, False, False, False)
    assert serving.stop("web", [copy.name], drain=0) == [copy.name]
    assert seen(serving) == {"web_1.0_0": (True, True, True, True)} and not copy.exists()


def test_a_registration_under_another_name_of_this_node_is_waited_for(serving):
    shutil.rmtree(serving.host.folder("web_1.0_0"))
    renamed = SimpleNamespace(id="web_1.0_0", minion="old", address="127.0.0.1")
    serving.discovery.wait = lambda name, until, deadline: until([renamed])
    with pytest.raises(DiscoveryUnavailable, match="web_1.0_0: still in the catalog"):
        serving.stop("web", ["web_1.0_0"], drain=0)
    assert serving.runtime.processes == {"web_1.0_0"}


def test_a_registration_without_our_meta_is_ours_on_our_own_agent(serving):
    serving.discovery.services["web_1.0_0"].meta = {}
    assert seen(serving) == {"web_1.0_0": (True, True, True, True)}
    serving.stop("web", ["web_1.0_0"], drain=0)
    assert serving.discovery.services == {}


def test_what_listens_on_an_address_that_the_node_has_no_more_is_not_kept(serving):
    record = serving.host.folder("web_1.0_0") / "instance.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "address": "127.0.0.9"}))
    assert seen(serving) == {"web_1.0_0": (True, False, True, True)}


def test_data_is_told_once_there_is_some(node, tmp_path):
    app = node.app("web")
    assert node.observe("web")["data"] == ""
    node.environment.apps["web"] = replace(app, data=True)
    folder = node.host.data(node.app("web"))
    may_pass(node)
    assert start(node)["ok"] and node.observe("web")["data"] == ""
    (folder / "state").write_text("1")
    assert node.observe("web")["data"] == str(folder)
    assert f"export DATA={folder}\n" in (node.host.folder("web_1.0_0") / "start").read_text()
