"""Keeps the record current during a deployment: if the run dies, highstate restores the serving instances."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ...core import bluegreen, records, traffic
from ...core.errors import INTERRUPTS, Failed, LockLost, cause
from ...core.instanceids import version_of
from ...core.model import Instance
from ..outcome import places
from ..remote.jobs import ids_by_node
from . import hookphases
from .context import Frozen

if TYPE_CHECKING:
    from ...core.records import Origin, Paused, Record
    from ...core.traffic import Canary
    from .context import Context, Ids


# The keys whose change alone makes the record another.
FACTS = ("warm", "data", "tolerated", "digests", "absent")


class Ledger:
    """The record of an app during a deployment.

    :param context: the deployment.
    :param before: the record at the beginning, None if there was none.

    ``record`` is the record as it was last written. ``before`` is the record to go back to. ``runs`` has the instances
    that are published and run now, by node.
    """

    def __init__(self, context: Context, before: Record | None) -> None:
        self._context, self.before, self.record = context, before, before
        self.warm = (before or records.NOTHING).get("warm")
        # The observed instances count, not the record. A killed run recorded fewer. Instances that somebody has stopped
        # since stay stopped. The instances of a dead node that was left out do not come back.
        unseen = set(context.answering) - set(context.observed)
        self.runs = {n: list(ids) for n, ids in (before or records.NOTHING)["nodes"].items() if n in unseen}
        self.add(context.serving)
        self._settled: frozenset[str] = frozenset()

    def add(self, instances: Iterable[Instance]) -> None:
        """Note that ``instances`` are published and run."""
        self.put(ids_by_node(instances))

    def put(self, ids: Ids) -> None:
        """Note that the instances ``ids`` are published and run."""
        for node, instances in ids.items():
            here = self.runs.setdefault(node, [])
            here += [i for i in instances if i not in here]

    def publish(self, instances: Sequence[Instance]) -> None:
        """Note that ``instances`` are about to be published. They are not warm any more."""
        self.warm = bluegreen.without(self.warm, ids_by_node(instances))
        self.add(instances)

    def drop(self, ids: Ids) -> None:
        """Note that the instances ``ids`` are about to end, or are withdrawn."""
        for node, gone in ids.items():
            self.runs[node] = [i for i in self.runs.get(node, ()) if i not in gone]
        self.warm = bluegreen.without(self.warm, ids)

    def keep_warm(self, ids: Ids, until: float, add: bool) -> None:
        """Note that ``ids`` run on, warm, until ``until`` (seconds since 1970).

        :param add: whether the instances that are warm already stay so.
        """
        self.warm = bluegreen.kept(self.warm if add else None, ids, until)

    def cool(self, ids: Ids) -> None:
        """Record that ``ids`` are not warm any more, even if the deployment fails."""
        self.drop(ids)
        cooled = bluegreen.cooled(self.before, ids)
        if cooled != self.before:
            self.write(cooled)
            self.before = cooled

    def now(self) -> Record:
        """Return the record of the instances that are published and run now, by node."""
        notes = self._context.notes
        record: Record = {
            "version": self._release(),
            "deployment": self._context.identity.id,
            "time": time.time(),
            "nodes": {n: list(ids) for n, ids in self.runs.items() if ids},
        }
        if self.warm:
            record["warm"] = self.warm
        if notes.data:
            record["data"] = list(notes.data)
        if notes.tolerated:
            record["tolerated"] = list(notes.tolerated)
        if notes.digests:
            record["digests"] = dict(notes.digests)
        absent = [node for node in notes.absent if node not in self._settled]
        if absent:
            record["absent"] = absent
        return record

    def _release(self) -> str:
        """Return the release that clients have: the desired release from its first instance on, else the old one."""
        versions = [version_of(i) for ids in self.runs.values() for i in ids]
        new = self._context.desired.version
        return new if new in versions or not versions else max(versions, key=versions.count)

    def correct(self, pause: Paused | None) -> None:
        """Write the record if it differs from the facts: a pause, or instances that a killed run did not record.

        :param pause: the entry of a pause, see :meth:`pause`. None if the deployment does not pause.
        """
        self._settled = frozenset() if pause else self._context.notes.settled
        desired, old, now = self._context.desired, self.record or records.NOTHING, self.now()
        if pause:
            # A paused release may have candidates only, and is the deployed release all the same.
            now = {**now, "paused": pause, "version": desired.version}
        over = {"paused", "frozen"} & set(old)
        same = places(now) == places(old) and all(now.get(key) == old.get(key) for key in FACTS)
        if desired.publish and (pause or over or not same):
            self.write(now)

    def pause(self, canary: Canary | None, waiting: Ids) -> Paused:
        """Return the entry of a pause: all facts that a promote or an abort needs.

        :param canary: the traffic of the new release during the pause.
        :param waiting: the candidates that wait.
        """
        desired, identity, origin = self._context.desired, self._context.identity, self._origin()
        entry: Paused = {
            "from": origin["from"],
            "before": origin["before"],
            "instances": desired.instances,
            "nodes": list(desired.nodes),
            "by": identity.owner,
            "reason": identity.reason,
            "since": time.time(),
        }
        if desired.move:
            entry["move"] = True
        entry.update(traffic.recorded(canary, desired.version, self.runs, waiting))
        return entry

    def _origin(self) -> Origin:
        """Return the release that a pause may revert to, and its number of instances."""
        before, desired, serving = self.before or records.NOTHING, self._context.desired, self._context.serving
        if "paused" in before:
            # A deployment that replaces a paused deployment reverts to the beginning of the paused deployment.
            return before["paused"]
        others = [i.version for i in serving if i.version != desired.version]
        version = before["version"]
        if version == desired.version:
            # A run that was cut off has recorded the new release, and no pause.
            version = max(others, key=others.count)
        # In place, each instance that such a run has published has replaced an old instance.
        return {"from": version, "before": len(serving if self._context.app.recreate else others)}

    def freeze(self, why: str, weights: dict[str, int]) -> None:
        """Record the deployment as frozen.

        :param weights: the weights that the serving instances have by now, by release, if these are not the usual ones.
        :raises Frozen: always, with ``why``.
        """
        desired, identity, old = self._context.desired, self._context.identity, self.record or records.NOTHING
        frozen: records.Frozen = {
            "version": desired.version,
            "why": why,
            "by": identity.owner,
            "reason": identity.reason,
            "deployment": identity.id,
            "since": time.time(),
            "weights": weights,
        }
        if desired.as_before:
            frozen["scale"] = desired.instances
        new = hookphases.count(self.runs, desired)
        version = desired.version if new else old["version"] or desired.version
        record: Record = {**self.now(), "version": version, "frozen": frozen}
        if "paused" in old:
            # A paused deployment can still be promoted or aborted.
            record["paused"] = old["paused"]
        try:
            self.write(record)
        except (Failed, *INTERRUPTS) as exc:
            raise Frozen(f"frozen, and the record does not say so ({cause(exc)}): {why}") from exc
        raise Frozen(f"frozen: {why}", record)

    def write(self, record: Record | None) -> None:
        """Write ``record``, with the lock held."""
        self._context.lock.write({records.current_key(self._context.prefix): record})
        self.record = record

    def try_write(self, record: Record | None) -> list[str]:
        """Write ``record`` during a revert. Return the problems, in sentences. Raises LockLost."""
        try:
            self.write(record)
        except LockLost:
            raise
        except Failed as exc:
            return [str(exc)]
        return []

    def staying(self, going: set[tuple[str, str]], observed: Sequence[str]) -> dict[str, list[str]]:
        """Return the instances of the desired release that run on ``observed`` nodes and are to stay.

        :param going: ``(node, id)`` of the instances that the plan takes away.
        """
        version = self._context.desired.version
        found = {
            node: [i for i in ids if version_of(i) == version and (node, i) not in going]
            for node, ids in self.runs.items()
            if node in observed
        }
        return {node: ids for node, ids in found.items() if ids}
