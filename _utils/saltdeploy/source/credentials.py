"""The credentials of a source. They are read where they are used, shown nowhere, and sent to a single server."""

from __future__ import annotations

import base64
import netrc
import re
import ssl
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from ..core import limits, model, urls
from ..core.errors import Failed
from . import web


def login(source: model.Source, location: str, url: str) -> web.Login:
    """Return all that a node shows to the server of ``url``. Other servers must not see it.

    :param location: the URL of its archive. Headers, token and certificate are for that server (scheme, host and port)
        only.
    :raises Failed: a file cannot be used on this node. No message shows its content.
    """
    found = headers(source, location, url)
    if urls.place(url) != urls.place(location):
        return web.Login(found)
    certificate(source)
    return web.Login(found, (source.cert, source.key or source.cert) if source.cert else None, source.ca)


def headers(source: model.Source, location: str, url: str) -> dict[str, str]:
    """Return the headers of :func:`login`."""
    found: dict[str, str] = {}
    if source.netrc:
        entry = logins(source.netrc).get(urlsplit(url).hostname or "")
        if entry:
            found["Authorization"] = "Basic " + base64.b64encode(":".join(entry).encode()).decode()
    if urls.place(url) == urls.place(location):
        found.update(source.headers)
        if source.token_file:
            found["Authorization"] = f"Bearer {token(source.token_file)}"
    return found


def missing(source: model.Source) -> Iterator[str]:
    """Yield a clause for each file with a login, a token or a certificate that cannot be used on this node."""
    reads: tuple[Callable[[], object], ...] = (
        lambda: source.netrc and logins(source.netrc),
        lambda: source.token_file and token(source.token_file),
        lambda: certificate(source),
    )
    for read in reads:
        try:
            read()
        except Failed as exc:
            yield str(exc)


def certificate(source: model.Source) -> None:
    """Check the files ``cert``, ``key`` and ``ca``.

    :raises Failed: they cannot be used on this node. No message shows their content.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if source.ca:
        text(source.ca, "ca")
        try:
            context.load_verify_locations(source.ca)
        except ssl.SSLError:
            raise Failed(f"source:ca: {source.ca} has no CA certificates in PEM") from None
    if not source.cert:
        return
    for key, path in (("cert", source.cert), ("key", source.key)):
        if path:
            text(path, key)
    try:
        context.load_cert_chain(source.cert, source.key or None, _no_password)
    except ssl.SSLError:
        key = f"source:key: {source.key}" if source.key else f"source:cert: {source.cert}"
        raise Failed(f"{key} has no private key in PEM that fits the certificate in {source.cert}") from None


def certificate_and_key(source: model.Source) -> str:
    """Return the client certificate and its key, for pip and uv, which want them in a single file."""
    paths = [source.cert, *([source.key] if source.key else [])]
    return "\n".join(text(path, key) for path, key in zip(paths, ("cert", "key")))


def _no_password() -> NoReturn:
    raise Failed("source:key: the private key has a password, which nobody can type in here. Take it off the key")


def text(path: str, key: str) -> str:
    """Return the content of a file with certificates or a key."""
    try:
        with Path(path).open("rb") as data:
            return data.read(limits.CERTIFICATES).decode(errors="replace")
    except OSError as exc:
        raise Failed(f"source:{key}: {path} cannot be read on this node: {exc.strerror or exc}") from None


def logins(path: str) -> dict[str, tuple[str, str]]:
    """Return the logins in a netrc file, host -> (login, password). Its ``default`` is for any host, and left out."""
    try:
        hosts = netrc.netrc(path).hosts
    except OSError as exc:
        raise Failed(f"source:netrc: {path} cannot be read on this node: {exc.strerror or exc}") from None
    except (netrc.NetrcParseError, UnicodeDecodeError) as exc:
        number = exc.lineno if isinstance(exc, netrc.NetrcParseError) else None
        line = f", line {number}" if number else ""
        raise Failed(f"source:netrc: {path}{line} is not as a netrc file must be") from None
    return {host: (login or "", password or "") for host, (login, _, password) in hosts.items() if host != "default"}


def of_hosts(path: str, texts: Iterable[str]) -> str:
    """Return the part of a netrc file, as text, that is about hosts of the URLs in ``texts``."""
    hosts = {urlsplit(url).hostname for text in texts for url in re.findall(r"(?i)https?://[^\s;]+", text)}
    found = {host: login for host, login in logins(path).items() if host in hosts}
    return "".join(f"machine {host} login {login} password {password}\n" for host, (login, password) in found.items())


def token(path: str) -> str:
    """Return the token in a file.

    :raises Failed: the file cannot be read on this node, or holds no token. No message shows its content.
    """
    try:
        with Path(path).open("rb") as data:
            found = data.read(limits.TOKEN + 1).strip()
    except OSError as exc:
        raise Failed(f"source:token_file: {path} cannot be read on this node: {exc.strerror or exc}") from None
    if not re.fullmatch(rb"[!-~]+", found) or len(found) > limits.TOKEN:
        raise Failed(f"source:token_file: {path} holds no token: one word of printable ASCII, on one line")
    return found.decode()
