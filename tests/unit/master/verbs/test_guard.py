"""Every end of a verb becomes a result: no traceback, no value that an exception quotes, and the right exit code."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys

import pytest
from saltdeploy.core.errors import DONE, INTERRUPTS, NOT_REVERTED, REFUSED, REVERTED, Failed, Refused, unchanged
from saltdeploy.master.verbs import guard

from tests.support.exceptions import OPEN, QUOTING, SECRET, fail, raised


@pytest.mark.parametrize("kind", QUOTING)
def test_no_value_that_an_exception_quotes_is_in_a_verdict(kind, caplog):
    exc = raised(QUOTING[kind])
    caplog.set_level(logging.INFO)
    verdict = guard.result(lambda *extra, **kwargs: fail(exc), (), {})["verdict"]
    assert SECRET not in verdict + caplog.text
    assert f"Internal error in saltdeploy ({type(exc).__name__} at " in verdict


@pytest.mark.parametrize("expected", OPEN)
def test_words_of_the_system_and_of_salt_are_in_a_verdict(expected):
    exc = raised(OPEN[expected])
    told = expected.partition(": ")[2] if isinstance(exc, (Refused, Failed)) else expected
    assert told in guard.result(lambda *extra, **kwargs: fail(exc), (), {})["verdict"]


@pytest.mark.parametrize("force, code", [(False, REVERTED), (True, NOT_REVERTED)])
def test_an_internal_error_of_unlock_is_a_danger_only_with_force(force, code):
    def unlock(name=None, env=None, force=False, *extra, **kwargs):
        raise ValueError("broken")

    result = guard.result(unlock, ("shop",), {"force": force})
    assert result["retcode"] == code
    assert ("may be unfinished" in result["verdict"]) is force


def ask(name=None, env=None, test=False, reason=None, *extra, **kwargs):
    """Stand for a verb with these arguments."""
    return {"retcode": DONE, "name": name}


@pytest.mark.parametrize(
    "args, kwargs, said",
    [
        (
            ("shop", "e", True, "why", "more"),
            {},
            "too many arguments, from 'more' on. By name there are: env, test, reason",
        ),
        (("shop",), {"tset": True}, "unknown argument tset= (did you mean `test`?). There are: env, test, reason"),
        ((), {"app": "shop"}, "There are: env, test, reason. The name of the app comes first, without `app=`"),
        (("shop",), {"name": "till"}, "multiple values for argument 'name'"),
        (("shop",), {"test": "yes"}, "test='yes': True or False is allowed"),
        (("shop",), {"reason": "x" * 501}, "text is allowed, of at most 500 characters"),
    ],
)
def test_wrong_arguments_are_refused(args, kwargs, said):
    result = guard.result(ask, args, kwargs)
    assert result["retcode"] == REFUSED
    assert result["verdict"].startswith("refused, nothing was changed: ") and said in result["verdict"]


def test_salt_s_own_arguments_are_not_unknown():
    assert guard.result(ask, ("shop",), {"__pub_fun": "deploy.ask"}) == {"retcode": DONE, "name": "shop"}


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_an_interrupt_that_reaches_the_end_has_changed_nothing(interrupt):
    result = guard.result(lambda *extra, **kwargs: fail(interrupt()), (), {})
    assert result == {"verdict": "interrupted, nothing was changed", "retcode": REFUSED}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_that_salt_takes_for_a_broken_module_is_an_interrupt(number):
    """Salt's loader goes on after it, and says that a renderer is missing."""

    def verb(name=None, *extra, **kwargs):
        with contextlib.suppress(*INTERRUPTS):
            os.kill(os.getpid(), number)
        with unchanged():
            raise KeyError("no renderer")

    def handler(*_):
        sys.exit(1)

    before = signal.signal(number, handler)
    try:
        assert guard.result(verb, (), {}) == guard.INTERRUPTED
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)


def test_an_internal_error_before_any_change_is_no_danger():
    def deploy(name=None, *extra, **kwargs):
        with unchanged():
            raise ValueError("broken")

    result = guard.result(deploy, ("shop",), {})
    assert (result["retcode"], "may be unfinished" in result["verdict"]) == (REVERTED, False)


@pytest.mark.parametrize("test, code", [(True, REVERTED), (False, NOT_REVERTED)])
def test_an_internal_error_of_a_dry_run_is_no_danger(test, code):
    def deploy(name=None, test=False, *extra, **kwargs):
        raise ValueError("broken")

    result = guard.result(deploy, ("shop",), {"test": test})
    assert (result["retcode"], "may be unfinished" in result["verdict"]) == (code, not test)
