"""An HTTP request to an instance, with or without TLS."""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...core import analysis, redaction
from ...core.httprequests import Request, accepted, expected
from ...core.model import Probe
from .. import httpclient
from .base import SHOWN, ProbeFailed

PLAIN = Request()


class Http:
    """The answer to a request must have an expected status, and contain the expected text.

    :param scheme: ``http`` or ``https``.
    """

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme

    def filled(self, probe: Probe, values: Mapping[str, Any]) -> Probe:
        """Return ``probe`` with all placeholders filled in that ``values`` has."""
        known = {k: v for k, v in values.items() if v is not None}
        return replace(probe, target=analysis.fill(probe.target, known), contains=analysis.fill(probe.contains, known))

    def ask(self, probe: Probe, values: Mapping[str, Any], env: Mapping[str, str] | None, user: str) -> str:
        """Ask the instance, and compare its answer."""
        request = probe.request or PLAIN
        place = httpclient.Place(self.scheme, values["address"], probe.port or values["port"], probe.target)
        deadline = time.monotonic() + probe.timeout
        refused, status = False, None
        try:
            response, body = httpclient.ask(place, request, deadline)
            status = response.status
            problem = _unexpected(probe, response, body, request)
        except (OSError, http.client.HTTPException) as exc:
            refused = isinstance(exc, ConnectionRefusedError)
            problem = "connection refused" if refused else httpclient.reason(exc)[:SHOWN]
        if time.monotonic() >= deadline:
            problem = f"no whole answer within {probe.timeout:g}s"
        if problem:
            raise ProbeFailed(f"{request.method} {place}: {problem}", refused, status)
        return f"status {status}"


def _without_secrets(text: str, request: Request) -> str:
    """Return ``text`` without the header values and the body of ``request``, which an answer may repeat."""
    return redaction.without(text, redaction.of_request(request))


def _unexpected(probe: Probe, response: http.client.HTTPResponse, body: bytes, request: Request) -> str:
    """Return the problem with an answer, or nothing."""
    if not accepted(probe.status, response.status):
        location = _without_secrets(response.headers["Location"] or "", request)
        elsewhere = f" (a redirect to {location})" if location else ""
        return f"status {response.status}{elsewhere}, expected {expected(probe.status)}"
    text = httpclient.text(response, body)
    if probe.contains in text:
        return ""
    return f"the answer does not contain {probe.contains!r}: {_without_secrets(text, request)[:SHOWN]!r}"
