"""Downloads over HTTP that go on where they broke off: within one call, and in the next one.

Beside the file that is brought lies ``<file>.from`` for as long as it is not whole: what the server sent it from.
"""

from __future__ import annotations

import hashlib
import json
import re
import time

import requests
import urllib3
from requests import exceptions

from .errors import Failed

# Seconds to connect, and between two pieces of a download.
HTTP_TIMEOUT = (5, 60)
HEAD_TIMEOUT = (5, 10)
# Seconds that a whole download may take, with all its tries: the next deployment waits for this one to let go of the
# app's releases.
DOWNLOAD_TIMEOUT = 3600
# Seconds before each further try: enough for a server or proxy that restarts. What lasts longer is for the next
# deployment, which goes on where this one stopped.
WAITS = (1, 2, 4)
PIECE = 1 << 16
# What a server says when it is worth asking again.
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
# A digest is of what is stored: no server may compress it on its way, and a part of that is no part of the file.
PLAIN = {"Accept-Encoding": "identity"}


class _BrokenOff(Exception):
    """One try did not bring all of it; another one may."""


def size(url):
    """Return the size of ``url`` in bytes as its server says it, without bringing it; None: it does not say."""
    try:
        response = requests.head(url, headers=PLAIN, timeout=HEAD_TIMEOUT, allow_redirects=True)
    except requests.RequestException:  # who brings it will tell
        return None
    return _length(response) if response.status_code == 200 else None


def fetch_verified(url, path, digest, room=lambda size, have: None):
    """Bring ``url`` to ``path``, where a part of it may be; its SHA-256 is ``digest`` then.

    What is there of it stays where only the network failed, for the next call to go on with.

    :param room: ``room(size, have)`` is called before anything is written: the size of the whole, and how much of it
        is there, in bytes. It raises OSError if that does not fit.
    :raises Failed: it could not be fetched, or is not what its digest says.
    :raises OSError: it cannot be written; what was there of it is removed.
    """
    deadline = time.monotonic() + DOWNLOAD_TIMEOUT
    # Killed when all was there, and nobody had looked at it yet.
    if path.exists() and sha256(path) == digest:
        _note(path).unlink(missing_ok=True)
        return
    pieced = fetch(url, path, room, deadline)
    found = sha256(path)
    if found != digest and pieced:
        # The pieces may be of two different files. In one piece it will not get better.
        discard(path)
        fetch(url, path, room, deadline)
        found = sha256(path)
    if found != digest:
        discard(path)
        raise Failed(f"{url}: wrong digest: sha256 is {found}, the definition says {digest}. Nothing was unpacked.")


def fetch(url, path, room=lambda size, have: None, deadline=None):
    """Bring ``url`` to ``path``, where a part of it may be; return whether it came in more than one piece.

    :param deadline: on the clock of ``time.monotonic``; None: DOWNLOAD_TIMEOUT from now.
    :raises Failed: it could not be fetched.
    :raises OSError: it cannot be written; what was there of it is removed.
    """
    deadline = deadline or time.monotonic() + DOWNLOAD_TIMEOUT
    tries = 0
    try:
        while True:
            try:
                resumed = _transfer(url, path, room, deadline)
                _note(path).unlink(missing_ok=True)
                return resumed
            except _BrokenOff as exc:
                if tries == len(WAITS) or time.monotonic() + WAITS[tries] > deadline:
                    raise Failed(f"{url}: cannot be fetched: {exc} (tried {tries + 1} times)") from exc
            time.sleep(WAITS[tries])
            tries += 1
    except OSError:
        # The file system may be full: what stays would keep it so, for all that runs from it.
        discard(path)
        raise


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


def _transfer(url, path, room, deadline):
    """Ask once for all that is missing; return whether what was there already is part of it."""
    have, validator = _there(url, path)
    headers = {**PLAIN, "Range": f"bytes={have}-", "If-Range": validator} if have else PLAIN
    try:
        response = requests.get(url, headers=headers, stream=True, timeout=HTTP_TIMEOUT)
    except requests.RequestException as exc:
        if isinstance(exc, (requests.ConnectionError, requests.Timeout)) and not isinstance(exc, exceptions.SSLError):
            raise _BrokenOff(exc) from exc
        raise Failed(f"{url}: cannot be fetched: {exc}") from exc
    with response:
        if response.status_code == 206 and have and _continues(response, have):
            whole = _length(response)
            whole = None if whole is None else have + whole
        elif response.status_code == 200:
            have, whole = 0, _length(response)
            discard(path)  # also for the room that it takes
        else:
            raise _unusable(url, path, response, have)
        if whole is not None:
            room(whole, have)
        if not have:
            _begin(url, path, response)
        _receive(url, path, response, deadline)
        if whole is not None and path.stat().st_size < whole:
            raise _BrokenOff(f"the connection ended after {path.stat().st_size} of {whole} bytes")
    return bool(have)


def _unusable(url, path, response, have):
    """Return what to raise of an answer that brings nothing."""
    said = f"the server answers {response.status_code} {response.reason}"
    if have and response.status_code in (206, 416):
        # It has not what we asked for, or sends something else: then from the beginning.
        discard(path)
        return _BrokenOff(said)
    return _BrokenOff(said) if response.status_code in TRANSIENT else Failed(f"{url}: {said}")


def _receive(url, path, response, deadline):
    """Append what comes."""
    with path.open("ab") as out:
        try:
            for piece in response.raw.stream(PIECE, decode_content=False):
                out.write(piece)
                if time.monotonic() > deadline:
                    raise Failed(f"{url}: is not there after {DOWNLOAD_TIMEOUT}s")
        except urllib3.exceptions.HTTPError as exc:
            raise _BrokenOff(exc) from exc


# -- what a part is a part of -----------------------------------------------------------------


def _begin(url, path, response):
    """Make an empty file, which is noted as a part of what ``response`` brings."""
    etag, date = response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
    # A weak tag is the same for what only means the same: pieces of that make no file (RFC 9110, If-Range).
    validator = etag if etag.startswith('"') else date
    # In this order: killed between the two, there is no part without its note.
    _note(path).write_text(json.dumps({"url": url, "validator": validator}))
    path.touch()


def _there(url, path):
    """Return how many bytes are there to go on from, and by what the server knows its file again."""
    try:
        noted = json.loads(_note(path).read_text())
        if noted["url"] == url and noted["validator"]:
            return path.stat().st_size, noted["validator"]
    except (FileNotFoundError, ValueError, LookupError, TypeError):  # killed before it was written
        pass
    return 0, ""


def _continues(response, have):
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return bool(found) and int(found[1]) == have


def _length(response):
    """Return how many bytes ``response`` brings; None: it does not say."""
    said = response.headers.get("Content-Length", "")
    return int(said) if said.isdigit() and "Transfer-Encoding" not in response.headers else None


def _note(path):
    return path.with_name(f"{path.name}.from")
