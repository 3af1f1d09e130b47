"""Works run in processes of their own: in their order, at most so many at once, and each interrupt reaches each once."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from saltdeploy.master import sidebyside


def lost(name, why):
    return {"lost": name, "why": why}


def run(works, after=None, most=4, barred=lambda name, results: "", emit=lambda name, event: None):
    return sidebyside.run(works, after or {}, most, emit, barred, lost)


def timed(seconds=0.0):
    """Return a work that takes so long, and returns when it began and ended."""

    def work(emit):
        began = time.monotonic()
        time.sleep(seconds)
        return {"began": began, "ended": time.monotonic(), "pid": os.getpid()}

    return work


def test_what_is_free_runs_side_by_side_and_the_rest_in_its_order():
    works = {"c": timed(), "b": timed(0.2), "a": timed(0.2), "free": timed(0.2)}
    found = run(works, {"b": ["a"], "c": ["a", "b"]})
    assert found["a"]["ended"] <= found["b"]["began"] and found["b"]["ended"] <= found["c"]["began"]
    assert found["free"]["began"] < found["a"]["ended"]
    assert len({one["pid"] for one in found.values()} | {os.getpid()}) == 5
    assert list(found)[-1] == "c"


def test_no_more_run_at_once_than_that():
    found = run({name: timed(0.1) for name in "abcd"}, most=2)
    moments = [one["began"] for one in found.values()]
    assert all(sum(one["began"] <= m < one["ended"] for one in found.values()) <= 2 for m in moments)


def test_what_is_barred_is_not_begun_and_bars_others():
    works = dict.fromkeys("abc", timed())

    def barred(name, results):
        return {"a": "never", "b": "a is not there" if "a" in results else ""}.get(name, "")

    found = run(works, {"b": ["a"]}, barred=barred)
    assert found["a"] == lost("a", "never") and found["b"] == lost("b", "a is not there")
    assert found["c"]["pid"]


def test_events_come_with_the_name_of_the_work_and_before_its_result():
    events = []

    def work(emit):
        for number in range(300):
            emit({"number": number})
        return {}

    run({"a": work, "b": work}, emit=lambda name, event: events.append((name, event["number"])))
    for name in "ab":
        assert [number for other, number in events if other == name] == list(range(300))


def test_a_process_that_is_killed_is_lost_and_the_others_end():
    def killed(emit):
        os.kill(os.getpid(), signal.SIGKILL)

    assert run({"a": killed, "b": timed()})["a"] == lost("a", "")
    assert run({"a": killed, "b": timed()})["b"]["pid"]


def counting(emit):
    """Return how many interrupts came within a second."""
    came, until, told = 0, time.monotonic() + 1, []
    while time.monotonic() < until:
        try:
            if not told:
                told.append(True)
                emit("ready")
            time.sleep(max(0.0, until - time.monotonic()))
        except KeyboardInterrupt:
            came += 1
    return {"came": came}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_reaches_each_work_once_and_begins_no_other(number, monkeypatch):
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for each in before:
        signal.signal(each, signal.default_int_handler)
    ready = []

    def emit(name, event):
        ready.append(name)
        if len(ready) == 2:
            os.kill(os.getpid(), number)

    try:
        found = run({"a": counting, "b": counting, "c": timed()}, {"c": ["a"]}, emit=emit)
        assert all(signal.getsignal(each) is signal.default_int_handler for each in before)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert found == {"c": lost("c", sidebyside.INTERRUPTED), "a": {"came": 1}, "b": {"came": 1}}


def test_it_works_beside_the_main_thread_where_signals_are_not_ours():
    found = {}
    thread = threading.Thread(target=lambda: found.update(run({"a": timed(), "b": timed()}, {"b": ["a"]})))
    thread.start()
    thread.join(20)
    assert found["a"]["ended"] <= found["b"]["began"]


def test_processes_are_forked_in_the_given_context():
    lock = threading.Lock()
    entered = []

    class Quiet:
        def __enter__(self):
            assert lock.acquire(blocking=False)
            entered.append(True)

        def __exit__(self, *exc):
            lock.release()

    sidebyside.run({"a": timed(), "b": timed()}, {}, 1, lambda *event: None, lambda *some: "", lost, Quiet)
    assert entered == [True, True]
