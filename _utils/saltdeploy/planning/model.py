"""The input and the output of planning, as plain data: Desired and Observed become a Plan. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from ..core import editions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..core.changes import Changes
    from ..core.model import App, Instance
    from ..core.traffic import Canary


@dataclass(frozen=True)
class Desired:
    """The state that a deployment is to reach.

    :param version: the edition to run: a release, and the number of its settings if they have one.
    :param instances: how many instances of the release to run.
    :param nodes: the names of the nodes to run it on, in order of preference.
    :param publish: False leaves tested candidates, held for ``deploy.publish``.
    :param keep: leave instances of other releases published.
    :param tests: False publishes ready instances without their acceptance tests.
    :param pause: stop after the first wave, and keep the instances that it replaces, until the operator says how to go
        on.
    :param adopt: publish the candidates that such a pause left, after they pass their tests again.
    :param analysis: measure each wave, as the strategy says, before the instances that it replaces are retired.
    :param register: whether instances that stay get the definition's registration, and the files that they take in by a
        reload.
    :param as_before: whether instances start with the settings that nodes have kept of the edition, and not with those
        of the definition.
    :param move: whether instances may leave their nodes to be spread evenly, and an app may leave its data.
    :param even: whether instances that could stay leave their nodes, too, until they are spread evenly. It needs
        ``move``.
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
    even: bool = False
    register: bool = True
    as_before: bool = False

    @property
    def release(self) -> str:
        """The release to run, without the number of its settings."""
        return editions.release(self.version)

    def is_current(self, instance: Instance) -> bool:
        """Return whether ``instance`` is of the desired release, with the desired settings. All others are old."""
        return instance.version == self.version


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
    :param editions: node -> edition whose settings are kept there -> the settings that differ from the definition of
        now. None if they were not compared.
    :param prepared: the nodes on which an installation needs no states.
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
    editions: dict[str, dict[str, Changes | None]] = field(default_factory=dict)
    prepared: frozenset[str] = frozenset()

    def zone(self, node: str) -> str:
        """Return the zone of ``node``."""
        return self.zones.get(node, "")


class Reason(Enum):
    """Why an instance comes to another node than the node of the instance that it replaces."""

    BARRED = "barred"
    NOT_CHOSEN = "not chosen"
    NO_PORT = "no port"
    ZONE = "share of the zone"
    SHARE = "share of the node"


@dataclass(frozen=True)
class Move:
    """An instance that comes to the node ``target`` in place of an instance on ``source``.

    :param reason: why it does not stay on ``source``.
    :param barred: the text of Observed.barred on ``source``, if that is the reason.
    """

    source: str
    target: str
    reason: Reason
    barred: str = ""


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
    :param register: per node, the ids that stay and are registered again, before the waves, each with the parts of its
        registration that differ. Each of them is a wave.
    :param reload: per node, the ids that stay and take in changed files of ``config`` by a reload, before the waves,
        each with these files. Each of them is a wave.
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
    canary: Canary | None = None
    weigh: dict[str, dict[str, int]] = field(default_factory=dict)
    register: tuple[dict[str, dict[str, str]], ...] = ()
    reload: tuple[dict[str, dict[str, str]], ...] = ()
    analysis: tuple[str, ...] = ()
    sick: dict[str, tuple[str, ...]] = field(default_factory=dict)
    moves: tuple[Move, ...] = ()
    empty: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        changes = (self.clean, self.install, self.waves, self.weigh, self.register, self.reload)
        return any(changes) or self.paused

    @property
    def starting(self) -> tuple[str, ...]:
        """The nodes that start instances."""
        return tuple(dict.fromkeys(node for wave in self.waves for node in wave.start))

    @property
    def concerned(self) -> tuple[str, ...]:
        """The nodes that install the release, or start it."""
        return tuple(dict.fromkeys([*self.install, *self.starting]))


def by_node(instances: Iterable[Instance]) -> dict[str, tuple[Instance, ...]]:
    """Return node -> instances, in the given order."""
    grouped: dict[str, tuple[Instance, ...]] = {}
    for i in instances:
        grouped[i.node] = (*grouped.get(i.node, ()), i)
    return grouped


def ids_by_node(instances: Iterable[Instance]) -> dict[str, tuple[str, ...]]:
    """Return node -> ids, in the order of nodes and slots."""
    ordered = sorted(instances, key=lambda i: (i.node, i.slot))
    return {node: tuple(i.id for i in some) for node, some in by_node(ordered).items()}
