"""No node that takes part in a deployment does so by an old pillar, and no other node asks for a new one."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from saltdeploy.core.environment import Environment, Node
from saltdeploy.core.errors import Refused
from saltdeploy.core.model import Probe
from saltdeploy.master import preflight
from saltdeploy.master.remote.fleet import Reply

from tests.support.fleet import instance
from tests.unit.master.test_preflight import APP, IDLE, Asked, Journal, site

# What a node answers by the pillar that it has, and whether that shows that it needs a new one.
ANSWERS = [
    (IDLE, False),
    ({**IDLE, "environment": "other"}, True),
    ({**IDLE, "releases": ["1.0"]}, True),
    ({**IDLE, "data": "/data"}, True),
    ({"saltdeploy": "0.1"}, True),
    (None, True),
]
NAMES = ("web1", "web2", "lb1", "salt1")
NODES = st.fixed_dictionaries({n: st.tuples(st.booleans(), st.booleans(), st.sampled_from(ANSWERS)) for n in NAMES})


@given(NODES, st.booleans(), st.booleans())
def test_who_takes_part_and_nobody_else_has_a_fresh_pillar(nodes, peers, balanced):
    app = replace(APP, tests=(Probe("http", "/", origin="peer"),)) if peers else APP
    app = replace(app, frontend={"port": 80}) if balanced else app
    known = {n: Node(n, "127.0.0.1", ("app",) if eligible else ("db",)) for n, (eligible, _, _) in nodes.items()}
    known["lb1"] = replace(known["lb1"], roles=(*known["lb1"].roles, "loadbalancer"))
    record = {"nodes": {n: [instance(n).id] for n, (_, recorded, _) in nodes.items() if recorded}}
    chosen = tuple(n for n, (eligible, _, _) in nodes.items() if eligible)
    there = {"nodes": chosen, "needed": chosen, "record": lambda: record}
    here = site(environment=Environment("e", known, {"shop": app}), app=app, **there)
    answers = {
        n: Reply(n, None, "an error") if given is None else Reply(n, given) for n, (_, _, (given, _)) in nodes.items()
    }
    here.fleet = Asked({}, answers)
    try:
        preflight.observe(here, Journal())
    except Refused as exc:
        raise AssertionError(f"nobody who is needed is missing: {exc}") from exc
    fresh = {n for some, refresh in here.fleet.jobs for n in some if refresh is True or n in refresh}
    wanted = {n for n, (eligible, recorded, (_, old)) in nodes.items() if eligible or recorded or old}
    wanted |= {"lb1"} if balanced else set()
    assert fresh == (set(NAMES) if peers else wanted)
