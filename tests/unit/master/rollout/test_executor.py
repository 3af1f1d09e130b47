"""The executor's way back, on a fleet that is simulated job by job, with a fault in any of them."""

import time
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from saltdeploy.core import bluegreen
from saltdeploy.core.errors import Failed, LockLost, NotReverted
from saltdeploy.core.model import NORMAL_WEIGHT, Environment, PortRange, Strategy, instance_id
from saltdeploy.discovery import Endpoint
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.remote.jobs import PhaseFailed, stop_deadline
from saltdeploy.master.rollout import executor, health
from saltdeploy.master.rollout.context import Context, Identity, Notes
from saltdeploy.planning.planner import plan

from tests.support.fleet import NEW, OLD, Desired, instance, make_app, observe

# The time, for what waits for discovery: it goes by only while there is something to wait for.
NOW = [0.0]
ONE, RANGE = PortRange(100, 100), PortRange(100, 105)


class Fleet:
    """Stands for jobs.Jobs, discovery and lock at once: jobs change instances, and some of them fail.

    :param faults: numbers of the jobs, counted from 0, that fail on their last node after they did the others.
    :param interrupts: those that end with Ctrl-C, all done.
    :param late: one that is interrupted before any node has begun it: they do so only ``delay`` jobs later.
    :param dies: one after which the first instance of the new release that is published is not healthy any more.
    """

    def __init__(self, instances, faults=(), interrupts=(), lost=(), late=None, delay=0, dies=None):
        self.instances = {(i.node, i.id): i.published for i in instances}
        self.weights = {(i.node, i.id): i.weight for i in instances}
        self.faults, self.interrupts, self.lost = faults, interrupts, lost
        self.fewest, self.ran, self.record, self.journal = len(self.instances), [], None, self
        self.begin = self.add = self.warn = self.say = lambda *args: None
        self.fleet = SimpleNamespace(run=lambda name, nodes, *_, deadline: {node: Reply(node, {}) for node in nodes})
        self.held, self.restarted = [], []
        # How often each instance was registered again, and not back.
        self.again = Counter()
        self.dies, self.dead, self.retired_after = dies, set(), []
        self.late, self.delay, self.on_its_way, self.ended, self.refused = late, delay, None, set(), []

    # -- jobs.Jobs

    def run(self, phase, function, nodes, *args, told, deployment=None, after=None, weight=None, **kwargs):
        if not nodes:
            return {}
        number, replies = len(self.ran), {}
        self.ran.append((phase, sorted(nodes)))
        if number == self.late and not after:
            self.on_its_way = phase, nodes, deployment, weight
            raise KeyboardInterrupt
        self.held += [kwargs["held"]] if phase == "withdraw" else []
        self.options = kwargs
        fails = sorted(nodes)[-1] if number in self.faults else None
        for node in sorted(nodes):
            if node != fails:
                replies[node] = self._do(phase, node, nodes, deployment, after, weight)
            self.fewest = min(self.fewest, sum(self.instances.values()))
        if self.late is not None and number == self.late + self.delay:
            self.arrive()
        if number == self.dies:
            self.dead = set(sorted(key for key, seen in self.instances.items() if seen and f"_{NEW}_" in key[1])[:1])
        if number in self.interrupts:
            raise KeyboardInterrupt
        if fails:
            raise PhaseFailed(phase, {fails: "fault"}, replies)
        return replies

    def arrive(self):
        """Have the nodes begin the job that is on its way still."""
        if self.on_its_way:
            (phase, nodes, deployment, weight), self.on_its_way = self.on_its_way, None
            for node in sorted(nodes):
                self._do(phase, node, nodes, deployment, None, weight)

    def _do(self, phase, node, nodes, deployment, after, weight):
        """Do a job on a node; not where the way back of its deployment has begun there."""
        if after:
            self.ended.add((node, after))
        elif (node, deployment) in self.ended:
            self.refused.append((phase, node))
            return None
        self.weight = weight
        return getattr(self, phase)(node, nodes, deployment)

    def attempt(self, *args, **kwargs):
        try:
            self.run(*args, **kwargs)
        except Failed as exc:
            return [str(exc)]
        return []

    def install(self, *_):
        pass

    def start(self, node, counts, _):
        taken = {one.rsplit("_")[-1] for at, one in self.instances if at == node}
        slot = next(s for s in range(100, 106) if str(s) not in taken)
        self._add(node, instance_id("shop", NEW, slot), False)
        started = instance(node, NEW, slot, published=False, deployment="d")
        return {"instances": [started.__dict__], "failures": []}

    def weigh(self, node, ids, _):
        for one in ids[node]:
            assert self.instances[node, one], "weighed what is not published"
            self.weights[node, one] = ids[node][one]

    def register(self, node, ids, _):
        """A node goes back only where the deployment registered something again."""
        for one in ids[node]:
            assert self.instances[node, one], "registered what is not published"
            if self.options.get("back"):
                self.again[node, one] = 0
            elif not self.options.get("test"):
                self.again[node, one] += 1

    def publish(self, node, ids, _):
        for one in ids[node]:
            self.instances[node, one] = True
            self.weights[node, one] = self.weight

    def withdraw(self, node, ids, _):
        for one in ids[node]:
            self.instances[node, one] = False

    def clean(self, node, ids, _):
        for one in ids[node]:
            del self.instances[node, one]

    def retire(self, node, ids, _):
        self.retired_after += sorted(self.dead)
        for one in ids[node]:
            assert one not in (self.record or {}).get("nodes", {}).get(node, ()), "highstate would bring it back"
            del self.instances[node, one], self.weights[node, one]

    def stop(self, node, _, deployment):
        assert deployment == "d"
        for at, one in list(self.instances):
            if at == node and f"_{NEW}_" in one:
                del self.instances[at, one]
                self.weights.pop((at, one), None)

    def restore(self, node, ids, _):
        for one in ids[node]:
            if (node, one) not in self.instances:
                self._add(node, one, True)
            if not self.instances[node, one]:
                self.restarted.append((node, one))
            self.instances[node, one] = True
            self.weights.setdefault((node, one), NORMAL_WEIGHT)

    def parts(self):
        """Return node, id, release and port of each instance."""
        return [(node, one, *one.split("_")[1:2], int(one.split("_")[2])) for node, one in self.instances]

    def _add(self, node, one, published):
        port = one.rsplit("_")[-1]
        assert not [i for at, i in self.instances if at == node and i.endswith(f"_{port}")], "the port is taken"
        self.instances[node, one] = published

    # -- discovery, and the lock

    def wait(self, name, until, deadline, passing=False):
        public = name == "shop"
        found = [(n, i if public else f"{i}_candidate") for (n, i), seen in self.instances.items() if seen == public]
        statuses = dict.fromkeys(self.dead, "critical")
        seen = until([Endpoint(i, name, n, "127.0.0.1", 100, status=statuses.get((n, i), "passing")) for n, i in found])
        NOW[0] = NOW[0] if seen else max(NOW[0], deadline)
        return seen

    def check(self):
        if len(self.ran) in self.lost:
            raise LockLost("the lock was lost")

    def write(self, values):
        self.check()
        [self.record] = values.values()


class Case:
    """A Deployment that is about to be made: its Context, the record before it, and its plan."""

    def __init__(self, fleet, app, desired, there, nodes, identity="d"):
        environment = Environment("e", {}, {"shop": app})
        self.context = Context(
            fleet, fleet, environment, desired, nodes, nodes, fleet, Identity(identity, "me"), serving=there
        )
        self.before = fleet.record

    def change(self, **changes):
        self.context = replace(self.context, **changes)

    def make(self, plan):
        self.made = executor.Deployment(self.context, self.before, plan)
        return self.made

    def run(self, plan):
        self.make(plan).run()


def deployment(fleet, nodes, waves, replacing, ports=None, max_failures=0):
    """Return the Case of the new release on all ``nodes``, each of which has an old instance; and its plan."""
    app = make_app(ports or (ONE if replacing == "recreate" else RANGE), waves, replacing)
    app = replace(app, strategy=replace(app.strategy, max_failures=max_failures))
    there = [instance(n) for n in nodes]
    desired = Desired(app, NEW, len(nodes), tuple(nodes))
    fleet.record = {"version": OLD, "nodes": {i.node: [i.id] for i in there}}
    return Case(fleet, app, desired, there, nodes), plan(desired, observe(*there))


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


WAVES = st.sampled_from([(1, "100%"), ("100%",), (1, 2, "100%")])


@given(
    st.integers(1, 5), WAVES, st.sampled_from(["rolling", "recreate", "blue_green"]), st.integers(0, 25), st.booleans()
)
def test_whatever_fails_all_is_as_before_and_enough_served_all_the_time(count, waves, replace, number, interrupted):
    nodes = list("abcde"[:count])
    fault = {"interrupts" if interrupted else "faults": [number]}
    fleet = Fleet([instance(n) for n in nodes], **fault)
    run, made = deployment(fleet, nodes, waves, replace)
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
        assert all((f"_{NEW}_" in key[1]) == seen == (key not in warm) for key, seen in fleet.instances.items())
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


def test_all_nodes_of_a_wave_must_not_fail():
    """However many may: it is the release that is at fault, and the rest must not be the first to try it."""
    for fault, said in ((0, "no node of a wave is left: install on c: fault"), (1, "start on a: fault")):
        fleet = Fleet([instance(n) for n in "abc"], faults=[fault])
        run, made = deployment(fleet, list("abc"), (1, "100%"), "rolling", max_failures="100%")
        made = made if fault else replace(made, waves=made.waves[::-1])
        made = made if fault else replace(made, waves=(replace(made.waves[0], start={"c": 1}), *made.waves[1:]))
        before = dict(fleet.instances)
        with pytest.raises(Failed, match=said):
            run.run(made)
        assert fleet.instances == before


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


def test_without_the_lock_nothing_is_changed_back():
    nodes = ["a", "b"]
    fleet = Fleet([instance(n) for n in nodes], lost=[3])
    run, made = deployment(fleet, nodes, ("100%",), "recreate")
    with pytest.raises(NotReverted, match="the lock was lost"):
        run.run(made)
    assert [phase for phase, _ in fleet.ran] == ["install", "retire", "start"]


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


def test_weights_are_not_changed_without_the_lock():
    fleet = Fleet([instance(n) for n in "abc"], lost=[1])
    run, made = canary_deployment(fleet, "50%", False)
    with pytest.raises(NotReverted, match="the lock was lost"):
        run.run(made)
    assert [phase for phase, _ in fleet.ran] == ["install"]


def canary_deployment(fleet, canary, going_on):
    """Return the Case of a deployment that pauses with a share of the traffic, or goes on from there; its plan, and its record."""
    app = make_app(RANGE)
    app = replace(app, strategy=replace(app.strategy, canary_weight=canary, pause=1.0))
    there = [
        instance(node, version, slot, weight=fleet.weights[node, one]) for node, one, version, slot in fleet.parts()
    ]
    desired = Desired(app, NEW, 3, tuple("abc"), pause=not going_on, adopt=going_on)
    fleet.record = {"version": OLD, "nodes": {i.node: [i.id] for i in there}}
    return Case(fleet, app, desired, there, "abc"), plan(desired, observe(*there))


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


def flipped(fleet, nodes):
    """Deploy blue-green, and return what takes it back: the Case of the old release, and its plan."""
    run, made = deployment(fleet, nodes, ("100%",), "blue_green")
    run.run(made)
    there = [instance(n, i.split("_")[1], int(i[-3:]), published=seen) for (n, i), seen in fleet.instances.items()]
    desired = Desired(run.context.app, OLD, len(nodes), tuple(nodes))
    observed = replace(observe(*there), warm=bluegreen.still(fleet.record, time.time()))
    serving = [i for i in there if i.published]
    back = Case(fleet, run.context.app, desired, serving, nodes, identity="back")
    fleet.ran.clear()
    return back, plan(desired, observed)


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


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Nothing has to stay healthy for a while."""
    monkeypatch.setattr(Strategy, "min_healthy_time", 0.0)
    monkeypatch.setattr(health, "time", SimpleNamespace(monotonic=lambda: NOW[0]))


def test_blue_green_the_way_back_only_publishes_and_withdraws():
    nodes = ["a", "b"]
    fleet = Fleet([instance(n) for n in nodes])
    back, made = flipped(fleet, nodes)
    back.run(made)
    assert fleet.ran == [("publish", nodes), ("withdraw", nodes)]
    assert fleet.record["version"] == OLD and fleet.record["nodes"] == {n: ["shop_1.0_100"] for n in nodes}
    assert fleet.record["warm"]["nodes"] == {n: ["shop_2.0_101"] for n in nodes}
    assert fleet.fewest == 2


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


def test_a_run_after_which_nothing_is_published_has_not_succeeded():
    fleet = Fleet([])
    run, made = deployment(fleet, ["a"], ("100%",), "rolling")
    with pytest.raises(NotReverted, match="nothing of shop 2.0 is published"):
        run.run(replace(made, install=(), waves=()))


@given(st.integers(0, 9), st.booleans())
def test_whatever_fails_what_stays_is_registered_as_before(number, interrupted):
    """Some instances of the release are there already, and another one is to be replaced."""
    there = [*(instance(n, NEW, 101, outdated="tags") for n in "ab"), instance("c")]
    fleet = Fleet(there, **{"interrupts" if interrupted else "faults": [number]})
    run, _ = deployment(fleet, list("abc"), (1, "100%"), "rolling")
    run.before = fleet.record = {"version": OLD, "nodes": {i.node: [i.id] for i in there}}
    run.change(serving=there)
    made = plan(run.context.desired, observe(*there))
    assert [sorted(ids) for ids in made.register] == [["a"], ["b"]]
    before = dict(fleet.instances)
    try:
        run.run(made)
    except Failed as exc:
        event(f"failed in {fleet.ran[number][0]}")
        assert type(exc) is Failed and fleet.instances == before and not any(fleet.again.values())
    else:
        event("succeeded")
        assert fleet.again == {("a", there[0].id): 1, ("b", there[1].id): 1}


def test_the_checks_to_come_are_run_on_all_nodes_before_any_is_registered():
    there = [instance(n, NEW, 101, outdated="checks") for n in "abc"]
    fleet = Fleet(there, faults=[0])
    run, _ = deployment(fleet, list("abc"), (1, "100%"), "rolling")
    run.change(serving=there)
    with pytest.raises(Failed, match="register on c: fault"):
        run.run(plan(run.context.desired, observe(*there)))
    assert fleet.ran[0] == ("register", ["a", "b", "c"]) and not any(fleet.again.values())
