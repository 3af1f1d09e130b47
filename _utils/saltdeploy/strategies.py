"""The ``strategy`` of a definition becomes a Strategy. Pure."""

from __future__ import annotations

import math

from . import bounds, durations, words
from .errors import DefinitionError
from .model import Strategy
from .words import shown

# The keys whose values need no conversion.
PLAIN = ("replace", "auto_revert", "max_failures", "keep_releases", "when_paused", "canary")


def parse(raw, where):
    """Return the Strategy that ``raw`` describes.

    :param where: the key path of the app or environment that it belongs to, for messages.
    :raises DefinitionError: its values contradict each other.
    """
    plain = {k: raw[k] for k in PLAIN if k in raw}
    others = ("waves", "analysis", *plain)
    values = {k: math.inf if v == "manual" else durations.seconds(v) for k, v in raw.items() if k not in others}
    for key, seconds in values.items():
        if seconds > bounds.DURATION and raw[key] != "manual":
            raise DefinitionError(
                f"{where}:strategy:{words.path([key])}: {shown(raw[key])} is too long. Write at most {bounds.LONGEST}."
            )
    if "waves" in raw:
        values["waves"] = tuple(raw["waves"])
    if "healthy_deadline" in values:
        values["first_deadline"] = values["healthy_deadline"]
    strategy = Strategy(**plain, **values)
    at = f"{where}:strategy"
    if not strategy.min_healthy < strategy.healthy_deadline <= strategy.progress_deadline:
        raise DefinitionError(
            f"{at}: min_healthy ({strategy.min_healthy:g}s) < healthy_deadline ({strategy.healthy_deadline:g}s)"
            f" <= progress_deadline ({strategy.progress_deadline:g}s) must hold."
        )
    if strategy.max_failures not in (0, "0%") and (strategy.pause or strategy.replace == "blue_green"):
        other = "pause" if strategy.pause else "replace: blue_green"
        raise DefinitionError(
            f"{at}:max_failures: no node may fail with `{other}`. Remove one of them, or write `max_failures: 0`."
        )
    for kind in (int, str):
        sizes = [w if kind is int else int(w[:-1]) for w in strategy.waves if isinstance(w, kind)]
        if sizes != sorted(set(sizes)):
            raise DefinitionError(f"{at}:waves: {shown(list(strategy.waves))}: sizes are cumulative and must grow.")
    return strategy
