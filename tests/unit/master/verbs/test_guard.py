"""Every end of a verb becomes a result: no traceback, no value that an exception quotes, and the right exit code."""

from __future__ import annotations

import logging

import pytest
from saltdeploy.core.errors import NOT_REVERTED, REVERTED, Failed, Refused
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
