"""The differences between two environments, by their definitions. Pure: mappings only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from ..core import words
from . import conditions, inheritance, origins

# The keys of an environment that are its own in any case.
OWN = ("based_on", "scale", "nodes", "discovery", "notify", "ignore", *conditions.KEYS)
# Stands for a value that an environment does not have.
ABSENT = None


class Difference(NamedTuple):
    """A difference between two environments.

    :param key: its key path. ``roles:app`` is a role that a node has, and ``machines:os`` a fact on the nodes.
    :param first: the value in the first environment, None if it has none. ``***`` stands for a value that may be
        secret.
    :param second: the same of the second environment.
    """

    key: str
    first: Any
    second: Any


def differences(pillar: Mapping[str, Any], first: str, second: str) -> list[Difference]:
    """Return the differences between two environments that ``scale`` does not explain, except those to ignore.

    Of ``env``, only the names of the variables count. Their values belong to an environment.

    :param pillar: the master's own pillar. Both environments are right.
    """
    mine, theirs = (_comparable(pillar, name) for name in (first, second))
    found = [
        Difference(words.path(path), _told(path, mine), _told(path, theirs))
        for path in dict.fromkeys([*mine, *theirs])
        if mine.get(path, ABSENT) != theirs.get(path, ABSENT)
    ]
    return without(found, ignored(pillar, first, second))


def ignored(pillar: Mapping[str, Any], *names: str) -> list[str]:
    """Return the key paths that any of the environments ``names`` says to ignore."""
    resolved = (inheritance.resolve(pillar["environments"], name) for name in names)
    return [str(path) for environment in resolved for path in environment.get("ignore") or ()]


def without(found: Iterable[Difference], ignore: Iterable[str]) -> list[Difference]:
    """Return the differences in ``found`` that no pattern in ``ignore`` matches, nor a key above them."""
    patterns = [form for pattern in ignore for form in (pattern, f"{pattern}:*")]
    return [difference for difference in found if not any(fnmatchcase(difference.key, p) for p in patterns)]


def _comparable(pillar: Mapping[str, Any], name: str) -> dict[origins.Path, Any]:
    """Return key path -> value of all parts of an environment that two environments should share."""
    environments, apps = pillar["environments"], inheritance.mapping(pillar, "apps")
    # As if nothing was scaled.
    unscaled = {n: {**e, "scale": 1} if isinstance(e, dict) else e for n, e in environments.items()}
    resolved = inheritance.resolve(unscaled, name)
    whole = {key: value for key, value in resolved.items() if key not in OWN}
    whole["apps"] = origins.merged(apps, resolved["apps"])
    found = {}
    for path, value in origins.leaves(whole):
        # The value of a variable never leaves the pillar, whatever its shape is.
        is_variable = path[:1] == ("apps",) and path[2:3] == ("env",)
        found[path[:4] if is_variable else path] = True if is_variable else value
    roles = {role for node in resolved["nodes"].values() for role in node.get("roles") or ()}
    return {**found, **{("roles", role): True for role in sorted(roles)}}


def _told(path: origins.Path, values: Mapping[origins.Path, Any]) -> Any:
    """Return the value at ``path`` for people."""
    if path not in values:
        return ABSENT
    return values[path] if path[:1] == ("roles",) or path[2:3] == ("env",) else origins.shown(path, values[path])
