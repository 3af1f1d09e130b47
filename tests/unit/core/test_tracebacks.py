"""An exception that nobody expected: its type and place are told, and no value that it quotes."""

import json
import logging
import re

import pytest
import requests
import salt.exceptions
import urllib3
from saltdeploy.core import errors, tracebacks
from saltdeploy.core.errors import Failed, Refused
from saltdeploy.definition import validation
from saltdeploy.master.rollout import measurements
from saltdeploy.master.verbs import guard

SECRET = "Gehe1m"


def raised(function):
    """Return the exception that ``function()`` raises."""
    with pytest.raises(BaseException) as caught:
        function()
    return caught.value


def fail(exc):
    raise exc


QUOTING = {
    "int": lambda: int(SECRET),
    "key": lambda: {}[SECRET],
    "decoding": lambda: json.loads("x").append(SECRET),
    "unicode": lambda: f"{SECRET}\u043e".encode("ascii"),
    "requests": lambda: fail(requests.ConnectionError(f"http://host/?token={SECRET}")),
    "urllib3": lambda: urllib3.util.parse_url(f"http://[{SECRET}"),
    "template": lambda: fail(salt.exceptions.SaltRenderError(f"line 3: password: {SECRET}")),
}


@pytest.mark.parametrize("kind", QUOTING)
def test_no_value_that_an_exception_quotes_is_told(kind, caplog):
    exc = raised(QUOTING[kind])
    caplog.set_level(logging.INFO)
    told = [tracebacks.told(exc), errors.cause(exc), str(measurements.attempt(lambda: fail(exc)))]
    told.append(guard.result(lambda *extra, **kwargs: fail(exc), (), {})["verdict"])
    assert SECRET not in " ".join(told) + caplog.text
    assert re.fullmatch(r"\w+ at \w+\.py:[0-9]+", told[0])
    assert all(type(exc).__name__ in text for text in told)
    assert told[1].endswith("(this is a bug: the traceback is in the debug log)")


def test_the_whole_of_it_is_in_the_debug_log(caplog):
    caplog.set_level(logging.DEBUG)
    errors.cause(raised(QUOTING["int"]))
    assert SECRET in caplog.text


OPEN = {
    "FileNotFoundError: [Errno 2] No such file or directory: '/nowhere'": lambda: open("/nowhere"),
    "OSError: [Errno 28] No space left on device": lambda: fail(OSError(28, "No space left on device")),
    "SaltReqTimeoutError: Message timed out": lambda: fail(salt.exceptions.SaltReqTimeoutError("Message timed out")),
    "FileserverConfigError: no file_roots": lambda: fail(salt.exceptions.FileserverConfigError("no file_roots")),
    "Refused: say which": lambda: fail(Refused("say which")),
    "Failed: web1: gone": lambda: fail(Failed("web1: gone")),
}


@pytest.mark.parametrize("expected", OPEN)
def test_words_of_the_system_and_of_salt_are_told(expected):
    exc = raised(OPEN[expected])
    told = expected.partition(": ")[2] if isinstance(exc, (Refused, Failed)) else expected
    assert tracebacks.told(exc) == errors.cause(exc) == told
    verdict = guard.result(lambda *extra, **kwargs: fail(exc), (), {})["verdict"]
    assert told in verdict


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
