"""The call of a verb of the runner: its session, its arguments, and a discovery with a record."""

from __future__ import annotations

import inspect

from saltdeploy.core.model import Environment, Node
from saltdeploy.discovery import Endpoint
from saltdeploy.master.verbs.appsite import Site
from saltdeploy.master.verbs.session import Session

from tests.support.fleet import make_app

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
