"""The way back: it brings back what served, and says what it could not."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from saltdeploy.core.errors import Failed, NotReverted
from saltdeploy.master.remote.jobs import stop_deadline
from saltdeploy.planning.planner import plan

from tests.support.fleet import OLD, instance, observe
from tests.support.rollout import Fleet, deployment, flipped


def test_in_place_the_last_node_is_changed_back_first_the_new_one_before_the_old():
    nodes = ["a", "b", "c"]
    fleet = Fleet([instance(n) for n in nodes], faults=[8])  # after install, and retire, start, publish twice
    run, made = deployment(fleet, nodes, ("100%",), "recreate")
    with pytest.raises(Failed, match="start on c: fault"):
        run.run(made)
    assert fleet.ran[8:] == [
        ("start", ["c"]),
        *[(phase, [node]) for node in "cba" for phase in ("stop", "restore")],
    ]


def test_in_place_what_cannot_be_changed_back_stops_the_way_back():
    nodes = ["a", "b", "c"]
    fleet = Fleet([instance(n) for n in nodes], faults=[5, 7])
    run, made = deployment(fleet, nodes, ("100%",), "recreate")
    with pytest.raises(NotReverted, match="restore on b: fault; the other nodes stay as they are, to serve"):
        run.run(made)
    assert fleet.instances == {("a", "shop_2.0_100"): True, ("c", "shop_1.0_100"): True}
    # Highstate brings the old one back once it can be.
    assert fleet.record["nodes"] == {"a": ["shop_2.0_100"], "b": ["shop_1.0_100"], "c": ["shop_1.0_100"]}


def test_without_the_lock_the_way_back_ends():
    nodes = ["a", "b"]
    fleet = Fleet([instance(n) for n in nodes], faults=[5], lost=[8])
    run, made = deployment(fleet, nodes, ("100%",), "recreate")
    with pytest.raises(NotReverted, match="the lock was lost; after: start on b: fault"):
        run.run(made)
    assert fleet.ran[6:] == [("stop", ["b"]), ("restore", ["b"])]


def test_before_each_job_of_the_way_back_the_lock_is_asked_for():
    """What another run has begun meanwhile is not stopped."""
    fleet = Fleet([instance(n) for n in "ab"], faults=[4], lost=[6])
    run, made = deployment(fleet, ["a", "b"], (1, "100%"), "rolling")
    with pytest.raises(NotReverted, match="the lock was lost; after: start on b: fault"):
        run.run(made)
    assert fleet.ran[3:] == [("retire", ["a"]), ("start", ["b"]), ("restore", ["a"])]


@pytest.mark.parametrize("fault", [0, 1])
def test_blue_green_a_way_back_that_fails_leaves_all_as_it_was(fault):
    nodes = ["a", "b"]
    fleet = Fleet([instance(n) for n in nodes])
    back, made = flipped(fleet, nodes)
    before, record, fleet.faults = dict(fleet.instances), fleet.record, [fault]
    with pytest.raises(Failed, match="fault"):
        back.run(made)
    assert (fleet.instances, fleet.record) == (before, record)
    assert fleet.fewest == 2
    # Else deploy.publish would take them for candidates that wait.
    assert fleet.held and not any(fleet.held)


def test_blue_green_what_was_withdrawn_is_published_again_not_started():
    nodes = ["a", "b"]
    fleet = Fleet([instance(n) for n in nodes], faults=[3])  # after install, start and publish
    run, made = deployment(fleet, nodes, ("100%",), "blue_green")
    before, record = dict(fleet.instances), fleet.record
    with pytest.raises(Failed, match="withdraw on b: fault"):
        run.run(made)
    assert (fleet.instances, fleet.record, fleet.restarted) == (before, record, [])


def test_blue_green_what_made_way_is_not_said_to_be_warm_after_a_failure():
    nodes = ["a"]
    fleet = Fleet([instance("a")])
    before = instance("a", "0.9", 101, published=False)
    fleet.instances["a", before.id] = False
    run, _ = deployment(fleet, nodes, ("100%",), "blue_green")
    entry = {"until": time.time() + 600, "nodes": {"a": [before.id]}}
    run.before = {**fleet.record, "warm": entry}
    observed = replace(observe(instance("a"), before), warm=frozenset([("a", before.id)]))
    fleet.faults = [2]  # after clean and install
    with pytest.raises(Failed, match="start on a: fault"):
        run.run(plan(run.context.desired, observed))
    assert fleet.record == {"version": OLD, "nodes": {"a": ["shop_1.0_100"]}}
    assert fleet.instances == {("a", "shop_1.0_100"): True}


def test_many_that_are_stopped_on_the_way_back_have_the_time_for_it():
    run, made = deployment(Fleet([instance("a")]), ["a", "b"], ("100%",), "rolling")
    seen = {}
    jobs = SimpleNamespace(attempt=lambda *job, **options: seen.update(options) or [])
    run.change(jobs=jobs, lock=SimpleNamespace(check=lambda: None))
    begun = run.make(made)
    begun.progress.started_on = {"a": 12, "b": 1}
    assert begun.reversal._stop_new({"a", "b"}) == []
    assert seen["deadline"] == stop_deadline(run.context.app, {"a": ["x"] * 12})


def test_what_was_not_healthy_before_is_restored_and_not_waited_for():
    nodes = ["a", "b"]
    there = [instance("a", healthy=False), instance("b")]
    fleet = Fleet(there, faults=[4])  # in the second wave's start
    run, _ = deployment(fleet, nodes, (1, "100%"), "rolling")
    run.change(serving=there)
    before, wait = dict(fleet.instances), fleet.wait

    def passing(name, until, deadline, passing=False):
        """Consul never has the old instance on a as passing."""
        seen = []
        wait(name, lambda found: seen.extend(found), deadline, passing)
        return until([e for e in seen if (e.minion, e.id) != ("a", "shop_1.0_100")])

    fleet.wait = passing
    with pytest.raises(Failed, match="start on b: fault") as failed:
        run.run(plan(run.context.desired, observe(*there)))
    assert type(failed.value) is Failed and fleet.instances == before


def test_without_auto_revert_the_new_ones_stay():
    fleet = Fleet([instance(n) for n in "ab"], faults=[2])  # after install and start
    run, made = deployment(fleet, ["a", "b"], ("100%",), "rolling")
    strategy = replace(run.context.strategy, auto_revert=False)
    app = replace(run.context.app, strategy=strategy)
    run.change(desired=replace(run.context.desired, app=app))
    with pytest.raises(
        NotReverted, match="auto_revert is off, so the new instances stay as they are, after: publish on b"
    ):
        run.run(made)
    assert [phase for phase, _ in fleet.ran] == ["install", "start", "publish"]


def test_without_auto_revert_nothing_is_left_where_nothing_was_started():
    fleet = Fleet([instance(n) for n in "ab"], faults=[0])
    run, made = deployment(fleet, ["a", "b"], ("100%",), "rolling")
    app = replace(run.context.app, strategy=replace(run.context.strategy, auto_revert=False))
    run.change(desired=replace(run.context.desired, app=app))
    with pytest.raises(Failed, match="^install on b: fault$") as failed:
        run.run(made)
    assert type(failed.value) is Failed
