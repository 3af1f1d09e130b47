"""Names, versions and ids as arguments of functions on a node. They become paths, so they are checked first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import advice, bounds, editions, forms
from .errors import Refused
from .phases import PHASES
from .words import odd, shown

if TYPE_CHECKING:
    from typing import TypeGuard

NAME, VERSION = re.compile(forms.NAME), re.compile(forms.VERSION)
DIGEST = re.compile("[0-9a-fA-F]{64}")
# A SHA-256, or the commit of a Git repository.
CONTENT = re.compile("[0-9a-fA-F]{64}|[0-9a-fA-F]{40}")
INSTANCE = re.compile(
    r"(?P<app>[a-z0-9-]{1,53})_(?P<version>[A-Za-z0-9][A-Za-z0-9._+~-]{0,62})_([0-9]{1,5}(-[1-9][0-9]{0,4})?|hook)"
)
# The most instances that `deploy.app` may ask for (see the schema), and all ports.
INSTANCES, SLOTS = forms.INSTANCES["maximum"], range(65536)
# More instances than a deployment has on a node, and more releases than a node has.
LISTED = 1000
TARGET = {"id", "node", "address", "port", "version"}
# If a version was read as a number, nobody knows any more how it was typed.
AS_TEXT = "Quote it twice, as you typed it: version=\"'3.10'\", for example."


def app(value: object) -> str:
    """Return ``value`` if it can be the name of an app, else raise Refused."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise Refused(f"app: {advice.wrong(forms.A_NAME, value)}")
    return value


def is_app(value: object) -> bool:
    """Return whether ``value`` can be the name of an app."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def version(value: object) -> str:
    """Return ``value`` if it can be a version, else raise Refused."""
    if is_version(value):
        return value
    if advice.is_number(value):
        raise Refused(f"version {shown(value)}: it was read as a number. {AS_TEXT}")
    raise Refused(f"version: {advice.wrong(forms.A_VERSION, value)}")


def edition(value: object) -> str:
    """Return ``value`` if it can be a version, or a version with a number of settings, else raise Refused."""
    return value if editions.is_edition(value) else version(value)


def is_version(value: object) -> TypeGuard[str]:
    """Return whether ``value`` can be a version."""
    return isinstance(value, str) and VERSION.fullmatch(value) is not None


def digest(value: object) -> str:
    """Return ``value`` if it is a SHA-256 or a commit in hexadecimal digits, or empty, else raise Refused."""
    if value in (None, ""):
        return ""
    if not isinstance(value, str) or not CONTENT.fullmatch(value):
        raise Refused(f"digest {shown(value)}: a SHA-256 has 64 hexadecimal digits, and a commit of Git has 40")
    return value.lower()


def content(digest: str) -> str:
    """Return a digest or a commit for a message: its kind, and its beginning."""
    return f"{'sha256' if DIGEST.fullmatch(digest) else 'commit'} {digest[:12]}…"


def is_instance(value: object) -> TypeGuard[str]:
    """Return whether ``value`` can be the id of an instance."""
    return isinstance(value, str) and INSTANCE.fullmatch(value) is not None


def instance(value: object) -> str:
    """Return ``value`` if it can be the id of an instance, else raise Refused."""
    if is_instance(value):
        return value
    raise Refused(f"instance {shown(value)}: an id is <app>_<version>_<port>, as app.instances shows it")


def instances(value: object) -> list[str] | None:
    """Return ``value`` if it is a list of ids or None, else raise Refused."""
    return None if value is None else [instance(i) for i in _list("instances", value)]


def versions(value: object) -> list[str]:
    """Return ``value`` if it is a list of versions, else raise Refused."""
    return [version(v) for v in _list("versions", value)]


def keys(name: str, value: object) -> Sequence[str]:
    """Return ``value`` if it is a list of texts, else raise Refused."""
    found = _list(name, value)
    for key in found:
        if not isinstance(key, str):
            raise Refused(f"{name}: found {shown(key)}, text is allowed")
    return found


def answers(name: str, value: object) -> dict[str, str]:
    """Return ``value`` if it is a mapping of text to version, else raise Refused."""
    if not isinstance(value, dict) or len(value) > LISTED or not all(isinstance(key, str) for key in value):
        raise Refused(f"{name}={shown(value)}: a mapping of text to version is allowed")
    return {key: version(each) for key, each in value.items()}


def phase(value: object) -> str:
    """Return ``value`` if it is a phase at which hooks run, else raise Refused."""
    if not isinstance(value, str) or value not in PHASES:
        raise Refused(f"phase {shown(value)}: one of {', '.join(PHASES)} is allowed")
    return value


def slots(value: object) -> list[int] | None:
    """Return ``value`` if it is a list of ports or None, else raise Refused."""
    return None if value is None else [whole("slots", slot, 0, SLOTS[-1]) for slot in _list("slots", value)]


def targets(value: object) -> Sequence[dict[str, Any]]:
    """Return ``value`` if it is a list of instances as plain data, else raise Refused."""
    found = _list("targets", value)
    for target in found:
        if not isinstance(target, dict) or not set(target) >= TARGET:
            raise Refused(f"targets: found {shown(target)}, a mapping with {', '.join(sorted(TARGET))} is allowed")
    return found


def whole(name: str, value: object, least: int, most: int) -> int:
    """Return ``value`` if it is a whole number from ``least`` to ``most``, else raise Refused."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise Refused(f"{name}={shown(value)}: a whole number from {least} to {most} is allowed")
    return value


def seconds(name: str, value: object) -> float | None:
    """Return ``value`` if it is None or a number of seconds, of at most 30 days, else raise Refused."""
    return None if value is None else _seconds(name, value)


def deadline(value: object) -> float:
    """Return ``value`` if it is a number of seconds, else raise Refused."""
    return _seconds("deadline", "" if value is None else value)


def host(value: object) -> str:
    """Return ``value`` if it can be the name or the address of a host, else raise Refused."""
    if not isinstance(value, str) or not re.fullmatch(forms.ADDRESS, value):
        raise Refused(f"{shown(value)} is no name of a host. Write letters, digits and . -{odd(value)}")
    return value


def _seconds(name: str, value: object) -> float:
    if not advice.is_number(value) or not 0 <= value <= bounds.DURATION:
        raise Refused(f"{name}={shown(value)}: a number of seconds is allowed, at most {bounds.DURATION:g}")
    return value


def _list(name: str, value: object) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)) or len(value) > LISTED:
        raise Refused(f"{name}={shown(value)}: a list of at most {LISTED} is allowed, '[a, b]' on the command line")
    return value
