"""Turn a plan into Salt jobs and wait for what they must lead to. Any failure reverts.

One job a phase and wave, whatever the number of nodes.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace

from . import bluegreen, healthy, hookrun, measuring, records, traffic
from .acceptance import Acceptance
from .errors import INTERRUPTS, Failed, LockLost
from .jobs import TALK_DEADLINE, ids_by_node, most, told_ids
from .lifecycle import CATALOG_DEADLINE
from .model import NORMAL_WEIGHT, Instance, version_of
from .runtime import STOP_TIMEOUT

log = logging.getLogger(__name__)


class NotReverted(Failed):
    """A deployment failed and could not be undone: somebody must look.

    :param record: the record as it is then, None where nobody can tell.
    """

    def __init__(self, message, record=None):
        super().__init__(message)
        self.record = record


@dataclass(frozen=True)
class Identity:
    """Which deployment this is, and whose."""

    id: str
    owner: str
    reason: str = ""


class Deployment:
    """One run of a plan. Call :meth:`run` once, with the lock held.

    :param jobs: a jobs.Jobs.
    :param discovery: the environment's discovery, as the master sees it.
    :param desired: a planner.Desired.
    :param peers: names of the nodes that answer.
    :param observed: names of those whose instances were looked at.
    :param before: the record as it was, None if there was none.
    :param lock: the held lock.Lock; every write goes through it.
    :param serving: the instances that are published and run.
    """

    def __init__(self, jobs, discovery, environment, desired, peers, observed, before, lock, identity, serving=()):
        self.jobs, self.discovery, self.environment, self.desired = jobs, discovery, environment, desired
        self.peers, self.before, self.lock, self.identity = peers, before, lock, identity
        self.app = desired.app if desired.tests else replace(desired.app, tests=())
        self.strategy = self.app.strategy
        self.acceptance = Acceptance(jobs, environment, self.app, peers)
        self.hooks = hookrun.Hooks(jobs, discovery, environment.name, self.app, desired.version, lock, identity)
        self.started_on, self.adopted, self.published, self.retired, self.replaced = set(), [], [], {}, []
        self.plan, self.waiting, self.weighed, self.weights = None, {}, False, traffic.weights(serving)
        self.record, self.withdrawn, self.warm = before, {}, (before or {}).get("warm")
        # What was seen counts: a killed run recorded less, and what somebody stopped since is to stay stopped.
        # A node that was left out of this deployment because it is dead does not bring back what it ran.
        unseen = set(peers) - set(observed)
        self.runs = {n: list(ids) for n, ids in (before or {}).get("nodes", {}).items() if n in unseen}
        self._serving = len(serving)
        self._add(serving)

    def run(self, plan):
        """Execute ``plan``.

        :raises Failed: it failed, and all is as before.
        :raises NotReverted: it failed, and is not wholly undone.
        """
        self.plan = plan
        try:
            self._clean(plan.clean)
            self._install(plan.install)
            self._weigh(plan.weigh)
            for number, wave in enumerate(plan.waves, 1):
                self.jobs.journal.wave = number
                self._wave(wave, hookrun.starts_last(plan, number, self.runs, self.desired))
            self.jobs.journal.wave = None
            self._retired_all(plan)
            self._correct_record(plan.paused)
        except LockLost as exc:
            raise NotReverted(str(exc)) from exc
        except hookrun.Freeze as exc:
            self._freeze(str(exc))
        except BaseException as exc:  # whatever it was, an interrupt too: the fleet is not left half deployed
            self._revert(cause(exc))

    # -- forward ------------------------------------------------------------------------------

    def _clean(self, ids):
        self._drop(ids)
        cooled = bluegreen.cooled(self.before, ids)
        if cooled != self.before:
            # What is stopped here is not warm any more, whatever becomes of the rest.
            self._write_record(cooled)
            self.before = cooled
        self.jobs.run(
            "clean", "app.stop", ids, self.app.name, ids, deadline=stop_deadline(self.strategy, ids), told=told_ids
        )

    def _install(self, nodes):
        self.hooks.run("before_install", nodes)
        self.jobs.run(
            "install",
            "state.apply",
            nodes,
            "app.release",
            pillar={"saltdeploy": {"app": self.app.name, "version": self.desired.version}},
            queue=True,
            deadline=self.strategy.progress_deadline,
            told=lambda _: f"{self.app.name} {self.desired.version}",
        )
        self.hooks.run("after_install", nodes)

    def _weigh(self, weights):
        """Give what serves these weights: node -> id -> weight."""
        self.weighed = bool(weights)
        self.jobs.run(*self._weighing(weights), deadline=stop_deadline(self.strategy, weights), told=told_ids)

    def _weighing(self, weights):
        return "weigh", "discovery.weigh", weights, self.app.name, weights

    def _wave(self, wave, last):
        """Handle one wave; ``last`` is whether it is the last one that starts or publishes anything."""
        self.lock.check()
        self.hooks.run("before_start", list(wave.start))
        self._make_room(wave.replace)
        until = time.monotonic() + self.strategy.progress_deadline
        started = self._start(wave.start, until)
        # The time that hooks take is not the wave's.
        until += self.hooks.run("after_start", ids_by_node(started), once=last)
        candidates = [*started, *self._adopt(wave.adopt)]
        self.lock.check()
        self.acceptance.from_elsewhere(candidates)
        self.waiting = ids_by_node(candidates)
        if self.plan.publish and candidates:
            until += self.hooks.run("before_publish", ids_by_node(candidates))
            self._publish(candidates)
            app = bluegreen.at_once(self.app) if bluegreen.returning(wave) else self.app
            healthy.wait(self.jobs.journal, self.discovery, app, ids_by_node(candidates), until)
            self._measure(candidates)
            self.hooks.run("after_publish", ids_by_node(candidates), once=last)
        if self.plan.publish:
            self._withdraw(wave.withdraw)
            self._retire(wave.retire)

    def _measure(self, candidates):
        def check():
            self.lock.check()
            healthy.found(self.discovery, self.app, [(i.node, i.id) for i in candidates])

        if self.desired.analysis:
            where = measuring.Where(self.environment.name, self.desired.version, candidates[0].node, candidates[0].id)
            measuring.run(self.jobs, self.app, where, check)

    def _make_room(self, ids):
        """Retire what has the ports of the new instances."""
        if ids:
            self.replaced.append(ids)
            self._stop_old(ids)

    def _start(self, counts, until):
        self.started_on.update(counts)
        tests = [t for t in self.app.tests if t.origin == "node"]
        slowest = max(counts.values(), default=0) * sum(t.timeout for t in tests)

        def told(value):
            ids = [f"{i['id']} on {i['address']}" + (f":{i['port']}" if i["port"] else "") for i in value["instances"]]
            return ", ".join(ids) + (f", {len(tests)} test{'s' * (len(tests) > 1)} passed" if tests else ", up")

        replies = self.jobs.run(
            "start",
            "app.start",
            counts,
            self.app.name,
            self.desired.version,
            count=counts,
            deployment=self.identity.id,
            held=not self.plan.publish,
            tests=self.desired.tests,
            deadline=min(self.strategy.healthy_deadline + slowest + TALK_DEADLINE, until - time.monotonic()),
            told=told,
            wrong=lambda value: "; ".join(value["failures"]),
        )
        return [Instance(**i) for value in replies.values() for i in value["instances"]]

    def _adopt(self, candidates):
        """Take what an earlier deployment left, held for publication or warm, once it passes its own tests again."""
        taken = [i for instances in candidates.values() for i in instances]
        healthy.still(self.jobs.journal, self.discovery, self.app, [i for i in taken if not i.held])
        self.acceptance.from_nodes(taken)
        return taken

    def _publish(self, candidates):
        self.lock.check()
        ids = ids_by_node(candidates)
        self.published += candidates
        self.warm = bluegreen.without(self.warm, ids)
        self._add(candidates)
        self.adopted += [i for i in candidates if i.deployment != self.identity.id]
        weight = self.plan.canary.new if self.plan.canary else NORMAL_WEIGHT
        self.jobs.run("publish", "discovery.publish", ids, self.app.name, ids, weight=weight, told=told_ids)

    def _withdraw(self, ids):
        """Take what the new instances have replaced from users, and keep it warm."""
        if ids:
            self.withdrawn, self.retired = ids, dict(ids)
            self._drop(ids)
            # Of an earlier set nothing is left, unless this run only goes on with what one that was cut off began.
            earlier = None if self.published else self.warm
            self.warm = bluegreen.kept(earlier, ids, time.time() + self.strategy.warm)
            self._write_record(self._now())
            self.jobs.run("withdraw", "discovery.withdraw", ids, self.app.name, ids, held=False, told=told_ids)

    def _retire(self, ids):
        """Retire what the new instances have replaced."""
        for node, instances in ids.items():
            self.retired[node] = [*self.retired.get(node, ()), *instances]
        self._stop_old(ids)

    def _stop_old(self, ids):
        """Stop instances, out of the record first: highstate must not bring them back."""
        self.hooks.run("before_retire", ids, on=hookrun.newest(self.runs, self.desired, ids))
        self._drop(ids)
        self._write_record(self._now())
        self.jobs.run(
            "retire", "app.stop", ids, self.app.name, ids, deadline=stop_deadline(self.strategy, ids), told=told_ids
        )
        self.hooks.run("after_retire", ids, once=False)

    def _retired_all(self, plan):
        """Run the hooks that come once, when nothing old is left."""
        if plan.paused and any(version_of(i) != self.desired.version for ids in self.runs.values() for i in ids):
            return
        gone = {n: ids for wave in plan.waves for part in (wave.replace, wave.retire) for n, ids in part.items()}
        self.hooks.run("after_retire", gone, on=hookrun.newest(self.runs, self.desired, gone), every=False)

    # -- the record ---------------------------------------------------------------------------

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
        """Return the record of what is published and runs now, on which node."""
        return {
            "version": self.desired.version,
            "deployment": self.identity.id,
            "time": time.time(),
            "nodes": {n: list(ids) for n, ids in self.runs.items() if ids},
            **({"warm": self.warm} if self.warm else {}),
        }

    def _correct_record(self, paused):
        """Write the record if it is not what is so: of a pause, or of what runs, where a killed run had no time to."""
        now = {**self._now(), **({"paused": self._pause()} if paused else {})}
        said = {"paused", "frozen"} & set(self.record or ())
        is_so = _places(now) == _places(self.record) and now.get("warm") == (self.record or {}).get("warm")
        if self.desired.publish and (paused or said or not is_so):
            self._write_record(now)

    def _pause(self):
        """Return all that somebody needs who goes on from here, or back."""
        before = self.before or {}
        # What takes the place of a paused deployment goes back to where that one began.
        origin = before.get("paused") or {"from": before.get("version", ""), "before": self._serving}
        return {
            "from": origin["from"],
            "before": origin["before"],
            "instances": self.desired.instances,
            "nodes": list(self.desired.nodes),
            "by": self.identity.owner,
            "reason": self.identity.reason,
            "since": time.time(),
            **traffic.recorded(self.plan.canary, self.desired.version, self.runs, self.waiting),
        }

    def _freeze(self, why):
        """Leave all as it is, and have the record say so. Raises NotReverted, with ``why``."""
        said = self.record or {}
        new = hookrun.count(self.runs, self.desired)
        about = {
            "version": self.desired.version,
            "why": why,
            "by": self.identity.owner,
            "reason": self.identity.reason,
            "deployment": self.identity.id,
            "since": time.time(),
        }
        # Who promotes or aborts a deployment that is paused can do so still.
        kept = {"paused": said["paused"]} if "paused" in said else {}
        version = self.desired.version if new else said.get("version", self.desired.version)
        record = {**self._now(), **kept, "version": version, "frozen": about}
        try:
            self._write_record(record)
        except (Failed, *INTERRUPTS) as exc:
            raise NotReverted(f"frozen, and the record does not say so ({cause(exc)}): {why}") from exc
        raise NotReverted(f"frozen: {why}", record)

    def _write_record(self, record):
        prefix = records.prefix(self.environment.name, self.app.name)
        self.lock.write({records.current_key(prefix): record})
        self.record = record

    # -- backward -----------------------------------------------------------------------------

    def _revert(self, why):
        """Bring the old instances back, and stop the new ones. Raises Failed or NotReverted, with ``why``."""
        if not self.strategy.auto_revert and (self.started_on or self.adopted):
            raise NotReverted(f"auto_revert is off, so the new instances stay as they are, after: {why}")
        try:
            self.lock.check()
            problems = self._change_back() or self._bring_back() or self._take_back()
        except BaseException as exc:
            problems = [cause(exc)]
        if problems:
            raise NotReverted(f"{'; '.join(problems)}; after: {why}")
        raise Failed(why)

    def _change_back(self):
        """Undo the waves that made room, the last one first: so no more are out at once than on the way there."""
        while self.replaced:
            old = self.replaced.pop()
            new = self.started_on & set(old)
            self.started_on -= new
            # Should this run be killed now, highstate is to bring back the old one, not the new.
            self._drop(ids_by_node([i for i in self.published if i.node in old]))
            self._put(old)
            # The new one goes first: it has the old one's port.
            problems = self._try_record(self._now()) + self._stop_new(new) + self._restore(old)
            if problems:
                return [*problems, "the other nodes stay as they are, to serve"]
        return []

    def _bring_back(self):
        """Bring back what was retired; without that the new instances must stay."""
        # What was only withdrawn runs still; if it does not, it is started again like the rest.
        ids = self.withdrawn
        self.jobs.attempt("publish", "discovery.publish", ids, self.app.name, ids, told=told_ids)
        problems = self._restore(self.retired)
        return problems and [*problems, "the new instances stay published, to serve in their place"]

    def _restore(self, ids):
        # It waits for the job that retires them, which may still be at it.
        deadline = most(ids) * self.strategy.healthy_deadline + stop_deadline(self.strategy, ids)
        job = ("restore", "app.restore", ids, self.app.name, ids)
        return self.jobs.attempt(*job, deadline=deadline, told=told_ids) or self._not_found(ids)

    def _not_found(self, ids):
        """Wait until users find what was restored: only then anything else may go. Return what is wrong."""
        wanted = {(node, i) for node, instances in ids.items() for i in instances}
        deadline = time.monotonic() + self.strategy.healthy_deadline
        if not wanted or self.discovery.wait(
            self.app.name, lambda found: wanted <= {(e.minion, e.id) for e in found}, deadline, passing=True
        ):
            return []
        restored = ", ".join(f"{i} on {node}" for node, i in sorted(wanted))
        return [f"restored, and not healthy in discovery within {self.strategy.healthy_deadline:g}s: {restored}"]

    def _take_back(self):
        adopted = ids_by_node(self.adopted)
        job = ("withdraw", "discovery.withdraw", adopted, self.app.name, adopted)
        problems = self.jobs.attempt(*job, held=any(i.held for i in self.adopted), told=told_ids)
        problems += self._stop_new(self.started_on)
        problems += self._weigh_back()
        if self.record is not self.before or self.published:
            problems += self._try_record(self.before)
        return problems

    def _weigh_back(self):
        """Give all that served before the weight it had; what was restored came back with the normal one."""
        if not self.weighed and not (self.retired and traffic.unusual(self.weights)):
            return []
        deadline = stop_deadline(self.strategy, self.weights)
        return self.jobs.attempt(*self._weighing(self.weights), deadline=deadline, told=told_ids)

    def _stop_new(self, nodes):
        """Stop what this deployment started on ``nodes``."""
        deadline = stop_deadline(self.strategy, ids_by_node(self.published))
        job = ("stop", "app.stop", nodes, self.app.name)
        return self.jobs.attempt(*job, deployment=self.identity.id, deadline=deadline, told=told_ids)

    def _try_record(self, record):
        try:
            self._write_record(record)
        except LockLost:
            raise
        except Failed as exc:
            return [str(exc)]
        return []


def stop_deadline(strategy, ids):
    """Return how long a job may take that retires ``ids``, in seconds."""
    return CATALOG_DEADLINE + strategy.drain + STOP_TIMEOUT * (1 + most(ids)) + TALK_DEADLINE


def _places(record):
    return {(node, i) for node, ids in (record or {}).get("nodes", {}).items() for i in ids}


def cause(exc):
    """Return what is said of ``exc``, whatever it is."""
    if isinstance(exc, Failed):
        return str(exc)
    if isinstance(exc, Exception):
        log.error("Unexpected in a deployment", exc_info=exc)
        return f"{type(exc).__name__}: {exc} (this is a bug: the master's log has the traceback)"
    return "it was interrupted"
