"""The record during a deployment."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from saltdeploy.master.rollout import health
from saltdeploy.master.rollout.context import Notes
from saltdeploy.master.rollout.ledger import Ledger

from tests.support.fleet import NEW, OLD, instance
from tests.support.rollout import Fleet, canary_deployment, deployment


@pytest.mark.parametrize(
    "runs, release",
    [
        ({"web1": ["shop_1.0_80"], "web2": ["shop_2.0_81"]}, "2.0"),
        # The old one was brought back: it is what serves, whatever was to be.
        ({"web1": ["shop_1.0_80"], "web2": []}, "1.0"),
        ({"web1": ["shop_1.0_80", "shop_0.9_81"], "web2": ["shop_1.0_80"]}, "1.0"),
        ({}, "2.0"),
    ],
)
def test_the_recorded_release_is_the_one_that_serves(runs, release):
    context = SimpleNamespace(desired=SimpleNamespace(version="2.0"), answering=(), observed=(), serving=())
    ledger = Ledger(context, None)
    ledger.runs = runs
    assert ledger._release() == release


def test_the_record_keeps_the_nodes_that_have_data(monkeypatch):
    monkeypatch.setattr(health, "wait", lambda *args, **kwargs: None)
    fleet = Fleet([instance("a"), instance("b")])
    made, steps = deployment(fleet, "ab", ("100%",), "rolling")
    made.change(notes=Notes(data=["b"]))
    made.run(steps)
    assert fleet.record["data"] == ["b"] and "tolerated" not in fleet.record
    fleet.record = {**fleet.record, "data": []}
    made.made.ledger.record = fleet.record
    made.made.ledger.correct(None)
    assert fleet.record["data"] == ["b"], "nothing else changed, and it is kept all the same"


def test_a_debt_stays_in_the_record_until_the_deployment_is_done(monkeypatch):
    """A run may be killed half way."""
    monkeypatch.setattr(health, "wait", lambda *args, **kwargs: None)
    fleet, written = Fleet([instance("a"), instance("b")]), []
    made, steps = deployment(fleet, "ab", (1, "100%"), "rolling")
    made.change(notes=Notes(absent=["b", "c"], settled=frozenset({"b"})))
    write = Ledger.write

    def noted(ledger, record):
        written.append(record["absent"])
        write(ledger, record)

    monkeypatch.setattr(Ledger, "write", noted)
    made.run(steps)
    assert written and set(map(tuple, written[:-1])) == {("b", "c")} and written[-1] == ["c"]
    assert fleet.record["absent"] == ["c"]


def test_a_paused_share_is_in_the_record_with_its_weights():
    fleet = Fleet([instance(n) for n in "abc"])
    run, made = canary_deployment(fleet, "50%", False)
    run.run(made)
    assert fleet.record["paused"]["weights"] == {OLD: 22016, NEW: 65280}
    assert fleet.weights == {**{(n, "shop_1.0_100"): 22016 for n in "abc"}, ("a", "shop_2.0_101"): 65280}


@pytest.mark.parametrize("recorded", [OLD, NEW])
def test_a_pause_goes_back_to_what_serves_also_where_a_run_was_cut_off_before_it(recorded):
    there = [instance(n) for n in "abc"] + [instance(n, NEW, 101, deployment="killed") for n in "abc"]
    fleet = Fleet(there)
    run, made = canary_deployment(fleet, "full", False)
    run.before = {**run.before, "version": recorded}
    run.run(made)
    assert (fleet.record["version"], fleet.record["paused"]["from"], fleet.record["paused"]["before"]) == (NEW, OLD, 3)
    assert fleet.ran == []


def test_a_paused_candidate_is_in_the_record_and_not_published():
    fleet = Fleet([instance(n) for n in "abc"])
    run, made = canary_deployment(fleet, "none", False)
    run.run(made)
    assert fleet.record["paused"]["candidates"] == {"a": ["shop_2.0_101"]}
    assert fleet.record["nodes"] == {n: ["shop_1.0_100"] for n in "abc"}
    assert fleet.instances["a", "shop_2.0_101"] is False and "publish" not in [phase for phase, _ in fleet.ran]
