"""The ``{names}`` in a definition's texts."""

from __future__ import annotations

import shlex
import string

from . import words
from .errors import DefinitionError
from .words import nearest, shown

PLACEHOLDERS = ("address", "port", "version", "release", "instance", "app", "environment", "node", "data")


def fill(text, values):
    """Return ``text`` with ``{address}`` and the other placeholders filled in from ``values``."""
    return text.format_map(values)


def check(text, at, allowed=PLACEHOLDERS, command=True):
    """Return the placeholders that ``text`` uses.

    :param at: its key path, for messages.
    :param allowed: those that there are; ``command``: whether words must come of it, as a shell splits them.
    :raises DefinitionError: it uses others, or cannot be read.
    """
    try:
        names = [field for _, field, _, _ in string.Formatter().parse(text) if field is not None]
        if command and not shlex.split(text):
            raise ValueError("is empty")
        if set(names) <= set(allowed):
            fill(text, {**dict.fromkeys(allowed, ""), "port": 0})
    except ValueError as exc:
        raise DefinitionError(f"{at}: {shown(text)}: {exc}. A brace of your own is written twice.") from exc
    for name in names:
        if name not in allowed:
            raise DefinitionError(
                f"{at}: unknown placeholder {{{name and words.name(name)}}}{nearest(name, allowed)}."
                f" Allowed: {', '.join(allowed)}. A brace of your own is written twice."
            )
    return names
