"""Blue-green: the whole new set is published, then the old set is withdrawn and runs on, warm, for a while.

Pure: the caller gives the time. The record has the warm instances: ``warm`` is ``{"until": …, "nodes": {node: [id]}}``.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .editions import told as told_edition
from .errors import DefinitionError, Mistakes
from .instanceids import version_of
from .versions import argument

if TYPE_CHECKING:
    from .model import App
    from .protocols import Observed, Wave
    from .records import Ids, Record, Warm


# -- definitions ------------------------------------------------------------------------------


def check(app: App, own: Mapping[str, Any], shared: Mapping[str, Any], at: str, where: str) -> None:
    """Raise DefinitionError if settings of ``app`` have no meaning together.

    :param own: the strategy of ``app`` itself.
    :param shared: the strategy of its environment.
    :param at: the key path of ``own``.
    :param where: the key path of ``shared``.
    :raises DefinitionError: the message has the key path.
    """
    mistakes = Mistakes()
    if own.get("keep_old") and app.strategy.keep_old and not app.blue_green:
        mistakes.add(
            f"{at}:strategy:keep_old: has a meaning with `type: blue_green` only, and {app.name} has"
            f" `{app.strategy.type}`: leave it out, or say `keep_old: 0`."
        )
    if app.blue_green and app.strategy.pause:
        mistakes.add(
            f"{at if 'pause' in own else where}:strategy:pause: a blue_green deployment has no first wave to pause"
            f" after. To look at the new set before users have it, use deploy.app with publish=False,"
            f" then deploy.publish. Leave `pause` out, or say `pause: 0` for it (apps:{app.name}:strategy:pause)."
        )
    # Waves that the environment has for its other apps are no mistake.
    said = [(at, own)] if "type" in own else [(at, own), (where, shared)]
    for path, strategy in said if app.blue_green else ():
        if strategy.get("waves", ["100%"]) != ["100%"]:
            mistakes.add(f'{path}:strategy:waves: blue_green replaces all at once: leave `waves` out, or say ["100%"].')
    mistakes.refuse()


def check_room(app: App, nodes: int) -> None:
    """Raise DefinitionError if a second set cannot run beside the first on the ports of ``app``.

    :param nodes: how many nodes may run ``app``.
    :raises DefinitionError: the message has the key path.
    """
    if not app.blue_green or app.ports is None or not nodes or nodes * len(app.ports) >= 2 * app.instances:
        return
    needed = -(-2 * app.instances // nodes)
    raise DefinitionError(
        f"apps:{app.name}:ports: {app.ports} has {len(app.ports)} on each of {nodes} node{'s' * (nodes != 1)}, and"
        f" blue_green needs two for each of the {app.instances} instances, old and new: give {needed} ports or more."
    )


# -- the waves --------------------------------------------------------------------------------


def returning(wave: Wave) -> bool:
    """Return whether ``wave`` only publishes warm instances."""
    return bool(wave.adopt) and not wave.start and not any(i.held for some in wave.adopt.values() for i in some)


def at_once(app: App) -> App:
    """Return ``app`` without ``min_healthy_time``: warm instances have been healthy for longer."""
    return replace(app, strategy=replace(app.strategy, min_healthy_time=0.0))


# -- the record -------------------------------------------------------------------------------


def recorded(record: Record | None) -> frozenset[tuple[str, str]]:
    """Return ``(node, id)`` of each warm instance in ``record``."""
    nodes = _nodes(record.get("warm") if record else None)
    return frozenset((node, i) for node, ids in nodes.items() for i in ids)


def still(record: Record | None, now: float) -> frozenset[tuple[str, str]]:
    """Return ``(node, id)`` of each instance to keep warm at ``now``, in seconds since 1970."""
    entry = record.get("warm") if record else None
    return recorded(record) if entry and now < entry["until"] else frozenset()


def over(record: Record | None, observed: Observed) -> dict[str, tuple[str, ...]]:
    """Return node -> ids of the instances that are still there after their warm time is over."""
    ids: dict[str, tuple[str, ...]] = {}
    for i in observed.instances:
        if (i.node, i.id) in recorded(record) - observed.warm and not i.published:
            ids[i.node] = (*ids.get(i.node, ()), i.id)
    return ids


def kept(entry: Warm | None, ids: Mapping[str, Iterable[str]], until: float) -> Warm:
    """Return the record's ``warm`` with node -> ``ids`` added: all of its instances are kept until ``until``."""
    nodes = {node: list(some) for node, some in _nodes(entry).items()}
    for node, some in ids.items():
        here = nodes.setdefault(node, [])
        here += [i for i in some if i not in here]
    return {"until": until, "nodes": nodes}


def without(entry: Warm | None, ids: Mapping[str, Collection[str]]) -> Warm | None:
    """Return the record's ``warm`` without node -> ``ids``, or None if no instance is left."""
    left = {node: [i for i in some if i not in ids.get(node, ())] for node, some in _nodes(entry).items()}
    nodes = {node: some for node, some in left.items() if some}
    return {**entry, "nodes": nodes} if entry and nodes else None


def _nodes(entry: Warm | None) -> Ids:
    return entry["nodes"] if entry else {}


def cooled(record: Record | None, ids: Mapping[str, Collection[str]]) -> Record | None:
    """Return ``record`` without node -> ``ids`` in its ``warm``."""
    if not record or "warm" not in record:
        return record
    left, entry = record.copy(), without(record["warm"], ids)
    del left["warm"]
    return {**left, "warm": entry} if entry else left


def told(app: str, environment: str, entry: Warm | None, now: float) -> str:
    """Return the sentence on warm instances, or an empty text if there are none.

    :param app, environment: their names.
    :param now: seconds since 1970.
    """
    if not entry:
        return ""
    versions = sorted({version_of(i) for ids in entry["nodes"].values() for i in ids})
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry["until"]))
    if now >= entry["until"]:
        prune = f"salt-run deploy.prune {app} env={environment}"
        return f"{app} {', '.join(map(told_edition, versions))} was warm until {when}: {prune} retires it"
    how = " or ".join(f"salt-run deploy.rollback {app} {argument(v)} env={environment}" for v in versions)
    return f"{app} {', '.join(map(told_edition, versions))} runs on, warm, until {when}: {how} publishes it at once"
