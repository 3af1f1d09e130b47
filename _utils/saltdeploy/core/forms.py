"""The forms of single values in definitions and commands: patterns, and JSON Schema made of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# A JSON Schema, with keys of our own.
Schema = Mapping[str, Any]

NAME = r"^[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?$"  # a DNS label that leaves room for "-candidate"
VERSION = r"^[A-Za-z0-9][A-Za-z0-9._+~-]{0,62}$"
MINION = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$"
ADDRESS = r"^[A-Za-z0-9:][A-Za-z0-9.:%-]{0,252}$"
USER = r"^[a-z_][a-z0-9_-]{0,31}$"
# An IP address, with or without a port behind it: [fd00::53]:5353. See addresses.server.
UPSTREAM = r"^[][0-9A-Fa-f.:]+$"
# A Git repository: https://, http://, ssh://, user@host:path or file:///. No transport that runs a program of its own.
_HOST = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*)"
GIT = (
    rf"^(https?://{_HOST}(:[0-9]{{1,5}})?/|ssh://([A-Za-z0-9_][A-Za-z0-9._-]*@)?{_HOST}(:[0-9]{{1,5}})?/"
    rf"|file:///|[A-Za-z0-9_][A-Za-z0-9._-]*@{_HOST}:(?!-))[^?#\s{{}}]+$"
)
INSIDE = r"^(?!/)(?!(.*/)?\.\.(/|$))."  # a relative path without ".."
FOLDER = r"^/(?!(.*/)?\.\.(/|$))[A-Za-z0-9._/-]+$"  # an absolute path without ".."
DURATION: Schema = {
    "title": "a duration",
    "description": "a number of seconds, or a number with a unit: 500ms, 10s, 5m, 1h",
    "examples": ["30s"],
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$"}],
}
INSTANCES: Schema = {"type": "integer", "minimum": 1, "maximum": 1000}
# The form of a name, for messages and for the reference.
NAMES = "a-z, 0-9 and -, at most 53 characters"


def text(title: str, description: str, pattern: str, example: str = "", **more: Any) -> Schema:
    """Return the schema of a text that matches ``pattern``.

    With ``example``, the text is no secret and messages quote it.
    """
    form = {"type": "string", "pattern": pattern, "title": title, "description": description, **more}
    return {**form, "examples": [example]} if example else form


A_NAME = text("a name", f"a name: {NAMES}", NAME, "shop")
A_VERSION = text("a version", "a version: letters, digits and . _ + ~ -, at most 63 characters", VERSION, "1.4.2")
