"""Nodes that fail together: what a release does to them, it does to one zone at a time."""

from __future__ import annotations

import itertools
import re

import pytest

from tests.support.target import NAME
from tests.support.watch import watch

pytestmark = pytest.mark.usefixtures("users")
# Not in the order of the nodes: who forgets zones puts web2 with its neighbours.
ZONES = {"web1": "a", "web2": "b", "web3": "a"}


@pytest.fixture
def define(target):
    """Define the app, with nodes in zones, and waves of these sizes."""

    def write(*waves):
        nodes = {n: {"address": address, "zone": ZONES[n]} for n, address in target.agents.nodes.items()}
        target.define(strategy={"waves": list(waves)}, nodes=nodes)

    return write


def planned(lines):
    """Return the nodes that start something, of each wave that a plan has."""
    return [re.findall(r"\bweb\d", line) for line in lines if "start, test and publish" in line]


def zones(nodes):
    return {ZONES[node] for node in nodes}


def test_waves_are_split_by_zone_in_the_plan(target, define, releases):
    for size, expected in (("34%", [["web1", "web3"], ["web2"]]), ("33%", [["web1"], ["web3"], ["web2"]])):
        define(size, "100%")
        plan = target.cli.result("plan", NAME, f"version='{releases[1]}'")["plan"]
        assert planned(plan) == expected


def test_a_wave_for_all_nodes_comes_to_one_zone_after_the_other(target, define, releases):
    before, new = releases
    define("100%")
    with watch(target.agents.url("web1"), NAME) as moments:
        target.deploy(new)
    [entry] = target.cli.result("history", NAME, "limit=1")["history"]
    phases = itertools.groupby(entry["steps"], lambda step: step["phase"])
    steps = [(phase, {step["node"] for step in some}) for phase, some in phases]
    started = [nodes for phase, nodes in steps if phase == "start"]
    assert started == [set(nodes) for nodes in planned(entry["plan"])] == [{"web1", "web3"}, {"web2"}]
    # What one zone does is over before the next one begins.
    where = [zones(nodes) for phase, nodes in steps if phase in ("start", "publish", "retire")]
    assert all(len(zone) == 1 for zone in where)
    assert [zone for zone, _ in itertools.groupby(where)] == [{"a"}, {"b"}]

    assert set(moments[0].published.values()) == {before} and set(moments[-1].published.values()) == {new}
    for moment in moments:
        there = moment.releases(ZONES.get)
        assert set(there) == {"a", "b"} and len(moment.published) >= 3, moment
        assert sum(some not in ({before}, {new}) for some in there.values()) <= 1, moment
        assert there["b"] == {before} or there["a"] == {new}, moment
