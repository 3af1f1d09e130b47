"""The facts that a deployment begins with, and the changes that it has made so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ...core import records
from ...core.environment import Environment
from ...core.errors import NotReverted
from ...core.model import App, Instance, Strategy

if TYPE_CHECKING:
    from ...discovery.backend import Backend
    from ...planning.model import Desired
    from ..lock import Lock
    from ..remote.jobs import Jobs

    # Ids of instances, by node.
    Ids = Mapping[str, Sequence[str]]


class Incomplete(NotReverted):
    """A deployment is done, but for nodes that failed and that its strategy allows to fail."""


class Frozen(NotReverted):
    """A hook failed after which nothing more may be changed."""


@dataclass(frozen=True)
class Identity:
    """The id of a deployment, its owner and the reason."""

    id: str
    owner: str
    reason: str = ""


@dataclass(frozen=True)
class Notes:
    """Facts that the record keeps under the same keys.

    :param data: names of the nodes that have data of the app.
    :param tolerated: services that ``keep`` left to clients.
    :param digests: release -> SHA-256 of its archive.
    :param absent: names of the nodes that did not answer and were left out.
    :param settled: names of those among them that are no more when the deployment is done.
    """

    data: Sequence[str] = ()
    tolerated: Sequence[str] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    absent: Sequence[str] = ()
    settled: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Context:
    """The facts that a deployment begins with.

    :param discovery: the environment's discovery, as the master sees it.
    :param answering: names of the nodes that answer.
    :param observed: names of the nodes whose instances were looked at. The deployment counts on no other instances.
    :param lock: the held lock. Every write goes through it.
    :param serving: the instances that are published and run.
    :param artifact: the SHA-256 of the archive that all nodes must install. Empty if it is not known beforehand.
    :param prepared: names of the nodes on which the installation needs no states.
    """

    jobs: Jobs
    discovery: Backend
    environment: Environment
    desired: Desired
    answering: Sequence[str]
    observed: Sequence[str]
    lock: Lock
    identity: Identity
    serving: Sequence[Instance] = ()
    notes: Notes = Notes()
    artifact: str = ""
    prepared: frozenset[str] = frozenset()

    @property
    def app(self) -> App:
        """The app, without its tests if the deployment leaves them out."""
        return self.desired.app if self.desired.tests else replace(self.desired.app, tests=())

    @property
    def strategy(self) -> Strategy:
        """The strategy of the app."""
        return self.desired.app.strategy

    @property
    def prefix(self) -> str:
        """The beginning of all keys of the app in discovery."""
        return records.prefix(self.environment.name, self.app.name)

    @property
    def sick(self) -> frozenset[tuple[str, str]]:
        """``(node, id)`` of the serving instances that discovery did not have as healthy at the beginning."""
        return frozenset((i.node, i.id) for i in self.serving if not i.healthy)


@dataclass
class Progress:
    """The changes that a deployment has made so far, which its revert undoes.

    :param started_on: how many new instances each node was told to start.
    :param published: the instances that were published.
    :param adopted: those of them that an earlier deployment had started.
    :param replaced: the instances that were retired first to make room, an entry for each wave.
    :param retired: the instances that were retired or withdrawn after others took their place.
    :param withdrawn: those of them that run on, warm.
    :param waiting: the candidates of the current wave.
    :param registered: the instances that were registered again, in order.
    :param reloaded: the instances that took in other files by a reload, in order.
    :param weighed: whether the serving instances got other weights in discovery.
    """

    started_on: dict[str, int] = field(default_factory=dict)
    published: list[Instance] = field(default_factory=list)
    adopted: list[Instance] = field(default_factory=list)
    replaced: list[Ids] = field(default_factory=list)
    retired: dict[str, Sequence[str]] = field(default_factory=dict)
    withdrawn: Ids = field(default_factory=dict)
    waiting: Ids = field(default_factory=dict)
    registered: list[Ids] = field(default_factory=list)
    reloaded: list[Ids] = field(default_factory=list)
    weighed: bool = False
