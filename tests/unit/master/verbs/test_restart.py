"""A restart: of which instances, and nothing more is taken out once an instance that was counted on is gone."""

from __future__ import annotations

import contextlib

import pytest
from saltdeploy.core.environment import Environment, Node
from saltdeploy.core.errors import DONE, NOT_REVERTED, Refused
from saltdeploy.discovery import Endpoint
from saltdeploy.master import outcome, preflight
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.rollout import health
from saltdeploy.master.rollout.context import Identity
from saltdeploy.master.verbs import restart as verb
from saltdeploy.master.verbs import task
from saltdeploy.master.verbs.appsite import Site
from saltdeploy.master.verbs.session import Session

from tests.support.fleet import instance, make_app, observe
from tests.support.verbs import recorded

RECORD = {"version": "1.0", "deployment": "d0", "time": 0, "nodes": {}}
A, B = ("a", "shop_1.0_100"), ("b", "shop_1.0_101")
ON_A, ON_B, ON_C = instance("a"), instance("b", slot=101), instance("c", slot=102)


class Nodes:
    """Stands for fleet, discovery, lock and clock: it restarts instances, which may heal them, and some die later.

    A second goes by before each job, and as many as there are to wait.

    :param dies: an instance, as node and id, and the second in which it ends for good.
    :param sick: instances that are critical until they are restarted.
    """

    def __init__(self, instances, dies=(None, 0), sick=()):
        self.there = [(i.node, i.id) for i in instances]
        self.dies, self.sick, self.now, self.jobs = dies, set(sick), 0.0, []

    def monotonic(self):
        return self.now

    def check(self):
        self.now += 1

    def read(self, key):
        return RECORD, 1, None

    def run(self, function, nodes, name, ids, *, on_reply=None, **options):
        if function == "app.crashed":
            return {node: Reply(node, {}) for node in nodes}
        assert (function, name) == ("app.restart", "shop")
        out = {(node, i) for node in nodes for i in ids[node]}
        assert len(self.there) == 1 or self.up() - out, "nothing serves meanwhile"
        self.jobs.append(sorted(out))
        self.sick -= out
        for node in nodes:
            on_reply(Reply(node, ids[node]))
        return {}

    def up(self):
        dead, second = self.dies
        return set(self.there) - self.sick - ({dead} if self.now >= second else set())

    def instances(self, name, passing=False):
        found = {(n, i): "passing" if (n, i) in self.up() else "critical" for n, i in self.there}
        meta = {"environment": "e"}
        return [
            Endpoint(i, name, n, "127.0.0.1", int(i[-3:]), status=status, meta={"minion": n, **meta})
            for (n, i), status in found.items()
            if status == "passing" or not passing
        ]

    def wait(self, name, until, deadline, passing=False):
        while not until(self.instances(name, passing)):
            if self.now >= deadline:
                return False
            self.now += 1
        return True


@pytest.fixture
def restart(monkeypatch):
    """Restart instances; return the exit code, the verdict and the Nodes."""

    def call(*instances, **faults):
        nodes = Nodes(instances, **faults)
        for module in (health, outcome, preflight):
            monkeypatch.setattr(module, "time", nodes)
        names = tuple(dict.fromkeys(i.node for i in instances))
        environment = Environment("e", {n: Node(n, "127.0.0.1") for n in names}, {"shop": make_app()})
        site = Site(environment, make_app(), nodes, nodes, names, (), known=frozenset(nodes.there))
        session = Session({})
        session.definitions = lambda name, env: (environment, site.app)
        session.whole_site = lambda *_: contextlib.nullcontext(site)

        def carry_out(session, site, verb, decide, reason, test):
            made = decide(observe(*instances))
            ending = made.act(nodes, Identity("d1", "ann"))
            serving = outcome.look(site, outcome.expected(made, ending, None))
            untrue = outcome.judge(made, ending.code, serving)
            about = {"app": "shop", "environment": "e", "version": made.version, "why": ending.why, "serving": serving}
            code = NOT_REVERTED if untrue else ending.code
            return code, made.verdict({**about, "retcode": code, **({"untrue": untrue} if untrue else {})}), nodes

        monkeypatch.setattr(task, "carry_out", carry_out)
        return verb.run(session, "shop", None, True, False, "")

    return call


def test_all_are_restarted_and_serve_in_the_end(restart):
    code, verdict, nodes = restart(ON_A, ON_B, ON_C)
    assert (code, [len(out) for out in nodes.jobs]) == (DONE, [1, 1, 1])
    assert verdict == "shop 1.0 was restarted in e: 3 instances of 1.0 on a, b, c"


@pytest.mark.parametrize("second", [5, 11.5], ids=["within min_healthy_time", "after it"])
def test_the_last_one_is_not_taken_out_after_the_restarted_one_died(restart, second):
    code, verdict, nodes = restart(ON_A, ON_B, dies=(A, second))
    assert (code, nodes.jobs) == (NOT_REVERTED, [[A]])
    assert "shop_1.0_101 on b not restarted; " in verdict and "shop_1.0_100 on a (critical" in verdict


def test_nor_after_another_one_died_that_is_still_to_be_restarted(restart):
    code, verdict, nodes = restart(ON_A, ON_B, ON_C, dies=(B, 1))
    assert (code, nodes.jobs) == (NOT_REVERTED, [])
    assert "not healthy any more: shop_1.0_101 on b (critical" in verdict


def test_on_one_node_it_is_the_same(restart):
    code, verdict, nodes = restart(ON_A, instance("a", slot=101), dies=(A, 11.5))
    assert (code, nodes.jobs) == (NOT_REVERTED, [[A]])
    assert "shop_1.0_101 on a not restarted; not healthy any more: shop_1.0_100 on a (critical" in verdict


@pytest.mark.parametrize("second", [15, 22], ids=["in the last wave", "after it"])
def test_an_instance_that_dies_later_is_no_success(restart, second):
    code, verdict, nodes = restart(ON_A, ON_B, dies=(A, second))
    assert (code, nodes.jobs) == (NOT_REVERTED, [[A], [B]])
    assert "FAILED" in verdict and "shop_1.0_100 on a" in verdict


@pytest.mark.parametrize("there", [[ON_A, ON_B], [instance("b"), ON_B]])
def test_an_instance_that_is_not_healthy_comes_first_and_counts_from_then_on(restart, there):
    code, verdict, nodes = restart(*there, sick=[B])
    assert (code, nodes.jobs[:1], len(nodes.jobs)) == (DONE, [[B]], 2), verdict


def test_where_nothing_is_published_there_is_nothing_to_restart(here):
    made = here(instance("web1", published=False), record=recorded("1.0", {}))
    with pytest.raises(Refused, match="^nothing of shop is published in e: nothing to restart"):
        verb.run(made.session, "shop", None, True, False, None)


def test_the_only_instance_is_restarted_only_with_confirmation(here):
    one = instance("web1")
    made = here(one, record=recorded("1.0", {"web1": [one.id]}))
    with pytest.raises(Refused) as refused:
        verb.run(made.session, "shop", None, False, False, None)
    assert str(refused.value) == (
        "users have one instance of shop only, and none while it restarts: say so with confirm=True, or run more first:"
        " salt-run deploy.scale shop instances=2 env=e"
    )
    assert verb.run(made.session, "shop", None, False, True, None)["plan"] == [f"wave 1: restart {one.id} on web1"]
