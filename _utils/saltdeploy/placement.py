"""On which nodes instances are started, and which of too many are kept: spread over zones, then nodes.

Pure, and near-linear in the number of nodes: zones and nodes wait in heaps for their turn.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from dataclasses import dataclass

from .errors import Refused


class Turns:
    """Nodes in the order of their turns: first the zone with the lowest count, there the node with the lowest key.

    :param in_zone: zone -> count; each turn adds one to that of the node's zone.
    :param waiting: pairs of a zone and a key; keys differ, and end with what is to be known of the node.
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
        """Give the first its turn, and return its key.

        :param again: ``again(key)`` returns its key for its next turn, None if it has no further one.
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


def spread_out(instances, wanted, zone):
    """Keep at most ``wanted`` of ``instances``, taking the surplus from the fullest zones, there the fullest nodes.

    :returns: a dict, as it is ordered and quick to look into; the instances are its keys.
    """
    kept = sorted(instances, key=lambda i: (i.node, i.slot))
    on_node = defaultdict(list)
    for rank, i in enumerate(kept):
        on_node[i.node].append(rank)
    # The lowest comes first, and the fullest is to.
    full = Counter()
    for i in kept:
        full[zone(i.node)] -= 1
    turns = Turns(full, [(zone(node), (-len(ranks), -ranks[-1], node)) for node, ranks in on_node.items()])

    def again(key):
        ranks = on_node[key[-1]]
        ranks.pop()
        return (-len(ranks), -ranks[-1], key[-1]) if ranks else None

    gone = {-turns.take(again)[1] for _ in range(len(kept) - wanted)}
    return dict.fromkeys(i for rank, i in enumerate(kept) if rank not in gone)


@dataclass(frozen=True)
class Move:
    """An instance that comes to node ``target`` for one on ``source``; ``reason`` is why it does not stay there."""

    source: str
    target: str
    reason: str


def place(desired, observed, kept, before, gone, missing):
    """Return node -> instances to start, and the Moves among them.

    One goes where the zone has fewest of the new release; there to a node with one that it replaces, as long as the
    nodes have as many each; then to one with the app's data, then to the one with fewest of the release, then of any.

    :param before: the published instances, of which those that are not ``kept`` are replaced.
    :param gone: instances that leave their ports before anything is started there.
    :raises Refused: there is no room for as many.
    """
    if missing > 0 and not desired.nodes:
        raise Refused(
            f"no node may run {desired.app.name}: give a node of the environment the role it asks for."
            + _allow(observed)
        )
    room, zone = _rooms(desired, observed, gone), observed.zone
    new, start, staying = Counter(i.node for i in kept), Counter(), set(kept)
    replaced = Counter(i.node for i in before if i not in staying)
    any_release = Counter(i.node for i in observed.instances if i.published and i.running)
    share = -(-desired.instances // max(1, sum(bool(room[n] or new[n]) for n in desired.nodes)))

    def key(rank):
        node = desired.nodes[rank]
        here = new[node] + start[node]
        fair = here < share
        stays, has_data = fair and start[node] < replaced[node], fair and node in observed.data
        return (not stays, not (has_data and desired.app.data), here, any_release[node] + start[node], rank)

    def again(last):
        node = desired.nodes[last[-1]]
        start[node] += 1
        return key(last[-1]) if room[node] > start[node] else None

    ranked = [(zone(n), key(rank)) for rank, n in enumerate(desired.nodes) if room[n]]
    turns = Turns(Counter(zone(i.node) for i in kept), ranked)
    for _ in range(missing):
        if not turns:
            raise Refused(_no_room(desired, observed, room, missing))
        turns.take(again)
    return {n: start[n] for n in desired.nodes if start[n]}, _moves(desired, observed, new + start, before, room)


def _moves(desired, observed, after, before, room):
    """Return the Moves, if ``after`` says how many each node has then, and ``room`` how many it could start."""
    had = Counter(i.node for i in before)
    sources = sorted((had - after).elements())
    targets = sorted((after - had).elements())
    return tuple(Move(a, b, _why(desired, observed, a, b, room, after)) for a, b in zip(sources, targets))


def _why(desired, observed, source, target, room, after):
    if source in observed.barred:
        return observed.barred[source]
    if source not in desired.nodes:
        return f"{source} is not among the nodes of this deployment"
    if room[source] <= after[source]:
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
        f"no room for {missing} more of {app.name} {desired.version} beside what runs:"
        f" ports {app.ports} have free {free}. Either {_make_room(desired)}, or add nodes.{_allow(observed)}"
    )


def _allow(observed):
    """Say which nodes of the environment could run the app, too."""
    return "".join(f" {reason}." for _, reason in sorted(observed.barred.items()))


def _make_room(desired):
    """Say what would make room on the nodes there are."""
    app = desired.app
    beside = f"give {app.name} a range of ports (apps:{app.name}:ports) so that old and new run side by side"
    if len(app.ports) > 1:
        return f"widen apps:{app.name}:ports"
    if not app.in_place:
        return f"{beside}, or have each old one stopped first (apps:{app.name}:strategy: {{replace: in_place}})"
    if not desired.publish:
        return f"leave publish=False out (in place, a candidate needs the port of what serves), or {beside}"
    if desired.keep:
        return f"leave keep=True out (in place, the new release needs the port of what is kept), or {beside}"
    return "stop what else uses that port"
