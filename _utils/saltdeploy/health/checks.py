"""The checks of a service, as Consul's agent takes and runs them.

https://developer.hashicorp.com/consul/docs/services/usage/checks
"""

from __future__ import annotations

import http.client
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..core.errors import Refused
from ..core.httprequests import Request
from ..system import httpclient

# Consul's defaults, in seconds.
INTERVAL, TIMEOUT = 10.0, 10.0
# The shortest and the longest time of a check, in seconds.
SHORTEST, LONGEST = 0.001, 86400.0 * 30
# How much of an answer is told, in characters.
SHOWN = 4096
# Consul's status for the answer to an HTTP check that is neither good nor bad.
TOO_MANY = 429
# Seconds of each unit of a duration as Go writes it.
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
STATUSES = ("passing", "warning", "critical")
# The keys of a check that say what is asked.
KINDS = ("HTTP", "TCP", "TTL", "AliasService")


class Malformed(Exception):
    """A registration that cannot be used, and why."""


class Result(NamedTuple):
    """The result of a run."""

    status: str
    output: str


@dataclass(frozen=True)
class Check:
    """A check of a service. Times in seconds.

    :param kind: one of KINDS; ``target``: the URL, the address with the port, or the id of a service.
    :param ttl: the time within which a report must come.
    :param leaves: how long the service may be critical until it is removed. None means for ever.
    :param initial: the status until there is a result.
    """

    ident: str
    name: str
    kind: str
    target: str
    interval: float = INTERVAL
    timeout: float = TIMEOUT
    ttl: float = 0.0
    request: Request = field(default_factory=Request)
    successes: int = 1
    failures: int = 1
    leaves: float | None = None
    initial: str = "critical"

    @property
    def runs(self) -> bool:
        """Whether the agent itself asks at intervals."""
        return self.kind in ("HTTP", "TCP")

    def run(self) -> Result:
        """Ask once."""
        try:
            return self._http() if self.kind == "HTTP" else self._tcp()
        except (OSError, http.client.HTTPException) as exc:
            said = httpclient.reason(exc)
        except ValueError:
            said = "the answer cannot be read"
        return Result("critical", f"{self._asked}: {said}"[:SHOWN])

    @property
    def _asked(self) -> str:
        return f"HTTP {self.request.method} {self.target}" if self.kind == "HTTP" else f"TCP connect {self.target}"

    def _http(self) -> Result:
        deadline = time.monotonic() + self.timeout
        response, body = httpclient.ask(httpclient.place(self.target), self.request, deadline)
        if time.monotonic() >= deadline:
            return Result("critical", f"{self._asked}: no whole answer within {self.timeout:g}s")
        good, status = 200 <= response.status < 300, response.status
        text = f"{self._asked}: {status} {response.reason} Output: {httpclient.text(response, body)[:SHOWN]}"
        return Result("passing" if good else "warning" if status == TOO_MANY else "critical", text)

    def _tcp(self) -> Result:
        parts = urlsplit(f"tcp://{self.target}")
        socket.create_connection((parts.hostname or "", parts.port or 0), self.timeout).close()
        return Result("passing", f"{self._asked}: Success")


def parse(body: Mapping[str, Any], service: str, number: int) -> Check:
    """Return the Check that a part of a registration describes.

    :param service: the id of the service; ``number``: the place of the check among its checks.
    :raises Malformed: it cannot be used. The message shows no value, because it may be secret.
    """
    kinds = [kind for kind in KINDS if body.get(kind)]
    if len(kinds) != 1:
        raise Malformed(f"check {number} of {service} must have exactly one of {', '.join(KINDS)}")
    kind = kinds[0]
    try:
        return Check(
            ident=str(body.get("CheckID") or f"service:{service}:{number}"),
            name=str(body.get("Name") or f"Service '{service}' check"),
            kind=kind,
            target=str(body[kind]),
            interval=seconds(body.get("Interval"), INTERVAL),
            timeout=seconds(body.get("Timeout"), TIMEOUT),
            ttl=seconds(body["TTL"], 0.0) if kind == "TTL" else 0.0,
            request=_request(body),
            successes=max(int(body.get("SuccessBeforePassing") or 1), 1),
            failures=max(int(body.get("FailuresBeforeCritical") or 1), 1),
            leaves=seconds(body["DeregisterCriticalServiceAfter"], 60.0)
            if body.get("DeregisterCriticalServiceAfter")
            else None,
            initial=body["Status"] if body.get("Status") in STATUSES else "critical",
        )
    except Refused:  # It is a TypeError, too.
        raise
    except (TypeError, ValueError, AttributeError, KeyError):
        raise Malformed(f"check {number} of {service} has a value of another type than Consul's") from None


def _request(body: Mapping[str, Any]) -> Request:
    headers = {str(name): str(values[0]) for name, values in (body.get("Header") or {}).items() if values}
    host = next((headers.pop(name) for name in list(headers) if name.lower() == "host"), "")
    return Request(
        host=host or str(body.get("TLSServerName") or ""),
        method=str(body.get("Method") or "GET"),
        headers=headers,
        body=str(body.get("Body") or ""),
        redirects=not body.get("DisableRedirects", False),
        insecure=bool(body.get("TLSSkipVerify")),
    )


def seconds(text: object, default: float) -> float:
    """Return a duration as Go writes it (``1m30s``) in seconds, ``default`` if there is none.

    :raises ValueError: it is no duration, or too short or too long.
    """
    if not text:
        return default
    parts = re.findall(r"([0-9.]+)(h|ms|m|s)", str(text))
    if "".join(map("".join, parts)) != str(text):
        raise ValueError("no duration")
    found = sum(float(number) * UNITS[unit] for number, unit in parts)
    if not SHORTEST <= found <= LONGEST:
        raise ValueError("no usable duration")
    return found
