"""The nodes that start instances, and the instances to keep of too many: spread over zones, then nodes.

Pure, and near-linear in the number of nodes: zones and nodes wait in heaps for their turn.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Generic, TypeVar

from ..core.errors import Refused
from . import explain
from .model import Move, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from ..core.model import Instance
    from .model import Desired, Observed
    from .sets import Change

# The order of the turns of the nodes in a zone.
Key = TypeVar("Key", "tuple[int, int, int]", "tuple[int, int, str]")


class Turns(Generic[Key]):
    """Nodes in the order of their turns: first the zone with the lowest count, there the node with the lowest key.

    :param in_zone: zone -> count. Each turn adds 1 to the count of the node's zone.
    :param waiting: pairs of a zone and a key. Keys differ, and end with the name or the number of the node.
    """

    def __init__(self, in_zone: Mapping[str, int], waiting: Iterable[tuple[str, Key]]) -> None:
        self._in_zone = Counter(in_zone)
        self._nodes: dict[str, list[Key]] = defaultdict(list)
        self._zones: list[tuple[int, Key, str]] = []
        for zone, key in waiting:
            heapq.heappush(self._nodes[zone], key)
        for zone in self._nodes:
            self._queue(zone)

    def __bool__(self) -> bool:
        return bool(self._zones)

    def take(self, again: Callable[[Key], Key | None]) -> Key:
        """Give the first node its turn, and return its key.

        :param again: ``again(key)`` returns the node's key for its next turn, or None if it has no further turn.
        """
        _, _, zone = heapq.heappop(self._zones)
        key = heapq.heappop(self._nodes[zone])
        self._in_zone[zone] += 1
        following = again(key)
        if following is not None:
            heapq.heappush(self._nodes[zone], following)
        self._queue(zone)
        return key

    def _queue(self, zone: str) -> None:
        if self._nodes[zone]:
            heapq.heappush(self._zones, (self._in_zone[zone], self._nodes[zone][0], zone))


def spread_out(
    instances: Iterable[Instance], wanted: int, zone: Callable[[str], str], last: Collection[str] = ()
) -> tuple[Instance, ...]:
    """Keep at most ``wanted`` of ``instances``, and take the surplus from the fullest zones, there the fullest nodes.

    :param last: nodes that keep one instance as long as the surplus can be taken from other nodes.
    """
    kept = sorted(instances, key=lambda i: (i.node, i.slot))
    on_node = defaultdict(list)
    for rank, i in enumerate(kept):
        on_node[i.node].append(rank)
    # The lowest count comes first. Counts are negative, so that the fullest zone comes first.
    full: Counter[str] = Counter()
    for i in kept:
        full[zone(i.node)] -= 1

    def key(node: str) -> tuple[int, int, str] | None:
        ranks = on_node[node]
        return (-len(ranks), -ranks[-1], node) if len(ranks) > (node in last) else None

    def again(taken: tuple[int, int, str]) -> tuple[int, int, str] | None:
        on_node[taken[-1]].pop()
        return key(taken[-1])

    turns = Turns(full, [(zone(node), first) for node in on_node if (first := key(node))])
    surplus = len(kept) - wanted
    gone: set[int] = set()
    while turns and len(gone) < surplus:
        gone.add(-turns.take(again)[1])
    left = tuple(i for rank, i in enumerate(kept) if rank not in gone)
    return spread_out(left, wanted, zone) if len(gone) < surplus else left


def even_out(desired: Desired, observed: Observed, instances: Collection[Instance]) -> tuple[Instance, ...]:
    """Return the part of ``instances`` that stays if the desired number is spread as evenly as can be."""
    anywhere = dict.fromkeys(desired.nodes, math.inf)

    def spread(count: int) -> Counter[str]:
        """Return node -> number, if ``count`` instances leave the fullest places and are placed anew."""
        kept = Counter(i.node for i in spread_out(instances, desired.instances - count, observed.zone))
        start: Counter[str] = Counter()
        _fill(desired.nodes, observed.zone, kept, Counter(), start, anywhere, desired.instances - sum(kept.values()))
        return kept + start

    def unevenness(count: int) -> tuple[list[int], list[int]]:
        on_node, in_zone = spread(count), Counter[str]()
        for node, number in on_node.items():
            in_zone[observed.zone(node)] += number
        return sorted(in_zone.values(), reverse=True), sorted(on_node.values(), reverse=True)

    room = spread(min(range(desired.instances + 1), key=unevenness))
    kept = []
    for i in sorted(instances, key=lambda i: (i.node, i.slot)):
        if room[i.node] > 0:
            room[i.node] -= 1
            kept.append(i)
    return tuple(kept)


def place(
    desired: Desired, observed: Observed, change: Change, gone: Iterable[Instance]
) -> tuple[dict[str, int], tuple[Move, ...]]:
    """Return node -> how many instances to start, and the Moves among them.

    A node with an instance to be replaced gets its successor first, as long as it has room and so many are missing.
    Each other instance goes to the zone with the fewest instances of the new release. There it goes to the node with
    the fewest of this release, then with the fewest of any release. With ``desired.move``, all instances are placed in
    this way, unless the app has data.

    :param gone: instances that leave their ports before any instance is started there.
    :raises Refused: there is no room for so many instances.
    """
    missing = change.missing
    if missing > 0 and not desired.nodes:
        raise Refused(explain.no_node(desired, observed))
    new, had = Counter(i.node for i in (*change.kept, *change.again)), _places(desired, change)
    room = _rooms(desired, observed, gone)
    running = Counter(i.node for i in observed.instances if i.published and i.running)
    start: Counter[str] = Counter()
    for most in [*_turns_of_old(desired, observed, had - new, new), room]:
        most = {n: min(room[n], most.get(n, 0)) for n in desired.nodes}
        _fill(desired.nodes, observed.zone, new, running, start, most, missing - sum(start.values()))
    if sum(start.values()) < missing:
        raise Refused(explain.no_room(desired, observed, room, missing))
    moves = _moves(desired, observed, had, new, start, room)
    return {n: start[n] for n in desired.nodes if start[n]}, moves


def _places(desired: Desired, change: Change) -> Counter[str]:
    """Return node -> the number of its places with an instance.

    An instance of another release and its successor share a place.
    """
    staying = {*change.kept, *change.again}
    new = Counter(i.node for i in staying)
    replaced = [i for i in change.before if i not in staying]
    # A kept instance is no successor of an instance of its own release that is to be replaced.
    same = Counter(i.node for i in replaced if desired.is_current(i) and desired.publish)
    return ((Counter(i.node for i in replaced) - same) | new) + same


def _turns_of_old(
    desired: Desired, observed: Observed, successors: Mapping[str, int], new: Mapping[str, int]
) -> list[Mapping[str, int]]:
    """Return the turns in which nodes get instances before all others do: for each turn, node -> how many at most."""
    if not desired.app.data:
        return [] if desired.move else [successors]
    bare = [n for n in observed.data if not new[n]]
    return [{n: min(1, successors[n]) for n in bare}, successors, dict.fromkeys(bare, 1)]


def _fill(
    nodes: Sequence[str],
    zone: Callable[[str], str],
    new: Counter[str],
    running: Counter[str],
    start: Counter[str],
    most: Mapping[str, float],
    missing: int,
) -> None:
    """Add ``missing`` instances to ``start``, up to ``most`` on each node, spread over zones, then nodes."""

    def key(rank: int) -> tuple[int, int, int]:
        node = nodes[rank]
        return new[node] + start[node], running[node] + start[node], rank

    def again(last: tuple[int, int, int]) -> tuple[int, int, int] | None:
        node = nodes[last[-1]]
        start[node] += 1
        return key(last[-1]) if start[node] < most[node] else None

    in_zone: Counter[str] = Counter()
    for node, count in (new + start).items():
        in_zone[zone(node)] += count
    turns = Turns(in_zone, [(zone(n), key(rank)) for rank, n in enumerate(nodes) if start[n] < most[n]])
    while turns and missing > 0:
        turns.take(again)
        missing -= 1


def _moves(
    desired: Desired,
    observed: Observed,
    had: Counter[str],
    new: Counter[str],
    start: Counter[str],
    room: Mapping[str, float],
) -> tuple[Move, ...]:
    """Return the Moves.

    :param had: node -> the number of its places, see :func:`_places`.
    :param new: node -> how many instances of the release stay.
    :param start: node -> how many instances of the release are started.
    :param room: node -> how many instances could be started.
    """
    after = new + start
    sources = sorted((had - after).elements())
    targets = sorted((after - had).elements())
    return tuple(_move(desired, observed, a, b, room.get(a, 0) - start[a]) for a, b in zip(sources, targets))


def _move(desired: Desired, observed: Observed, source: str, target: str, room: float) -> Move:
    """Return the Move, with its reason.

    :param room: how many more instances could be started on ``source``.
    """
    if source in observed.barred:
        return Move(source, target, Reason.BARRED, observed.barred[source])
    if source not in desired.nodes:
        return Move(source, target, Reason.NOT_CHOSEN)
    if room <= 0:
        return Move(source, target, Reason.NO_PORT)
    other_zone = observed.zone(source) != observed.zone(target)
    return Move(source, target, Reason.ZONE if other_zone else Reason.SHARE)


def _rooms(desired: Desired, observed: Observed, gone: Iterable[Instance]) -> Mapping[str, float]:
    """Return node -> how many instances can be started there."""
    ports = desired.app.ports
    freed: dict[str, set[int | None]] = defaultdict(set)
    if ports is None:
        return dict.fromkeys(desired.nodes, math.inf)
    for i in gone:
        freed[i.node].add(i.port)
    rooms: dict[str, float] = {}
    for node in desired.nodes:
        taken = observed.ports_taken.get(node, frozenset()) - freed[node]
        rooms[node] = len(ports) - sum(ports.first <= port <= ports.last for port in taken)
    return rooms
