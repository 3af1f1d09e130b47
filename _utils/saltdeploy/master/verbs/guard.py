"""Turns every end of a verb into a result, because salt-run exits 0 on wrong arguments and exceptions."""

from __future__ import annotations

import inspect
import logging
import signal
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

from ...core import arguments, tracebacks, words
from ...core.errors import INTERRUPTS, NOT_REVERTED, REFUSED, REVERTED
from .. import signals

log = logging.getLogger(__name__)

# The verdict on a fault of ours.
FAULT = "Internal error in saltdeploy ({}).{} Run again with `-l debug` for the traceback."
UNFINISHED = " The deployment may be unfinished: run `salt-run deploy.status`."
INTERRUPTED = {"verdict": "interrupted, nothing was changed", "retcode": REFUSED}
# The verbs that change nothing. An internal error in these, or in any dry run, does no harm.
LOOKING: tuple[str, ...] = ("plan", "check", "status", "history", "logs", "test", "hooks", "unlock")
LOOKING += ("list_", "show", "validate", "inventory", "diff", "zones")
# The arguments with which such a verb changes something.
CHANGING = ("settle", "force")


def ended(
    function: Callable[..., dict[str, Any]], args: Sequence[Any], kwargs: Mapping[str, Any], context: dict[str, Any]
) -> dict[str, Any]:
    """Call a function of a runner as :func:`result` does, and return its result as salt-run wants it.

    :param context: ``__context__`` of the runner.
    """
    found = result(function, args, kwargs)
    # salt-run ends with the result's retcode. Orchestrations and salt-api use the context's retcode. Salt would judge a
    # key "data" at the top as the result of a highstate (salt/client/mixins.py, low).
    context["retcode"] = found["retcode"]
    return {**found, "outputter": "deploy"}


def result(function: Callable[..., dict[str, Any]], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Call a function of the runner. Return a result for any arguments and for any exception."""
    signature = inspect.signature(function)
    given: dict[str, Any] = {}
    named = {n: p.default for n, p in signature.parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD}
    _hang_up_like_ctrl_c()

    def call() -> dict[str, Any]:
        given.update(_bound(signature, args, kwargs))
        arguments.unknown(given["extra"], given["kwargs"], [n for n in named if n != "name"])
        for name, default in named.items():
            if isinstance(default, bool):
                arguments.flag(name, given[name])
            if name == "reason":
                arguments.text(name, given[name], arguments.REASON)
        return function(*args, **kwargs)

    def looking() -> bool:
        changing = any(given.get(argument) for argument in CHANGING)
        return (function.__name__ in LOOKING and not changing) or given.get("test") is True

    with signals.noticed() as came:
        return attempt(call, looking, came)


def attempt(
    call: Callable[[], dict[str, Any]], looking: Callable[[], bool], signals_came: Collection[int] = ()
) -> dict[str, Any]:
    """Return the result of ``call``, or a result for any exception.

    :param looking: returns whether the call changes nothing.
    :param signals_came: the signals that came meanwhile. An error after one of them is no fault of ours.
    """
    try:
        return call()
    except (SaltInvocationError, CommandExecutionError) as exc:
        return {"verdict": words.message(f"refused, nothing was changed: {exc}"), "retcode": REFUSED}
    except INTERRUPTS:  # once there is something to revert, the verb itself reverts and returns
        return dict(INTERRUPTED)
    except Exception as exc:
        # Salt would print a traceback, and end with 1.
        log.debug("A function of a runner failed", exc_info=True)
        harmless = looking() or getattr(exc, "unchanged", False)
        if harmless and signals_came:
            return dict(INTERRUPTED)
        verdict = FAULT.format(tracebacks.told(exc), "" if harmless else UNFINISHED)
        return {"verdict": words.message(verdict), "retcode": REVERTED if harmless else NOT_REVERTED}


def _bound(signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as exc:
        raise SaltInvocationError(str(exc)) from exc
    bound.apply_defaults()
    return bound.arguments


def _hang_up_like_ctrl_c() -> None:
    """Make SIGHUP (the terminal is gone) an interrupt, so that it reverts, too. An ignored SIGHUP stays ignored."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda number, frame: sys.exit(128 + number))
