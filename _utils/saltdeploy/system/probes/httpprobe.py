"""A GET request with a deadline and a limit of size."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...core import addresses, analysis
from ...core.model import Probe
from .base import SHOWN, ProbeFailed

# How much of an answer is read, in bytes.
LIMIT = 1 << 24
# The characters that stay as they are in a path with a query.
IN_URL = "/?&=%:@!$'()*+,;~[]"


class Http:
    """The answer to a GET request must have the expected status, and contain the expected text."""

    def filled(self, probe: Probe, values: Mapping[str, Any]) -> Probe:
        """Return ``probe`` with all placeholders filled in that ``values`` has."""
        known = {k: v for k, v in values.items() if v is not None}
        return replace(probe, target=analysis.fill(probe.target, known), contains=analysis.fill(probe.contains, known))

    def ask(self, probe: Probe, values: Mapping[str, Any], env: Mapping[str, str] | None, user: str) -> str:
        """Ask the instance, and compare its answer."""
        port = probe.port or values["port"]
        url = f"http://{addresses.join(values['address'], port)}{probe.target}"
        connection = http.client.HTTPConnection(values["address"], port, timeout=probe.timeout)
        deadline = time.monotonic() + probe.timeout
        refused, status = False, None
        try:
            response, body = _get(connection, probe.target, deadline)
            status = response.status
            problem = _unexpected(probe, response, body)
        except (OSError, http.client.HTTPException) as exc:
            refused = isinstance(exc, ConnectionRefusedError)
            problem = "connection refused" if refused else str(exc)[:SHOWN]
        finally:
            connection.close()
        if time.monotonic() >= deadline:
            problem = f"no whole answer within {probe.timeout:g}s"
        if problem:
            raise ProbeFailed(f"GET {url}: {problem}", refused, status)
        return f"status {status}"


def _get(connection: http.client.HTTPConnection, path: str, deadline: float) -> tuple[http.client.HTTPResponse, bytes]:
    """Return the response and the beginning of its body. The deadline cuts off a server that drips bytes."""
    connection.connect()
    cut_off = threading.Timer(deadline - time.monotonic(), _shut, [connection.sock])
    cut_off.start()
    try:
        headers = {"Connection": "close", "User-Agent": "saltdeploy"}
        connection.request("GET", urllib.parse.quote(path, safe=IN_URL), headers=headers)
        response = connection.getresponse()
        body = response.read(LIMIT)
        if response.length and len(body) < LIMIT:
            raise http.client.IncompleteRead(body, response.length)
        return response, body
    finally:
        cut_off.cancel()


def _shut(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the answer came in the same moment
        connected.shutdown(socket.SHUT_RDWR)


def _unexpected(probe: Probe, response: http.client.HTTPResponse, body: bytes) -> str:
    """Return the problem with an answer, or nothing. No redirect is followed, as elsewhere is another instance."""
    if response.status != probe.status and not (probe.status is None and 200 <= response.status < 300):
        elsewhere = f" (a redirect to {response.headers['Location']})" if response.headers["Location"] else ""
        return f"status {response.status}{elsewhere}, expected {probe.status or '2xx'}"
    try:
        text = body.decode(response.headers.get_content_charset("utf-8"), "replace")
    except LookupError:
        text = body.decode("utf-8", "replace")
    return "" if probe.contains in text else f"the answer does not contain {probe.contains!r}: {text[:SHOWN]!r}"
