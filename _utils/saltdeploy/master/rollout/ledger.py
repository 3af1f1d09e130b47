"""Keeps the record current during a deployment: if the run dies, highstate restores the serving instances."""

from __future__ import annotations

import time

from ...core import bluegreen, records, traffic
from ...core.errors import INTERRUPTS, Failed, LockLost, NotReverted, cause
from ...core.model import version_of
from ..outcome import places
from ..remote.jobs import ids_by_node
from . import hookphases


class Recording:
    """The part of an executor.Deployment that keeps the record."""

    def _add(self, instances):
        self._put(ids_by_node(instances))

    def _put(self, ids):
        for node, instances in ids.items():
            here = self.runs.setdefault(node, [])
            here += [i for i in instances if i not in here]

    def _drop(self, ids):
        for node, gone in ids.items():
            self.runs[node] = [i for i in self.runs.get(node, ()) if i not in gone]
        self.warm = bluegreen.without(self.warm, ids)

    def _now(self):
        """Return the record of the instances that are published and run now, by node."""
        return {
            "version": self._release(),
            "deployment": self.identity.id,
            "time": time.time(),
            "nodes": {n: list(ids) for n, ids in self.runs.items() if ids},
            **({"warm": self.warm} if self.warm else {}),
            **{key: some for key, some in self.notes.items() if some},
        }

    def _release(self):
        """Return the release that clients have: the desired release from its first instance on, else the old one."""
        versions = [version_of(i) for ids in self.runs.values() for i in ids]
        new = self.desired.version
        return new if new in versions or not versions else max(versions, key=versions.count)

    def _correct_record(self, paused):
        """Write the record if it differs from the facts: a pause, or instances that a killed run did not record."""
        # A paused release may have candidates only, and is the deployed release all the same.
        now = {**self._now(), **({"paused": self._pause(), "version": self.desired.version} if paused else {})}
        said = {"paused", "frozen"} & set(self.record or ())
        is_so = places(now) == places(self.record) and all(
            now.get(key) == (self.record or {}).get(key) for key in ("warm", *self.notes)
        )
        if self.desired.publish and (paused or said or not is_so):
            self._write_record(now)

    def _pause(self):
        """Return all facts that a promote or an abort needs."""
        origin = self._origin()
        return {
            "from": origin["from"],
            "before": origin["before"],
            "instances": self.desired.instances,
            "nodes": list(self.desired.nodes),
            "by": self.identity.owner,
            "reason": self.identity.reason,
            "since": time.time(),
            **({"move": True} if self.desired.move else {}),
            **traffic.recorded(self.plan.canary, self.desired.version, self.runs, self.waiting),
        }

    def _origin(self):
        """Return the release that a pause may revert to, and its number of instances."""
        before = self.before or {}
        if "paused" in before:
            # A deployment that replaces a paused deployment reverts to the beginning of the paused deployment.
            return before["paused"]
        others = [i.version for i in self.serving if i.version != self.desired.version]
        version = before.get("version", "")
        if version == self.desired.version:
            # A run that was cut off has recorded the new release, and no pause.
            version = max(others, key=others.count)
        # In place, each instance that such a run has published has replaced an old instance.
        return {"from": version, "before": len(self.serving if self.app.recreate else others)}

    def _freeze(self, why):
        """Change nothing more, and record the deployment as frozen. Raises NotReverted, with ``why``."""
        said = self.record or {}
        new = hookphases.count(self.runs, self.desired)
        about = {
            "version": self.desired.version,
            "why": why,
            "by": self.identity.owner,
            "reason": self.identity.reason,
            "deployment": self.identity.id,
            "since": time.time(),
            "weights": self._weights(),
        }
        # A paused deployment can still be promoted or aborted.
        kept = {"paused": said["paused"]} if "paused" in said else {}
        version = self.desired.version if new else said.get("version", self.desired.version)
        record = {**self._now(), **kept, "version": version, "frozen": about}
        try:
            self._write_record(record)
        except (Failed, *INTERRUPTS) as exc:
            raise NotReverted(f"frozen, and the record does not say so ({cause(exc)}): {why}") from exc
        raise NotReverted(f"frozen: {why}", record)

    def _weights(self):
        """Return version -> weight if the serving instances by now have other weights than normal."""
        if self.plan.weigh and not self.weighed:
            return traffic.in_force(self.record)
        said = traffic.recorded(self.plan.canary, self.desired.version, self.runs, self.waiting)
        return said.get("weights", {})

    def _write_record(self, record):
        prefix = records.prefix(self.environment.name, self.app.name)
        self.lock.write({records.current_key(prefix): record})
        self.record = record

    def _try_record(self, record):
        try:
            self._write_record(record)
        except LockLost:
            raise
        except Failed as exc:
            return [str(exc)]
        return []
