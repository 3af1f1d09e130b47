"""Durations as people write them, in seconds. Pure."""

from __future__ import annotations

import re

from . import bounds
from .errors import DefinitionError
from .words import shown

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(value):
    """Return a duration in seconds.

    :param value: a number of seconds, or a text like ``500ms``, ``10s``, ``5m`` or ``1h``.
    """
    if isinstance(value, (int, float)):
        return float(value)
    number, unit = re.fullmatch(r"([0-9.]+)(ms|s|m|h)", value).groups()
    return float(number) * UNITS[unit]


def positive(value, at, most=bounds.DURATION):
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
