"""The connection to Consul, through python-consul or its fork py-consul (both are ``import consul``).

Only their HTTP client is used. In python-consul 1.1.0, their higher layer leaves the token out of deregister, session
and txn calls, and drops ``Meta`` and several checks. In py-consul 1.8.0, it sends no token with ``txn.put``. It also
lets ``CONSUL_HTTP_*`` override the configuration.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import requests
from consul.std import HTTPClient
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError

from ..core import addresses, words
from ..core.errors import DiscoveryUnavailable, Failed

CONNECT_TIMEOUT = 2.0
# During leader loss an agent answers a registration after 7 to 14 seconds.
READ_TIMEOUT = 20.0
# The answers of an agent that reaches no server with a leader.
LEADERLESS = ("No cluster leader", "Raft leader not found", "rpc error", "No known Consul servers")
# What an agent lacks if it refuses a field of a check -> what to do.
LACKS = {
    "DisableRedirects": "It follows the redirects of each check. Update it to 1.12, or write `redirects: true` into the"
    " check's request",
    "TLSServerName": "It cannot send `host` in an https check. Update it to 1.10, or write `http` or `tcp`",
}

# A parameter of a request.
Parameter = tuple[str, object]
Opened = TypeVar("Opened", bound="Connection")


class Response(Protocol):
    """An answer, as python-consul gives it."""

    code: int
    headers: Mapping[str, str]
    body: str


class _Adapter(HTTPAdapter):
    """An adapter that gives every call a timeout, and tries again only if a connection was refused."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs["timeout"] = (CONNECT_TIMEOUT, READ_TIMEOUT)
        # Not by urllib3's Retry, which logs each try: the log ends on the terminal.
        for pause in (0.1, 0.2):
            try:
                return super().send(request, *args, **kwargs)
            except requests.ConnectionError as exc:
                if not isinstance(getattr(exc.args[0], "reason", None), NewConnectionError):
                    raise
                time.sleep(pause)
        return super().send(request, *args, **kwargs)


class Connection:
    """A connection to the first of ``urls`` that answers.

    :param urls: agents or servers, ``scheme://host:port``.
    :param token: ACL token, sent as a header.
    :param ca: path of the CA certificate that the servers' certificates are verified against.
    :param datacenter: the datacenter whose catalog and keys are asked. None means the agent's own.
    """

    # For messages: who is asked, and what to do if there is no answer, and if it refuses.
    name = "Consul"
    silent, slow = "start its agent there", "see `consul operator raft list-peers`"
    refused = "Its token may not: see discovery:consul:token."

    def __init__(
        self, urls: Iterable[str], token: str | None = None, ca: str | None = None, datacenter: str | None = None
    ) -> None:
        self.urls, self.datacenter = list(urls), datacenter
        self._clients = [self._client(url, token, ca) for url in self.urls]

    def __enter__(self: Opened) -> Opened:
        return self

    def __exit__(self, *exc: object) -> None:
        for client in self._clients:
            client.session.close()

    @property
    def _begin(self) -> str:
        return self.name[0].upper() + self.name[1:]

    @staticmethod
    def _client(url: str, token: str | None, ca: str | None) -> HTTPClient:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        client = HTTPClient(addresses.host(parts.hostname or ""), port, parts.scheme, verify=ca or True)
        client.session.trust_env = False
        adapter = _Adapter()
        client.session.mount("http://", adapter)
        client.session.mount("https://", adapter)
        if token:
            client.session.headers["X-Consul-Token"] = token
        return client

    def get(self, path: str, params: Sequence[Parameter] | None = None) -> Any:
        response = self.call("get", path, params)
        if response.code != 200:
            raise self.failed(response, path)
        return parsed(response, path)

    def put(self, path: str, params: Sequence[Parameter] | None = None, body: Any = None) -> Any:
        response = self.call("put", path, params, body)
        if response.code != 200:
            raise self.failed(response, path)
        return parsed(response, path) if response.body.strip() else None

    def call(self, verb: str, path: str, params: Sequence[Parameter] | None = None, body: Any = None) -> Response:
        """Ask the clients in turn, the client that answered last first, and read from a client that can answer.

        :raises DiscoveryUnavailable: no client answers. A change that may have reached a server is not sent to another
            server: it may be done. A caller that wants it again must read first whether it is done.
        """
        if self.datacenter and not path.startswith("/v1/agent/"):
            params = [*(params or ()), ("dc", self.datacenter)]
        errors, failure = [], None
        for client in self._clients:
            try:
                kwargs = {"data": "" if body is None else json.dumps(body)} if verb == "put" else {}
                response = getattr(client, verb)(lambda r: r, path, params, **kwargs)
            except requests.RequestException as exc:
                errors.append(f"{client.base_uri}: {_reason(exc)}")
                if verb != "get" and _may_have_arrived(exc):
                    break
            else:
                if response.code >= 500 and verb == "get":
                    failure = failure or response
                    continue
                # In one assignment: the thread that renews the lock asks too.
                self._clients = [client, *(c for c in self._clients if c is not client)]
                return response
        if failure:
            return failure
        advice = self.slow if "timed out" in errors[-1] else self.silent
        raise DiscoveryUnavailable(f"{self._begin} does not answer ({'; '.join(errors)}): {advice}.")

    def failed(self, response: Response, what: str) -> Failed:
        """Return the exception for an answer that is no success.

        :param what: the request, for the message: ``read key …``.
        """
        body, begin = response.body.strip()[:300], self._begin
        if response.code == 403 or "Permission denied" in body:
            return Failed(f"{begin} refuses to {what}: {words.without_period(body)}. {self.refused}".rstrip())
        if any(text in body for text in LEADERLESS):
            return DiscoveryUnavailable(
                f"{begin} has no leader: it could not {what} ({body}). More than half of its servers must run."
            )
        unknown = re.search(r'unknown field "(\w+)"', body)
        if unknown and unknown[1] in LACKS:
            return Failed(f"{begin} could not {what}, because its agent is too old: {body}. {LACKS[unknown[1]]}.")
        kind = DiscoveryUnavailable if response.code >= 500 else Failed
        return kind(f"{begin} could not {what}: {response.code} {body}")


def _may_have_arrived(exc: requests.RequestException) -> bool:
    """Return whether a request that ended with ``exc`` may have reached its server: there was a connection."""
    if isinstance(exc, (requests.ConnectTimeout, requests.exceptions.SSLError)):
        return False
    return not isinstance(getattr(exc.args[0] if exc.args else None, "reason", None), NewConnectionError)


def _reason(exc: Exception) -> str:
    text = str(getattr(exc, "args", [exc])[0])
    for known in ("Connection refused", "timed out", "Name or service not known", "certificate verify failed"):
        if known.lower() in text.lower():
            return known.lower()
    system = re.search(r"\[Errno -?\d+\] ([\w ]+)", text)
    return system[1].lower() if system else text[:200]


def parsed(response: Response, what: str) -> Any:
    """Return the JSON document in ``response``. Raises DiscoveryUnavailable if it is none, as from a proxy."""
    try:
        return json.loads(response.body)
    except ValueError:
        shown = " ".join(response.body.split())[:100]
        raise DiscoveryUnavailable(f"{what}: the answer is not Consul's ({shown}…): see discovery:consul.") from None
