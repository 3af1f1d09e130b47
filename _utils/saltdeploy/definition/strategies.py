"""The ``strategy`` of a definition becomes a Strategy. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..core import bounds, durations, words
from ..core.errors import Mistakes
from ..core.model import Strategy
from ..core.words import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

# The keys whose values need no conversion.
PLAIN = ("type", "auto_revert", "max_failures", "keep_releases", "when_paused", "canary_weight")


def parse(raw: Mapping[str, Any], where: str) -> Strategy:
    """Return the Strategy that ``raw`` describes.

    :param where: the key path of the app or environment that it belongs to, for messages.
    :raises DefinitionError: its values contradict each other. The message has all mistakes, each on its line.
    """
    plain = {k: raw[k] for k in PLAIN if k in raw}
    others = ("waves", "analysis", *plain)
    times: dict[str, Any] = {
        k: math.inf if v == "manual" else durations.seconds(v) for k, v in raw.items() if k not in others
    }
    at, mistakes = f"{where}:strategy", Mistakes()
    for key, seconds in times.items():
        if seconds > bounds.DURATION and raw[key] != "manual":
            mistakes.add(f"{at}:{words.path([key])}: {shown(raw[key])} is too long. Write at most {bounds.LONGEST}.")
    fit = not mistakes.found
    if "waves" in raw:
        plain["waves"] = tuple(raw["waves"])
    if "healthy_deadline" in times:
        times["first_deadline"] = times["healthy_deadline"]
    strategy = Strategy(**plain, **times)
    if fit and not strategy.min_healthy_time < strategy.healthy_deadline <= strategy.progress_deadline:
        mistakes.add(
            f"{at}: min_healthy_time ({strategy.min_healthy_time:g}s) < healthy_deadline"
            f" ({strategy.healthy_deadline:g}s) <= progress_deadline ({strategy.progress_deadline:g}s) must hold."
        )
    if strategy.max_failures not in (0, "0%") and (strategy.pause or strategy.type == "blue_green"):
        other = "pause" if strategy.pause else "type: blue_green"
        mistakes.add(
            f"{at}:max_failures: no node may fail with `{other}`. Remove one of them, or write `max_failures: 0`."
        )
    numbers = [size for size in strategy.waves if isinstance(size, int)]
    percentages = [int(size[:-1]) for size in strategy.waves if isinstance(size, str)]
    if any(sizes != sorted(set(sizes)) for sizes in (numbers, percentages)):
        mistakes.add(f"{at}:waves: {shown(list(strategy.waves))}: sizes are cumulative and must grow.")
    mistakes.refuse()
    return strategy
