"""Advice on a wrong value: one sentence for people, in place of a regular expression. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from . import words

if TYPE_CHECKING:
    from typing import TypeGuard

    from .forms import Schema

TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}
CLOSED = {"integer", "number", "boolean"}
# The first letter of a unit as people may write it -> (number of our units, our unit).
UNITS = {"s": (1, "s"), "m": (1, "m"), "h": (1, "h"), "d": (24, "h"), "w": (168, "h")}
# A larger number of processors is a percentage without its sign.
PROCESSORS = 64


def wrong(allowed: Schema, value: object) -> str:
    """Return one or two sentences on ``value``, which does not match the schema ``allowed``."""
    if not may_be_shown(allowed, value):
        return f"found {kind(value, allowed)}. Write {_form(allowed)}.{_about(allowed, value)}"
    found = words.shown(value)
    if allowed.get("title") == "a version" and is_number(value):
        return (
            f"{found} was read as a number, and digits may be lost (3.10 becomes 3.1). Write the version in quotes:"
            " version: '3.10', for example."
        )
    fix = _fix(allowed, value)
    return f"{found} is not {_title(allowed)}. Write {fix or _example(allowed)}.{'' if fix else _about(allowed, value)}"


def _about(allowed: Schema, value: object) -> str:
    """Return more advice if text is wanted: on an odd character, or on a value that YAML does not read as text."""
    options = [*allowed.get("anyOf", ()), allowed]
    if not any("string" in str(option.get("type")) or "enum" in option for option in options):
        return ""
    if isinstance(value, str):
        odd = words.odd(value).removeprefix(": ")
        return f" ({odd})" if odd and may_be_shown(allowed, value) else ""
    return " Quote a number." if is_number(value) and "pattern" in allowed else words.reading(value)


def may_be_shown(allowed: Schema, value: object) -> bool:
    """Return whether a message may quote ``value``: no value that the schema ``allowed`` describes is secret."""
    if allowed.get("writeOnly") or isinstance(value, (dict, list, tuple, set, bytes)):
        return False
    types = allowed.get("type")
    closed = "enum" in allowed or (isinstance(types, str) and types in CLOSED)
    return closed or bool(allowed.get("examples"))


def kind(value: object, allowed: Schema | None = None) -> str:
    """Return the kind of ``value`` in words, without any part of the value."""
    if isinstance(value, str):
        return "text of another form" if "pattern" in (allowed or {}) else "text"
    if isinstance(value, bool):
        return "true or false"
    if value is None:
        return "nothing"
    if is_number(value):
        return "a number"
    kinds: dict[type, str] = {dict: "a mapping", list: "a list"}
    return kinds.get(type(value), "something that is no text")


def is_number(value: object) -> TypeGuard[float]:
    """Return whether ``value`` is a number, which true and false are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _title(allowed: Schema) -> str:
    if "enum" in allowed:
        return "allowed here"
    return allowed.get("title") or _types(allowed)


def _form(allowed: Schema) -> str:
    """Return the allowed form in words."""
    if "description" in allowed:
        return allowed["description"]
    if "const" in allowed:
        return str(allowed["const"]).lower()
    if "enum" in allowed:
        return f"one of {', '.join(map(str, allowed['enum']))}"
    form = _types(allowed)
    return f"{form}: quote a number" if form == "text" else form


def _types(allowed: Schema) -> str:
    types = allowed.get("type", "string")
    return TYPES[types] if isinstance(types, str) else ", ".join(TYPES[t] for t in types)


def _example(allowed: Schema) -> str:
    example = (allowed.get("examples") or [""])[0]
    example = f"[{', '.join(example)}]" if isinstance(example, list) else example
    return f"{_form(allowed)}{example and f', for example {example}'}"


# -- corrections ------------------------------------------------------------------------------


def _fix(allowed: Schema, value: object) -> str | None:
    """Return the value that was probably meant, or None if it cannot be known."""
    types, title = allowed.get("type"), allowed.get("title")
    if _plain(value) in allowed.get("renamed", {}):
        return allowed["renamed"][_plain(value)]
    if types in ("integer", "number") and isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
        return f"the number without quotes: {int(value)}"
    if types == "integer" and isinstance(value, float) and value.is_integer() and abs(value) < words.HUGE:
        return f"a whole number: {int(value)}"
    if types == "array" and isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9._+/-]+", value):
        return f"a list: [{value}]"
    if types == "boolean" and isinstance(value, str):
        return "true or false, without quotes"
    if "enum" in allowed:
        return _alike(allowed["enum"], value)
    return FIXES[title](value) if title in FIXES else None


def _alike(known: Iterable[object], value: object) -> str:
    return _plain(value) if _plain(value) in known else words.alike(value, known)


def _plain(value: object) -> str:
    return re.sub("[ -]", "_", value.lower()) if isinstance(value, str) else ""


def _size(value: object) -> str | None:
    """Correct ``512MB``, ``512 MiB`` or ``0.5G`` to the form of systemd, ``512M``."""
    match = re.fullmatch(r"\s*([0-9]{1,15})\s*([kmgt]?)(i?b|bytes?)?\s*", str(value), re.IGNORECASE)
    if match and int(match[1]):
        text = f"{int(match[1])}{match[2].upper()}"
        if isinstance(value, str):
            return text
        # Nobody means so few bytes.
        return f"a size with its unit: {text}M" if int(match[1]) < 2**20 else f"the number of bytes in quotes: '{text}'"
    half = re.fullmatch(r"\s*0?\.5\s*([mgt])(i?b)?\s*", str(value), re.IGNORECASE)
    return f"512{'KMGT'['KMGT'.index(half[1].upper()) - 1]}" if half else None


def _percentage(value: object) -> str | None:
    """Correct a number of processors to a percentage: two processors are ``200%``."""
    match = re.fullmatch(r"\s*([0-9]{1,4}(?:\.[0-9]{1,2})?)\s*%?\s*", str(value))
    number = float(match[1]) if match and not isinstance(value, bool) else 0
    percent = number if "%" in str(value) or number > PROCESSORS else number * 100
    return f"a percentage of one processor: `cpu: {round(percent)}%`" if round(percent) else None


def _duration(value: object) -> str | None:
    """Correct ``1 day``, ``5 min`` or ``30 seconds`` to ``24h``, ``5m`` or ``30s``."""
    match = isinstance(value, str) and re.fullmatch(
        r"\s*([0-9]{1,6})\s*(ms|s|sec|secs|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?|)\s*",
        value,
        re.IGNORECASE,
    )
    if not match:
        return None
    unit = match[2].lower()
    if unit == "ms":
        return f"{int(match[1])}ms"
    times, ours = UNITS[(unit or "s")[0]]
    return f"{int(match[1]) * times}{ours}"


def _name(value: object) -> str | None:
    """Correct ``Shop_A`` to ``shop-a``."""
    if not isinstance(value, str) or not value.isascii():
        return None
    guess = re.sub(r"-+", "-", re.sub(r"[^a-z0-9-]", "-", value.lower())).strip("-")
    return f"a name of a-z, 0-9 and -: {guess}" if 0 < len(guess) <= 53 else None


def _address(value: object) -> str | None:
    """Correct ``[fd00::11]`` or ``10.0.0.11/24`` to the address alone."""
    bare = str(value).strip().partition("/")[0].strip("[]")
    try:
        return f"the address alone: {ipaddress.ip_address(bare)}" if isinstance(value, str) else None
    except ValueError:
        return None


def _ports(value: object) -> str | None:
    match = re.fullmatch(r"\s*([0-9]{1,5})\s*(?:(?:-|\.\.|to|:)\s*([0-9]{1,5}))?\s*", str(value))
    if not match or isinstance(value, bool) or not 1 <= int(match[1]) <= 65535:
        return None
    return f"{match[1]}-{match[2]}" if match[2] else f"the port without quotes: {int(match[1])}"


FIXES: dict[str, Callable[[object], str | None]] = {
    "a size": _size,
    "a percentage": _percentage,
    "a duration": _duration,
    "a pause": _duration,
    "a name": _name,
    "an address": _address,
    "a port or a range of ports": _ports,
}
