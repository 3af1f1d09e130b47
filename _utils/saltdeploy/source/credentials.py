"""The credentials of a source. They are read where they are used, shown nowhere, and sent to a single server."""

from __future__ import annotations

import base64
import netrc
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from ..core import limits, model, urls
from ..core.errors import Failed


def headers(source: model.Source, location: str, url: str) -> dict[str, str]:
    """Return the headers for the server of ``url``. Other servers must not see them.

    :param location: the URL of its archive. Headers and token are for that server (scheme, host and port) only.
    :raises Failed: a file cannot be read on this node. No message shows its content.
    """
    found: dict[str, str] = {}
    if source.netrc:
        login = logins(source.netrc).get(urlsplit(url).hostname or "")
        if login:
            found["Authorization"] = "Basic " + base64.b64encode(":".join(login).encode()).decode()
    if urls.place(url) == urls.place(location):
        found.update(source.headers)
        if source.token_file:
            found["Authorization"] = f"Bearer {token(source.token_file)}"
    return found


def missing(source: model.Source) -> Iterator[str]:
    """Yield a clause for each file with a login or a token that cannot be used on this node."""
    reads: tuple[tuple[str, Callable[[str], object]], ...] = ((source.netrc, logins), (source.token_file, token))
    for path, read in reads:
        try:
            if path:
                read(path)
        except Failed as exc:
            yield str(exc)


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
