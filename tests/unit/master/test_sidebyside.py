"""Works run in processes of their own: in their order, at most so many at once, and each interrupt reaches each once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from functools import partial

import pytest
from saltdeploy.master import sidebyside


def lost(name, why):
    return {"lost": name, "why": why}


def nothing(*about):
    return ""


def run(works, after=None, most=4, barred=nothing, emit=nothing, interrupts=None, kept=True, **more):
    """Run works, each of which is interruptible."""
    works = {name: partial(guarded, work) for name, work in works.items()}
    with interrupts or sidebyside.Interrupts() as mine:
        mine.kept = kept
        return sidebyside.run(works, after or {}, most, emit, barred, lost, mine, **more)


def guarded(work, emit):
    try:
        return sidebyside.interruptible(lambda: work(emit))
    except KeyboardInterrupt:
        return {"interrupted": True}


def timed(seconds=0.0):
    """Return a work that takes so long, and returns when it began and ended."""

    def work(emit):
        began = time.monotonic()
        time.sleep(seconds)
        return {"began": began, "ended": time.monotonic(), "pid": os.getpid()}

    return work


def test_what_is_free_runs_side_by_side_and_the_rest_in_its_order():
    both = multiprocessing.Barrier(2, timeout=60)

    def meets(emit):
        both.wait()
        return timed()(emit)

    works = {"c": timed(), "b": timed(), "a": meets, "free": meets}
    found = run(works, {"b": ["a"], "c": ["a", "b"]})
    assert found["a"]["ended"] <= found["b"]["began"] and found["b"]["ended"] <= found["c"]["began"]
    assert found["free"]["ended"]
    assert len({one["pid"] for one in found.values()} | {os.getpid()}) == 5
    assert [name for name in found if name != "free"] == ["a", "b", "c"]


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


@pytest.fixture
def handlers():
    """Have each interrupt raise KeyboardInterrupt in this process."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_reaches_each_work_once_and_begins_no_other(number, handlers):
    ready = []

    def emit(name, event):
        ready.append(name)
        if len(ready) == 2:
            os.kill(os.getpid(), number)

    found = run({"a": counting, "b": counting, "c": timed()}, {"c": ["a"]}, emit=emit)
    assert all(signal.getsignal(each) is signal.default_int_handler for each in handlers)
    assert found == {"c": lost("c", sidebyside.INTERRUPTED), "a": {"came": 1}, "b": {"came": 1}}


def test_an_interrupt_while_a_process_starts_is_told_truly(handlers):
    """It is no killed process: nobody need look."""

    class Quiet:
        def __enter__(self):
            os.kill(os.getpid(), signal.SIGINT)

        def __exit__(self, *exc):
            pass

    for _ in range(20):
        found = run({"a": timed(0.2), "b": timed()}, {"b": ["a"]}, quiet=Quiet)
        assert found == {"a": {"interrupted": True}, "b": lost("b", sidebyside.INTERRUPTED)}


def test_an_interrupt_before_anything_is_changed_is_raised(handlers):
    with sidebyside.Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    assert interrupts.count == 1
    with sidebyside.Interrupts() as interrupts:
        interrupts.kept = True
        os.kill(os.getpid(), signal.SIGTERM)
    assert interrupts.count == 1


def test_an_earlier_interrupt_does_not_stop_works_that_come_because_of_it(handlers):
    with sidebyside.Interrupts() as interrupts:
        interrupts.kept = True
        os.kill(os.getpid(), signal.SIGINT)
        works = {"a": partial(guarded, counting)}
        assert sidebyside.run(works, {}, 1, nothing, nothing, lost, interrupts, since=1) == {"a": {"came": 0}}
        barred = {"a": lost("a", "this run was interrupted")}
        assert sidebyside.run(works, {}, 1, nothing, nothing, lost, interrupts) == barred


def test_works_that_wait_for_one_another_in_a_circle_all_run():
    found = run({"a": timed(), "b": timed(), "c": timed()}, {"a": ["b"], "b": ["a"], "c": ["b"]})
    assert list(found) == ["a", "b", "c"] and found["a"]["ended"] <= found["b"]["began"]


def test_a_process_that_cannot_be_started_is_not_begun(monkeypatch):
    def full(work, interrupts):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(sidebyside, "_begin", full)
    assert run({"a": timed()}) == {"a": lost("a", "its process could not be started: Cannot allocate memory")}


def test_a_work_whose_parent_is_killed_waits_for_no_reader(tmp_path):
    """Not even while the work beside it lasts, whose process might hold the pipe of the first open."""

    def talks(emit):
        emit("begun")
        time.sleep(0.5)
        for _ in range(2000):
            emit("x" * 1000)
        (tmp_path / "talked").touch()
        return {}

    def lasts(emit):
        time.sleep(5)
        (tmp_path / "lasted").touch()
        return {}

    begun = []

    def parent():
        run({"a": talks, "b": lasts}, emit=lambda *event: (begun.append(event), os.kill(os.getpid(), signal.SIGKILL)))

    process = multiprocessing.get_context("fork").Process(target=parent)
    process.start()
    process.join()  # with a time, it would wait for the works, too
    assert process.exitcode == -signal.SIGKILL
    deadline = time.monotonic() + 4
    while not (tmp_path / "talked").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (tmp_path / "talked").exists() and not (tmp_path / "lasted").exists()


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

    run({"a": timed(), "b": timed()}, most=1, quiet=Quiet)
    assert entered == [True, True]
