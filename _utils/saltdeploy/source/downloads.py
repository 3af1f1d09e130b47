"""Downloads over HTTP that go on where they broke off: within one call, and in the next one.

Beside the file that is brought lies ``<file>.from`` for as long as it is not whole: what the server sent it from.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..core import limits, urls, words
from ..core.errors import Failed
from ..system import disk
from . import web

# What a server says when it is worth asking again.
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
# A digest is of what is stored: no server may compress it on its way, and a part of that is no part of the file.
PLAIN = {"Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Terms:
    """On which terms a file is fetched.

    :param room: ``room(size, have)`` is called before anything is written: the size of the whole, and how much of it
        is there, in bytes. It raises OSError if that does not fit.
    :param take: ``take(size)`` is called before so many bytes are written. It raises OSError if they do not fit.
    :param secret: headers that only the server of the URL may see.
    :param seconds: for all of it.
    :param most: how many bytes the file may have; None: what fits.
    """

    room: Callable = lambda size, have: None
    take: Callable = lambda size: None
    secret: dict = field(default_factory=dict, repr=False)
    seconds: float = limits.DOWNLOAD
    most: int | None = None


def size(url, secret=None, warn=lambda text: None):
    """Return the size of ``url`` in bytes as its server says it, without bringing it. None: it does not say.

    :param warn: ``warn(text)`` is called if the server sends no file now, and may send it later.
    :raises Failed: the server refuses to send the file, or a redirect leaves https.
    """
    pace, said = web.Pace(limits.SMALL), ""
    try:
        # Some servers know a file only if all of it is asked for.
        for method in ("HEAD", "GET"):
            with web.answer(method, url, pace, PLAIN, secret or {}) as response:
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


def fetch_verified(url, path, digest, terms=None):
    """Bring ``url`` to ``path``, where a part of it may be; its SHA-256 is ``digest`` then.

    What is there of it stays where only the network failed, for the next call to go on with.

    :raises Failed: it could not be fetched, or is not what its digest says.
    :raises OSError: it cannot be written; what was there of it is removed.
    """
    terms = terms or Terms()
    pace = web.Pace(terms.seconds)
    # Killed when all was there, and nobody had looked at it yet.
    if path.exists() and sha256(path) == digest:
        _note(path).unlink(missing_ok=True)
        return
    pieced = fetch(url, path, terms, pace)
    found = sha256(path)
    if found != digest and pieced:
        # The pieces may be of two different files. In one piece it will not get better.
        discard(path)
        fetch(url, path, terms, pace)
        found = sha256(path)
    if found != digest:
        discard(path)
        raise Failed(wrong_digest(url, found, digest))


def wrong_digest(url, found, wanted):
    """Return what is said of a file that is not what its digest says."""
    return f"{urls.public(url)}: wrong digest: sha256 is {found}, the definition says {wanted}. Nothing was unpacked."


def fetch(url, path, terms=None, pace=None):
    """Bring ``url`` to ``path``, where a part of it may be; return whether it came in more than one piece.

    :param pace: the web.Pace that is left; None: one of ``terms.seconds``.
    :raises Failed: it could not be fetched.
    :raises OSError: it cannot be written; what was there of it is removed.
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
        # The file system may be full: what stays would keep it so, for all that runs from it.
        discard(path)
        raise


def _tried(url, path, terms, pace):
    """Ask until all of it is there."""
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


def discard(path):
    """Remove a download, or the part of it that is there."""
    path.unlink(missing_ok=True)
    _note(path).unlink(missing_ok=True)


def sha256(path):
    """Return the SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as data:
        for piece in iter(lambda: data.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def _transfer(url, path, terms, pace):
    """Ask once for all that is missing; return whether what was there already is part of it."""
    have, validator = _there(url, path)
    headers = {**PLAIN, "Range": f"bytes={have}-", "If-Range": validator} if have else PLAIN
    with web.answer("GET", url, pace, headers, terms.secret) as response:
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


def _unusable(url, path, response, have):
    """Return what to raise of an answer that brings nothing."""
    said = _said(response)
    if have and response.status_code in (206, 416):
        # It has not what we asked for, or sends something else: then from the beginning.
        discard(path)
        return web.BrokenOff(said)
    return web.BrokenOff(said) if response.status_code in TRANSIENT else Failed(f"{urls.public(url)}: {said}")


def _said(response):
    return (
        f"the server answers {response.status_code} {words.harmless((response.reason or '')[: words.VALUE])}".rstrip()
    )


def _receive(url, path, response, terms):
    """Append what comes."""
    with path.open("ab") as out:
        for piece in web.content(response):
            _refuse_larger(url, path, out.tell() + len(piece), terms)
            terms.take(len(piece))
            out.write(piece)


def _refuse_larger(url, path, there, terms):
    if terms.most is not None and there > terms.most:
        discard(path)
        raise Failed(f"{urls.public(url)}: is larger than {disk.human(terms.most)}, which is too much for such a file.")


# -- what a part is a part of -----------------------------------------------------------------


def _begin(url, path, response):
    """Make an empty file, which is noted as a part of what ``response`` brings."""
    etag, date = response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
    # A weak tag is the same for what only means the same: pieces of that make no file (RFC 9110, If-Range).
    validator = etag if etag.startswith('"') else date
    # In this order: killed between the two, there is no part without its note.
    _note(path).write_text(json.dumps({"url": urls.public(url), "validator": validator}))
    path.touch()


def _there(url, path):
    """Return how many bytes are there to go on from, and by what the server knows its file again."""
    # Killed before it was written, it may hold anything.
    with contextlib.suppress(FileNotFoundError, ValueError, LookupError, TypeError):
        noted = json.loads(_note(path).read_text())
        if noted["url"] == urls.public(url) and noted["validator"]:
            return path.stat().st_size, noted["validator"]
    return 0, ""


def _continues(response, have):
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return bool(found) and int(found[1]) == have


def _note(path):
    return path.with_name(f"{path.name}.from")
