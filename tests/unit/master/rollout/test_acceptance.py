"""The tests of an app: who runs which on what, and what a test that does not pass leads to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy.core.environment import Environment
from saltdeploy.core.errors import Failed
from saltdeploy.core.model import Probe
from saltdeploy.master.journal import Journal
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.remote.jobs import TALK_DEADLINE, Jobs, PhaseFailed
from saltdeploy.master.rollout import acceptance
from saltdeploy.master.rollout.acceptance import Acceptance

from tests.support.fleet import NEW, instance, make_app

PASSED = {"test": "tcp", "ok": True, "detail": "", "seconds": 0.1}
REFUSED = {**PASSED, "ok": False, "detail": "connection refused"}
WEB1, WEB2 = instance("web1", NEW), instance("web2", NEW)


class Fleet:
    """Nodes that run the tests they are asked for, ``count`` on each instance, with ``result``."""

    def __init__(self, count=1, result=PASSED):
        self.count, self.result, self.ran = count, result, []

    def run(self, function, nodes, name, by_node, *, deadline, on_reply):
        self.ran.append((function, by_node, deadline))
        peers = function == "deploy.test_peers"
        replies = {}
        for node, some in by_node.items():
            ids = [f"{i['id']}@{i['node']}" for i in some] if peers else some
            replies[node] = Reply(node, {one: [self.result] * self.count for one in ids})
            on_reply(replies[node])
        return replies


def made(fleet, *origins, peers=("web1", "web2", "web3")):
    app = replace(make_app(), tests=tuple(Probe("tcp", "", origin=origin, timeout=3.0) for origin in origins))
    return Acceptance(Jobs(fleet, Journal()), Environment("e", {}, {}), app, peers)


def told(tests):
    return [(s.phase, s.node, s.what, s.ok) for s in tests.jobs.journal.steps]


def test_a_node_tests_its_own_instances():
    fleet = Fleet(count=2)
    tests = made(fleet, "node", "node", "peer")
    tests.from_nodes([WEB1, instance("web1", NEW, 101), WEB2])
    ids = {"web1": ["shop_2.0_100", "shop_2.0_101"], "web2": ["shop_2.0_100"]}
    assert fleet.ran == [("app.test", ids, 2 * 9 + TALK_DEADLINE)]
    assert told(tests) == [
        ("test", "web1", "shop_2.0_100, shop_2.0_101: 4 tests passed", True),
        ("test", "web2", "shop_2.0_100: 2 tests passed", True),
    ]


def test_without_tests_or_instances_nothing_is_asked():
    fleet = Fleet()
    made(fleet, "peer", "master").from_nodes([WEB1])
    made(fleet, "node").from_elsewhere([WEB1])
    made(fleet, "peer", "master").from_elsewhere([])
    assert fleet.ran == []


def test_a_test_that_does_not_pass_is_told_with_its_instance():
    with pytest.raises(PhaseFailed) as failed:
        made(Fleet(result=REFUSED), "node").from_nodes([WEB1])
    assert str(failed.value) == "test on web1: shop_2.0_100: test `tcp` failed: connection refused"


def test_a_node_that_does_not_run_all_tests_has_not_passed_them():
    with pytest.raises(PhaseFailed, match="not all was tested"):
        made(Fleet(count=1), "node", "node").from_nodes([WEB1])


def test_instances_are_tested_from_other_nodes_which_take_turns():
    fleet = Fleet()
    made(fleet, "peer").from_elsewhere([WEB1, WEB2, instance("web1", NEW, 101)])
    [(function, by_peer, deadline)] = fleet.ran
    assert (function, deadline) == ("deploy.test_peers", 2 * 3 + TALK_DEADLINE)
    assert {peer: [(i["node"], i["id"]) for i in some] for peer, some in by_peer.items()} == {
        "web2": [("web1", "shop_2.0_100"), ("web1", "shop_2.0_101")],
        "web3": [("web2", "shop_2.0_100")],
    }


def test_without_another_node_there_is_no_test_from_a_peer():
    with pytest.raises(Failed, match=r"^no other node of e answers, to test shop_2.0_100 from a peer\.$"):
        made(Fleet(), "peer", peers=("web1",)).from_elsewhere([WEB1])


@pytest.mark.parametrize("result", [PASSED, REFUSED])
def test_the_master_tests_itself(monkeypatch, result):
    asked = []

    def run_from(origin, environment, app, targets):
        asked.extend((origin, environment.name, i["node"]) for i in targets)
        return {f"{i['id']}@{i['node']}": [result] for i in targets}

    monkeypatch.setattr(acceptance.probes, "run_from", run_from)
    tests = made(None, "master")
    if result is PASSED:
        tests.from_elsewhere([WEB1, WEB2])
        assert told(tests) == [("test", "master", "shop_2.0_100@web1, shop_2.0_100@web2: 2 tests passed", True)]
    else:
        problem = "shop_2.0_100@web1: test `tcp` failed: connection refused"
        with pytest.raises(Failed, match=f"^test from master: {problem}$"):
            tests.from_elsewhere([WEB1])
        assert told(tests) == [("test", "master", problem, False)]
    assert asked[0] == ("master", "e", "web1")
