"""Keeps the services of the agent's node in etcd."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..core.errors import DiscoveryUnavailable, Failed
from ..discovery import etcd, skydnsrecords
from ..discovery.etcd import Etcd, NoRight, Part
from .registry import Registry, now

if TYPE_CHECKING:
    from .settings import Settings

LOG = logging.getLogger(__name__)
# After how many seconds all that etcd has of this node is read and compared.
COMPARE = 60.0
# How long to wait after a failure, in seconds.
PAUSE = 0.5
# How long an answer may take, in parts of the lease.
PATIENCE = 0.3
# A moment before all others. The clock begins with the machine.
NEVER = float("-inf")
# How many bytes of keys and values are in a transaction, of the 1.5 MiB that etcd takes.
BYTES = 1 << 19


class Keeper:
    """The thread that alone writes to etcd.

    Each write is a transaction that needs the node's key to have this agent's lease. So an agent that was held up, or a
    second one with the same name, changes nothing.

    :ivar problem: why the last try failed, empty if it did not.
    """

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings, self._registry, self._place = settings, registry, settings.place
        self._etcd = Etcd(settings.etcd, settings.login, timeout=max(settings.lease * PATIENCE, 1.0))
        self._path = settings.folder / "lease"
        self._mine = f"{self._place.agents}{settings.node}"
        self._lease, self._renewed, self._compared = 0, NEVER, NEVER
        self._ready = False
        # The keys that etcd has of this node. Those of records have the lease.
        self._there: dict[str, str] = {}
        # The keys that etcd did not take at the last try, because this node has no right to them -> the reason.
        self._refused: dict[str, str] = {}
        self._stop = threading.Event()
        self.problem = ""

    def resume(self) -> bool:
        """Take over the lease of the agent that ran before. Return whether it still lives."""
        until = now() + self._settings.lease / 2
        while True:
            try:
                lease = int(self._path.read_text())
                if self._etcd.keep_alive(lease):
                    self._lease, self._renewed = lease, now()
            except DiscoveryUnavailable:  # an election, perhaps
                if now() < until:
                    time.sleep(PAUSE)
                    continue
            except (OSError, ValueError, Failed):
                pass
            return bool(self._lease)

    def run(self) -> None:
        """Keep etcd as the registry is, until :meth:`stop`."""
        while not self._stop.is_set():
            version = self._try()
            if version is None:
                self._stop.wait(PAUSE)
                continue
            left = self._renewed + self._settings.lease / 3 - now()
            self._registry.await_change(version, max(left, 0.01))

    def stop(self) -> None:
        """End :meth:`run`. The lease, and so the records, stay for the agent that follows."""
        self._stop.set()

    def refusal(self, ident: str) -> str:
        """Return why etcd refuses keys of the service ``ident``, or an empty text if it took them."""
        names = (ident, skydnsrecords.unique_label(ident))
        return next((why for key, why in self._refused.items() if key.split("/")[-1] in names), "")

    def _try(self) -> int | None:
        """Renew the lease, and write changes. Return the version that etcd has then, None if it failed.

        It has all services of that version except for those that it refuses, see :meth:`refusal`.
        """
        try:
            self._keep_lease()
            if now() - self._compared > COMPARE:
                self._compare()
            version, wanted = self._wanted()
            self._bring(wanted)
            if not self._ready:
                self._write([(self._mine, etcd.put(self._mine, skydnsrecords.READY, self._lease))])
                self._ready = True
        except Failed as exc:  # DiscoveryUnavailable, too
            if str(exc) != self.problem:
                LOG.error("%s", exc)
            self.problem, self._compared = str(exc), NEVER
            return None
        if self.problem:
            LOG.info("etcd has all services of this node again")
        self.problem = ""
        self._registry.known(version)
        return version

    # -- the lease ----------------------------------------------------------------------------

    def _keep_lease(self) -> None:
        if self._lease and now() - self._renewed < self._settings.lease / 3:
            return
        asked = now()
        if self._lease and self._etcd.keep_alive(self._lease) and self._etcd.transact([self._held()], [], "look"):
            self._renewed = asked
            return
        if self._lease:
            LOG.error("the lease has ended: this node was not found for a time")
        self._lease, self._compared, self._ready = 0, NEVER, False
        lease = self._etcd.grant(self._settings.lease)
        try:
            free = [etcd.is_unchanged(self._mine, 0)]
            taken = [etcd.put(self._mine, skydnsrecords.BEGINNING, lease)]
            is_ours = self._etcd.transact(free, taken, f"write {self._mine}")
        except Failed:
            # It may be written. Then the next try would take this agent for another.
            with contextlib.suppress(Failed):
                self._etcd.revoke(lease)
            raise
        if not is_ours:
            self._etcd.revoke(lease)
            raise Failed(
                f"another health agent has the name {self._settings.node} in {self._place.environment}. If it has"
                f" ended, its name is free within {self._settings.lease:g}s."
            )
        self._lease, self._renewed = lease, asked
        self._registry.distrust()
        with contextlib.suppress(OSError):  # without it, another agent waits until the lease has ended
            partial = self._path.with_suffix(".partial")
            partial.write_text(str(lease))
            partial.replace(self._path)

    # -- keys ---------------------------------------------------------------------------------

    def _compare(self) -> None:
        """Read all that etcd has of this node."""
        _, (mine, services, records) = self._etcd.ranges(
            etcd.one(self._mine), etcd.under(self._place.services), etcd.under(self._place.records)
        )
        if not mine or mine[0].lease != self._lease:
            self._lost()
        own = {value.key: value.text for value in services if value.key.split("/")[-2] == self._settings.node}
        label = skydnsrecords.label(self._settings.node)
        ours = [value for value in records if value.key.split("/")[-2] == label]
        # A record with another lease ends with that, so it is written again.
        self._there = {**own, **{v.key: v.text if v.lease == self._lease else "" for v in ours}}
        self._compared = now()

    def _wanted(self) -> tuple[int, dict[str, str]]:
        """Return the version of the registry, and the keys that etcd must have for it."""
        found: dict[str, str] = {}
        with self._registry.snapshot() as (version, services):
            for registered in services:
                seen = registered.endpoint
                checks = [
                    {
                        "name": state.check.name,
                        "status": self._registry.status(registered, state),
                        "output": state.shown[: skydnsrecords.OUTPUT],
                        "interval": state.check.interval if state.check.runs else None,
                        "timeout": state.check.timeout if state.check.runs else None,
                    }
                    for state in registered.states.values()
                ]
                where = (seen.name, seen.node, seen.id)
                if skydnsrecords.worst([str(check["status"]) for check in checks]) == "passing":
                    found[self._place.record(*where)] = skydnsrecords.message(self._place, seen)
                found[self._place.entry(*where)] = skydnsrecords.entry(seen, checks)
        return version, found

    def _bring(self, wanted: dict[str, str]) -> None:
        """Write the differences. A record is written before the entry that says so.

        etcd refuses a whole transaction if this node has no right to one of its keys. A service that was refused has
        transactions of its own from then on, so that it delays no other service. It is tried again each time.
        """
        gone = [key for key in self._there if key not in wanted]
        changed = {key: text for key, text in wanted.items() if self._there.get(key) != text}
        parts: list[tuple[str, Part]] = [(key, etcd.delete(etcd.one(key))) for key in gone]
        parts += [(key, etcd.put(key, text, self._leased(key))) for key, text in changed.items()]
        before, refused = {_service(key) for key in self._refused}, dict[str, str]()
        groups: dict[str, list[tuple[str, Part]]] = {"": []}
        for key, part in parts:
            groups.setdefault(_service(key) if _service(key) in before else "", []).append((key, part))
        for group in groups.values():
            for piece in _pieces(group, wanted):
                refused.update(self._offer(piece, wanted))
        for key, why in refused.items():
            if _service(key) not in before:
                before.add(_service(key))
                LOG.error("%s", why)
        for service in sorted(before - {_service(key) for key in refused}):
            LOG.info("etcd does not refuse %s any more", service)
        self._refused = refused

    def _offer(self, piece: Sequence[tuple[str, Part]], wanted: Mapping[str, str]) -> dict[str, str]:
        """Write some keys. Return the keys that etcd refuses, each with the reason."""
        try:
            self._write(piece, wanted)
        except NoRight as exc:
            services: dict[str, list[tuple[str, Part]]] = {}
            for key, part in piece:
                services.setdefault(_service(key), []).append((key, part))
            if len(services) == 1:
                return {key: str(exc) for key, _ in piece}
            return {key: why for own in services.values() for key, why in self._offer(own, wanted).items()}
        return {}

    def _write(self, piece: Sequence[tuple[str, Part]], wanted: Mapping[str, str] | None = None) -> None:
        """Write some keys in a transaction."""
        if not self._etcd.transact([self._held()], [part for _, part in piece], f"write {piece[0][0]}"):
            self._lost()
        for key, _ in piece if wanted is not None else ():
            if wanted and key in wanted:
                self._there[key] = wanted[key]
            else:
                self._there.pop(key, None)

    def _leased(self, key: str) -> int:
        return self._lease if key.startswith(self._place.records) else 0

    def _held(self) -> Part:
        """Return the comparison that the node's key is this agent's."""
        return etcd.is_held(self._mine, self._lease)

    def _lost(self) -> None:
        """Say that the node's key is not this agent's any more."""
        self._renewed = self._lease = 0
        raise DiscoveryUnavailable(f"{self._mine}: this agent's lease has ended")


def _service(key: str) -> str:
    """Return the name of the service of an entry or a record. The key of a record has it in lower case."""
    return key.split("/")[-3].lower()


def _pieces(parts: Sequence[tuple[str, Part]], wanted: Mapping[str, str]) -> Iterator[list[tuple[str, Part]]]:
    """Yield the keys in pieces that have room in a transaction."""
    piece, size = list[tuple[str, Part]](), 0
    for key, part in parts:
        length = len(key) + len(wanted.get(key, ""))
        if piece and (len(piece) == etcd.OPERATIONS or size + length > BYTES):
            yield piece
            piece, size = [], 0
        piece.append((key, part))
        size += length
    if piece:
        yield piece
