"""One function for each strategy: the instances that it starts, and the waves in which it proceeds. Pure."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from .model import Wave, by_node, ids_by_node
from .placement import place
from .sets import without

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from ..core.model import Instance
    from .model import Desired, Move, Observed
    from .sets import Change

    Zone = Callable[[str], str]


class Steps(NamedTuple):
    """The way in which a strategy carries out a Change.

    :param start: node -> how many instances it starts.
    :param moves: the instances among them that come to another node.
    """

    start: dict[str, int]
    moves: tuple[Move, ...]
    waves: tuple[Wave, ...]


def rolling(desired: Desired, observed: Observed, change: Change) -> Steps:
    """Start new instances beside the old ones, and retire the old ones as their successors serve."""
    start, moves = place(desired, observed, change, change.leftovers)
    return Steps(start, moves, _in_turn(desired, observed, change, start, {}))


def recreate(desired: Desired, observed: Observed, change: Change) -> Steps:
    """Retire an old instance first if the new instance needs its port. Proceed as ``rolling`` with all others."""
    here, ports = set(desired.nodes), desired.app.ports or ()
    in_the_way = [i for i in change.retired if i.node in here and i.port in ports]
    start, moves = place(desired, observed, change, [*change.leftovers, *in_the_way])
    replace = {i.node: i for i in in_the_way if i.node in start}
    return Steps(start, moves, _in_turn(desired, observed, change, start, replace))


def blue_green(desired: Desired, observed: Observed, change: Change) -> Steps:
    """Publish the whole new set, then withdraw the old set. The old set runs on, warm."""
    start, moves = place(desired, observed, change, change.leftovers)
    return Steps(start, moves, flip(desired, start, change.again, change.retired))


STRATEGIES = {"rolling": rolling, "recreate": recreate, "blue_green": blue_green}


def flip(
    desired: Desired, start: dict[str, int], adopt: Iterable[Instance], old: Sequence[Instance]
) -> tuple[Wave, ...]:
    """Return the only wave of a blue-green deployment, or no wave if nothing changes.

    Only good instances of another release stay warm: the others are of no use for a rollback.
    """
    adopted = by_node(adopt)
    if not (start or adopted or old):
        return ()
    warm = [i for i in old if desired.app.strategy.keep_old and i.good and not desired.is_current(i)]
    return (Wave(start, ids_by_node(without(old, warm)), adopted, withdraw=ids_by_node(warm)),)


def _in_turn(
    desired: Desired, observed: Observed, change: Change, start: dict[str, int], replace: Mapping[str, Instance]
) -> tuple[Wave, ...]:
    """Return the waves of ``rolling`` and ``recreate``."""
    adopted = _adoptions(change.kept, observed.zone) if desired.adopt else ()
    staying = len(change.kept) + sum(i.healthy for i in change.old) - sum(i.healthy for i in change.retired)
    return (*adopted, *in_waves(desired, start, change.retired, staying, observed.zone, replace))


def in_waves(
    desired: Desired,
    start: Mapping[str, int],
    old: Sequence[Instance],
    already: int,
    zone: Zone,
    replace: Mapping[str, Instance],
) -> Iterator[Wave]:
    """Yield waves of nodes in cumulative sizes, which retire no more instances than have a successor by then.

    Unhealthy instances do not count as serving, so they go in the first wave that may retire them.

    :param start: node -> how many instances it starts.
    :param old: the instances that are retired in the end.
    :param already: how many instances serve and stay.
    :param zone: gives the zone of a node. No wave touches nodes of two zones.
    :param replace: node -> the instance in ``old`` whose port a new instance there takes.
    """
    serving = already + sum(i.healthy for i in old)
    # On nodes with unhealthy instances there is most to win, and nothing to lose.
    sick = {i.node for i in old if not i.healthy}
    order = sorted(start, key=lambda n: n not in sick)
    groups = _groups(desired, order, zone, replace, max(1, min(serving, desired.instances) // 2))
    turn = {n: number for number, nodes in enumerate(groups, 1) for n in nodes}
    gone, near = set(replace.values()), defaultdict(list)
    for i in old:
        if i not in gone:
            near[zone(i.node)].append(i)
    for number, nodes in enumerate(groups, 1):
        out = [replace[n] for n in nodes if n in replace]
        meanwhile = serving - sum(i.healthy for i in out)
        serving = meanwhile + sum(start[n] for n in nodes)
        here, starting = near[zone(nodes[0])], set(nodes)
        surplus = len(here) if number == len(groups) else max(0, serving - desired.instances)
        # On nodes of later waves the old instances keep their ports, so that a revert can go back to them.
        may = [i for i in here if turn.get(i.node, 0) <= number]
        well = sorted((i for i in may if i.healthy), key=lambda i: i.node not in starting)[:surplus]
        going = [*(i for i in may if not i.healthy), *well]
        gone.update(going)
        near[zone(nodes[0])] = [i for i in here if i not in gone]
        serving -= len(well)
        yield Wave(
            start={n: start[n] for n in nodes},
            retire=ids_by_node(going),
            replace=ids_by_node(out),
            meanwhile=meanwhile if out else 0,
        )
    yield from _retirement([i for i in old if i not in gone], zone)


def _retirement(old: Iterable[Instance], zone: Zone) -> Iterator[Wave]:
    """Yield waves that only retire, one for each zone: all there is to do when fewer instances are desired."""
    near = defaultdict(list)
    for i in old:
        near[zone(i.node)].append(i)
    for going in near.values():
        yield Wave({}, ids_by_node(going))


def _adoptions(kept: Iterable[Instance], zone: Zone) -> Iterator[Wave]:
    """Yield waves that publish the instances in ``kept`` that are not published yet, one for each zone."""
    candidates = sorted((i for i in kept if not i.published), key=lambda i: (zone(i.node), i.node, i.slot))
    for _, near in itertools.groupby(candidates, lambda i: zone(i.node)):
        yield Wave({}, {}, by_node(near))


def _groups(
    desired: Desired, start: Sequence[str], zone: Zone, replace: Collection[str], most_out: int
) -> list[list[str]]:
    """Return the nodes that start instances in groups of the wanted sizes, which are split further if they must be.

    :param most_out: the most nodes of a group whose serving instances are retired first.
    """
    zones = {place: rank for rank, place in enumerate(dict.fromkeys(zone(n) for n in start))}
    # Nodes with room come first: they add serving instances before any serving instance is taken away.
    nodes = sorted(start, key=lambda n: (n in replace, zones[zone(n)]))
    groups = []
    for group in sized(nodes, desired.app.strategy.waves):
        for (_, full), alike in itertools.groupby(group, lambda n: (zone(n), n in replace)):
            part = list(alike)
            size = most_out if full else len(part)
            groups += [part[at : at + size] for at in range(0, len(part), size)]
    return groups


def sized(nodes: list[str], sizes: Iterable[object]) -> list[list[str]]:
    """Return ``nodes`` in groups whose ends are at the cumulative ``sizes``: numbers or percentages."""
    groups, done = [], 0
    for size in (*sizes, "100%"):
        upto = size if isinstance(size, int) else math.ceil(len(nodes) * int(str(size)[:-1]) / 100)
        if min(upto, len(nodes)) > done:
            groups.append(nodes[done:upto])
            done = min(upto, len(nodes))
    return groups
