"""Requests for files over HTTP, with a deadline that holds for any server, and no redirect from https to http.

``requests`` limits the time between two bytes, not the time of an answer. Here the time until the deadline and a
minimum rate limit each read of a connection, of headers and of content.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import re
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urljoin, urlsplit

import requests
from requests import adapters, exceptions

from ..core import limits, urls
from ..core.errors import Failed
from ..system import disk

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from urllib3 import HTTPConnectionPool, PoolManager

MOVED = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class Login:
    """The credentials that a single server may see.

    :param headers: headers of each request. Secret.
    :param cert: the files of a client certificate and of its key, or None.
    :param ca: a file with the CA certificates that the server's certificate must be signed by. Empty means those of
        the node.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    cert: tuple[str, str] | None = None
    ca: str = ""


NO_LOGIN = Login()


class BrokenOff(Exception):
    """A try did not bring the whole file. Another try may."""


class Overdue(Exception):
    """The deadline is over."""


class Pace:
    """The time of a download: until its deadline, until an answer begins, and for each part of it.

    :param seconds: the time from now until the deadline.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.deadline = seconds, time.monotonic() + seconds
        self.expect_headers()

    def expect_headers(self) -> None:
        """Note that a request is about to be sent."""
        self._begin(headers=True)

    def expect_body(self) -> None:
        """Note that the headers are here."""
        self._begin(headers=False)

    def _begin(self, headers: bool) -> None:
        self.headers, self.since, self.bytes = headers, time.monotonic(), 0

    def patience(self) -> float:
        """Return how many seconds the next bytes may take.

        :raises Overdue: no time is left.
        """
        # An answer that is slow already may not take longer than its window.
        wait = limits.HEADERS if self.headers else limits.WINDOW * (1 if self._slow() else 2)
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise Overdue
        return max(0.001, min(left, self.since + wait - time.monotonic()))

    def count(self, size: int) -> None:
        """Note that ``size`` bytes came.

        :raises BrokenOff: they came too slowly, or they are too many for headers.
        """
        self.bytes += size
        passed = time.monotonic() - self.since
        if self.headers:
            if self.bytes > limits.HEADER_BYTES:
                raise BrokenOff(f"the headers of the answer have more than {disk.human(limits.HEADER_BYTES)}")
            if passed > limits.HEADERS:
                self.give_up()
        elif passed > limits.WINDOW:
            if self._slow():
                self.give_up()
            self.expect_body()

    def give_up(self) -> NoReturn:
        """Raise the exception for a wait that ended without bytes."""
        if time.monotonic() >= self.deadline:
            raise Overdue
        if self.headers:
            raise BrokenOff(f"the server did not send the headers of its answer within {limits.HEADERS:g}s")
        raise BrokenOff(
            f"the server sent {disk.human(self.bytes)} in {limits.WINDOW:g}s, less than {limits.RATE} bytes a second"
        )

    def _slow(self) -> bool:
        return self.bytes < limits.RATE * limits.WINDOW


@contextlib.contextmanager
def answer(
    method: str, url: str, pace: Pace, headers: Mapping[str, str], login: Login = NO_LOGIN
) -> Iterator[requests.Response]:
    """Ask ``url``, follow redirects, and yield the response, whose content :func:`content` reads.

    :param login: for the server of ``url`` only: same scheme, host and port.
    :raises BrokenOff: another try may succeed.
    :raises Overdue: the deadline is over.
    :raises Failed: it cannot be fetched, or a redirect leaves https.
    """
    here = url
    with _session(pace) as session:
        for _ in range(limits.REDIRECTS + 1):
            mine = login if urls.place(here) == urls.place(url) else NO_LOGIN
            with _send(session, method, here, headers, mine, pace, url) as response:
                target = response.headers.get("Location") if response.status_code in MOVED else None
                if not target:
                    yield response
                    return
            here = _redirected(url, here, target)
    raise Failed(f"{urls.public(url)}: the server redirects more than {limits.REDIRECTS} times")


def content(response: requests.Response) -> Iterator[bytes]:
    """Yield the content of ``response``, as it comes and as the server stores it.

    :raises BrokenOff, Overdue: as :func:`answer`.
    """
    # The reader of urllib3 is not used, because it takes a line of any length for the size of a chunk.
    body: http.client.HTTPResponse = response.raw._original_response
    while True:
        try:
            piece = body.read1(1 << 16)
        except (http.client.HTTPException, OSError) as exc:
            raise BrokenOff(f"the connection broke off: {_plain(exc)}") from exc
        if not piece:
            return
        yield piece


def length(response: requests.Response) -> int | None:
    """Return how many bytes ``response`` brings, or None if it does not say."""
    said = response.headers.get("Content-Length", "")
    return int(said) if re.fullmatch("[0-9]{1,18}", said) and "Transfer-Encoding" not in response.headers else None


def _send(
    session: requests.Session, method: str, here: str, headers: Mapping[str, str], login: Login, pace: Pace, url: str
) -> requests.Response:
    pace.expect_headers()
    wait = min(limits.CONNECT, pace.patience()), limits.HEADERS
    try:
        # With the function for ``auth``, requests looks for no password in a netrc file of its own choice.
        return session.request(
            method,
            here,
            headers={**login.headers, **headers},
            timeout=wait,
            stream=True,
            allow_redirects=False,
            auth=lambda asked: asked,
            cert=login.cert,
            verify=login.ca or None,
        )
    except (requests.RequestException, ValueError) as exc:
        if isinstance(exc, exceptions.SSLError):
            raise Failed(f"{urls.public(url)}: cannot be fetched: {_plain(exc)}") from None
        if isinstance(exc, (requests.ConnectionError, requests.Timeout)):
            raise BrokenOff(_plain(exc)) from exc
        # The text of the exception may hold a header, or a URL with a signature.
        raise Failed(f"{urls.public(url)}: cannot be fetched: {type(exc).__name__}") from None


def _redirected(url: str, here: str, target: str) -> str:
    """Return the URL that ``here`` redirects to."""
    try:
        there = re.sub(r"(://)[^/?#]*@", r"\1", urljoin(here, target))
        parts = urlsplit(there)
        usable = parts.scheme in ("http", "https") and parts.hostname
    except ValueError:
        usable = False
    if not usable:
        raise Failed(f"{urls.public(url)}: the server redirects to no http:// or https:// URL: refused.")
    if urlsplit(here).scheme == "https" and parts.scheme != "https":
        raise Failed(
            f"{urls.public(url)}: the server redirects from https to http, at {parts.hostname}: refused. Anybody on the"
            " way could answer there."
        )
    return there


def _plain(exc: Exception) -> str:
    """Return the text of a network error without the URL, as the URL of a redirect may hold a signature."""
    reason = exc.args[0] if exc.args else exc
    text = str(getattr(reason, "reason", None) or reason)
    return re.sub(r"^(<[^>]*>|\w+\([^)]*\)): ", "", text) or type(exc).__name__


# -- each read of a connection within its time ------------------------------------------------


class _Paced(io.RawIOBase):
    """The bytes that a socket receives, within the time of a Pace."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, pace: Pace) -> None:
        self._raw, self._sock, self._pace = raw, sock, pace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        self._sock.settimeout(self._pace.patience())
        try:
            size = self._raw.readinto(buffer)
        except socket.timeout:
            self._pace.give_up()
        self._pace.count(size or 0)
        return size

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, pace: Pace, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._pace = pace
        self.fp = io.BufferedReader(_Paced(self.fp.detach(), sock, pace), 1 << 16)

    def begin(self) -> None:
        super().begin()
        self._pace.expect_body()


class _Adapter(adapters.HTTPAdapter):
    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self._with_pace(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> PoolManager:
        known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **kwargs)
        return manager if known else self._with_pace(manager)

    def _with_pace(self, manager: PoolManager) -> PoolManager:
        response = staticmethod(functools.partial(_Response, self._pace))
        pools: dict[str, type[HTTPConnectionPool]] = {}
        pool: type[HTTPConnectionPool]
        for scheme, pool in manager.pool_classes_by_scheme.items():
            connection = type("Connection", (pool.ConnectionCls,), {"response_class": response})
            pools[scheme] = type("Pool", (pool,), {"ConnectionCls": connection})
        manager.pool_classes_by_scheme = pools
        return manager


def _session(pace: Pace) -> requests.Session:
    session = requests.Session()
    session.mount("http://", _Adapter(pace))
    session.mount("https://", session.get_adapter("http://"))
    return session
