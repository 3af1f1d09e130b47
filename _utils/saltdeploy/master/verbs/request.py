"""``deploy.request``: deploys as a signed event asks. The reactor ``salt/saltdeploy/reactor/request.sls`` calls it.

Any minion can fire any event with any data, so nothing of an event counts before its signature is verified.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import discovery
from ...core import advice, arguments, names, records, words
from ...core.errors import Refused
from . import deploy

if TYPE_CHECKING:
    from ...core.environment import Environment
    from .session import Session
    from .task import Result

TAG = re.compile(r"deploy/request/([^/\s]+)/([^/\s,]+)")
# How old a request may be, and how far the clock of the sender may be ahead, in seconds.
LIFE, AHEAD = 300.0, 30.0
# The longest request, and the shortest key: 128 bits in hexadecimal digits.
MOST, LEAST = 4096, 32
NEEDED, ALLOWED = {"environment", "app", "time"}, {"environment", "app", "time", "version", "reason", "wait"}


def run(session: Session, tag: object, data: object) -> Result:
    """Deploy as the event with ``tag`` and ``data`` asks.

    :param data: ``request`` is a text in JSON. ``signature`` is its HMAC with SHA-256, in hexadecimal digits. An event
        of a minion has both in ``data``.
    :raises Refused: the signature is wrong, or the request is too old, or for something else, or was taken before.
    """
    found = TAG.fullmatch(tag) if isinstance(tag, str) else None
    if not found:
        raise Refused(f"tag={words.shown(tag)}: deploy/request/ENVIRONMENT/APP is allowed")
    name, app = found.groups()
    environment = session.environment(name)
    wanted = _signed(data, _key(environment.name, environment.conditions.request_key_file))
    if (wanted["environment"], wanted["app"]) != (name, app):
        raise Refused(f"the request is for another app or environment than its tag {tag}.")
    moment, now = wanted["time"], time.time()
    if not advice.is_number(moment) or not now - LIFE <= moment <= now + AHEAD:
        raise Refused(f"time={words.shown(moment)}: the request is not of the last {LIFE / 60:g} minutes.")
    _take(environment, app, float(moment))
    reason = arguments.text("reason", wanted.get("reason"), arguments.REASON) or ""
    version, wait = wanted.get("version"), wanted.get("wait", 0)
    return deploy.run(session, app, name, version, None, None, True, False, False, reason, False, wait)


def _take(environment: Environment, app: str, moment: float) -> None:
    """Take a request, so that nobody can send it, or an older one, again.

    :param moment: its time.
    :raises Refused: it was taken before, or a newer one was.
    """
    key = records.request_key(records.prefix(environment.name, names.app(app)))
    with discovery.connect(environment.discovery) as backend:
        last, index, _ = backend.read(key)
        if advice.is_number(last) and moment <= last:
            raise Refused("the request was taken before, or one with a later time was.")
        if not backend.replace(key, moment, index):
            raise Refused("another request for the app came at the same moment. Send it again with the time of then.")


def _key(environment: str, path: str) -> bytes:
    """Return the key of the requests for ``environment``."""
    at = f"environments:{environment}:request_key_file"
    if not path:
        raise Refused(f"no event may deploy to {environment}: see {at}.")
    try:
        key = Path(path).read_bytes().strip()
    except OSError as exc:
        raise Refused(f"{at}: {path}: {exc.strerror}") from exc
    if len(key) < LEAST:
        raise Refused(f"{at}: {path} has fewer than {LEAST} characters. Make a key with: openssl rand -hex 32")
    return key


def _signed(data: object, key: bytes) -> dict[str, Any]:
    """Return the request in the data of an event. Raise Refused if it is not signed with ``key``."""
    inner = data.get("data", data) if isinstance(data, Mapping) else data
    text, signature = (inner.get(part) if isinstance(inner, Mapping) else None for part in ("request", "signature"))
    if not isinstance(text, str) or not isinstance(signature, str) or len(text) > MOST:
        raise Refused(f"the event has no `request` and `signature`, or a request of more than {MOST} characters.")
    right = hmac.new(key, text.encode(errors="replace"), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(right.encode(), signature.encode(errors="replace")):
        raise Refused("the signature of the request is wrong.")
    try:
        wanted = json.loads(text)
    except (ValueError, RecursionError):
        wanted = None
    if not isinstance(wanted, dict) or not NEEDED <= wanted.keys() <= ALLOWED:
        raise Refused(
            f"the request has other keys than {words.listed(ALLOWED)}, or lacks one of {words.listed(NEEDED)}."
        )
    return wanted
