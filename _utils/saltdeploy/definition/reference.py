"""The tables of the reference of definitions, made from the schema. Only the docs and the tests import this."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core import forms
from . import schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .schema.keys import Key, Section

NAMES = {
    "app, environment, service": forms.NAME,
    "version": forms.VERSION,
    "node (minion id)": forms.MINION,
    "user": forms.USER,
}

SIMPLE = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
UNITS = {3600: "h", 60: "m", 1: "s"}
REQUIRED, NONE = "*required*", "–"


def rows(name: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield the rows of the table ``name``: key, type, default and meaning, as reStructuredText."""
    section = next(section for section in schema.SECTIONS if section.name == name)
    for name, key in section.keys.items():
        default = _default(section, name, key)
        why = f"\n\nWhy {default}? {key.reason}" if key.reason else ""
        yield f"``{name}``", _allowed(key.schema), default, key.meaning + why


def problems() -> list[str]:
    """Return the reasons why the tables are not complete or not true, in sentences."""
    tables = [section.keys.keys() for section in schema.SECTIONS]
    found = [f"no table has the keys {sorted(keys)}" for keys in _mappings(schema.PILLAR) if keys not in tables]
    for section in sorted(schema.SECTIONS, key=lambda section: section.name):
        for name, key in sorted(section.keys.items()):
            found += [f"{section.name}: {name} {problem}" for problem in _problems(section, name, key)]
    return found


def _problems(section: Section, name: str, key: Key) -> Iterator[str]:
    actual = _value(section, name, key).strip("`")
    if not key.meaning:
        yield "has no meaning"
    if actual != NONE and not key.default:
        yield f"has the default {actual}, and no reason for it"
    elif actual == NONE and key.default:
        yield f"has no default, and a reason for {key.default}"
    elif actual != NONE and actual != key.default:
        yield f"has the default {actual}, and its reason is for {key.default}"
    elif bool(key.reason) != bool(key.default or key.otherwise):
        yield f"has {'a reason, and no default' if key.reason else 'a default, and no reason for it'}"


def _default(section: Section, name: str, key: Key) -> str:
    """Return the default of a key as the table shows it."""
    return REQUIRED if key.required else key.otherwise or _value(section, name, key)


def _value(section: Section, name: str, key: Key) -> str:
    """Return the value that the code has for a key, if its definition has none."""
    return NONE if key.required else _shown(section.defaults.get(name))


def _mappings(found: Any) -> Iterator[set[str]]:
    """Yield the keys of every mapping with named keys in a schema, below its top."""
    for key, value in found.items() if isinstance(found, dict) else enumerate(found):
        if key == "if":  # a condition has no table
            continue
        if key == "properties" and found is not schema.PILLAR:
            yield set(value)
        if isinstance(value, (dict, list)):
            yield from _mappings(value)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return f"``{str(value).lower()}``"
    if isinstance(value, float):
        return f"``{_duration(value)}``"
    if isinstance(value, (tuple, list)) and value:
        return "``[" + ", ".join(f'"{v}"' if isinstance(v, str) else str(v) for v in value) + "]``"
    if isinstance(value, (str, int)) and value != "":
        return f"``{value}``"
    return NONE


def _duration(seconds: float) -> str:
    if not seconds:
        return "0"
    unit = next((u for u in UNITS if not seconds % u), 1)
    return f"{seconds / unit:g}{UNITS[unit]}"


def _allowed(allowed: forms.Schema) -> str:
    """Return the values that a schema allows, in words."""
    for section in schema.SECTIONS:
        if allowed.get("properties", {}).keys() == section.keys.keys():
            return f":ref:`mapping <definition-{section.name}>`"
    if allowed is forms.DURATION:
        return ":ref:`duration <durations>`"
    if "description" in allowed:
        return str(allowed["description"])
    if "const" in allowed:
        return f"``{str(allowed['const']).lower()}``"
    if "enum" in allowed:
        return ", ".join(f"``{value}``" for value in allowed["enum"])
    if allowed["type"] == "array":
        return f"list of: {_allowed(allowed['items'])}"
    if allowed["type"] == "object":
        return f"mapping of name to: {_allowed(allowed['additionalProperties'])}"
    types = [allowed["type"]] if isinstance(allowed["type"], str) else allowed["type"]
    return ", ".join(SIMPLE[t] for t in types) + _limits(allowed)


def _limits(allowed: forms.Schema) -> str:
    low, high = allowed.get("minimum"), allowed.get("maximum")
    if "exclusiveMinimum" in allowed:
        return f", more than {allowed['exclusiveMinimum']}, at most {high}"
    return f", {low} to {high}" if low is not None else ""
