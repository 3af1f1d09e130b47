"""The keys that say when something may be deployed to an environment, and by whom.

They belong to their environment alone, and only the master knows them.
"""

from __future__ import annotations

import zoneinfo
from typing import TYPE_CHECKING, Any

from ..core import durations, words
from ..core.conditions import DAYS, Approvals, Conditions, Window
from ..core.errors import Mistakes
from ..core.words import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

# The keys of an environment that its bases do not give it, and no node has.
KEYS = ("approvals", "windows", "accept_within", "operators", "request_key_file")


def parse(where: str, environment: Mapping[str, Any]) -> Conditions:
    """Return the conditions of an environment.

    :param where: its key path.
    :param environment: its raw mapping, resolved and of the right shape.
    :raises DefinitionError: with all mistakes.
    """
    mistakes = Mistakes()
    raw = environment.get("approvals") or {}
    people = tuple(dict.fromkeys(raw.get("by", ())))
    approvals = Approvals(people, raw.get("count", 1))
    if people and approvals.count > len(people):
        mistakes.add(
            f"{where}:approvals:count: {approvals.count} people must approve, and `by` names {len(people)}. Name more,"
            " or lower the count."
        )
    windows = tuple(
        _window(f"{where}:windows:{number}", window, mistakes)
        for number, window in enumerate(environment.get("windows") or ())
    )
    given = environment.get("accept_within")
    within = None if given is None else mistakes.attempt(durations.positive, given, f"{where}:accept_within")
    mistakes.refuse()
    return Conditions(approvals, windows, within, environment.get("request_key_file") or "")


def operators(environment: object) -> list[str] | None:
    """Return the names of the users of an environment, or None if it has no such key.

    It is asked before anything else is read, so the shape may be wrong. Then nobody may use it.

    :param environment: its raw mapping.
    """
    if not isinstance(environment, dict) or "operators" not in environment:
        return None
    found = environment["operators"]
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _window(at: str, raw: Mapping[str, Any], mistakes: Mistakes) -> Window:
    begins, ends = (60 * int(text[:2]) + int(text[3:]) for text in (raw["from"], raw["to"]))
    if begins >= ends:
        mistakes.add(f"{at}:to: is not after `from`. Write two windows if it lasts beyond midnight.")
    zone = raw.get("timezone", Window.timezone)
    if not _is_zone(zone):
        near = nearest(zone, zoneinfo.available_timezones())
        mistakes.add(
            f"{at}:timezone: {words.shown(zone)} is unknown on this machine{near}. Write a name like Europe/Berlin, or"
            " install the package tzdata."
        )
    return Window(begins, ends, tuple(day for day in DAYS if day in raw.get("days", DAYS)), zone)


def _is_zone(name: str) -> bool:
    try:
        return bool(zoneinfo.ZoneInfo(name))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
