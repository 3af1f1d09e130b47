"""An exception that nobody expected: its type and place are told, and no value that it quotes."""

import logging
import re

import pytest
from saltdeploy.core import errors, tracebacks
from saltdeploy.core.errors import Failed, Refused
from saltdeploy.definition import validation
from saltdeploy.master.rollout import measurements

from tests.support.exceptions import OPEN, QUOTING, SECRET, fail, raised


@pytest.mark.parametrize("kind", QUOTING)
def test_no_value_that_an_exception_quotes_is_told(kind, caplog):
    exc = raised(QUOTING[kind])
    caplog.set_level(logging.INFO)
    told = [tracebacks.told(exc), errors.cause(exc), str(measurements.attempt(lambda: fail(exc)))]
    assert SECRET not in " ".join(told) + caplog.text
    assert re.fullmatch(r"\w+ at \w+\.py:[0-9]+", told[0])
    assert all(type(exc).__name__ in text for text in told)
    assert told[1].endswith("(this is a bug: the traceback is in the debug log)")


def test_the_whole_of_it_is_in_the_debug_log(caplog):
    caplog.set_level(logging.DEBUG)
    errors.cause(raised(QUOTING["int"]))
    assert SECRET in caplog.text


@pytest.mark.parametrize("expected", OPEN)
def test_words_of_the_system_and_of_salt_are_told(expected):
    exc = raised(OPEN[expected])
    told = expected.partition(": ")[2] if isinstance(exc, (Refused, Failed)) else expected
    assert tracebacks.told(exc) == errors.cause(exc) == told


def test_the_place_is_the_innermost_in_our_own_code():
    endless = []
    endless.append(endless)
    assert re.fullmatch(
        r"ValueError at validation\.py:[0-9]+", tracebacks.told(raised(lambda: validation.digest(endless)))
    )


def test_an_exception_that_was_never_raised_has_no_place():
    assert tracebacks.told(ValueError(SECRET)) == "ValueError"


@pytest.mark.parametrize(
    "text", ["", tracebacks.BEGUN, f"{tracebacks.BEGUN}:\n", f"{tracebacks.BEGUN}:\n  File", "x\ny"]
)
def test_a_traceback_that_is_none_is_no_fault_of_ours(text):
    assert tracebacks.of_traceback(text)
