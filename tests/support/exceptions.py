"""Exceptions that nobody expected: some quote a secret, some have words that anybody may read."""

from __future__ import annotations

import json

import pytest
import requests
import salt.exceptions
import urllib3
from saltdeploy.core.errors import Failed, Refused

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

OPEN = {
    "FileNotFoundError: [Errno 2] No such file or directory: '/nowhere'": lambda: open("/nowhere"),
    "OSError: [Errno 28] No space left on device": lambda: fail(OSError(28, "No space left on device")),
    "SaltReqTimeoutError: Message timed out": lambda: fail(salt.exceptions.SaltReqTimeoutError("Message timed out")),
    "FileserverConfigError: no file_roots": lambda: fail(salt.exceptions.FileserverConfigError("no file_roots")),
    "Refused: say which": lambda: fail(Refused("say which")),
    "Failed: web1: gone": lambda: fail(Failed("web1: gone")),
}
