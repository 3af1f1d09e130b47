"""Durations as definitions and arguments write them, in seconds. Pure."""

from __future__ import annotations

import re

from . import bounds
from .errors import DefinitionError
from .words import shown

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(value):
    """Return ``value`` (seconds, or ``500ms``, ``10s``, ``5m``, ``1h``) as a float of seconds."""
    if isinstance(value, (int, float)):
        return float(value)
    number, unit = re.fullmatch(r"([0-9.]+)(ms|s|m|h)", value).groups()
    return float(number) * UNITS[unit]


def positive(value, at, most=bounds.DURATION):
    """Return a duration in seconds, more than 0 and at most ``most``; ``at`` is its key path, for messages."""
    found = seconds(value)
    if not 0 < found <= most:
        raise DefinitionError(f"{at}: found {shown(value)}, allowed is more than 0, up to {most / 86400:g} days")
    return found
