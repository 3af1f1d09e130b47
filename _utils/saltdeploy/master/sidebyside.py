"""Runs several works side by side, each in a process of its own, in the order that they need.

A work is a verb for one app. In a process of its own, nothing of another app can break it, and a signal reverts it as
if its verb ran alone.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.errors import INTERRUPTS
from . import signals

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    Result = dict[str, Any]
    # A work gets the function that its events go to. It returns its result, and raises nothing. It does its work with
    # interruptible.
    Work = Callable[[Callable[[Any], None]], Result]

# How many works run at once, unless the operator says another number. Each costs the master a process.
MOST = 4
# Why nothing more is begun after a signal.
INTERRUPTED = "this run was interrupted"
# The kinds of messages from a process.
READY, EVENT, RESULT = range(3)


@dataclass
class Running:
    """A work that runs.

    :param told: how many interrupts it was sent.
    :param ready: whether its process can take signals.
    """

    name: str
    process: BaseProcess
    told: int
    ready: bool = False

    def interrupt(self, count: int) -> None:
        """Send it an interrupt for each of ``count`` that it was not sent yet."""
        while self.ready and self.told < count:
            self.told += 1
            with contextlib.suppress(OSError):
                os.kill(self.process.pid or 0, signal.SIGINT)


class Interrupts:
    """Context manager for a run of several works, which decides where an interrupt (Ctrl-C, SIGTERM, SIGHUP) goes.

    At first it is raised here, as always. Once something may have been changed, set ``kept``: then it is passed on to
    all works that run, nothing more is begun, and it is not raised here.
    """

    def __init__(self) -> None:
        self.kept = False
        self.count = 0
        self.running: dict[Connection, Running] = {}
        self.handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        # Signals are the main thread's.
        if threading.current_thread() is threading.main_thread():
            found = {number: signal.getsignal(number) for number in signals.HELD}
            self.handlers = {number: handler for number, handler in found.items() if callable(handler)}
            for number in self.handlers:
                signal.signal(number, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        self.count += 1
        for one in list(self.running.values()):
            one.interrupt(self.count)
        if not (self.kept or self.running):
            self.handlers[signal.Signals(number)](number, frame)


def run(
    works: Mapping[str, Work],
    after: Mapping[str, Collection[str]],
    most: int,
    emit: Callable[[str, Any], None],
    barred: Callable[[str, Mapping[str, Result]], str],
    lost: Callable[[str, str], Result],
    interrupts: Interrupts,
    quiet: Callable[[], AbstractContextManager[object]] = nullcontext,
    since: int = 0,
) -> dict[str, Result]:
    """Run ``works``, and return the result of each: name -> result, in the order in which they ended.

    :param works: name -> work.
    :param after: name -> the works that must have ended before. If these go round in a circle, the first goes first.
    :param most: how many run at once.
    :param emit: called with the name of a work and each of its events.
    :param barred: ``barred(name, results)`` returns why a work must not begin, or an empty text.
    :param lost: ``lost(name, why)`` returns the result of a work that was not begun. ``why`` is empty if its process
        ended without a result.
    :param interrupts: is entered.
    :param quiet: a context in which no other thread of this process is at work. Processes are forked in it.
    :param since: how many interrupts do not count, because they came earlier.
    """
    waiting, running = dict(works), interrupts.running
    results: dict[str, Result] = {}
    while waiting or running:
        ahead = {*waiting, *(one.name for one in running.values())}
        ready = [name for name in waiting if not ahead.intersection(after.get(name, ()))]
        if not (ready or running):
            ready = list(waiting)[:1]
        for name in ready[: most - len(running)]:
            work = waiting.pop(name)
            why = INTERRUPTED if interrupts.count > since else barred(name, results)
            if not why:
                try:
                    with quiet():
                        connection, process = _begin(work, interrupts)
                    running[connection] = Running(name, process, since)
                except OSError as exc:
                    why = f"its process could not be started: {exc.strerror}"
            if why:
                results[name] = lost(name, why)
        told = set(multiprocessing.connection.wait(list(running))) if running else set()
        for connection, one in [(c, one) for c, one in running.items() if c in told]:
            kind, message = _message(connection)
            if kind == READY:
                one.ready = True
                one.interrupt(interrupts.count)
            elif kind == EVENT:
                emit(one.name, message)
            else:
                one.process.join()
                del running[connection]
                results[one.name] = lost(one.name, "") if message is None else message
    return results


def _begin(work: Work, interrupts: Interrupts) -> tuple[Connection, BaseProcess]:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    # The process must not keep pipes of others open. Their works would wait for a reader that is gone.
    others = [ours, *interrupts.running]
    # Only a forked process has what Salt has loaded, and the work itself.
    make = multiprocessing.get_context("fork").Process
    process = make(target=_work, args=(work, others, theirs, interrupts.handlers))
    # Until it has its own group, a Ctrl-C would reach it twice: from the terminal and from here.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals.HELD)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.HELD)
    theirs.close()
    return ours, process


def _work(work: Work, others: Iterable[Connection], theirs: Connection, handlers: Mapping[signal.Signals, Any]) -> None:
    """Do ``work`` in this process, and send its events and its result. Signals wait until it calls interruptible."""
    os.setsid()
    for number, handler in handlers.items():
        signal.signal(number, signal.SIG_IGN)  # forgets what came before
        signal.signal(number, handler)
    for connection in others:
        connection.close()

    def send(kind: int, message: Any = None) -> None:
        # The parent may have been killed. That must not stop a deployment half way.
        with contextlib.suppress(OSError), signals.held():
            theirs.send((kind, message))

    send(READY)
    send(RESULT, work(lambda event: send(EVENT, event)))


def interruptible(verb: Callable[[], Result]) -> Result:
    """Return the result of ``verb``, in which signals are delivered. An interrupt after its end has no effect."""
    found: list[Result] = []
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.HELD)
        found.append(verb())
        signal.pthread_sigmask(signal.SIG_BLOCK, signals.HELD)
    except INTERRUPTS:
        signal.pthread_sigmask(signal.SIG_BLOCK, signals.HELD)
        if not found:
            raise
    return found[0]


def _message(connection: Connection) -> tuple[int, Any]:
    """Return the next message of a process: its kind, and the event or the result. None is no result."""
    try:
        kind, message = connection.recv()
    except (EOFError, OSError):
        return RESULT, None
    return kind, message
