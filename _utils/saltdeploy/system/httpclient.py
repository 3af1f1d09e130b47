"""An HTTP request with a deadline and a limit of size, with or without TLS, as Consul makes it."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import threading
import time
import urllib.parse
from dataclasses import replace
from typing import NamedTuple

from ..core import addresses
from ..core.httprequests import Request

# How much of an answer is read, in bytes.
LIMIT = 1 << 24
# The characters that stay as they are in a path with a query.
IN_URL = "/?&=%:@!$'()*+,;~[]"
# How many redirects are followed at most, as Consul does.
REDIRECTS = 10
MOVED = (301, 302, 303, 307, 308)
# With these statuses, the method and the body stay as they are.
REPEATED = (307, 308)
# The files with a machine's CA certificates that Consul looks for, in its order. Salt's own Python has others.
SYSTEM_CAS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
# OpenSSL's codes for a certificate of another name, and of another IP address.
OTHER_NAME = (62, 64)


class Place(NamedTuple):
    """The place that a request goes to."""

    scheme: str
    address: str
    port: int
    path: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, address and port: only there a request takes its headers."""
        return self[:3]

    def __str__(self) -> str:
        return f"{self.scheme}://{addresses.join(self.address, self.port)}{self.path}"


def place(url: str) -> Place:
    """Return the Place of a URL with ``http`` or ``https``."""
    parts = urllib.parse.urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(parts.scheme, parts.hostname or "", port, path)


def ask(place: Place, request: Request, deadline: float) -> tuple[http.client.HTTPResponse, bytes]:
    """Return the answer and the first LIMIT bytes of its body, of the last place if redirects are followed.

    Only the first place gets headers and body.

    :param deadline: the :func:`time.monotonic` time at which the connection is cut, also while bytes arrive.
    :raises OSError: there is no whole answer. See :func:`reason`.
    :raises http.client.HTTPException: the answer is no HTTP.
    """
    first, method = place, request.method
    for _ in range(REDIRECTS + 1):
        here = place.origin == first.origin
        asked = replace(request, method=method) if here else Request(method=method, ca=request.ca)
        asked = replace(asked, insecure=request.insecure, body=asked.body if method == request.method else "")
        response, body = _get(place, asked, deadline)
        elsewhere = response.headers["Location"]
        if not request.redirects or response.status not in MOVED or not elsewhere:
            return response, body
        if response.status not in REPEATED and method != "HEAD":
            method = "GET"
        place = _moved(place, elsewhere)
    raise http.client.HTTPException(f"more than {REDIRECTS} redirects")


def _moved(place: Place, location: str) -> Place:
    try:
        parts = urllib.parse.urlsplit(urllib.parse.urljoin(str(place), location))
        port = parts.port or (443 if parts.scheme == "https" else 80)
        (parts.hostname or "").encode("idna")
    except ValueError as exc:
        raise http.client.HTTPException("a redirect to a place that is no URL") from exc
    if parts.scheme not in ("http", "https") or not parts.hostname or not parts.hostname.isprintable():
        raise http.client.HTTPException("a redirect to a place that is no URL of http or https")
    return Place(parts.scheme, parts.hostname, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))


def _get(place: Place, request: Request, deadline: float) -> tuple[http.client.HTTPResponse, bytes]:
    """Return the response and the beginning of its body. The deadline cuts off a server that drips bytes."""
    connection = http.client.HTTPConnection(place.address, place.port, timeout=max(deadline - time.monotonic(), 0.001))
    secure = place.scheme == "https"
    # The Host header has no port if it is the usual port.
    connection.default_port = 443 if secure else 80
    try:
        connection.connect()
        if secure:
            name = request.host.partition(":")[0] or place.address
            context = _context(request.ca, request.insecure)
            connection.sock = context.wrap_socket(connection.sock, server_hostname=name, do_handshake_on_connect=False)
        cut_off = threading.Timer(deadline - time.monotonic(), _shut, [connection.sock])
        cut_off.start()
        try:
            if isinstance(connection.sock, ssl.SSLSocket):
                connection.sock.do_handshake()
            return _exchange(connection, place, request)
        finally:
            cut_off.cancel()
    finally:
        connection.close()


def _exchange(
    connection: http.client.HTTPConnection, place: Place, request: Request
) -> tuple[http.client.HTTPResponse, bytes]:
    given = {name.lower() for name in request.headers}
    headers = {n: v for n, v in (("Connection", "close"), ("User-Agent", "saltdeploy")) if n.lower() not in given}
    headers.update({"Host": request.host} if request.host else {}, **request.headers)
    path = urllib.parse.quote(place.path, safe=IN_URL)
    connection.request(request.method, path, body=request.body.encode() or None, headers=headers)
    response = connection.getresponse()
    body = response.read(LIMIT)
    if response.length and len(body) < LIMIT:
        raise http.client.IncompleteRead(body, response.length)
    return response, body


def _shut(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the answer came in the same moment
        # Not by the method of an SSLSocket, which forgets its encryption while another thread reads.
        socket.socket.shutdown(connected, socket.SHUT_RDWR)


def _context(ca: str, insecure: bool) -> ssl.SSLContext:
    """Return the settings of TLS.

    :param ca: the file with the CA certificates. Empty takes those of the machine.
    """
    if insecure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except ssl.SSLError as exc:
        raise OSError(f"{ca} has no CA certificate in PEM") from exc
    except OSError as exc:
        raise OSError(f"cannot read the CA certificates in {ca}: {exc.strerror}") from exc
    # Consul is written in Go, which never looks at the common name of a certificate.
    context.hostname_checks_common_name = False
    if not ca:
        found = system_ca()
        if found and found != ssl.get_default_verify_paths().cafile:
            context.load_verify_locations(found)
    return context


def system_ca() -> str | None:
    """Return the file with this machine's CA certificates, None if there is none."""
    return next((file for file in SYSTEM_CAS if os.path.exists(file)), None)


def reason(exc: OSError | http.client.HTTPException) -> str:
    """Return why there is no answer, in a few words."""
    if not isinstance(exc, ssl.SSLCertVerificationError):
        return str(exc)
    advice = " Write a name from its subjectAltName as `host`." if exc.verify_code in OTHER_NAME else ""
    return f"its certificate is not accepted: {exc.verify_message.rstrip('.')}.{advice}"


def text(response: http.client.HTTPResponse, body: bytes) -> str:
    """Return the text of an answer, in the character set that it names."""
    try:
        return body.decode(response.headers.get_content_charset("utf-8"), "replace")
    except LookupError:
        return body.decode("utf-8", "replace")
