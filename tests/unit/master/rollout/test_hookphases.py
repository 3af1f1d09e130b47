"""Hooks in a deployment: when they run, what is remembered of them, and how one that fails ends it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from saltdeploy.core import hooks
from saltdeploy.core.environment import Environment
from saltdeploy.core.errors import Failed, LockLost, NotReverted
from saltdeploy.core.model import Hook
from saltdeploy.core.phases import PHASES
from saltdeploy.master.remote.jobs import TALK_DEADLINE, PhaseFailed
from saltdeploy.master.rollout.context import Identity
from saltdeploy.master.rollout.hookphases import Freeze, Hooks, forget, newest, starts_last
from saltdeploy.planning.model import Desired, Plan, Wave

from tests.support.fleet import NEW, instance, make_app, observe
from tests.support.rollout import Fleet, deployment

PREFIX = "deploy/site/shop/"
WHO = Identity("d1", "ann@deploy1")


def test_marks_go_with_the_last_installed_release():
    written, nodes = {}, dict.fromkeys("ab")
    lock = SimpleNamespace(write=lambda entries, delete: written.update(dict.fromkeys(delete)))
    names = [hooks.marks_key(PREFIX, version, "k") for version in ("1.0", "1.1", "1.2")]
    there = observe(releases={"a": ["1.0", "1.1", "1.2"], "b": ["1.1", "1.2"]})
    backend = SimpleNamespace(keys=lambda prefix: names)
    site = SimpleNamespace(
        environment=Environment("e", {**nodes, "unseen": None}, {}), discovery=backend, prefix=PREFIX
    )
    forget(site, lock, there, {"a": ("1.0", "1.1")})
    assert not written
    site.environment = Environment("e", nodes, {})
    forget(site, lock, there, {"a": ("1.0", "1.1")})
    assert list(written) == [f"{PREFIX}hooks/1.0/k"]


# -- running them -----------------------------------------------------------------------------


class Site:
    """Stands for jobs.Jobs, discovery and lock: it answers as ``outcomes`` say, by node."""

    def __init__(self, outcomes=None, marks=None, lost=False):
        self.outcomes, self.kv, self.lost = outcomes or {}, dict(marks or {}), lost
        self.ran, self.told, self.said, self.journal = (
            [],
            [],
            [],
            SimpleNamespace(say=lambda text: self.said.append(text)),
        )

    def read_all(self, prefix):
        return {k: v for k, v in self.kv.items() if k.startswith(prefix)}

    def check(self):
        if self.lost:
            raise LockLost("the lock was lost")

    def write(self, entries, delete=()):
        self.check()
        self.kv.update(entries)
        for key in delete:
            del self.kv[key]

    def run(self, phase, function, nodes, app, same_phase, version, keys, *, instances, deployment, deadline, **judge):
        assert (function, app, same_phase, version) == ("deploy.hook", "shop", phase, NEW)
        assert deployment == WHO.id
        self.ran.append((keys, sorted(nodes), instances, deadline))
        problems = []
        for node in sorted(nodes):
            outcome = self.outcomes.get(node, {})
            if isinstance(outcome, BaseException):
                raise outcome
            if outcome is None:
                problems.append("does not answer")
            else:
                ran = [] if outcome.get("problem") else [COMMANDS[key] for key in keys]
                value = {"node": node, "ran": ran, "problem": "", "failed": None, "ended": True, **outcome}
                problems += filter(None, [judge["answer"](node, value) or judge["wrong"](value)])
                self.told.append(judge["told"](value))
        if problems:
            raise PhaseFailed(phase, dict.fromkeys(nodes, "; ".join(problems)), {})

    def states(self):
        return [mark["state"] for mark in self.kv.values()]


MIGRATE, WARM, COLD = Hook("./migrate", 20, once=True), Hook("./warm", 5), Hook("./cold", 7)

KEY = {hook.command: hooks.key("before_start", hook) for hook in (MIGRATE, WARM, COLD)}

COMMANDS = {key: command for command, key in KEY.items()}

FAILED = {"problem": "ended with 1", "failed": KEY["./migrate"]}


def runner(site, *some):
    app = replace(make_app(), hooks={"before_start": some})
    return Hooks(site, site, "deploy/site/shop/", app, NEW, site, WHO)


def test_one_job_for_all_that_run_everywhere_and_one_for_each_that_runs_once():
    site = Site()
    run = runner(site, WARM, COLD, MIGRATE)
    run.run("before_start", ["a", "b"])
    run.run("before_start", ["c"])
    everywhere = [KEY["./warm"], KEY["./cold"]]
    assert site.ran == [
        (everywhere, ["a", "b"], None, 12 + TALK_DEADLINE),
        ([KEY["./migrate"]], ["a"], None, 20 + TALK_DEADLINE),
        (everywhere, ["c"], None, 12 + TALK_DEADLINE),
    ]
    assert site.states() == ["done"] and site.said == []
    assert site.told[0] == "`./warm`, `./cold`"


def test_a_later_deployment_of_the_release_does_not_run_it_again_and_says_so():
    site = Site()
    runner(site, MIGRATE).run("before_start", ["a"])
    later = runner(site, MIGRATE)
    later.identity = Identity("d2", "bob")
    later.run("before_start", ["a"])
    assert len(site.ran) == 1
    assert "`./migrate` is not run again: it ran on a" in site.said[0] and "by ann@deploy1 (d1)" in site.said[0]


def test_it_is_told_the_instances_also_where_it_runs_once_elsewhere():
    site = Site()
    runner(site, WARM, MIGRATE).run("before_start", {"a": ["i"]}, on="b")
    assert [(nodes, instances) for _, nodes, instances, _ in site.ran] == [(["a"], {"a": ["i"]}), (["b"], {"b": ()})]


def test_what_is_left_for_later_does_not_run():
    site = Site()
    runner(site, WARM, MIGRATE).run("before_start", ["a"], once=False)
    runner(site, WARM, MIGRATE).run("before_start", ["b"], every=False)
    runner(site, WARM, MIGRATE).run("before_start", {})
    assert [nodes for _, nodes, _, _ in site.ran] == [["a"], ["b"]]


@pytest.mark.parametrize(
    "outcome, states",
    [
        (FAILED, []),  # it ended, and failed: it may run again
        ({**FAILED, "ended": False}, ["started"]),  # it was killed
        (None, ["started"]),  # the node did not answer
        ({"node": "b"}, ["started"]),  # the answer is not of the node that was asked
        ({"ran": []}, ["started"]),  # it did not run, and nothing failed
        ({**FAILED, "node": "b"}, ["started"]),
        (Failed("no master"), ["started"]),
        (KeyboardInterrupt(), ["started"]),
    ],
)
@pytest.mark.parametrize("on_failure", ["revert", "freeze"])
def test_a_mark_stays_where_nobody_saw_the_end(outcome, states, on_failure):
    site = Site({"a": outcome})
    with pytest.raises(BaseException) as caught:
        runner(site, replace(MIGRATE, on_failure=on_failure)).run("before_start", ["a", "b"])
    assert site.states() == states
    assert isinstance(caught.value, Freeze) == (on_failure == "freeze")
    assert isinstance(caught.value, KeyboardInterrupt) == (
        isinstance(outcome, KeyboardInterrupt) and on_failure == "revert"
    )


def test_it_freezes_also_where_the_mark_cannot_be_removed():
    """Without a leader nothing can be written; the old release must not come back for that."""
    site = Site({"a": FAILED})
    remove = site.write

    def write(entries, delete=()):
        if delete:
            raise Failed("no leader")
        remove(entries)

    site.write, site.journal.warn = write, site.said.append
    with pytest.raises(Freeze):
        runner(site, replace(MIGRATE, on_failure="freeze")).run("before_start", ["a"])
    assert site.states() == ["started"]
    assert "the mark of a hook could not be removed, see deploy.hooks: no leader" in site.said


LATER = {"problem": "1", "failed": KEY["./cold"], "ran": ["./warm"]}


@pytest.mark.parametrize(
    "outcomes, freezes",
    [
        ({"a": {"problem": "1", "failed": KEY["./warm"]}}, False),
        ({"a": LATER}, True),
        ({"a": {"problem": "1", "failed": KEY["./warm"]}, "b": LATER}, True),
        ({"a": {"problem": "stale pillar", "failed": ""}}, True),
        ({"b": None}, True),
    ],
)
def test_it_freezes_after_the_hook_that_says_so_or_may_have_failed(outcomes, freezes):
    with pytest.raises(Failed) as caught:
        runner(Site(outcomes), WARM, replace(COLD, on_failure="freeze")).run("before_start", ["a", "b"])
    assert isinstance(caught.value, Freeze) == freezes


def test_without_the_lock_none_runs():
    site = Site(lost=True)
    with pytest.raises(LockLost):
        runner(site, replace(WARM, on_failure="freeze")).run("before_start", ["a"])
    assert site.ran == []


def test_when_the_last_instances_start_also_where_it_pauses():
    one, two = Wave({"a": 1}, {}), Wave({"b": 1}, {})
    desired = Desired(make_app(), NEW, 2, ("a", "b"))
    whole, paused = Plan({}, (), (one, two, Wave({}, {})), True), Plan({}, (), (one,), True, paused=True)
    assert [starts_last(whole, number, {}, desired) for number in (1, 2, 3)] == [False, True, True]
    assert not starts_last(paused, 1, {}, desired)
    assert starts_last(paused, 1, {"b": [instance("b", NEW).id]}, desired)


def test_what_runs_once_when_old_ones_go_does_so_in_the_new_release():
    desired, gone = Desired(make_app(), NEW, 1, ("b", "c")), {"a": ["shop_1.0_1"]}
    assert newest({"a": ["shop_1.0_1"], "c": [instance("c", NEW).id]}, desired, gone) == "c"
    assert newest({"a": ["shop_1.0_1"]}, desired, gone) == "a"
    assert newest({}, desired, {}) == ""


# -- in a deployment --------------------------------------------------------------------------


class Hooked(Fleet):
    """A fleet whose hooks are phases, too; the one in ``fails`` does not end well."""

    fails = None

    def read_all(self, prefix):
        return {}

    def write(self, values, delete=()):
        if [*values, *delete][0].endswith("/current"):
            super().write(values)

    def run(self, phase, function, nodes, *args, **kwargs):
        if function != "deploy.hook":
            return super().run(phase, function, nodes, *args, **{k: v for k, v in kwargs.items() if k != "wrong"})
        self.ran.append((phase, sorted(nodes)))
        if phase == self.fails:
            raise Failed(f"{phase}: fault")
        return {}


def hooked(replacing="rolling", fails=None, on_failure="revert", once=False):
    nodes = ["a", "b"]
    fleet = Hooked([instance(n) for n in nodes])
    fleet.fails = fails
    run, made = deployment(fleet, nodes, (1, "100%"), replacing)
    hook = Hook("./a", once=once, on_failure=on_failure)
    app = replace(run.context.app, hooks=dict.fromkeys(PHASES, (hook,)))
    run.change(desired=replace(run.context.desired, app=app))
    return fleet, run, made


def test_hooks_come_before_and_after_each_phase_of_each_wave():
    fleet, run, made = hooked()
    run.run(made)
    wave = ["before_start", "start", "after_start", "before_publish", "publish", "after_publish"]
    wave += ["before_retire", "retire", "after_retire"]
    assert fleet.ran == [
        *[(phase, ["a", "b"]) for phase in ("before_install", "install", "after_install")],
        *[(phase, [node]) for node in "ab" for phase in wave],
    ]


@pytest.mark.parametrize("left, runs", [({}, True), ({"nodes": {"c": ["shop_1.0_100"]}}, False)])
def test_what_comes_once_after_all_old_ones_waits_for_those_elsewhere(left, runs):
    fleet, run, made = hooked(once=True)
    deployment = run.make(made)
    deployment.ledger.runs.update(left.get("nodes", {}))
    deployment.run()
    assert ("after_retire" in [phase for phase, _ in fleet.ran]) == runs


def test_what_comes_once_after_all_old_ones_waits_for_what_is_warm():
    fleet, run, made = hooked("blue_green", once=True)
    run.run(made)
    assert run.made.ledger.warm and "after_retire" not in [phase for phase, _ in fleet.ran]


def test_in_place_it_is_prepared_while_the_old_one_serves():
    fleet, run, made = hooked("recreate")
    run.run(made)
    assert [phase for phase, nodes in fleet.ran[3:] if nodes == ["a"]][:5] == [
        "before_start",
        "before_retire",
        "retire",
        "after_retire",
        "start",
    ]


def test_what_runs_once_comes_before_the_first_or_after_the_last():
    fleet, run, made = hooked(once=True)
    run.run(made)
    assert [entry for entry in fleet.ran if entry[0] in (*PHASES, "start", "retire")] == [
        ("before_install", ["a"]),
        ("after_install", ["a"]),
        ("before_start", ["a"]),
        ("start", ["a"]),
        ("before_publish", ["a"]),
        ("before_retire", ["a"]),
        ("retire", ["a"]),
        ("start", ["b"]),
        ("after_start", ["b"]),
        ("after_publish", ["b"]),
        ("retire", ["b"]),
        ("after_retire", ["a"]),
    ]


@pytest.mark.parametrize("replacing, ran", [("rolling", []), ("recreate", ["before_retire"])])
def test_while_it_is_paused_what_comes_after_the_last_waits(replacing, ran):
    fleet, run, made = hooked(replacing, once=True)
    first = replace(made.waves[0], retire={})
    run.run(replace(made, waves=(first,), paused=True))
    phases = ["before_install", "after_install", "before_start", *ran, "before_publish"]
    assert [phase for phase, _ in fleet.ran if phase in PHASES] == phases


@pytest.mark.parametrize("replacing", ["rolling", "recreate"])
@pytest.mark.parametrize("phase", PHASES)
def test_whichever_fails_all_is_as_before(phase, replacing):
    fleet, run, made = hooked(replacing, phase)
    before, record = dict(fleet.instances), fleet.record
    with pytest.raises(Failed, match=f"{phase}: fault") as caught:
        run.run(made)
    assert not isinstance(caught.value, NotReverted)
    assert (fleet.instances, fleet.record) == (before, record)


@pytest.mark.parametrize("phase, version", [("before_start", "1.0"), ("before_publish", "1.0"), ("after_publish", NEW)])
def test_what_is_frozen_stays_and_the_record_says_so(phase, version):
    fleet, run, made = hooked(fails=phase, on_failure="freeze")
    with pytest.raises(NotReverted, match=f"frozen: {phase}: fault") as caught:
        run.run(made)
    assert fleet.ran[-1][0] == phase and caught.value.record == fleet.record
    assert fleet.record["version"] == version
    published = [(n, i) for (n, i), there in fleet.instances.items() if there]
    assert sorted(published) == sorted((n, i) for n, ids in fleet.record["nodes"].items() for i in ids)
    said = hooks.frozen("shop", "e", fleet.record)
    assert (
        f"shop {NEW} is FROZEN half way, since" in said and f"by me (d): {phase}: fault. Nothing was reverted" in said
    )
    assert (
        f"salt-run deploy.app shop version=\"'{NEW}'\" env=e. To go back, run: salt-run deploy.rollback shop env=e"
        in said
    )


def test_a_run_that_comes_to_its_end_is_frozen_no_more():
    fleet, run, _ = hooked()
    fleet.record = run.before = {**run.before, "frozen": {"why": "x"}}
    run.change(desired=replace(run.context.desired, instances=0))
    run.run(Plan({}, (), (), True))
    assert "frozen" not in fleet.record and fleet.record["nodes"] == run.before["nodes"]
