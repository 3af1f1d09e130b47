"""Ctrl-C, and what else asks a run to end, at a time when it does no harm."""

from __future__ import annotations

import contextlib
import signal
import threading

HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def held():
    """Hold back what interrupts, as Ctrl-C; yield a function that lets it through. At the end it is let through, too.

    A signal that breaks into Salt's event loop is lost there, or has it wait for ever for what it was about to send.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None  # signals are the main thread's
        return
    came, handlers = [], {number: signal.getsignal(number) for number in HELD}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}

    def let_through():
        if came:
            number, frame = came.pop()
            came.clear()
            handlers[number](number, frame)

    for number in handlers:
        signal.signal(number, lambda *what: came.append(what))
    try:
        yield let_through
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        let_through()
