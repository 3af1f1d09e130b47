"""Downloads over HTTP that continue where they broke off, within a call and in the next call.

While a file is incomplete, ``<file>.from`` lies beside it, with its URL and the server's validator of the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core import limits, urls, words
from ..core.errors import Failed
from ..system import disk
from . import web

if TYPE_CHECKING:
    import requests

# The statuses of answers after which it is worth asking again.
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
# A digest is of the stored file, so no server may compress it on its way. A part of compressed data is no part of the
# file.
PLAIN = {"Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Terms:
    """The terms on which a file is fetched.

    :param room: ``room(size, have)`` is called before anything is written, with the size of the whole file and of the
        part that is here, in bytes. It raises OSError if the file does not fit.
    :param take: ``take(size)`` is called before so many bytes are written. It raises OSError if they do not fit.
    :param login: for the server of the URL only.
    :param seconds: the time for the whole download.
    :param most: how many bytes the file may have. None allows all that fit.
    """

    room: Callable[[int, int], object] = lambda size, have: None
    take: Callable[[int], object] = lambda size: None
    login: web.Login = web.NO_LOGIN
    seconds: float = limits.DOWNLOAD
    most: int | None = None


def size(url: str, login: web.Login = web.NO_LOGIN, warn: Callable[[str], object] = lambda text: None) -> int | None:
    """Return the size of ``url`` in bytes without fetching it, or None if its server does not say the size.

    :param warn: ``warn(text)`` is called if the server sends no file now, and may send it later.
    :raises Failed: the server refuses to send the file, or a redirect leaves https.
    """
    pace, said = web.Pace(limits.SMALL), ""
    try:
        # Some servers know a file only if a request asks for all of it.
        for method in ("HEAD", "GET"):
            with web.answer(method, url, pace, PLAIN, login) as response:
                if response.status_code == 200:
                    return web.length(response)
                said, later = _said(response), response.status_code in TRANSIENT or response.status_code >= 500
    except web.BrokenOff as exc:
        said, later = str(exc), True
    except web.Overdue:
        said, later = f"the server did not answer within {limits.SMALL:g}s", True
    if not later:
        raise Failed(f"{urls.public(url)}: {said}")
    warn(f"{urls.public(url)}: {said}. An installation now would fail")
    return None


def fetch_verified(url: str, path: Path, digest: str, terms: Terms | None = None) -> None:
    """Bring ``url`` to ``path``, where a part of it may be, and check that its SHA-256 is ``digest``.

    If only the network failed, the part stays, and the next call continues it.

    :raises Failed: it could not be fetched, or it has another digest.
    :raises OSError: it cannot be written. The part of it is removed.
    """
    terms = terms or Terms()
    pace = web.Pace(terms.seconds)
    # An earlier call was killed between the end of the download and its check.
    if path.exists() and sha256(path) == digest:
        _note(path).unlink(missing_ok=True)
        return
    pieced = fetch(url, path, terms, pace)
    found = sha256(path)
    if found != digest and pieced:
        # The pieces may be of two different files. A file that came in a single piece would stay wrong.
        discard(path)
        fetch(url, path, terms, pace)
        found = sha256(path)
    if found != digest:
        discard(path)
        raise Failed(wrong_digest(url, found, digest))


def wrong_digest(url: str, found: str, wanted: str) -> str:
    """Return the message about a file with a wrong digest."""
    return f"{urls.public(url)}: wrong digest: sha256 is {found}, the definition says {wanted}. Nothing was unpacked."


def fetch(url: str, path: Path, terms: Terms | None = None, pace: web.Pace | None = None) -> bool:
    """Bring ``url`` to ``path``, where a part of it may be, and return whether it came in several pieces.

    :param pace: the time that is left. None takes ``terms.seconds`` from now.
    :raises Failed: it could not be fetched.
    :raises OSError: it cannot be written. The part of it is removed.
    """
    terms = terms or Terms()
    pace = pace or web.Pace(terms.seconds)
    try:
        return _tried(url, path, terms, pace)
    except web.Overdue:
        there = path.stat().st_size if path.exists() else 0
        raise Failed(
            f"{urls.public(url)}: is not there after {pace.seconds:g}s: {disk.human(there)} came. The server is too"
            " slow, or never ends."
        ) from None
    except OSError:
        # The file system may be full. The part would keep it full, for all that runs from it.
        discard(path)
        raise


def _tried(url: str, path: Path, terms: Terms, pace: web.Pace) -> bool:
    """Ask until the whole file is here, and return whether it came in several pieces."""
    tries = 0
    while True:
        try:
            resumed = _transfer(url, path, terms, pace)
            _note(path).unlink(missing_ok=True)
            return resumed
        except web.BrokenOff as exc:
            if tries == len(limits.WAITS) or time.monotonic() + limits.WAITS[tries] > pace.deadline:
                raise Failed(f"{urls.public(url)}: cannot be fetched: {exc} (tried {tries + 1} times)") from exc
        time.sleep(limits.WAITS[tries])
        tries += 1


def discard(path: Path) -> None:
    """Remove a download, or the part of it that is there."""
    path.unlink(missing_ok=True)
    _note(path).unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as data:
        for piece in iter(lambda: data.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def _transfer(url: str, path: Path, terms: Terms, pace: web.Pace) -> bool:
    """Ask once for all that is missing, and return whether the part that was here is used."""
    have, validator = _there(url, path)
    headers = {**PLAIN, "Range": f"bytes={have}-", "If-Range": validator} if have else PLAIN
    with web.answer("GET", url, pace, headers, terms.login) as response:
        if response.status_code == 206 and have and _continues(response, have):
            whole = web.length(response)
            whole = None if whole is None else have + whole
        elif response.status_code == 200:
            have, whole = 0, web.length(response)
            discard(path)  # also for the room that it takes
        else:
            raise _unusable(url, path, response, have)
        if whole is not None:
            _refuse_larger(url, path, whole, terms)
            terms.room(whole, have)
        if not have:
            _begin(url, path, response)
        _receive(url, path, response, terms)
        if whole is not None and path.stat().st_size < whole:
            raise web.BrokenOff(f"the connection ended after {path.stat().st_size} of {whole} bytes")
    return bool(have)


def _unusable(url: str, path: Path, response: requests.Response, have: int) -> Exception:
    """Return the exception for an answer that brings nothing."""
    said = _said(response)
    if have and response.status_code in (206, 416):
        # The server does not have the rest, or sends something else. The next try begins again.
        discard(path)
        return web.BrokenOff(said)
    return web.BrokenOff(said) if response.status_code in TRANSIENT else Failed(f"{urls.public(url)}: {said}")


def _said(response: requests.Response) -> str:
    return (
        f"the server answers {response.status_code} {words.harmless((response.reason or '')[: words.VALUE])}".rstrip()
    )


def _receive(url: str, path: Path, response: requests.Response, terms: Terms) -> None:
    """Append the content of the answer to the file."""
    with path.open("ab") as out:
        for piece in web.content(response):
            _refuse_larger(url, path, out.tell() + len(piece), terms)
            terms.take(len(piece))
            out.write(piece)


def _refuse_larger(url: str, path: Path, there: int, terms: Terms) -> None:
    if terms.most is not None and there > terms.most:
        discard(path)
        raise Failed(f"{urls.public(url)}: is larger than {disk.human(terms.most)}, which is too much for such a file.")


# -- the file that a part belongs to ----------------------------------------------------------


def _begin(url: str, path: Path, response: requests.Response) -> None:
    """Make an empty file, and note that it is a part of the file that ``response`` brings."""
    etag, date = response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
    # Files with a different content may have the same weak tag, so their pieces make no file (RFC 9110, If-Range).
    validator = etag if etag.startswith('"') else date
    # The order matters. If this process is killed in between, there is no part without its note.
    _note(path).write_text(json.dumps({"url": urls.public(url), "validator": validator}))
    path.touch()


def _there(url: str, path: Path) -> tuple[int, str]:
    """Return how many bytes are here to continue from, and the validator by which the server knows its file again."""
    # If the writer was killed, the note may hold anything.
    with contextlib.suppress(FileNotFoundError, ValueError, LookupError, TypeError):
        noted = json.loads(_note(path).read_text())
        if noted["url"] == urls.public(url) and noted["validator"]:
            return path.stat().st_size, noted["validator"]
    return 0, ""


def _continues(response: requests.Response, have: int) -> bool:
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return found is not None and int(found[1]) == have


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.from")
