"""What the history keeps, and which release in it is the last good one."""

import json
from dataclasses import asdict

import pytest
from saltdeploy.core import entries
from saltdeploy.master.journal import Step


def entry(version, verb="deploy", retcode=0, recorded=None, **more):
    """Return an entry that published ``version``; ``recorded`` is what the record had in the end, if that differs."""
    record = {"version": recorded or version, "nodes": {"web1": [f"shop_{recorded or version}_1"]}, "time": 0}
    return {"verb": verb, "version": version, "retcode": retcode, "record": record, **more}


def paused(version):
    found = entry(version)
    return {**found, "record": {**found["record"], "paused": {"from": "1"}}}


def rolled_back(left, version):
    return entry(version, "rollback", left=left)


def good(current, *oldest_first):
    found = entries.last_good([*reversed(oldest_first)], current)
    return found and found["record"]["version"]


@pytest.mark.parametrize(
    "history, current, version",
    [
        ([], "1", None),
        ([entry("1")], "1", None),
        ([entry("1"), entry("2")], "2", "1"),
        ([entry("1"), entry("2"), entry("3")], "3", "2"),
        ([entry("1"), entry("2"), entry("2", "restart"), entry("2", "scale")], "2", "1"),
        ([entry("1"), entry("bad", retcode=1, recorded="1"), entry("2")], "2", "1"),
        # It was not published.
        ([entry("1"), entry("2", recorded="1"), entry("3")], "3", "1"),
        # It was a canary only.
        ([entry("1"), paused("2"), {**entry("2", "abort", recorded="1"), "left": "2"}, entry("3")], "3", "1"),
        # Nothing of it was published any more.
        ([entry("1"), {**entry("0", "withdraw"), "record": {"version": "0", "nodes": {}}}, entry("2")], "2", "1"),
        ([entry("1"), {**entry("1", "remove"), "record": None}, entry("2")], "2", "1"),
        # What a rollback left is not good until it is deployed once more.
        ([entry("1"), entry("2"), rolled_back("2", "1")], "1", None),
        ([entry("1"), entry("2"), entry("3"), rolled_back("3", "2")], "2", "1"),
        ([entry("1"), entry("2"), entry("3"), rolled_back("3", "2"), rolled_back("2", "1")], "1", None),
        ([entry("1"), entry("2"), rolled_back("2", "1"), entry("2"), entry("3")], "3", "2"),
        # A rollback that failed left nothing.
        ([entry("1"), entry("2"), {**rolled_back("2", "1"), "retcode": 1}, entry("3")], "3", "2"),
        # It was left, but for nodes that failed, which another run has repaired.
        ([entry("1"), entry("2"), {**rolled_back("2", "1"), "retcode": 2}, entry("1")], "1", None),
    ],
)
def test_last_good(history, current, version):
    assert good(current, *history) == version


def test_last_good_while_a_release_is_being_left():
    history = [entry("3"), entry("2"), entry("1")]
    assert entries.last_good(history, "2", ["3"])["version"] == "1"


@pytest.mark.parametrize(
    "history, current, target, reverted, left",
    [
        ([entry("1"), entry("2")], "2", "1", [], []),
        # What failed after the good one is not what serves, and the rollback goes below what does.
        ([entry("1"), entry("2"), entry("3", retcode=1, recorded="2")], "2", "1", ["3"], []),
        ([entry("1"), entry("3", retcode=1, recorded="1"), entry("2")], "2", "1", [], []),
        ([entry("1"), entry("2"), entry("2", "restart", retcode=1)], "2", "1", [], []),
        # A rollback that failed is no release that was tried.
        ([entry("1"), entry("2"), entry("1", "rollback", retcode=1, recorded="2")], "2", "1", [], []),
        ([entry("1"), entry("2"), entry("3"), rolled_back("3", "2")], "2", "1", [], ["3"]),
        # What got stuck is what clients have: what failed before it has been dealt with.
        ([entry("1"), entry("2", retcode=1, recorded="1"), entry("3"), entry("4", retcode=2)], "4", "3", [], []),
    ],
)
def test_what_a_rollback_passes_over(history, current, target, reverted, left):
    assert entries.passed([*reversed(history)], current, target) == (reverted, left)


def test_what_got_stuck_half_way_is_what_a_rollback_leaves():
    record = {"version": "1"}
    assert entries.running([], record) == "1"
    assert entries.running([entry("2", retcode=2), entry("1")], record) == "2"
    assert entries.running([entry("1", "restart", retcode=2), entry("1")], record) == "1"
    assert entries.running([entry("1", "restart"), entry("2", retcode=2), entry("1")], record) == "2"
    assert entries.running([entry("1"), entry("2", retcode=2)], record) == "1"


@pytest.mark.parametrize("there, gone", [(0, 0), (49, 0), (50, 1), (200, 151)])
def test_the_history_is_bounded(there, gone):
    keys = [f"history/{n:04}" for n in range(there)]
    assert entries.surplus(keys) == keys[:gone]


def whole(**more):
    return {**entry("1"), "steps": [], "plan": [], "warnings": [], "why": "", "verdict": "", **more}


def steps(count, length):
    return [asdict(Step("start", "web1", "ü" * length, 1.0, True)) for _ in range(count)]


def test_an_entry_that_fits_is_kept_as_it_is():
    fitting = whole(steps=steps(100, 500))
    assert entries.cut(fitting) == fitting


@pytest.mark.parametrize("count, length, left", [(100, 10_000, 200), (3, 100_000, 1000), (700, 1000, 50)])
def test_an_entry_that_is_too_long_is_shortened_and_says_so(count, length, left):
    long = whole(steps=steps(count, length), why="x" * 5000)
    cut = entries.cut(long)
    assert len(json.dumps(cut)) <= entries.LIMIT
    assert cut["steps"][0]["what"] == "ü" * left + "…"
    assert len(cut["steps"]) == count
    assert cut["warnings"] == [
        f"this entry was too long: its steps and other texts are shortened to {left} characters each"
    ]
    assert cut["record"] == long["record"]
    assert long["warnings"] == [] and len(long["why"]) == 5000


def test_an_entry_with_too_many_steps_is_kept_without_them():
    cut = entries.cut(whole(steps=steps(10_000, 1000)))
    assert len(json.dumps(cut)) <= entries.LIMIT
    assert (cut["steps"], cut["warnings"]) == ([], ["this entry was too long: its steps and its plan are left out"])


def test_what_is_frozen_is_no_good_release():
    record = {"version": "1", "nodes": {"a": ["i"]}}
    restarted = {"verb": "restart", "version": "1", "retcode": 0, "record": record}
    assert entries.last_good([restarted], "2") == restarted
    assert entries.last_good([{**restarted, "record": {**record, "frozen": {"why": "x"}}}], "2") is None
