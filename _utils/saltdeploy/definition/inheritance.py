"""Environments as they are written: how they are based on one another, and a node's part. Pure: mappings only."""

from __future__ import annotations

import copy
import math
import re
from typing import TYPE_CHECKING, Any

from ..core import advice, bounds, words
from ..core.errors import DefinitionError, Refused
from ..core.words import nearest, shown
from . import conditions, sources

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    # Environments as they are written: name -> anything, until it is validated.
    Environments = Mapping[str, Any]

# A node gets this text in place of an app's settings if the app's file may be left out. Nobody knows then where the app
# may run. A text is no definition, so the node refuses the app until the file is right again.
WITHHELD = "withheld: a file of apps is left out"


def resolve(environments: Environments, name: str, broken: Container[str] = ()) -> dict[str, Any]:
    """Return the raw mapping of an environment with ``based_on`` merged in and ``scale`` applied.

    :param broken: apps that are not scaled, because their settings are wrong.
    """
    raw: dict[str, Any] = {}
    for link in reversed(chain(environments, name)):
        own = {k: v for k, v in environments[link].items() if k not in ("based_on", "scale", "nodes", *conditions.KEYS)}
        raw = merge(raw, own)
        placed = raw.get("apps") or {}
        raw["apps"] = {a: dict(s or {}) if _is_plain(a, s, broken) else s for a, s in placed.items()}
        scale = environments[link].get("scale", 1)
        stated = mapping(environments[link], "apps")
        for app, settings in raw["apps"].items():
            scaled = _is_plain(app, settings, broken) and _is_whole(settings.get("instances"))
            if scaled and "instances" not in mapping(stated, app):
                settings["instances"] = max(1, math.floor(settings["instances"] * scale + 0.5))
    alone = {key: environments[name][key] for key in ("nodes", *conditions.KEYS) if key in environments[name]}
    return {**raw, **copy.deepcopy(alone)}


def used(environments: Environments, links: Sequence[str]) -> dict[str, Any]:
    """Return ``{name: raw}`` of the environments ``links`` without the parts that the first of them does not use.

    The nodes of a base are its own. Of its ``notify``, only the keys that no later environment replaces are used.

    :param links: the first environment and its bases, see :func:`chain`.
    """
    found: dict[str, Any] = {}
    later: dict[str, Any] = {}
    for number, link in enumerate(links):
        raw = environments[link]
        if number and isinstance(raw, dict):
            left = {"notify": _left(raw["notify"], later)} if "notify" in raw else {}
            raw = {key: value for key, value in raw.items() if key not in conditions.KEYS}
            raw = {**raw, "nodes": {}, **left}
        notify = raw.get("notify") if isinstance(raw, dict) else None
        later = merge(notify, later) if isinstance(notify, dict) else later
        found[link] = raw
    return found


def _left(base: Any, over: Mapping[str, Any]) -> Any:
    """Return the part of ``base`` that stays visible if ``over`` is laid over it, see :func:`merge`."""
    if not isinstance(base, dict):
        return base if not over else {}
    left = {}
    for key, value in base.items():
        if key not in over:
            left[key] = value
        elif isinstance(value, dict) and isinstance(over[key], dict):
            left[key] = _left(value, over[key])
    return left


def _is_plain(app: object, settings: object, broken: Container[str]) -> bool:
    """Return whether the settings of an app in an environment may be used: their shape is right, as far as is known."""
    return isinstance(app, str) and app not in broken and isinstance(settings or {}, dict)


def _is_whole(value: object) -> bool:
    """Return whether ``value`` can be scaled. Validation refuses any other number of instances, of that app only."""
    return isinstance(value, int) and not isinstance(value, bool)


def own_environment(environments: Environments, minion: str) -> dict[str, Any]:
    """Return ``{"environments": {name: resolved}}`` for the only environment that lists ``minion``.

    This is all of ``environments`` that a node's pillar holds: no base, no other environment.

    :raises DefinitionError: two environments list the same minion, or its environment is not as it must be.
    """
    mine = [name for name, env in environments.items() if minion in mapping(env, "nodes")]
    if len(mine) > 1:
        both = " and ".join(sorted(map(words.name, mine))[:2])
        raise DefinitionError(f"environments: {minion} is a node of both {both}: keep it in one.")
    try:
        return {"environments": {name: _for_node(resolve(environments, name)) for name in mine}}
    except Refused:
        raise
    except bounds.WRONG_SHAPE as exc:
        raise bounds.misshapen(f"environments:{words.name(mine[0])}", exc) from None


def _for_node(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the raw mapping of an environment without the keys that only the master needs and no node may know."""
    return {key: value for key, value in environment.items() if key not in ("notify", *conditions.KEYS)}


def named(pillar: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the mapping of names under ``key``, which may be absent, without names that are not text.

    :raises DefinitionError: it is no mapping, or none of its names is text.
    """
    found = pillar.get(key) or {}
    if not isinstance(found, dict):
        raise DefinitionError(f"{key}: found {advice.kind(found)}. Write a mapping of name to definition.")
    usable = {name: value for name, value in found.items() if isinstance(name, str)}
    if found and not usable:
        raise DefinitionError(f"{key}: {no_text(next(iter(found)))}")
    return usable


def no_text(name: object) -> str:
    """Return the message on a name that is not text."""
    return f"the name {shown(name)} is not text. Quote it.{words.reading(name)}"


def chain(environments: Environments, name: str, broken_files: Mapping[str, str] | None = None) -> list[str]:
    """Return the names of an environment and of its bases, itself first.

    :param broken_files: file -> why it is left out, for messages.
    :raises DefinitionError: a base is not there, there are too many, or they go round in a circle.
    """
    found: list[str] = []
    link: Any = name
    while link:
        if link in found:
            raise DefinitionError(f"environments:{link}:based_on: goes round in a circle: {' > '.join([*found, link])}")
        if len(found) == bounds.BASES:
            raise DefinitionError(
                f"environments:{found[0]}:based_on: at most {bounds.BASES} may be based on one another"
            )
        if not isinstance(link, str) or link not in environments:
            raise DefinitionError(
                f"environments:{words.name((found or [link])[-1])}:based_on: there is no environment {shown(link)}"
                f"{nearest(link, environments)}. Defined: {words.listed(environments)}.{left_out(broken_files or {})}"
            )
        found.append(link)
        env = environments[link]
        link = env.get("based_on") if isinstance(env, dict) else None
    return found


def unread(pillar: Mapping[str, Any]) -> dict[str, str]:
    """Return the files that are left out of pillar, as ``{file: why}``, or {} if none is."""
    found = pillar.get("saltdeploy_broken")
    return {str(file): str(why) for file, why in found.items()} if isinstance(found, dict) else {}


def unusable(name: object) -> str:
    """Return the key of an environment among the files that are left out: see :func:`unread`."""
    return f"environments:{words.name(name)}"


def left_out(files: Mapping[str, str], name: str = "") -> str:
    """Return the sentences on the files that are left out, each with a space before it.

    :param name: the missing name. If a file is called so, only that file is named.
    """
    called = {file: why for file, why in files.items() if name and name in re.split(r"[^A-Za-z0-9-]+", file)}
    files = called or files
    return "".join(f" Left out is {file}: {why.rstrip('.')}." for file, why in sorted(files.items()))


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``over`` laid over it, mapping by mapping. A source of another kind replaces the source."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        both = both and not (key == "source" and _is_another_kind(merged[key], value))
        merged[key] = merge(merged[key], value) if both else value
    return merged


def _is_another_kind(base: Mapping[str, Any], over: Mapping[str, Any]) -> bool:
    """Return whether ``over`` replaces the source ``base``, whose other keys have no meaning with the new kind."""
    kinds = {kind for kind in sources.ONLY if kind in over}
    return bool(kinds) and not any(kind in base for kind in kinds)


def mapping(env: object, key: str) -> dict[str, Any]:
    """Return the mapping that ``env`` has under ``key``, or an empty mapping if it has none."""
    value = env.get(key) if isinstance(env, dict) else None
    return value if isinstance(value, dict) else {}
