"""(desired, observed) -> Plan. Pure: no Salt, no network, no clock, no randomness.

An interrupted deployment is simply run again. The plan starts from the observed state. So it leaves out the parts that
are already done, and it removes the instances that were left behind.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from ..core import editions, traffic
from ..core.errors import Refused
from . import affinity, explain
from .model import Desired, Observed, Plan, Wave, by_node, ids_by_node
from .sets import Change, compare, divide, is_serving, is_waiting, without
from .strategies import STRATEGIES, flip, in_waves, sized

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..core.model import Instance


def plan(desired: Desired, observed: Observed) -> Plan:
    """Return the Plan that takes ``observed`` to ``desired``.

    Warm instances serve no client, and occupy ports. So if there is no plan beside them, they make room.

    :raises Refused: there are too few nodes, or too few ports.
    """
    try:
        return _plan(desired, observed)
    except Refused:
        if not observed.warm:
            raise
        return _plan(desired, replace(observed, warm=frozenset()))


def _plan(desired: Desired, observed: Observed) -> Plan:
    change = compare(desired, observed)
    start, moves, waves = STRATEGIES[desired.app.strategy.type](desired, observed, change)
    staying = [*change.kept, *change.again, *(without(change.old, change.retired) if desired.keep else ())]
    had, after = affinity.published(observed), {*start, *affinity.places(staying)}
    empty = affinity.empty(desired, observed, had, after, start, moves)
    paused, canary = _is_paused(desired, change, start), None
    if paused:
        # What serves of the release already is the first wave.
        waves = () if _is_shown(desired, change) else (replace(waves[0], retire={}),)
        starting = sum(n for wave in waves for n in wave.start.values())
        canary = traffic.canary(desired, [*change.kept, *change.old], starting)
    hidden = canary is not None and canary.hidden
    # Instances that only go keep their weight: a canary that is reverted must not get more.
    weighed = [*change.kept, *(change.old if start or paused or not change.retired else ())]
    return Plan(
        clean=ids_by_node(change.leftovers),
        install=tuple(n for n in start if desired.release not in observed.releases.get(n, ())),
        waves=waves,
        publish=desired.publish and not hidden,
        paused=paused,
        canary=canary,
        weigh=traffic.changed(weighed if desired.publish else [], desired.version, canary),
        register=_changed_in_place(desired, staying, "outdated"),
        reload=() if desired.as_before else _changed_in_place(desired, staying, "stale"),
        analysis=() if hidden else _measured(desired),
        sick=ids_by_node(i for i in change.retired if not i.healthy),
        moves=moves,
        empty=empty,
        unused=affinity.unused(desired, observed, had, after),
    )


def _changed_in_place(
    desired: Desired, staying: Iterable[Instance], part: Literal["outdated", "stale"]
) -> tuple[dict[str, dict[str, str]], ...]:
    """Return the instances among those that stay that change without a restart, in waves of the strategy's sizes.

    :param part: the field with the changes.
    """
    if not (desired.publish and desired.register):
        return ()
    found = by_node(i for i in staying if desired.is_current(i) and i.published and getattr(i, part))
    waves = sized(list(found), desired.app.strategy.waves)
    return tuple({node: {i.id: getattr(i, part) for i in found[node]} for node in nodes} for nodes in waves)


def _is_paused(desired: Desired, change: Change, start: dict[str, int]) -> bool:
    """Return whether the operator decides after the first wave, and has another release to go back to."""
    replaces = any(not desired.is_current(i) for i in change.retired)
    return desired.pause and desired.publish and replaces and bool(start or _is_shown(desired, change))


def _is_shown(desired: Desired, change: Change) -> bool:
    """Return whether an interrupted deployment, or the operator with ``keep``, brought the first wave to clients."""
    return bool(change.kept) and desired.app.strategy.canary_weight != traffic.NONE


def without_candidates(desired: Desired, observed: Observed) -> Plan:
    """Return the Plan that stops the candidates that wait for publication."""
    waiting = [i for i in observed.instances if is_waiting(i)]
    return Plan(clean=ids_by_node(waiting), install=(), waves=(), publish=False)


def publication(desired: Desired, observed: Observed) -> Plan:
    """Return the Plan that publishes the candidates held by ``publish=False``, and retires the old instances.

    :raises Refused: there is no candidate, or fewer than ``desired.instances`` would be left.
    """
    sets = divide(desired, observed)
    candidates, good = sets.waiting, sets.good
    old = () if desired.keep else without(sets.serving, good)
    if not candidates and not (good and old):
        raise Refused(explain.no_candidate(desired))
    if len(candidates) + len(good) < desired.instances and not desired.keep:
        raise Refused(explain.too_few(desired, len(candidates) + len(good)))
    had, after = affinity.published(observed), affinity.places([*candidates, *good])
    unused = affinity.unused(desired, observed, had, after | had if desired.keep else after)
    gone, waves = sets.dead, []
    if desired.app.blue_green:
        # Warm instances and candidates of dead deployments make way for the set that is withdrawn.
        if candidates and old:
            gone = tuple(i for i in sets.idle if not is_waiting(i))
        waves = [*flip(desired, {}, candidates, old)]
    else:
        adopted = by_node(candidates)
        counts = {node: len(adopted[node]) for node in desired.nodes if node in adopted}
        for wave in in_waves(desired, counts, old, len(good), observed.zone, {}):
            waves.append(Wave({}, wave.retire, {n: adopted[n] for n in wave.start}))
    return Plan(
        clean=ids_by_node(gone),
        install=(),
        waves=tuple(waves),
        publish=True,
        analysis=_measured(desired),
        unused=unused,
    )


def _measured(desired: Desired) -> tuple[str, ...]:
    """Return the names of the measurements of each wave, which are only taken of published instances."""
    wanted = desired.analysis and desired.publish
    return tuple(gate.name for gate in desired.app.strategy.analysis) if wanted else ()


def restarts(observed: Observed, nodes: Sequence[str], sizes: Iterable[object]) -> list[dict[str, tuple[str, ...]]]:
    """Return waves, node -> ids, that restart all published instances, one after the other on a node.

    Nodes that serve no client come first. No wave takes out more than half of the serving instances at once. No wave
    takes out all nodes with serving instances, unless there is only a single such node. No wave has nodes of two zones.

    :param nodes: names in order of preference.
    :param sizes: the strategy's waves.
    """
    published = [i for i in observed.instances if i.published]
    refuse_lost(published)
    ids = ids_by_node(published)
    serving = Counter(i.node for i in observed.instances if is_serving(i))
    most = max(1, sum(serving.values()) // 2)  # A node has one instance out at a time.
    preference = {n: rank for rank, n in enumerate(nodes)}
    order = sorted(ids, key=lambda n: (n in serving, preference.get(n, len(nodes)), n))
    groups = [list(part) for group in sized(order, sizes) for _, part in itertools.groupby(group, observed.zone)]
    waves: list[list[str]] = []
    for group in groups:
        all_of_it = sum(n in serving for n in group) == len(serving)
        parts = [group[:1], group[1:]] if all_of_it and len(group) > 1 else [group]
        for part in parts:
            # Nodes that serve no client come first in a part, and are out already.
            out = [n for n in part if n in serving]
            first = part[: len(part) - len(out) + most]
            rest = part[len(first) :]
            waves += [first, *(rest[at : at + most] for at in range(0, len(rest), most))]
    return [{n: ids[n] for n in wave} for wave in waves]


def refuse_lost(instances: Iterable[Instance]) -> None:
    """Raise Refused if a node has no file about one of ``instances``: that instance can only be replaced."""
    lost = ids_by_node(i for i in instances if not i.recorded)
    if lost:
        raise Refused(explain.unknown_release(lost))


def prunable(observed: Observed, keep: int, good: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return node -> versions that may be removed, the oldest first, so that ``keep`` releases stay there in all.

    :param good: editions whose releases stay in any case, as do those of instances.
    """
    staying = set(map(editions.release, (*good, *(i.version for i in observed.instances))))
    going = {}
    for node, releases in sorted(observed.releases.items()):
        others = [r for r in releases if r not in staying]
        surplus = len(others) - max(0, keep - (len(releases) - len(others)))
        if surplus > 0:
            going[node] = tuple(others[:surplus])
    return going


def installed(observed: Observed, plan: Plan, version: str) -> Observed:
    """Return ``observed`` as it is after the installations of the release ``version`` by ``plan``."""
    new = {n: (*observed.releases.get(n, ()), version) for n in plan.install}
    return replace(observed, releases={**observed.releases, **new})


def everything(observed: Observed) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Return all instances and all releases: node -> ids to stop, node -> versions to remove."""
    return ids_by_node(observed.instances), {
        n: tuple(releases) for n, releases in sorted(observed.releases.items()) if releases
    }
