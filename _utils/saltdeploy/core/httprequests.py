"""The request of a check, a test or a gate, as a definition describes it. Pure.

The three have the same keys, so that nobody needs to learn them twice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Union

from . import words
from .errors import DefinitionError, Mistakes

# The keys of a mapping that describe the request itself.
KEYS = ("host", "method", "headers", "body", "redirects", "ca", "insecure")
# The headers that come from elsewhere -> the key that they come from.
FRAME = {"host": "host", "content-length": "body", "transfer-encoding": "body"}


@dataclass(frozen=True)
class Request:
    """An HTTP request, without the place that it goes to.

    :param host: the ``Host`` header, and the name that a certificate must have. Empty takes the address that is asked.
    :param headers: further headers. Secret.
    :param body: the text to send. Secret.
    :param redirects: whether redirects are followed.
    :param ca: a file with the CA certificates to verify by. Empty takes those of the machine.
    :param insecure: whether any certificate is accepted.
    """

    host: str = ""
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    body: str = field(default="", repr=False)
    redirects: bool = False
    ca: str = ""
    insecure: bool = False


# The accepted statuses of an HTTP answer, also classes such as ``3xx``. None means any of 2xx.
Statuses = Union[int, tuple[Union[int, str], ...], None]


def accepted(wanted: Statuses, status: int) -> bool:
    """Return whether ``status`` is among the ``wanted`` statuses."""
    return status in _listed(wanted) or f"{status // 100}xx" in _listed(wanted)


def expected(wanted: Statuses) -> str:
    """Return the ``wanted`` statuses in words."""
    return " or ".join(map(str, _listed(wanted)))


def _listed(wanted: Statuses) -> tuple[int | str, ...]:
    return wanted if isinstance(wanted, tuple) else ("2xx" if wanted is None else wanted,)


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
