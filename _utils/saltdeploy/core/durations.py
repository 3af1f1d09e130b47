"""Durations as people write them, in seconds. Pure."""

from __future__ import annotations

import re

from . import bounds
from .errors import DefinitionError
from .words import shown

TEXT = re.compile("([0-9.]+)(ms|s|m|h)")
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(value: float | str) -> float:
    """Return a duration in seconds.

    :param value: a number of seconds, or a text like ``500ms``, ``10s``, ``5m`` or ``1h``.
    :raises ValueError: it is another text.
    """
    if isinstance(value, (int, float)):
        return float(value)
    match = TEXT.fullmatch(value)
    if not match:
        raise ValueError("this text is no duration")
    return float(match[1]) * UNITS[match[2]]


def positive(value: float | str, at: str, most: float = bounds.DURATION) -> float:
    """Return a duration in seconds, as :func:`seconds` does.

    :param at: the key path of the duration, for messages.
    :param most: the longest duration that is allowed, in seconds.
    :raises DefinitionError: the duration is 0, or longer than ``most``.
    """
    found = seconds(value)
    if not 0 < found <= most:
        problem = "long" if found > 0 else "short"
        days = f"{most / 86400:g} days"
        raise DefinitionError(f"{at}: {shown(value)} is too {problem}. Write more than 0 and at most {days}.")
    return found
