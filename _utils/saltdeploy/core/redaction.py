"""The output of an app may have its secrets: they are hidden before a text leaves its node. Pure."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable, Mapping

from .httprequests import Request

HIDDEN = "***"
# Values with fewer characters are shown. A port, `true` or `web1` is in many texts by chance.
SHORT = 6


def hidden(text: str, env: Mapping[str, object]) -> str:
    """Return ``text`` without the values of an app's ``env``.

    :param text: the output of a process of the app.
    :param env: name of a variable -> its value. The password of a URL in it is hidden even if it stands alone.
    """
    return without(text, env.values())


def of_request(request: Request) -> list[str]:
    """Return the header values and the body of ``request``, which an answer may repeat."""
    # The last word of a header is its secret: `Bearer …`.
    words = [value.rpartition(" ")[2] for value in request.headers.values()]
    return [request.body, *request.body.splitlines(), *request.headers.values(), *words]


def without(text: str, values: Iterable[object]) -> str:
    """Return ``text`` without the secrets ``values``, as :func:`hidden` does."""
    secrets = {str(value).strip() for value in values}
    for value in list(secrets):
        for password in re.findall(r"://[^/?#\s:@]*:([^/?#\s@]+)@", value):
            secrets |= {password, urllib.parse.unquote(password)}
    # A long value may have a short value in it.
    for secret in sorted((s for s in secrets if len(s) >= SHORT), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text
