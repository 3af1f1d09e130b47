"""Reads the records in a node's folder. A power failure or a manual edit may have left anything in them."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from ..core.instanceids import instance_id
from ..core.model import Instance
from ..system import files

# The fields that the record of an Instance must have, and the types that a field may have there.
NEEDED = {f.name for f in fields(Instance) if f.default is MISSING}
TYPES: dict[Any, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "bool": bool,
    "int | None": (int, type(None)),
}


def instance(path: Path) -> Instance:
    """Return the Instance recorded at ``path``.

    :raises ValueError: the file is no record of the instance whose folder it is in.
    :raises OSError: the file cannot be read.
    """
    found = _mapping(path)
    known = {f.name: f for f in fields(Instance)}
    values = {name: value for name, value in found.items() if name in known}
    for name, value in values.items():
        if not isinstance(value, TYPES[known[name].type]):
            raise ValueError(f"not a record of an instance: its `{name}` is a {type(value).__name__}")
    if not set(values) >= NEEDED:
        raise ValueError("not a record of an instance: some of it is missing")
    read = Instance(**values)
    if read.port not in (None, read.slot):
        raise ValueError("not a record of an instance: its port is not its slot")
    if read.id != path.parent.name or read.id != instance_id(read.app, read.version, read.slot):
        raise ValueError("not the record of this instance, but of another")
    return read


def release_record(link: Path) -> dict[str, Any]:
    """Return the record of the release that ``link`` leads to.

    :raises ValueError: the file is no record of a release.
    :raises OSError: the file cannot be read.
    """
    found = _mapping(link.resolve().parent / "release.json")
    if not isinstance(found.get("origin"), dict):
        raise ValueError("its release.json does not say where it is from")
    return found


def release_problem(link: Path) -> str:
    """Return why a release is incomplete, as a sentence, empty if it is complete."""
    try:
        if not link.is_dir():
            return f"{link}: its files are not there."
        release_record(link)
    except OSError as exc:
        return files.sentence(exc)
    except ValueError as exc:
        return f"{link}: {exc}."
    return ""


def read(path: Path) -> Any:
    """Return the content of the JSON file ``path``. None if it is missing, or incomplete after a power failure."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None


def _mapping(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except ValueError as exc:
        text = "empty" if isinstance(exc, json.JSONDecodeError) and not exc.doc.strip() else "no JSON"
        raise ValueError(f"{path.name} is {text}") from None
    except RecursionError:
        raise ValueError(f"{path.name} is no record") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} is no mapping")
    return found
