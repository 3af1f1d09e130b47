"""Whether users find instances: what is waited for, what is told meanwhile, and what is no more true later."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from saltdeploy.core.errors import Failed
from saltdeploy.discovery import Endpoint, wording
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.rollout import health

from tests.support.fleet import make_app

IDS = {"a": ["shop_2.0_100"], "b": ["shop_2.0_100"]}


class Clock:
    """Stands for time and discovery: what the catalog has changes at certain moments.

    :param moments: second -> statuses of the instances on a and b; None: it is not in the catalog.
    """

    wording = wording.CONSUL

    def __init__(self, moments):
        self.now, self.moments = 0.0, moments

    def monotonic(self):
        return self.now

    def wait(self, name, until, deadline):
        while True:
            statuses = self.moments[max(s for s in self.moments if s <= self.now)]
            found = [
                Endpoint("shop_2.0_100", "shop", node, "127.0.0.1", 100, status=status, output=OUTPUT[status])
                for node, status in zip("ab", statuses)
                if status
            ]
            if until(found):
                return True
            if self.now >= deadline:
                return False
            self.now += 1.0


OUTPUT = {"passing": "", "critical": "HTTP GET http://127.0.0.1:100/health: 404 Not Found\n  Output: no", "warning": ""}
BAD = "GET http://127.0.0.1:100/health: 404 Not Found"
GOOD, SICK, GONE = ("passing", "passing"), ("passing", "critical"), ("passing", None)


@pytest.fixture
def run(monkeypatch):
    """Call a function of healthy over a Clock; return what was told, the seconds it took, and what it raised."""

    def call(function, moments, *args, min_healthy_time=10.0, crashed=None):
        clock, told = Clock(moments), []
        monkeypatch.setattr(health, "time", clock)
        app = make_app()
        app = replace(app, strategy=replace(app.strategy, min_healthy_time=min_healthy_time, healthy_deadline=60.0))
        journal = SimpleNamespace(begin=lambda *_: None, add=lambda *step: None, say=told.append)
        replies = {node: Reply(node, {}) for node in IDS} | (crashed or {})
        fleet = SimpleNamespace(run=lambda *_, deadline: replies)
        first = SimpleNamespace(journal=journal, fleet=fleet) if function is health.wait else journal
        try:
            function(first, clock, app, IDS, *args)
        except Failed as exc:
            return told, clock.now, str(exc)
        return told, clock.now, ""

    return call


def test_all_must_pass_and_stay_for_min_healthy(run):
    assert run(health.wait, {0: GOOD}, 1000.0) == ([], 10.0, "")
    assert run(health.wait, {0: GONE, 3: SICK, 5: GOOD}, 1000.0) == ([], 15.0, "")
    told, took, problem = run(health.wait, {0: GOOD, 9: SICK, 10: GOOD}, 1000.0)
    assert (told, took) == ([], 9.0)
    assert problem == f"did not stay healthy in discovery for 10s: shop_2.0_100 on b (critical: {BAD})"


@pytest.mark.parametrize(
    "reply, said",
    [
        (
            Reply("b", {"shop_2.0_100": "no database"}),
            "b: shop_2.0_100 crashed after its publication, and its supervisor restarted it\nits last lines:\nno database",
        ),
        (
            Reply("b", {"shop_2.0_100": ""}),
            "b: shop_2.0_100 crashed after its publication, and its supervisor restarted it",
        ),
        (Reply("b", None, "does not answer"), "b: does not answer"),
    ],
)
def test_a_crash_between_two_checks_is_found(run, reply, said):
    assert run(health.wait, {0: GOOD}, 1000.0, crashed={"b": reply}) == ([], 10.0, said)
    # Without a time to stay healthy nobody asks.
    assert run(health.wait, {0: GOOD}, 1000.0, crashed={"b": reply}, min_healthy_time=0.0)[2] == ""


@pytest.mark.parametrize("value", [None, [], {"shop_1.0_100": ""}, {"shop_2.0_100": 1}])
def test_an_answer_about_something_else_is_no_answer(run, value):
    *_, problem = run(health.wait, {0: GOOD}, 1000.0, crashed={"b": Reply("b", value)})
    assert problem.startswith("b: its answer is not to be believed: found ")


@pytest.mark.parametrize(
    "status, said",
    [
        ("warning", "warning: no check has run yet"),
        (None, "not in the catalog of Consul: see the log of its agent on b"),
    ],
)
def test_what_warns_or_is_not_there_does_not_pass(run, status, said):
    *_, problem = run(health.wait, {0: ("passing", status)}, 1000.0)
    assert problem.endswith(f"shop_2.0_100 on b ({said})")


def test_every_ten_seconds_the_check_s_own_words_are_told(run):
    told, took, problem = run(health.wait, {0: SICK}, 1000.0)
    assert told == [
        f"not healthy in discovery after {n}0s: shop_2.0_100 on b (critical: {BAD})" for n in (1, 2, 3, 4, 5)
    ]
    assert took == 60.0
    assert problem == f"not healthy in discovery within 60s: shop_2.0_100 on b (critical: {BAD})"


def test_a_wave_s_deadline_ends_the_wait_too(run):
    assert run(health.wait, {0: SICK}, 25.0)[1] == 25.0


def test_what_serves_still_costs_one_look(run):
    assert run(health.still_serve, {0: GOOD}) == ([], 0.0, "")


def test_what_nobody_saw_stay_healthy_must_stay_from_its_first_result_on(run):
    assert run(health.still_serve, {0: GOOD}, True) == ([], 17.0, "")
    assert run(health.still_serve, {0: GOOD, 16: SICK}, True)[1:] == (
        16.0,
        f"did not stay healthy in discovery for 17s: shop_2.0_100 on b (critical: {BAD})",
    )


def test_enough_is_as_many_as_the_others_and_costs_one_look(run):
    pairs = {(node, i) for node, ids in IDS.items() for i in ids}

    def enough(journal, discovery, app, ids, least):
        health.enough_serve(journal, discovery, app, pairs, least)

    assert run(enough, {0: SICK}, 1) == run(enough, {0: SICK}, 0) == ([], 0.0, "")
    assert run(enough, {0: SICK, 3: GOOD}, 2)[1:] == (3.0, "")
    assert run(enough, {0: GONE}, 2)[1:] == (
        10.0,
        "too few instances serve to take another out, not healthy any more: shop_2.0_100 on b"
        " (not in the catalog of Consul: see the log of its agent on b)",
    )


def test_what_comes_back_must_stay(run):
    told, took, problem = run(health.still_serve, {0: SICK, 4: GOOD})
    assert (told, took, problem) == ([f"not healthy any more: shop_2.0_100 on b (critical: {BAD})"], 14.0, "")
    assert run(health.still_serve, {0: SICK, 4: GOOD, 8: SICK})[1:] == (
        8.0,
        f"did not stay healthy in discovery for 10s: shop_2.0_100 on b (critical: {BAD})",
    )


def test_what_does_not_come_back_is_a_failure(run):
    _, took, problem = run(health.still_serve, {0: GONE})
    assert (took, problem) == (
        10.0,
        "not healthy any more: shop_2.0_100 on b (not in the catalog of Consul: see the log of its agent on b)",
    )


def test_nothing_is_asked_where_nothing_is_counted_on():
    health.still_serve(None, None, make_app(), {})


def test_what_was_restored_need_not_stay(run):
    assert run(health.not_back, {0: SICK, 3: GOOD}) == ([], 3.0, "")


def test_a_page_that_a_check_got_is_cut():
    catalog = health._Catalog(None, make_app(), {("a", "x")})
    catalog._look([Endpoint("x", "shop", "a", "127.0.0.1", 100, status="critical", output="y" * 5000)])
    assert len(catalog.missing()) < 300


def test_a_page_that_a_check_got_is_told_without_the_values_of_env():
    catalog = health._Catalog(None, replace(make_app(), env={"PASSWORD": "hunter2"}), {("a", "x")})
    catalog._look([Endpoint("x", "shop", "a", "127.0.0.1", 100, status="critical", output="503 Output: as hunter2")])
    assert catalog.missing() == "x on a (critical: 503)"
