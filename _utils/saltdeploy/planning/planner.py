"""(desired, observed) -> Plan. Pure: no Salt, no network, no clock, no randomness.

A run that was cut off is simply run again: the plan starts from what is there, so whatever part
is already done is not in it, and whatever was left behind is.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from ..core import bluegreen, traffic
from ..core.errors import Refused
from ..core.model import App, Instance
from . import affinity
from .explain import listed
from .placement import Move
from .placement import place as _place
from .placement import spread_out as _spread_out


@dataclass(frozen=True)
class Desired:
    """What the deployment is to reach.

    :param version: the release to run; ``instances`` of it on ``nodes`` (names, in order of preference).
    :param publish: False leaves tested candidates, held for ``deploy.publish``.
    :param keep: leave instances of other releases published.
    :param tests: False publishes what is ready without its acceptance tests.
    :param pause: stop after the first wave, and keep what it replaces, until it is said how to go on.
    :param adopt: publish the candidates that such a pause left, once they pass their tests again.
    :param analysis: measure what each wave published, as the strategy says, before what it replaces is retired.
    :param move: whether instances may leave their nodes to be spread evenly, and an app with data the data.
    """

    app: App
    version: str
    instances: int
    nodes: tuple[str, ...]
    publish: bool = True
    keep: bool = False
    tests: bool = True
    pause: bool = False
    adopt: bool = False
    analysis: bool = False
    move: bool = False


@dataclass(frozen=True)
class Observed:
    """What is there: every instance of the app on the nodes that answered, also those that their node has no file of.

    :param ports_taken: per node, the ports that something listens on or that are allocated.
    :param releases: per node, the versions of the app that are installed, in the order in which they were.
    :param zones: per node, the zone it is in. Nodes without one are in one together.
    :param warm: ``(node, id)`` of what a blue-green deployment withdrew, and is to be kept running still.
    :param data: the nodes that have data of the app, with its folder; empty where only the record says so.
    :param lost: the nodes that had data of the app, by the record, and have none.
    :param barred: the nodes of the environment that may not run the app, each with the reason and what to do.
    :param slots: per load balancer, how many instances it has slots for.
    :param stop_timeout: the longest time that one of the instances has to end, in seconds.
    """

    instances: tuple[Instance, ...] = ()
    ports_taken: dict[str, frozenset[int]] = field(default_factory=dict)
    releases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    zones: dict[str, str] = field(default_factory=dict)
    warm: frozenset[tuple[str, str]] = frozenset()
    data: dict[str, str] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()
    barred: dict[str, str] = field(default_factory=dict)
    slots: dict[str, int] = field(default_factory=dict)
    stop_timeout: float = 0.0

    def zone(self, node):
        return self.zones.get(node, "")


@dataclass(frozen=True)
class Wave:
    """Nodes of one zone, handled together: how many instances each starts, then which ids each retires.

    :param adopt: per node, the candidates that are already there and are published.
    :param replace: per node, the ids that are retired before, as what is started takes their port.
    :param meanwhile: how many instances serve while these are out.
    :param withdraw: per node, the ids that are taken from users before anything is retired, and run on, warm.
    """

    start: dict[str, int]
    retire: dict[str, tuple[str, ...]]
    adopt: dict[str, tuple[Instance, ...]] = field(default_factory=dict)
    replace: dict[str, tuple[str, ...]] = field(default_factory=dict)
    meanwhile: int = 0
    withdraw: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What will be done, in this order. Empty when what is desired is what is there.

    :param clean: what serves nobody (candidates of dead deployments, dead processes, copies from other machines) and
        is stopped first, per node.
    :param install: nodes that install the release.
    :param publish: whether what the waves start is published.
    :param paused: whether more is to follow, once somebody has said so: it is planned anew then.
    :param canary: what of the traffic is for the new release while it is paused; None: what any instance gets.
    :param weigh: per node, ids of what serves and is to have another weight in discovery, before the waves.
    :param analysis: what is measured of each wave, by name.
    :param sick: per node, ids of what is retired as discovery has it as unhealthy.
    :param moves: which instances come to another node than that of the one that they replace.
    :param empty: nodes on which the app starts without data; ``unused``: nodes with data and no instance then.
    """

    clean: dict[str, tuple[str, ...]]
    install: tuple[str, ...]
    waves: tuple[Wave, ...]
    publish: bool
    paused: bool = False
    canary: traffic.Canary | None = None
    weigh: dict[str, dict[str, int]] = field(default_factory=dict)
    analysis: tuple[str, ...] = ()
    sick: dict[str, tuple[str, ...]] = field(default_factory=dict)
    moves: tuple[Move, ...] = ()
    empty: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    def __bool__(self):
        return bool(self.clean or self.install or self.waves or self.weigh or self.paused)

    @property
    def concerned(self):
        """The nodes that install the release, or start it."""
        return tuple(dict.fromkeys([*self.install, *(node for wave in self.waves for node in wave.start)]))


@bluegreen.making_room
def plan(desired, observed):
    """Return the Plan that takes ``observed`` to ``desired``.

    :raises Refused: the fleet has no room for it: too few nodes, or ports.
    """
    here = set(desired.nodes)
    mine = [i for i in observed.instances if i.version == desired.version and i.node in here]
    usable = [i for i in mine if (i.good if desired.publish else _waiting(i)) or (desired.adopt and _waiting(i))]
    data = affinity.nodes(desired, observed)
    kept = _spread_out(usable, desired.instances, observed.zone, data)
    warm = bluegreen.warm(desired, observed)
    again = _spread_out(bluegreen.again(desired, warm), desired.instances - len(kept), observed.zone, data)
    missing = desired.instances - len(kept) - len(again)
    old = [i for i in observed.instances if _serving(i) and i not in kept]
    retire = _replaced(desired, old)
    in_the_way = [i for i in retire if desired.app.recreate and i.node in here and i.port in desired.app.ports]
    # Ports are for two sets: what is warm makes way for the next set that is replaced, and for nothing else.
    staying = {*kept, *(again if retire and (again or missing) else warm)}
    leftovers = [i for i in observed.instances if not _serving(i) and i not in staying]
    # Also of a process that died: its node has what it left there.
    before = [i for i in observed.instances if i.published and (not desired.keep or i.version == desired.version)]
    start, moves = _place(desired, observed, [*kept, *again], before, [*leftovers, *in_the_way], missing)
    beside = set(old) - set(retire) if desired.keep else ()
    had, after = affinity.published(observed), {*start, *affinity.places([*kept, *again, *beside])}
    empty = affinity.empty(desired, observed, had, after, start, moves)
    replace = {i.node: i for i in in_the_way if i.node in start}
    waves = _flip(desired, start, again, retire)
    if not desired.app.blue_green:
        adopted = _adoptions(kept, observed.zone) if desired.adopt else ()
        serving = len(kept) + sum(i.healthy for i in old) - sum(i.healthy for i in retire)
        waves = (*adopted, *_waves(desired, start, retire, serving, observed.zone, replace))
    # A run that was cut off has brought the first wave to users before; or somebody has, with keep.
    shown = kept and desired.app.strategy.canary_weight != traffic.NONE
    # Where no other release is replaced there is none to go back to.
    replaces = any(i.version != desired.version for i in retire)
    paused = bool(desired.pause and desired.publish and replaces and (shown or start))
    if paused:
        waves = () if shown else (dataclasses.replace(waves[0], retire={}),)
    canary = traffic.canary(desired, [*kept, *old], sum(n for w in waves for n in w.start.values())) if paused else None
    hidden = canary is not None and canary.hidden
    # What only goes keeps its weight: a canary that is taken back must not get more.
    weighing = [*kept, *(old if start or paused or not retire else ())] if desired.publish else []
    return Plan(
        clean=_by_node(leftovers),
        install=tuple(n for n in start if desired.version not in observed.releases.get(n, ())),
        waves=waves,
        publish=desired.publish and not hidden,
        paused=paused,
        canary=canary,
        weigh=traffic.changed(weighing, desired.version, canary),
        analysis=() if hidden else _measured(desired),
        sick=_by_node([i for i in retire if not i.healthy]),
        moves=moves,
        empty=empty,
        unused=affinity.unused(desired, observed, had, after),
    )


def without_candidates(desired, observed):
    """Return the Plan that stops the candidates that wait for publication."""
    waiting = [i for i in observed.instances if _waiting(i)]
    return Plan(clean=_by_node(waiting), install=(), waves=(), publish=False)


def publication(desired, observed):
    """Return the Plan that publishes the candidates held by ``publish=False``, and retires what they replace.

    :raises Refused: there is none, or fewer than ``desired.instances`` would be left.
    """
    app, version = desired.app.name, desired.version
    here = set(desired.nodes)
    mine = [i for i in observed.instances if i.version == version and i.node in here]
    candidates = [i for i in mine if _waiting(i)]
    good = [i for i in mine if i.good]
    staying = set(good)
    old = [] if desired.keep else [i for i in observed.instances if _serving(i) and i not in staying]
    if not candidates and not (good and old):
        raise Refused(f"no candidate of {app} {version} waits for publication: deploy.app with publish=False starts it")
    if len(candidates) + len(good) < desired.instances and not desired.keep:
        raise Refused(
            f"{len(candidates) + len(good)} of {app} {version} would be published, and {desired.instances} are desired:"
            f" start as many first (deploy.app with publish=False), say instances=, or keep=True to keep the old ones."
        )
    had, after = affinity.published(observed), affinity.places([*candidates, *good])
    unused = affinity.unused(desired, observed, had, after | had if desired.keep else after)
    options = {"publish": True, "analysis": _measured(desired), "unused": unused}
    dead = [i for i in observed.instances if i.published and not i.running]
    if desired.app.blue_green:
        gone = [i for i in observed.instances if not (_serving(i) or _waiting(i))] if candidates and old else dead
        return Plan(_by_node(gone), (), _flip(desired, {}, candidates, old), **options)
    by_node = {}
    for i in candidates:
        by_node[i.node] = (*by_node.get(i.node, ()), i)
    counts = {node: len(by_node[node]) for node in desired.nodes if node in by_node}
    waves = _waves(desired, counts, old, len(good), observed.zone)
    adopting = tuple(Wave({}, wave.retire, {n: by_node[n] for n in wave.start}) for wave in waves)
    return Plan(clean=_by_node(dead), install=(), waves=adopting, **options)


def restarts(observed, nodes, sizes):
    """Return waves, node -> ids, in which all that is published is restarted, one after the other on a node.

    What serves nobody comes first. No wave takes out more than half of what serves at once, nor all nodes of what
    serves, unless it is a single node's, nor nodes of two zones.

    :param nodes: names in order of preference; ``sizes``: the strategy's waves.
    """
    published = [i for i in observed.instances if i.published]
    refuse_lost(published)
    ids = _by_node(published)
    serving = Counter(i.node for i in observed.instances if _serving(i))
    most = max(1, sum(serving.values()) // 2)  # of each node one is out at a time
    preference = {n: rank for rank, n in enumerate(nodes)}
    order = sorted(ids, key=lambda n: (n in serving, preference.get(n, len(nodes)), n))
    groups = [list(part) for group in _sized(order, sizes) for _, part in itertools.groupby(group, observed.zone)]
    waves = []
    for group in groups:
        all_of_it = sum(n in serving for n in group) == len(serving)
        parts = [group[:1], group[1:]] if all_of_it and len(group) > 1 else [group]
        for part in parts:
            # What serves nobody comes first in a part, and is out already.
            out = [n for n in part if n in serving]
            first = part[: len(part) - len(out) + most]
            rest = part[len(first) :]
            waves += [first, *(rest[at : at + most] for at in range(0, len(rest), most))]
    return [{n: ids[n] for n in wave} for wave in waves]


def refuse_lost(instances):
    """Raise Refused if a node has no file about one of ``instances``: it can be replaced, and nothing else."""
    lost = _by_node([i for i in instances if not i.recorded])
    if lost:
        raise Refused(f"nobody knows what {listed(lost)} was started from: deploy.app replaces it.")


def prunable(observed, keep, good):
    """Return node -> versions that may go, the oldest first, so that ``keep`` releases of the app stay in all.

    :param good: versions that stay in any case, as those do that an instance has.
    """
    staying = {*good, *(i.version for i in observed.instances)}
    going = {}
    for node, releases in sorted(observed.releases.items()):
        others = [r for r in releases if r not in staying]
        surplus = len(others) - max(0, keep - (len(releases) - len(others)))
        if surplus > 0:
            going[node] = tuple(others[:surplus])
    return going


def installed(observed, plan, version):
    """Return ``observed`` as it is after the installations of ``plan``."""
    new = {n: (*observed.releases.get(n, ()), version) for n in plan.install}
    return dataclasses.replace(observed, releases={**observed.releases, **new})


def everything(observed):
    """Return all there is: node -> ids to stop, node -> versions to remove."""
    return _by_node(observed.instances), {
        n: tuple(releases) for n, releases in sorted(observed.releases.items()) if releases
    }


def _replaced(desired, old):
    """Return which of ``old``, that serve and do not stay, are retired: none before their successors are published."""
    if not desired.publish:
        return []
    return [i for i in old if i.version == desired.version and not i.good] if desired.keep else old


def _measured(desired):
    """Return the names of what is measured of each wave: only of what users get."""
    wanted = desired.analysis and desired.publish
    return tuple(gate.name for gate in desired.app.strategy.analysis) if wanted else ()


def _waiting(instance):
    """Whether it is a candidate that is kept for publication."""
    return instance.held and instance.tested and instance.running and not instance.published


def _serving(instance):
    """Whether users may be served by it; what is left of a dead process only holds its port."""
    return instance.published and instance.running


def _waves(desired, start, old, already, zone, replace=None):
    """Yield waves: nodes in cumulative sizes, each retiring no more than what it has replaced.

    What is not healthy serves nobody who may be counted: it goes in the first wave that may retire it.

    :param already: how many serve and stay; ``old``: what is retired in the end.
    :param zone: gives the zone of a node: no wave touches nodes of two.
    :param replace: node -> the one of ``old`` whose port is taken by what is started there.
    """
    replace, serving = replace or {}, already + sum(i.healthy for i in old)
    # Where something is sick there is most to win, and nothing to lose.
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
        # Where more is started later the old keep their ports, to be brought back to.
        may = [i for i in here if turn.get(i.node, 0) <= number]
        well = sorted((i for i in may if i.healthy), key=lambda i: i.node not in starting)[:surplus]
        going = [*(i for i in may if not i.healthy), *well]
        gone.update(going)
        near[zone(nodes[0])] = [i for i in here if i not in gone]
        serving -= len(well)
        first = {"replace": _by_node(out), "meanwhile": meanwhile} if out else {}
        yield Wave({n: start[n] for n in nodes}, _by_node(going), **first)
    for place in dict.fromkeys(zone(i.node) for i in old if i not in gone):
        yield Wave({}, _by_node(near[place]))


def _flip(desired, start, adopt, old):
    """Return the one wave of a blue-green deployment, none if nothing changes."""
    keep, retire = (_by_node(some) for some in bluegreen.parted(desired, old))
    return (Wave(start, retire, bluegreen.by_node(adopt), withdraw=keep),) if start or adopt or old else ()


def _groups(desired, start, zone, replace, most_out):
    """Return the nodes that start something in groups: of the sizes that are wanted, split where they must be.

    :param most_out: of how many nodes at most what serves goes first.
    """
    zones = {place: rank for rank, place in enumerate(dict.fromkeys(zone(n) for n in start))}
    # Nodes with room come first: they add to what serves before anything is taken from it.
    nodes = sorted(start, key=lambda n: (n in replace, zones[zone(n)]))
    groups = []
    for group in _sized(nodes, desired.app.strategy.waves):
        for (_, full), alike in itertools.groupby(group, lambda n: (zone(n), n in replace)):
            part = list(alike)
            size = most_out if full else len(part)
            groups += [part[at : at + size] for at in range(0, len(part), size)]
    return groups


def _sized(nodes, sizes):
    groups, done = [], 0
    for size in (*sizes, "100%"):
        upto = size if isinstance(size, int) else math.ceil(len(nodes) * int(size[:-1]) / 100)
        if min(upto, len(nodes)) > done:
            groups.append(nodes[done:upto])
            done = min(upto, len(nodes))
    return groups


def _adoptions(kept, zone):
    """Yield waves that publish those of ``kept`` that are not."""
    candidates = sorted((i for i in kept if not i.published), key=lambda i: (zone(i.node), i.node, i.slot))
    for _, near in itertools.groupby(candidates, lambda i: zone(i.node)):
        yield Wave({}, {}, {node: tuple(some) for node, some in itertools.groupby(near, lambda i: i.node)})


def _by_node(instances):
    grouped = {}
    for i in sorted(instances, key=lambda i: (i.node, i.slot)):
        grouped[i.node] = (*grouped.get(i.node, ()), i.id)
    return grouped
