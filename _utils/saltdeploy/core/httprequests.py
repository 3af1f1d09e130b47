"""The request of a check, a test or a gate, as a definition describes it. Pure.

The three have the same keys, so that nobody needs to learn them twice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from . import words
from .errors import DefinitionError, Mistakes
from .model import Request, Statuses

# The keys of a mapping that describe the request itself.
KEYS = ("host", "method", "headers", "body", "redirects", "ca", "insecure")
# The headers that come from elsewhere -> the key that they come from.
FRAME = {"host": "host", "content-length": "body", "transfer-encoding": "body"}


def request(raw: Mapping[str, Any], at: str) -> Request:
    """Return the Request that the KEYS of ``raw`` describe. The schema has accepted them.

    :param at: the key path of ``raw``, for messages.
    :raises DefinitionError: a header has a character that is not allowed.
    """
    given = {key: raw[key] for key in KEYS if key in raw}
    if "headers" in given:
        given["headers"] = headers(given["headers"], at)
    return Request(**given)


def headers(raw: Mapping[str, str], at: str) -> dict[str, str]:
    """Return headers without the newline that YAML leaves at the end of a block.

    :raises DefinitionError: a header has a character that is not allowed. The message shows no value: it may be secret.
    """
    found = {name: value.strip() for name, value in raw.items()}
    for name, value in found.items():
        if not (value.isascii() and value.isprintable()):
            path = words.path(("headers", name), {"headers": raw})
            raise DefinitionError(f"{at}:{path}: has a character that is not allowed. Write printable ASCII.")
    return found


def statuses(raw: Any) -> Statuses:
    """Return the accepted statuses that ``status`` of a definition says."""
    if raw == "2xx":
        return None
    return tuple(raw) if isinstance(raw, list) else raw if isinstance(raw, int) else (raw,)


def check(raw: Mapping[str, Any], at: str, secure: bool, read: Collection[str], remedy: str) -> None:
    """Raise DefinitionError if keys of ``raw`` cannot be used together.

    :param at: its key path, for messages.
    :param secure: whether the request uses TLS.
    :param read: the keys that read the text of the answer.
    :param remedy: how to use TLS, as the beginning of a sentence.
    """
    mistakes = Mistakes()
    for key in ("ca", "insecure"):
        if key in raw and not secure:
            mistakes.add(f"{at}:{key}: has no meaning without TLS. {remedy}, or remove it.")
    if "ca" in raw and raw.get("insecure"):
        mistakes.add(f"{at}:insecure: accepts any certificate, so `ca` has no meaning. Remove one of them.")
    for key in read if raw.get("method") == "HEAD" else ():
        if key in raw:
            mistakes.add(f"{at}:{key}: an answer to HEAD has no text. Write another `method`.")
    for name in raw.get("headers", ()):
        if name.lower() in FRAME:
            mistakes.add(f"{at}:headers:{name}: is made from `{FRAME[name.lower()]}`. Write that, and not the header.")
    mistakes.refuse()
