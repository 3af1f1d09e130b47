"""Makes a result of whatever comes of a verb of the runner: salt-run exits 0 on wrong arguments and exceptions."""

from __future__ import annotations

import inspect
import logging
import signal
import sys
import threading

from salt.exceptions import CommandExecutionError, SaltInvocationError

from . import arguments, words
from .errors import INTERRUPTS, NOT_REVERTED, REFUSED

log = logging.getLogger(__name__)

FAULT = "a fault of saltdeploy itself, look now (salt-run deploy.status): {}: {}. Where it is: the same, with -l debug"


def result(function, args, kwargs):
    """Call a function of the runner; return its result, whatever it was called with and whatever it raises."""
    signature = inspect.signature(function)
    named = {n: p.default for n, p in signature.parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD}
    _hang_up_like_ctrl_c()
    try:
        given = _bound(signature, args, kwargs)
        arguments.unknown(given["extra"], given["kwargs"], [n for n in named if n != "name"])
        for name, default in named.items():
            if isinstance(default, bool):
                arguments.flag(name, given[name])
            if name == "reason":
                arguments.text(name, given[name], arguments.REASON)
        return function(*args, **kwargs)
    except (SaltInvocationError, CommandExecutionError) as exc:
        return {"verdict": words.message(f"refused, nothing was changed: {exc}"), "retcode": REFUSED}
    except INTERRUPTS:  # control reverts and returns once there is something to revert
        return {"verdict": "interrupted, nothing was changed", "retcode": REFUSED}
    except Exception as exc:
        # A fault of ours, and nobody knows how far it came. Salt would print a traceback, and end with 1.
        log.debug("deploy.%s", function.__name__, exc_info=True)
        return {"verdict": words.message(FAULT.format(type(exc).__name__, exc)), "retcode": NOT_REVERTED}


def _bound(signature, args, kwargs):
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as exc:
        raise SaltInvocationError(str(exc)) from exc
    bound.apply_defaults()
    return bound.arguments


def _hang_up_like_ctrl_c():
    """Make SIGHUP (the terminal is gone) an interrupt: it reverts, too. One that is ignored (nohup) stays so."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda number, frame: sys.exit(128 + number))
