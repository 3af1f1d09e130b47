"""Limits on the size of a definition. They are checked first, so that all later code may be simple.

``docs/reference/limits.rst`` has the source of each number.
"""

from __future__ import annotations

from typing import NoReturn

from . import words
from .errors import DefinitionError

# Mappings and lists within each other: the schema has 8.
DEPTH = 16
# Keys and list entries of an environment, or of an app in it, and the characters of all its texts together.
ENTRIES, CHARACTERS = 200_000, 2_000_000
# One text, in characters of up to 4 bytes: Linux takes no argument and no environment variable over 128 KiB.
TEXT = 30_000
# An integer that travels to a node: MessagePack has no larger integers.
INTEGER = 2**63
# The bytes of a file of environments, the aliases in it, and the mappings that a single `<<` merges.
FILE, ALIASES, MERGED = 2**20, 1000, 10
# Environments that are based on one another.
BASES = 16
# A duration, in seconds: 30 days.
DURATION = 30 * 86400.0
LONGEST = f"{DURATION / 86400:g} days"
# HAProxy counts milliseconds in 31 bits: 24.8 days.
HAPROXY = 24 * 86400.0
# The exceptions that a definition of a wrong shape causes if nobody has validated it.
WRONG_SHAPE = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)


def check(definitions: object) -> None:
    """Raise DefinitionError, with the key path, if ``definitions`` are too deep, too large or not plain data.

    The check is not recursive, and ends early. So it also refuses a value that holds itself, or that YAML's anchors
    repeat many times.
    """
    entries = characters = 0
    stack: list[tuple[tuple[object, ...], object]] = [((), definitions)]
    while stack:
        keys, value = stack.pop()
        if isinstance(value, (dict, list)):
            if len(keys) >= DEPTH:
                _refuse(definitions, keys, f"is {len(keys)} mappings and lists deep, at most {DEPTH} are allowed")
            items = value.items() if isinstance(value, dict) else enumerate(value)
            entries += len(value)
            if entries > ENTRIES:
                _refuse(definitions, keys, f"one entry too many: an environment or an app may have {ENTRIES}")
            for key, inner in items:
                characters += _scalar(definitions, keys, key, "the name ") if isinstance(value, dict) else 0
                stack.append(((*keys, key), inner))
        else:
            characters += _scalar(definitions, keys, value)
        if characters > CHARACTERS:
            _refuse(definitions, keys, f"one text too many: an environment or an app may have {CHARACTERS} characters")


def misshapen(what: str, exc: BaseException) -> DefinitionError:
    """Return the DefinitionError for an exception in WRONG_SHAPE, which has no key path."""
    # The text of the exception may hold a value, which may be a secret.
    return DefinitionError(
        f"{what}: not as a definition must be ({type(exc).__name__}): salt-run deploy.check, on the master, names the"
        " place."
    )


def _scalar(definitions: object, keys: tuple[object, ...], value: object, what: str = "") -> int:
    """Return the number of characters in ``value``, or raise DefinitionError if it is too large or not plain data."""
    plain = value is None or isinstance(value, (str, bool, float, int))
    if not plain:
        _refuse(
            definitions, keys, f"found {what}something else. Write a mapping, a list, text, a number, true or false."
        )
    if isinstance(value, str):
        if len(value) > TEXT:
            _refuse(
                definitions, keys, f"found {what or 'a text '}of {len(value)} characters, at most {TEXT} are allowed"
            )
        # The message does not show the text: it may be a secret.
        harmful = words.CONTROL.search(value)
        if harmful:
            place = f"character {harmful.start() + 1}, U+{ord(harmful[0]):04X}"
            _refuse(definitions, keys, f"found {what or 'a text '}whose {place}, is not allowed in any text")
        return len(value)
    if isinstance(value, int) and not -INTEGER <= value < INTEGER:
        _refuse(definitions, keys, f"found {what}a number that is too large: a whole number has at most 63 bits")
    return 0


def _refuse(definitions: object, keys: tuple[object, ...], problem: str) -> NoReturn:
    raise DefinitionError(f"{words.path(keys, definitions) or 'the definitions'}: {problem}")
