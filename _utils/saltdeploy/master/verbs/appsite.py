"""An app in an environment with its connections open, as the verbs see it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from ...core import editions, entries, records
from ...core.environment import Environment
from ...core.errors import Refused
from ...core.model import App
from .. import membership, preflight

if TYPE_CHECKING:
    from ...core.entries import Entry
    from ...core.records import Record
    from ...discovery.backend import Backend, Endpoint
    from ...planning.model import Observed
    from ..membership import Stranger
    from ..remote.fleet import Fleet

# How long the catalog may take to follow a change of an agent, in seconds. It takes 0.1 if all is well.
FOLLOWS = 3.0
Found = TypeVar("Found")


@dataclass
class Site:
    """One app in one environment, with open connections to its minions and to its discovery.

    :param app: its definition. After a look at the nodes, its stop timeout is the longest of definition and instances.
    :param nodes: the nodes that are to run the app.
    :param needed: the nodes that must answer.
    :param chosen: whether the operator chose the nodes. Then no others are looked at.
    :param choice: whether the verb has ``nodes=``, with which the operator can leave a node out.
    :param warn: called with each problem that does not stop the verb.
    :param known: ``(node, id)`` of the instances on the observed nodes.
    :param tolerated: services that an operator left to clients with ``keep``, by id and node.
    :param answering: nodes of the environment that answer. Empty until that is known.
    :param observed: nodes whose instances were looked at. Empty until that is known.
    :param places: whether the verb starts instances on nodes that are in use.
    :param absent: nodes that do not answer, and that the operator leaves out with ``skip_absent``.
    :param settles: whether nodes that an earlier run left out get their share by this run.
    :param skips: whether the verb has ``skip_absent``.
    :param forget: whether the record loses its instances on nodes that the environment does not have any more.
    :param digest: the SHA-256 that the release must have, empty if any will do.
    :param compare: the release whose settings on the nodes are compared with the definition. None compares nothing.
    """

    environment: Environment
    app: App
    fleet: Fleet
    discovery: Backend
    nodes: tuple[str, ...]
    needed: tuple[str, ...]
    chosen: bool = False
    choice: bool = True
    warn: Callable[[str], None] = lambda text: None
    known: frozenset[tuple[str, str]] = frozenset()
    tolerated: frozenset[str] = frozenset()
    answering: Sequence[str] = ()
    observed: Sequence[str] = ()
    compare: str | None = None
    digest: str = ""
    places: bool = False
    absent: frozenset[str] = frozenset()
    settles: bool = False
    skips: bool = False
    forget: bool = False

    @property
    def prefix(self) -> str:
        """The beginning of all keys of the app in discovery."""
        return records.prefix(self.environment.name, self.app.name)

    def record(self) -> Record | None:
        """Return the record of the instances that run now, None if nothing runs."""
        return self._used(records.read(self.discovery, self.prefix))

    def deployed(self) -> Record:
        """Return the record. Raises Refused if the app is not deployed."""
        record = self.record()
        if not record:
            name, env = self.app.name, self.environment.name
            raise Refused(f"{name} is not deployed in {env}: salt-run deploy.app {name} env={env}")
        return record

    def still(self, deployment: str | None) -> None:
        """Raise Refused unless the record is of this ``deployment``. None is any."""
        if deployment and (self.record() or records.NOTHING).get("deployment") != deployment:
            raise Refused(f"somebody went on with {self.app.name} meanwhile")

    def not_paused(self) -> None:
        """Raise Refused if a deployment is paused, and no other deployment may replace it."""
        sentence = records.paused(self.app.name, self.environment.name, self.record())
        if sentence and self.app.strategy.when_paused == "refuse":
            raise Refused(sentence)

    def history(self) -> list[Entry]:
        """Return the entries of the history, the newest first."""
        return self._used(entries.read(self.discovery, self.prefix))

    def editions(self) -> list[str]:
        """Return the editions that record and history tell of, and one with the highest number of settings of all."""
        newest = editions.of("0", records.highest(self.discovery, self.prefix))
        return [*entries.known_editions(self.record(), self.history()), newest]

    def _used(self, read: tuple[Found, list[str]]) -> Found:
        """Return the first of ``read``, and warn of the second, its problems."""
        found, problems = read
        for problem in problems:
            self.warn(problem)
        return found

    def owing(self) -> list[str]:
        """Return the nodes that owe their part of the deployed release, because this or an earlier run left them out.

        It is without nodes that may not run the app any more.
        """
        before = (self.record() or records.NOTHING).get("absent", ())
        able = replace(self.environment, away={}).eligible(self.app)
        return sorted(self.absent.union(node for node in before if node in able))

    def settled(self) -> frozenset[str]:
        """Return the nodes among these that owe nothing any more when this run is done."""
        return frozenset(self.returned() if self.settles else ())

    def returned(self) -> list[str]:
        """Return the nodes that were left out by an earlier run, and take part in this run."""
        return [n for n in self.owing() if n in self.nodes and n in self.answering and n not in self.absent]

    def forgotten(self) -> list[str]:
        """Return the instances that the record loses because their nodes are no nodes any more, in sentences."""
        gone = records.gone(self.record(), self.environment.nodes) if self.forget else {}
        return [
            f"the record forgets {', '.join(ids) or 'the data'} on {node}, which is no node of"
            f" {self.environment.name} any more"
            for node, ids in gone.items()
        ]

    def strangers(self, observed: Observed) -> list[Stranger]:
        """Return the Strangers: other services that clients find under the app's name."""
        ours, strangers = membership.divide(
            self.discovery.instances(self.app.name), self.app.name, self.environment, self.known
        )
        registered: dict[str, set[str]] = {n: set() for n in observed.releases}
        for i in observed.instances:
            registered.setdefault(i.node, set()).update([i.id] if i.published else ())
        stale = membership.stale(ours, registered)
        if stale:
            # The catalog follows a change of an agent after a moment.
            lost = {(s.endpoint.minion, s.endpoint.id) for s in stale}

            def gone(found: Sequence[Endpoint]) -> bool:
                lost.intersection_update({(e.minion, e.id) for e in found})
                return not lost

            if not self.discovery.wait(self.app.name, gone, time.monotonic() + FOLLOWS):
                # A plan is made without the lock. Another run may have published them since the nodes were asked.
                lost -= preflight.published(self, sorted({node for node, _ in lost}))
        return strangers + [s for s in stale if (s.endpoint.minion, s.endpoint.id) in lost]

    def refuse_strangers(self, observed: Observed, keep: bool = False) -> None:
        """Raise Refused if clients get another service under the app's name. Warn of services that no client gets.

        It also raises Refused if the record has instances on a node that the environment does not have any more.
        """
        strangers = self._strangers_here(observed, keep)
        wrong = [s for s in strangers if not self.tolerates(s)]
        deployed = (self.record() or records.NOTHING)["version"]
        membership.refuse(wrong, self.app.name, self.environment, deployed=deployed)
        gone = {} if self.forget else records.gone(self.record(), self.environment.nodes)
        membership.refuse_gone(gone, self.app.name, self.environment.name, deployed)
        self._tell(strangers)

    def tell_strangers(self, observed: Observed) -> None:
        """Warn of other services under the app's name, and of recorded instances outside of the environment."""
        self._tell(self._strangers_here(observed))

    def tolerates(self, stranger: Stranger) -> bool:
        """Return whether an operator left the Stranger to clients."""
        return stranger.kind is membership.Kind.FOREIGN and membership.where(stranger.endpoint) in self.tolerated

    def _strangers_here(self, observed: Observed, keep: bool = False) -> list[Stranger]:
        """Return the Strangers. Tolerate foreign services if ``keep`` is set, or was set for them before."""
        strangers, before = self.strangers(observed), (self.record() or records.NOTHING).get("tolerated", ())
        foreign = {membership.where(s.endpoint) for s in strangers if s.kind is membership.Kind.FOREIGN}
        self.tolerated = frozenset(foreign if keep else foreign.intersection(before))
        return strangers

    def _tell(self, strangers: Sequence[Stranger]) -> None:
        for stranger in strangers:
            self.warn(membership.told(stranger, self.app.name, self.environment))
        for node, ids in (self.record() or records.NOTHING)["nodes"].items():
            if node not in self.environment.nodes:
                self.warn(f"{node} is no node of {self.environment.name}: the record forgets {', '.join(ids)} there.")
