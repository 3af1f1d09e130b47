"""The call of a verb of the runner: its session, its arguments, and stand-ins for discovery and for the minions."""

from __future__ import annotations

import inspect

from saltdeploy.core.environment import Environment, Node
from saltdeploy.core.errors import Failed
from saltdeploy.core.instanceids import instance_id
from saltdeploy.discovery import Endpoint
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.verbs.appsite import Site
from saltdeploy.master.verbs.session import Session

from tests.support.fleet import THREE, make_app, observe

ABOUT = {"nodes": ["web1"], "instances": 1, "from": "1.0", "before": 1, "since": 0, "by": "me", "reason": ""}
PAUSED = {"version": "2.0", "deployment": "d", "time": 0, "nodes": {}, "paused": ABOUT}


def call(**methods):
    """Return a Session with these methods in place of its own."""
    made = Session({})
    for name, method in methods.items():
        assert hasattr(made, name)
        setattr(made, name, method)
    return made


def arguments_of(verb, **given):
    """Return the arguments of ``verb``: those in ``given``, and None for the others."""
    known = {"name": "shop", "version": "1.0", "instances": 2, "test": False, **given}
    return {name: known.get(name) for name in list(inspect.signature(verb.run).parameters)[1:]}


# The answer of environment.machine on a node that is well.
WELL = {
    **{"agent": "", "free": 5 << 30, "size": 10 << 30, "low": False, "boot": "b1"},
    **{key: [] for key in ("instances", "releases", "undefined", "services")},
}


class Foreign:
    """Discovery with services that saltdeploy did not register, and a record that tolerates some."""

    def __init__(self, *ids, tolerated=()):
        self.found = [Endpoint(i, "shop", "web1", "10.0.0.1", 80, meta={}) for i in ids]
        self.record = {"version": "1.0", "deployment": "d", "time": 0, "nodes": {}, "tolerated": list(tolerated)}

    def instances(self, name, passing=False):
        return self.found

    def read(self, key):
        return self.record, 0, ""


def site_with(backend):
    environment = Environment("e", {"web1": Node("web1", "10.0.0.1")}, {})
    return Site(environment, make_app(), None, backend, ("web1",), ("web1",))


def recorded(version, nodes, **more):
    """Return a record of ``version`` with node -> ids."""
    return {"version": version, "deployment": "d0", "time": 1.0, "nodes": nodes, **more}


def entry(version, nodes=None, **more):
    """Return an entry of the history: the deployment of ``version``, which is done unless ``more`` says otherwise."""
    record = recorded(version, nodes or {"web1": [instance_id("shop", version, 100)]})
    about = {"verb": "deploy", "owner": "ann", "reason": "", "began": 1.0, "seconds": 1.0, "why": ""}
    return {**about, "version": version, "retcode": 0, "record": record, **more}


class Catalog:
    """Stands for discovery: keys, some of them locked, and the services that clients find."""

    def __init__(self, values=()):
        self.values, self.holders, self.indexes = dict(values), {}, {}
        self.found = []

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass

    def leader(self):
        return "127.0.0.1:8300"

    def instances(self, name, passing=False):
        return [e for e in self.found if e.name == name and (e.status == "passing" or not passing)]

    def wait(self, name, until, deadline, passing=False):
        return bool(until(self.instances(name, passing)))

    def services(self):
        return {e.name: (e.meta["environment"],) for e in self.found}

    def replaced(self):
        return set()

    def read(self, key):
        return self.values.get(key), self._index(key), self.holders.get(key)

    def read_all(self, prefix):
        return dict(self.entries(prefix))

    def entries(self, prefix):
        return [(key, value) for key, value in self.values.items() if key.startswith(prefix)]

    def keys(self, prefix):
        return [key for key, _ in self.entries(prefix)]

    def write(self, entries, lock_key=None, session=None, delete=()):
        if lock_key and self.holders.get(lock_key) != session:
            return False
        self.values.update(entries)
        for key in delete:
            self.values.pop(key, None)
        return True

    def replace(self, key, value, index):
        if self._index(key) != index:
            return False
        self.values[key], self.indexes[key] = value, index + 1
        return True

    def create_session(self, name, ttl):
        return f"session of {name}"

    def renew_session(self, session):
        return True

    def destroy_session(self, session):
        self.holders = {key: holder for key, holder in self.holders.items() if holder != session}

    def acquire(self, key, session, value, index):
        self.values[key], self.holders[key] = value, session
        return True

    def release(self, key, session):
        self.holders.pop(key, None)

    def _index(self, key):
        return self.indexes.get(key, int(key in self.values))


class Minions:
    """Stands for the fleet: it keeps the jobs, and each node answers as it was told.

    :param answers: function -> node -> the value, or a Reply. Functions of stops and removals need none.
    """

    def __init__(self, **answers):
        self.answers, self.jobs = answers, []

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass

    def run(self, function, nodes, *args, on_reply=lambda reply: None, **options):
        self.jobs.append((function, *args))
        replies = {node: self._reply(function, node, args) for node in sorted(nodes)}
        for reply in replies.values():
            on_reply(reply)
        return replies

    def _reply(self, function, node, args):
        own = self.answers.get(function, {}).get(node)
        if own is None:
            own = args[1][node] if function in ("app.stop", "deploy.prune") else None
        return own if isinstance(own, Reply) else Reply(node, list(own) if isinstance(own, tuple) else own)


class NoMaster(Minions):
    """Stands for the fleet of a master that does not answer."""

    def run(self, *args, **kwargs):
        raise Failed("the Salt master does not answer")


class Here:
    """An environment ``e`` with the nodes web1, web2 and web3, and the app ``shop`` there, for a call of a verb.

    :param instances: the instances on the nodes. Clients find the published ones.
    :param record: the record of the app, None for none.
    :param history: entries, the oldest first.
    :param seen: the other facts of observe. Without ``editions``, nothing differs from the definition.
    """

    prefix = "deploy/e/shop/"

    def __init__(self, *instances, record=None, history=(), app=None, minions=None, keys=(), **seen):
        self.app, self.events = app or make_app(), []
        # The release whose settings the nodes were asked to compare at last.
        self.compared = None
        self.environment = Environment("e", {n: Node(n, "127.0.0.1", ("app",)) for n in THREE}, {"shop": self.app})
        self.minions, self.catalog = minions or Minions(), Catalog(keys)
        self.observed = observe(*instances, **{"editions": self._editions(instances, **seen), **seen})
        if record:
            self.catalog.values[f"{self.prefix}current"] = record
        for number, one in enumerate(history):
            self.catalog.values[f"{self.prefix}history/{number:03}"] = one
        self.serve(*(i for i in instances if i.published))
        self.session = Session({}, self.events.append, user="ann")
        self.session.environment = lambda env, app=None, choose=True: self.environment
        self.session.observe = self._observe

    def serve(self, *instances):
        """Have clients find these instances, and no others."""
        self.catalog.found = [
            Endpoint(i.id, "shop", i.node, i.address, i.port, meta={"minion": i.node, "environment": "e"})
            for i in instances
        ]

    def record(self):
        """Return the record as the verb left it."""
        return self.catalog.values.get(f"{self.prefix}current")

    def said(self):
        """Return the texts that the operator saw meanwhile."""
        return [event["say"] for event in self.events if "say" in event]

    def _editions(self, instances, releases=None, **_):
        """Return what nodes say that have kept the settings of all that they have, and nothing has changed since."""
        there = {*(i.version for i in instances), *(r for some in (releases or {}).values() for r in some)}
        return {node: {edition: {} for edition in there} for node in THREE}

    def _observe(self, site, deployment=None):
        self.compared = site.compare
        site.known = frozenset((i.node, i.id) for i in self.observed.instances)
        site.answering = site.observed = list(site.nodes)
        return self.observed
