"""Delivers Ctrl-C and other signals that end a run only when they do no harm."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def noticed() -> Iterator[list[int]]:
    """Yield a list of the signals that came until the end. They are handled as before.

    Salt's loader takes the exception of a handler for a module that cannot be imported, and goes on.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came  # signals are the main thread's
        return
    found = {number: signal.getsignal(number) for number in HELD}
    handlers = {number: handler for number, handler in found.items() if callable(handler)}

    def notice(number: int, frame: Any) -> None:
        came.append(number)
        handlers[signal.Signals(number)](number, frame)

    for number in handlers:
        signal.signal(number, notice)
    try:
        yield came
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def held() -> Iterator[Callable[[], None]]:
    """Hold back signals such as Ctrl-C until the end, and yield a function that lets them through before.

    If a signal breaks into Salt's event loop, it is lost there, or the loop waits for ever for an unsent message.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None  # signals are the main thread's
        return
    came: list[tuple[int, Any]] = []
    found = {number: signal.getsignal(number) for number in HELD}
    handlers = {number: handler for number, handler in found.items() if callable(handler)}

    def let_through() -> None:
        if came:
            number, frame = came.pop()
            came.clear()
            handlers[signal.Signals(number)](number, frame)

    for number in handlers:
        signal.signal(number, lambda *what: came.append(what))
    try:
        yield let_through
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        let_through()
