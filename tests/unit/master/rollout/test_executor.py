"""A deployment, on a fleet that is simulated job by job, with a fault in any of them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from saltdeploy.core import bluegreen
from saltdeploy.core.errors import Failed, NotReverted
from saltdeploy.core.instanceids import version_of
from saltdeploy.planning.planner import plan

from tests.support.fleet import NEW, OLD, instance, observe
from tests.support.rollout import NOW, Fleet, canary_deployment, deployment, flipped

WAVES = st.sampled_from([(1, "100%"), ("100%",), (1, 2, "100%")])


@given(
    st.integers(1, 5),
    WAVES,
    st.sampled_from(["rolling", "recreate", "blue_green"]),
    st.integers(0, 25),
    st.booleans(),
    # Another release, or the same with other settings.
    st.sampled_from([OLD, f"{NEW}@1"]),
)
def test_whatever_fails_all_is_as_before_and_enough_served_all_the_time(
    count, waves, replace, number, interrupted, old
):
    nodes = list("abcde"[:count])
    fault = {"interrupts" if interrupted else "faults": [number]}
    fleet = Fleet([instance(n, old) for n in nodes], **fault)
    run, made = deployment(fleet, nodes, waves, replace, old=old)
    before, record = dict(fleet.instances), fleet.record
    try:
        run.run(made)
    except NotReverted:
        raise
    except Failed:
        event(f"failed in {fleet.ran[number][0]}")
        assert (fleet.instances, fleet.record) == (before, record)
    else:
        event("succeeded")
        warm = bluegreen.recorded(fleet.record)
        assert warm == (set(before) if replace == "blue_green" else set())
        assert all((version_of(key[1]) == NEW) == seen == (key not in warm) for key, seen in fleet.instances.items())
    assert fleet.fewest >= (count if replace != "recreate" else (count + 1) // 2 if count > 1 else 0)
    assert not fleet.refused


@given(
    st.integers(2, 5),
    WAVES,
    st.sampled_from(["rolling", "recreate"]),
    st.sampled_from([1, 2, "50%"]),
    st.sets(st.integers(0, 14), min_size=1, max_size=3),
    st.sets(st.integers(0, 14), max_size=1),
)
def test_nodes_that_may_fail_go_on_with_what_they_had(count, waves, replace, most, numbers, interrupts):
    """…and the others get the release, none of which leaves fewer that serve. What cannot be undone is told."""
    nodes = list("abcde"[:count])
    fleet = Fleet([instance(n) for n in nodes], faults=numbers, interrupts=interrupts)
    run, made = deployment(fleet, nodes, waves, replace, max_failures=most)
    before, record = dict(fleet.instances), fleet.record
    try:
        run.run(made)
    except Failed as exc:
        lost, gone_on = set(run.made.budget.failed), getattr(exc, "record", None)
        event(f"{type(exc).__name__}, {len(lost)} lost, {'gone on' if gone_on else 'ended'}")
        if type(exc) is Failed:
            assert (fleet.instances, fleet.record) == (before, record)
        if gone_on:
            assert 1 <= len(lost) <= (count // 2 if most == "50%" else most)
            assert str(exc) == run.made.budget.told()
        if gone_on and not run.made.budget.problems:
            releases = {(n, one.split("_")[1]) for n, one in fleet.instances}
            assert releases == {(n, OLD if n in lost else NEW) for n in nodes} and all(fleet.instances.values())
            assert {(n, i) for n, ids in gone_on["nodes"].items() for i in ids} == set(fleet.instances)
    else:
        assert not run.made.budget.failed
    if replace == "rolling":
        assert fleet.fewest >= count
    # What was undone where a node failed holds nothing up elsewhere.
    assert not fleet.refused


@given(st.integers(1, 5), WAVES, st.sampled_from(["rolling", "recreate", "blue_green"]), st.integers(0, 25))
def test_a_run_in_which_an_instance_dies_is_reverted_and_retires_nothing_more(count, waves, kind, number):
    """…whenever that was: in the wave itself, while a later one runs, or after the last."""
    nodes = list("abcde"[:count])
    fleet = Fleet([instance(n) for n in nodes], dies=number)
    run, made = deployment(fleet, nodes, waves, kind)
    before, record = dict(fleet.instances), fleet.record
    try:
        run.run(made)
    except Failed as exc:
        event(f"died after {fleet.ran[number][0]}")
        assert type(exc) is Failed and "(critical: " in str(exc)
        assert (fleet.instances, fleet.record) == (before, record)
        assert fleet.retired_after == []
    else:
        assert not fleet.dead


def test_what_a_run_that_was_cut_off_has_published_is_counted_on_too():
    """…and what only goes is not, nor what is on nodes that were not looked at."""
    kept, others = instance("a", NEW, 101, deployment="killed"), [instance(n) for n in "bc"]
    fleet = Fleet([kept, instance("a"), *others])
    run, _ = deployment(fleet, list("abc"), (1, "100%"), "rolling")
    observed = observe(kept, instance("a"), *others)
    begun = run.make(plan(run.context.desired, observed))
    begun.ledger.add([kept])
    fleet.dead = {("a", kept.id)}
    with pytest.raises(Failed, match="not healthy any more: shop_2.0_101 on a"):
        begun.run()
    assert [phase for phase, _ in fleet.ran if phase == "retire"] == []


@pytest.mark.parametrize("seen, runs", [(["b", "c"], {}), (["a", "b", "c"], {"a": [], "b": ["shop_1.0_100"]})])
def test_what_is_not_looked_at_or_only_goes_is_not_counted_on(seen, runs):
    kept, others = instance("a", NEW, 101, deployment="killed"), [instance(n) for n in "bc"]
    fleet = Fleet(others)
    run, made = deployment(fleet, list("bc"), (1, "100%"), "rolling")
    run.change(observed=seen)
    fleet.dead = {("a", kept.id), ("b", "shop_1.0_100")}
    begun = run.make(made)
    begun.ledger.add([kept])
    begun.ledger.runs.update(runs)
    begun.run()


@pytest.mark.parametrize("node, fails", [("d", True), ("b", False)])
def test_in_place_no_more_are_taken_out_once_old_ones_have_died(node, fails):
    """The plan has at most half of them out at once. The one that is taken out itself is no loss."""
    nodes = list("abcd")
    fleet = Fleet([instance(n) for n in nodes])
    run, made = deployment(fleet, nodes, (1, "100%"), "recreate")
    assert [sorted(wave.start) for wave in made.waves] == [["a"], ["b", "c"], ["d"]]
    before, runs = dict(fleet.instances), fleet.run

    def dying(phase, *args, **options):
        fleet.dead = {(node, "shop_1.0_100")} if phase == "publish" else fleet.dead
        return runs(phase, *args, **options)

    fleet.run = dying
    if fails:
        with pytest.raises(Failed, match="too few instances serve to take another out.*shop_1.0_100 on d"):
            run.run(made)
        assert [nodes for phase, nodes in fleet.ran if phase == "retire"] == [["a"]]
        assert fleet.instances == before
    else:
        run.run(made)


def cut_off(monkeypatch, record, dies=None):
    """Go on with a run that was killed once it had published all there is of the new release, on ``a``.

    :param record: the ids that the record names on ``a``.
    :param dies: the second in which that instance is seen to hang.
    """
    kept, others = instance("a", NEW, 101, deployment="killed"), [instance(n) for n in "ab"]
    fleet = Fleet([kept, *others])
    run, _ = deployment(fleet, list("ab"), ("100%",), "rolling")
    run.before = fleet.record = {"version": OLD, "nodes": {"a": [others[0].id, *record], "b": [others[1].id]}}
    run.change(serving=[kept, *others])
    wait, began = fleet.wait, NOW[0]

    def waits(name, until, deadline, passing=False):
        if dies is None or deadline < began + dies:
            return wait(name, until, deadline, passing)
        if not fleet.dead and wait(name, until, began + dies, passing):
            return True
        fleet.dead = {("a", kept.id)}
        return wait(name, until, deadline, passing)

    monkeypatch.setattr(fleet, "wait", waits)
    run.run(plan(run.context.desired, observe(kept, *others)))
    return fleet, NOW[0] - began


@pytest.mark.parametrize("second", [5, 12, 16])
def test_what_a_killed_run_has_published_must_stay_healthy_before_anything_is_retired(monkeypatch, second):
    """Discovery has it as passing because it was registered so. Its first check may be still to come."""
    with pytest.raises(
        Failed, match="(did not stay healthy in discovery for 17s|not healthy any more): shop_2.0_101 on a"
    ):
        cut_off(monkeypatch, [], dies=second)


def test_what_the_record_names_has_stayed_so_and_nothing_waits_for_it(monkeypatch):
    fleet, seconds = cut_off(monkeypatch, ["shop_2.0_101"])
    unnamed, longer = cut_off(monkeypatch, [])
    assert longer - seconds == 17  # first result, then min_healthy_time
    assert fleet.ran == unnamed.ran and fleet.record["nodes"] == unnamed.record["nodes"]


def test_without_the_lock_nothing_is_changed_back():
    nodes = ["a", "b"]
    fleet = Fleet([instance(n) for n in nodes], lost=[3])
    run, made = deployment(fleet, nodes, ("100%",), "recreate")
    with pytest.raises(NotReverted, match="the lock was lost"):
        run.run(made)
    assert [phase for phase, _ in fleet.ran] == ["install", "retire", "start"]


def test_weights_are_not_changed_without_the_lock():
    fleet = Fleet([instance(n) for n in "abc"], lost=[1])
    run, made = canary_deployment(fleet, "50%", False)
    with pytest.raises(NotReverted, match="the lock was lost"):
        run.run(made)
    assert [phase for phase, _ in fleet.ran] == ["install"]


@given(st.sampled_from(["50%", "10%", "none"]), st.integers(0, 15), st.booleans())
def test_whatever_fails_of_a_canary_all_weigh_what_they_did(canary, number, going_on):
    """…the instances that were retired meanwhile, too."""
    there = [instance(n, weight=5120) for n in "abc"]
    there += [instance("a", NEW, 101, weight=2560, deployment="before")] if going_on else []
    fleet = Fleet(there, faults=[number])
    run, made = canary_deployment(fleet, canary, going_on)
    before = dict(fleet.weights)
    try:
        run.run(made)
    except Failed as exc:
        event(f"failed in {fleet.ran[number][0]}, going on {going_on}")
        assert type(exc) is Failed and fleet.weights == before
    else:
        event("succeeded")
        paused = fleet.record.get("paused", {})
        assert bool(paused) != going_on and (going_on or paused["canary"] == canary)


@given(
    st.integers(1, 4),
    WAVES,
    st.sampled_from(["rolling", "recreate", "blue_green", "back", "canary"]),
    st.integers(0, 12),
    st.sampled_from([1, 2, 99]),
)
def test_a_job_that_is_overtaken_by_its_way_back_changes_nothing(count, waves, kind, number, delay):
    """…and where it comes before the job that undoes it, it is undone."""
    nodes = list("abc" if kind == "canary" else "abcd"[:count])
    fleet = Fleet([instance(n) for n in nodes])
    if kind == "canary":
        run, made = canary_deployment(fleet, "50%", False)
    elif kind == "back":
        run, made = flipped(fleet, nodes)
    else:
        run, made = deployment(fleet, nodes, waves, kind)
    before, weights, record = dict(fleet.instances), dict(fleet.weights), fleet.record
    fleet.late, fleet.delay = number, delay
    try:
        run.run(made)
    except Failed as exc:
        early = fleet.on_its_way is None
        fleet.arrive()
        event(f"{kind}, {fleet.ran[number][0]} {'overtaken' if fleet.refused else 'early' if early else 'harmless'}")
        assert type(exc) is Failed and (fleet.instances, fleet.record) == (before, record)
        assert kind != "canary" or fleet.weights == weights
    assert fleet.late is None or fleet.on_its_way is None


def test_blue_green_the_way_back_only_publishes_and_withdraws():
    nodes = ["a", "b"]
    fleet = Fleet([instance(n) for n in nodes])
    back, made = flipped(fleet, nodes)
    back.run(made)
    assert fleet.ran == [("publish", nodes), ("withdraw", nodes)]
    assert fleet.record["version"] == OLD and fleet.record["nodes"] == {n: ["shop_1.0_100"] for n in nodes}
    assert fleet.record["warm"]["nodes"] == {n: ["shop_2.0_101"] for n in nodes}
    assert fleet.fewest == 2


def test_blue_green_what_is_not_healthy_any_more_is_not_published():
    nodes = ["a", "b"]
    fleet = Fleet([instance(n) for n in nodes])
    back, made = flipped(fleet, nodes)
    wait, instances = fleet.wait, fleet.instances
    fleet.wait = lambda name, *args, **kwargs: name == "shop" and wait(name, *args, **kwargs)
    fleet.instances = lambda name, passing: [SimpleNamespace(minion="a", id="shop_1.0_100_candidate")]
    with pytest.raises(Failed, match="not healthy in discovery: shop_1.0_100 on b. .*salt b app.stop shop"):
        back.run(made)
    fleet.instances = instances
    assert fleet.ran == []


def test_a_run_after_which_nothing_is_published_has_not_succeeded():
    fleet = Fleet([])
    run, made = deployment(fleet, ["a"], ("100%",), "rolling")
    with pytest.raises(NotReverted, match="nothing of shop 2.0 is published"):
        run.run(replace(made, install=(), waves=()))


@given(st.integers(0, 9), st.booleans())
def test_whatever_fails_what_stays_is_registered_as_before(number, interrupted):
    """Some instances of the release are there already, and another one is to be replaced."""
    there = [*(instance(n, NEW, 101, outdated="tags", stale="etc/shop.ini") for n in "ab"), instance("c")]
    fleet = Fleet(there, **{"interrupts" if interrupted else "faults": [number]})
    run, _ = deployment(fleet, list("abc"), (1, "100%"), "rolling")
    run.before = fleet.record = {"version": OLD, "nodes": {i.node: [i.id] for i in there}}
    run.change(serving=there)
    made = plan(run.context.desired, observe(*there))
    assert [sorted(ids) for ids in made.register] == [sorted(ids) for ids in made.reload] == [["a"], ["b"]]
    before = dict(fleet.instances)
    try:
        run.run(made)
    except Failed as exc:
        event(f"failed in {fleet.ran[number][0]}")
        assert type(exc) is Failed and fleet.instances == before
        assert not any(fleet.again.values()) and not any(fleet.reloaded.values())
    else:
        event("succeeded")
        assert fleet.again == fleet.reloaded == {("a", there[0].id): 1, ("b", there[1].id): 1}


def test_the_checks_to_come_are_run_on_all_nodes_before_any_is_registered():
    there = [instance(n, NEW, 101, outdated="checks") for n in "abc"]
    fleet = Fleet(there, faults=[0])
    run, _ = deployment(fleet, list("abc"), (1, "100%"), "rolling")
    run.change(serving=there)
    with pytest.raises(Failed, match="register on c: fault"):
        run.run(plan(run.context.desired, observe(*there)))
    assert fleet.ran[0] == ("register", ["a", "b", "c"]) and not any(fleet.again.values())
