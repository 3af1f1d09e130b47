"""The settings that differ between an instance and its definition, as data: keys only, and never a value. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# Key of a definition -> the names below it that differ. The list is empty if the key has no names.
Changes = dict[str, list[str]]
# The only key if the node has not kept the settings of an instance, so that nobody knows what differs.
NOT_KEPT = "not kept"


def between(mine: Mapping[str, object], others: Mapping[str, object]) -> list[str]:
    """Return the sorted keys whose values differ between two mappings."""
    return sorted(key for key in {*mine, *others} if mine.get(key) != others.get(key))


def union(several: Iterable[Changes]) -> Changes:
    """Return all that is in any of ``several``."""
    found: Changes = {}
    for changes in several:
        for key, names in changes.items():
            found[key] = sorted({*found.get(key, ()), *names})
    return found


def told(changes: Changes) -> str:
    """Return ``changes`` for people: ``env: LOG_LEVEL; run``. Empty if nothing differs."""
    return "; ".join(f"{key}: {', '.join(names)}" if names else key for key, names in changes.items())
