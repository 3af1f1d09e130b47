"""The nodes that start instances, and the instances to keep of too many: spread over zones, then nodes.

Pure, and near-linear in the number of nodes: zones and nodes wait in heaps for their turn.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from dataclasses import dataclass

from ..core.errors import Refused


class Turns:
    """Nodes in the order of their turns: first the zone with the lowest count, there the node with the lowest key.

    :param in_zone: zone -> count. Each turn adds 1 to the count of the node's zone.
    :param waiting: pairs of a zone and a key. Keys differ, and end with the name or the number of the node.
    """

    def __init__(self, in_zone, waiting):
        self._in_zone, self._nodes, self._zones = Counter(in_zone), defaultdict(list), []
        for zone, key in waiting:
            heapq.heappush(self._nodes[zone], key)
        for zone in self._nodes:
            self._queue(zone)

    def __bool__(self):
        return bool(self._zones)

    def take(self, again):
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

    def _queue(self, zone):
        if self._nodes[zone]:
            heapq.heappush(self._zones, (self._in_zone[zone], self._nodes[zone][0], zone))


def spread_out(instances, wanted, zone, last=()):
    """Keep at most ``wanted`` of ``instances``, and take the surplus from the fullest zones, there the fullest nodes.

    :param last: nodes that keep one instance as long as the surplus can be taken from other nodes.
    :returns: a dict with the instances as keys, because it is ordered and quick to look into.
    """
    kept = sorted(instances, key=lambda i: (i.node, i.slot))
    on_node = defaultdict(list)
    for rank, i in enumerate(kept):
        on_node[i.node].append(rank)
    # The lowest count comes first. Counts are negative, so that the fullest zone comes first.
    full = Counter()
    for i in kept:
        full[zone(i.node)] -= 1

    def key(node):
        ranks = on_node[node]
        return (-len(ranks), -ranks[-1], node) if len(ranks) > (node in last) else None

    def again(taken):
        on_node[taken[-1]].pop()
        return key(taken[-1])

    turns = Turns(full, [(zone(node), first) for node in on_node if (first := key(node))])
    surplus, gone = len(kept) - wanted, set()
    while turns and len(gone) < surplus:
        gone.add(-turns.take(again)[1])
    left = dict.fromkeys(i for rank, i in enumerate(kept) if rank not in gone)
    return spread_out(left, wanted, zone) if len(gone) < surplus else left


@dataclass(frozen=True)
class Move:
    """An instance that comes to the node ``target`` in place of an instance on ``source``.

    :param reason: why it does not stay on ``source``.
    """

    source: str
    target: str
    reason: str


def place(desired, observed, kept, before, gone, missing):
    """Return node -> how many instances to start, and the Moves among them.

    A node with an instance to be replaced gets its successor first, as long as it has room and so many are missing.
    Each other instance goes to the zone with the fewest instances of the new release. There it goes to the node with
    the fewest of this release, then with the fewest of any release. With ``desired.move``, all instances are placed in
    this way, unless the app has data.

    :param before: the published instances. Those that are not in ``kept`` are replaced.
    :param gone: instances that leave their ports before any instance is started there.
    :raises Refused: there is no room for so many instances.
    """
    if missing > 0 and not desired.nodes:
        raise Refused(
            f"no node may run {desired.app.name}: give a node of the environment the role it asks for."
            + _allow(observed)
        )
    room, new, had = _rooms(desired, observed, gone), Counter(i.node for i in kept), places(desired, kept, before)
    running, start = Counter(i.node for i in observed.instances if i.published and i.running), Counter()
    for most in [*_turns_of_old(desired, observed, had - new, new), room]:
        most = {n: min(room[n], most.get(n, 0)) for n in desired.nodes}
        _fill(desired.nodes, observed.zone, new, running, start, most, missing - sum(start.values()))
    if sum(start.values()) < missing:
        raise Refused(_no_room(desired, observed, room, missing))
    moves = _moves(desired, observed, had, new, start, room)
    return {n: start[n] for n in desired.nodes if start[n]}, moves


def places(desired, kept, before):
    """Return node -> the number of its places with an instance.

    An instance of another release and its successor share a place.

    :param before: the published instances.
    :param kept: the instances of the release that stay, published or not.
    """
    staying, new = set(kept), Counter(i.node for i in kept)
    replaced = [i for i in before if i not in staying]
    # A kept instance is no successor of an instance of its own release that is to be replaced.
    same = Counter(i.node for i in replaced if i.version == desired.version and desired.publish)
    return ((Counter(i.node for i in replaced) - same) | new) + same


def _turns_of_old(desired, observed, successors, new):
    """Return the turns in which nodes get instances before all others do: for each turn, node -> how many at most."""
    if not desired.app.data:
        return [] if desired.move else [successors]
    bare = [n for n in observed.data if not new[n]]
    return [{n: min(1, successors[n]) for n in bare}, successors, dict.fromkeys(bare, 1)]


def _fill(nodes, zone, new, running, start, most, missing):
    """Add ``missing`` instances to ``start``, up to ``most`` on each node, spread over zones, then nodes."""

    def key(rank):
        node = nodes[rank]
        return new[node] + start[node], running[node] + start[node], rank

    def again(last):
        node = nodes[last[-1]]
        start[node] += 1
        return key(last[-1]) if start[node] < most[node] else None

    in_zone = Counter()
    for node, count in (new + start).items():
        in_zone[zone(node)] += count
    turns = Turns(in_zone, [(zone(n), key(rank)) for rank, n in enumerate(nodes) if start[n] < most[n]])
    while turns and missing > 0:
        turns.take(again)
        missing -= 1


def _moves(desired, observed, had, new, start, room):
    """Return the Moves.

    :param had: node -> the number of its places, see :func:`places`.
    :param new: node -> how many instances of the release stay.
    :param start: node -> how many instances of the release are started.
    :param room: node -> how many instances could be started.
    """
    after = new + start
    sources = sorted((had - after).elements())
    targets = sorted((after - had).elements())
    return tuple(Move(a, b, _why(desired, observed, a, b, room.get(a, 0) - start[a])) for a, b in zip(sources, targets))


def _why(desired, observed, source, target, room):
    if source in observed.barred:
        return observed.barred[source]
    if source not in desired.nodes:
        return f"{source} is not among the nodes of this deployment"
    if room <= 0:
        return f"{source} has no free port for it"
    if observed.zone(source) != observed.zone(target):
        return "its zone would have more than its share"
    return f"{source} would have more than its share"


def _rooms(desired, observed, gone):
    """Return node -> how many instances can be started there."""
    ports, freed = desired.app.ports, defaultdict(set)
    if ports is None:
        return dict.fromkeys(desired.nodes, math.inf)
    for i in gone:
        freed[i.node].add(i.port)
    rooms = {}
    for node in desired.nodes:
        taken = observed.ports_taken.get(node, frozenset()) - freed[node]
        rooms[node] = len(ports) - sum(ports.first <= port <= ports.last for port in taken)
    return rooms


def _no_room(desired, observed, room, missing):
    free = ", ".join(f"{room[n]} on {n}" for n in desired.nodes)
    app = desired.app
    return (
        f"no room for {missing} more of {app.name} {desired.version} beside the running instances:"
        f" ports {app.ports} have free {free}. Either {_make_room(desired)}, or add nodes.{_allow(observed)}"
    )


def _allow(observed):
    """Say which nodes of the environment could run the app, too."""
    return "".join(f" {reason}." for _, reason in sorted(observed.barred.items()))


def _make_room(desired):
    """Say how to make room on the present nodes."""
    app = desired.app
    beside = f"give {app.name} a range of ports (apps:{app.name}:ports) so that old and new run side by side"
    if len(app.ports) > 1:
        return f"widen apps:{app.name}:ports"
    if not app.recreate:
        return f"{beside}, or have each old one stopped first (apps:{app.name}:strategy: {{type: recreate}})"
    if not desired.publish:
        return f"leave publish=False out (in place, a candidate needs the port of the old instance), or {beside}"
    if desired.keep:
        return f"leave keep=True out (in place, the new release needs the port of the kept instance), or {beside}"
    return "stop the process that uses that port"
