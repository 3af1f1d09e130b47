"""(desired, observed) -> Plan. Pure: no Salt, no network, no clock, no randomness.

An interrupted deployment is simply run again. The plan starts from the observed state. So it leaves out the parts that
are already done, and it removes the instances that were left behind.
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
    """The state that a deployment is to reach.

    :param version: the release to run.
    :param instances: how many instances of the release to run.
    :param nodes: the names of the nodes to run it on, in order of preference.
    :param publish: False leaves tested candidates, held for ``deploy.publish``.
    :param keep: leave instances of other releases published.
    :param tests: False publishes ready instances without their acceptance tests.
    :param pause: stop after the first wave, and keep the instances that it replaces, until the operator says how to go
        on.
    :param adopt: publish the candidates that such a pause left, after they pass their tests again.
    :param analysis: measure each wave, as the strategy says, before the instances that it replaces are retired.
    :param move: whether instances may leave their nodes to be spread evenly, and an app may leave its data.
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
    """The observed state: each instance of the app on the nodes that answered, even if its node has no file of it.

    :param ports_taken: per node, the ports that something listens on or that are allocated.
    :param releases: per node, the installed versions of the app, in the order of their installation.
    :param zones: per node, its zone. Nodes without a zone share a zone.
    :param warm: ``(node, id)`` of instances that a blue-green deployment withdrew, and that are still kept running.
    :param data: node -> the folder with the app's data there. The folder is empty if only the record says so.
    :param lost: the nodes that had data of the app, by the record, and have no data now.
    :param barred: the nodes of the environment that may not run the app, each with the reason and the advice.
    :param slots: per load balancer, how many instances it has slots for.
    :param stop_timeout: the longest time that any of the instances has to end, in seconds.
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
    """Nodes of a single zone that are handled together.

    :param start: per node, how many instances it starts.
    :param retire: per node, the ids that it retires after that.
    :param adopt: per node, the candidates that are already there and are published.
    :param replace: per node, the ids that are retired first, because the new instances take their ports.
    :param meanwhile: how many instances serve while the replaced instances are out.
    :param withdraw: per node, the ids that are withdrawn before any instance is retired, and run on, warm.
    """

    start: dict[str, int]
    retire: dict[str, tuple[str, ...]]
    adopt: dict[str, tuple[Instance, ...]] = field(default_factory=dict)
    replace: dict[str, tuple[str, ...]] = field(default_factory=dict)
    meanwhile: int = 0
    withdraw: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """The steps of a deployment, in this order. It is empty if the observed state is the desired state.

    :param clean: per node, instances that serve no client and are stopped first. They are candidates of dead
        deployments, dead processes, or copies from other machines.
    :param install: nodes that install the release.
    :param publish: whether the instances that the waves start are published.
    :param paused: whether more is to follow after the operator says so. It is planned again then.
    :param canary: the traffic of the new release during a pause. None means the usual traffic of an instance.
    :param weigh: per node, the serving ids that get another weight in discovery, before the waves.
    :param analysis: the names of the measurements of each wave.
    :param sick: per node, the ids that are retired because discovery has them as unhealthy.
    :param moves: the instances that come to another node than the node of the instance that they replace.
    :param empty: nodes on which the app starts without data.
    :param unused: nodes with data, and without an instance after the deployment.
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

    :raises Refused: there are too few nodes, or too few ports.
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
    # Ports are for two sets: warm instances make way for the next set that is replaced, and for nothing else.
    staying = {*kept, *(again if retire and (again or missing) else warm)}
    leftovers = [i for i in observed.instances if not _serving(i) and i not in staying]
    # Also instances whose process died: their nodes have the files that they left.
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
    # An interrupted deployment brought the first wave to clients before, or the operator did so with keep.
    shown = kept and desired.app.strategy.canary_weight != traffic.NONE
    # If no other release is replaced, there is no release to go back to.
    replaces = any(i.version != desired.version for i in retire)
    paused = bool(desired.pause and desired.publish and replaces and (shown or start))
    if paused:
        waves = () if shown else (dataclasses.replace(waves[0], retire={}),)
    canary = traffic.canary(desired, [*kept, *old], sum(n for w in waves for n in w.start.values())) if paused else None
    hidden = canary is not None and canary.hidden
    # Instances that only go keep their weight: a canary that is reverted must not get more.
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
    """Return the Plan that publishes the candidates held by ``publish=False``, and retires the old instances.

    :raises Refused: there is no candidate, or fewer than ``desired.instances`` would be left.
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
    """Return waves, node -> ids, that restart all published instances, one after the other on a node.

    Nodes that serve no client come first. No wave takes out more than half of the serving instances at once. No wave
    takes out all nodes with serving instances, unless there is only a single such node. No wave has nodes of two zones.

    :param nodes: names in order of preference.
    :param sizes: the strategy's waves.
    """
    published = [i for i in observed.instances if i.published]
    refuse_lost(published)
    ids = _by_node(published)
    serving = Counter(i.node for i in observed.instances if _serving(i))
    most = max(1, sum(serving.values()) // 2)  # A node has one instance out at a time.
    preference = {n: rank for rank, n in enumerate(nodes)}
    order = sorted(ids, key=lambda n: (n in serving, preference.get(n, len(nodes)), n))
    groups = [list(part) for group in _sized(order, sizes) for _, part in itertools.groupby(group, observed.zone)]
    waves = []
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


def refuse_lost(instances):
    """Raise Refused if a node has no file about one of ``instances``: that instance can only be replaced."""
    lost = _by_node([i for i in instances if not i.recorded])
    if lost:
        raise Refused(f"the release of {listed(lost)} is not known, so it cannot be restarted: deploy.app replaces it.")


def prunable(observed, keep, good):
    """Return node -> versions that may be removed, the oldest first, so that ``keep`` releases stay there in all.

    :param good: versions that stay in any case, as do the versions of instances.
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
    """Return all instances and all releases: node -> ids to stop, node -> versions to remove."""
    return _by_node(observed.instances), {
        n: tuple(releases) for n, releases in sorted(observed.releases.items()) if releases
    }


def _replaced(desired, old):
    """Return the instances in ``old`` to retire: none is retired before its successor is published.

    :param old: the instances that serve and do not stay.
    """
    if not desired.publish:
        return []
    return [i for i in old if i.version == desired.version and not i.good] if desired.keep else old


def _measured(desired):
    """Return the names of the measurements of each wave, which are only taken of published instances."""
    wanted = desired.analysis and desired.publish
    return tuple(gate.name for gate in desired.app.strategy.analysis) if wanted else ()


def _waiting(instance):
    """Return whether ``instance`` is a candidate that is kept for publication."""
    return instance.held and instance.tested and instance.running and not instance.published


def _serving(instance):
    """Return whether ``instance`` may serve clients: after the death of its process, it only holds its port."""
    return instance.published and instance.running


def _waves(desired, start, old, already, zone, replace=None):
    """Yield waves of nodes in cumulative sizes, which retire no more instances than have a successor by then.

    Unhealthy instances do not count as serving, so they go in the first wave that may retire them.

    :param old: the instances that are retired in the end.
    :param already: how many instances serve and stay.
    :param zone: gives the zone of a node. No wave touches nodes of two zones.
    :param replace: node -> the instance in ``old`` whose port a new instance there takes.
    """
    replace, serving = replace or {}, already + sum(i.healthy for i in old)
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
        first = {"replace": _by_node(out), "meanwhile": meanwhile} if out else {}
        yield Wave({n: start[n] for n in nodes}, _by_node(going), **first)
    for place in dict.fromkeys(zone(i.node) for i in old if i not in gone):
        yield Wave({}, _by_node(near[place]))


def _flip(desired, start, adopt, old):
    """Return the only wave of a blue-green deployment, or no wave if nothing changes."""
    keep, retire = (_by_node(some) for some in bluegreen.parted(desired, old))
    return (Wave(start, retire, bluegreen.by_node(adopt), withdraw=keep),) if start or adopt or old else ()


def _groups(desired, start, zone, replace, most_out):
    """Return the nodes that start instances in groups of the wanted sizes, which are split further if they must be.

    :param most_out: the most nodes of a group whose serving instances are retired first.
    """
    zones = {place: rank for rank, place in enumerate(dict.fromkeys(zone(n) for n in start))}
    # Nodes with room come first: they add serving instances before any serving instance is taken away.
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
    """Yield waves that publish the instances in ``kept`` that are not published yet."""
    candidates = sorted((i for i in kept if not i.published), key=lambda i: (zone(i.node), i.node, i.slot))
    for _, near in itertools.groupby(candidates, lambda i: zone(i.node)):
        yield Wave({}, {}, {node: tuple(some) for node, some in itertools.groupby(near, lambda i: i.node)})


def _by_node(instances):
    grouped = {}
    for i in sorted(instances, key=lambda i: (i.node, i.slot)):
        grouped[i.node] = (*grouped.get(i.node, ()), i.id)
    return grouped
