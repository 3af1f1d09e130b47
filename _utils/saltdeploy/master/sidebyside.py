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
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.errors import INTERRUPTS
from . import signals

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    Result = dict[str, Any]
    # A work gets the function that its events go to. It returns its result, and raises nothing.
    Work = Callable[[Callable[[Any], None]], Result]
    Handlers = Mapping[signal.Signals, Any]

# How many works run at once, unless the operator says another number. Each costs the master a process.
MOST = 4
# Why nothing more is begun after a signal.
INTERRUPTED = "this run was interrupted"
# The kinds of messages from a process.
READY, EVENT, RESULT = range(3)


@dataclass
class Running:
    """A work that runs.

    :param ready: whether its process can take signals.
    :param told: how many interrupts it was sent.
    """

    name: str
    process: BaseProcess
    ready: bool = False
    told: int = 0

    def interrupt(self, count: int) -> None:
        """Send it an interrupt for each of ``count`` that it was not sent yet."""
        while self.ready and self.told < count:
            self.told += 1
            with contextlib.suppress(OSError):
                os.kill(self.process.pid or 0, signal.SIGINT)


def run(
    works: Mapping[str, Work],
    after: Mapping[str, Collection[str]],
    most: int,
    emit: Callable[[str, Any], None],
    barred: Callable[[str, Mapping[str, Result]], str],
    lost: Callable[[str, str], Result],
    quiet: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> dict[str, Result]:
    """Run ``works``, and return the result of each: name -> result, in the order in which they ended.

    An interrupt (Ctrl-C, SIGTERM, SIGHUP) is passed on to each work that runs, and nothing more is begun. It is not
    raised here.

    :param works: name -> work.
    :param after: name -> the works that must have ended before. There is no circle in it.
    :param most: how many run at once.
    :param emit: called with the name of a work and each of its events.
    :param barred: ``barred(name, results)`` returns why a work must not begin, or an empty text.
    :param lost: ``lost(name, why)`` returns the result of a work that was not begun. ``why`` is empty if its process
        ended without a result.
    :param quiet: a context in which no other thread of this process is at work. Processes are forked in it.
    """
    waiting = dict(works)
    results: dict[str, Result] = {}
    running: dict[Connection, Running] = {}
    with _passed_on(running) as (interrupts, handlers):
        while waiting or running:
            for name in list(waiting):
                why = INTERRUPTED if interrupts else barred(name, results)
                if why:
                    results[name] = lost(name, why)
                    del waiting[name]
            ahead = {*waiting, *(one.name for one in running.values())}
            ready = [name for name in waiting if not ahead.intersection(after.get(name, ()))]
            for name in ready[: most - len(running)]:
                with quiet():
                    connection, process = _begin(waiting.pop(name), handlers)
                running[connection] = Running(name, process)
            told = set(multiprocessing.connection.wait(list(running))) if running else set()
            for connection, one in [(c, one) for c, one in running.items() if c in told]:
                kind, message = _message(connection)
                if kind == READY:
                    one.ready = True
                    one.interrupt(len(interrupts))
                elif kind == EVENT:
                    emit(one.name, message)
                else:
                    one.process.join()
                    del running[connection]
                    results[one.name] = lost(one.name, "") if message is None else message
    return results


def _begin(work: Work, handlers: Handlers) -> tuple[Connection, BaseProcess]:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    # Only a forked process has what Salt has loaded, and the work itself.
    process = multiprocessing.get_context("fork").Process(target=_work, args=(work, ours, theirs, handlers))
    # Until it has its own group, a Ctrl-C would reach it twice: from the terminal and from here.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals.HELD)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.HELD)
    theirs.close()
    return ours, process


def _work(work: Work, ours: Connection, theirs: Connection, handlers: Handlers) -> None:
    """Do ``work`` in this process, and send its events and its result."""
    os.setsid()
    for number in handlers:
        signal.signal(number, signal.SIG_IGN)  # forgets what came before
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.HELD)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    ours.close()

    def send(kind: int, message: Any = None) -> None:
        # The parent may have been killed. That must not stop a deployment half way.
        with contextlib.suppress(OSError), signals.held():
            theirs.send((kind, message))

    with contextlib.suppress(*INTERRUPTS):  # Without a result, the parent says that it does not know.
        send(READY)
        send(RESULT, work(lambda event: send(EVENT, event)))


def _message(connection: Connection) -> tuple[int, Any]:
    """Return the next message of a process: its kind, and the event or the result. None is no result."""
    try:
        kind, message = connection.recv()
    except (EOFError, OSError):
        return RESULT, None
    return kind, message


@contextlib.contextmanager
def _passed_on(running: Mapping[Connection, Running]) -> Iterator[tuple[list[int], Handlers]]:
    """Pass each interrupt on to all in ``running``, while this lasts.

    Yield the list of the signals that came, and the handlers as they were.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came, {}  # signals are the main thread's
        return

    def pass_on(number: int, frame: object) -> None:
        came.append(number)
        for one in list(running.values()):
            one.interrupt(len(came))

    found = {number: signal.getsignal(number) for number in signals.HELD}
    handlers = {number: handler for number, handler in found.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, pass_on)
    try:
        yield came, handlers
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
