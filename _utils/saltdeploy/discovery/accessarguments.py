"""The forms of the arguments that set up the access control of Consul and etcd."""

from __future__ import annotations

import re
import urllib.parse
from typing import TYPE_CHECKING

from ..core import advice, bounds
from ..core.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

# The rights of a token that are links to something with a name.
LINKS = ("Policies", "Roles")


def check(**given: object) -> None:
    """Raise Refused if an argument cannot be used. The message does not show its value: it may be a secret."""
    bounds.check(given)
    for key, value in given.items():
        form, fits = FORMS.get(key, TEXT)
        if not fits(value):
            raise Refused(f"{key}: found {advice.kind(value)}. Write {form}.")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_token(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[!-~]*", value) is not None


def _is_url(value: object) -> bool:
    try:
        parts = urllib.parse.urlsplit(value) if isinstance(value, str) and value.isascii() else None
        return parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is no number, or a bracket is missing
        return False


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_mapping(value: object) -> bool:
    return isinstance(value, dict)


def _is_member(value: object) -> bool:
    """Return whether a value has all that :mod:`etcdpeers` needs of the configuration of a member of etcd."""
    if not isinstance(value, dict):
        return False
    tls = value.get("peer-transport-security") or {"cert-file": "", "key-file": ""}
    texts = [value.get(key) for key in ("name", "data-dir", "initial-cluster", "initial-cluster-state")]
    if not (isinstance(tls, dict) and all(map(_is_text, [*texts, tls.get("cert-file"), tls.get("key-file")]))):
        return False
    members = [member.partition("=") for member in value["initial-cluster"].split(",")]
    return all(url for _, _, url in members) and value["name"] in {name for name, _, _ in members}


def _is_mapping_of_texts(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


def _is_rights(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(some, list)
        and all(isinstance(one, dict) and all(map(_is_text, one)) for one in some)
        and (key not in LINKS or all(_is_text(one.get("Name")) for one in some))
        for key, some in value.items()
    )


# Argument -> its form in words, and whether a value has it. All others are texts.
TEXT: tuple[str, Callable[[object], bool]] = ("text", _is_text)
FORMS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "management": ("a token, without spaces", _is_token),
    "secret": ("a token, without spaces", _is_token),
    "url": ("a URL that begins with http:// or https://", _is_url),
    "policies": ("a list of names", _is_texts),
    "accessors": ("a list of ids", _is_texts),
    "urls": ("a list of URLs", _is_texts),
    "config": ("the configuration of a member, which is in its `initial-cluster`", _is_member),
    "roles": ("a mapping of names to lists of rights", _is_mapping),
    "passwords": ("a mapping of names to passwords", _is_mapping_of_texts),
    "rights": ("a mapping of text to lists of mappings", _is_rights),
}
