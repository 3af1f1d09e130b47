"""Turns a plan into Salt jobs and waits for their effects. Any failure reverts.

Each phase of a wave is one job for any number of nodes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from ...core import addresses, bluegreen, traffic
from ...core.errors import LockLost, NotReverted, cause
from ...core.model import NORMAL_WEIGHT, Instance, version_of
from ...core.words import joined
from ..outcome import places
from ..remote import answers
from ..remote.jobs import TALK_DEADLINE, PhaseFailed, ids_by_node, publish_deadline, stop_deadline, told_ids
from . import health, hookphases, measurements
from .acceptance import Acceptance
from .budget import Budget
from .reversal import Reverting


@dataclass(frozen=True)
class Identity:
    """The id of a deployment, its owner and the reason."""

    id: str
    owner: str
    reason: str = ""


class Deployment(Reverting):
    """One run of a plan. Call :meth:`run` once, with the lock held.

    :param jobs: a jobs.Jobs.
    :param discovery: the environment's discovery, as the master sees it.
    :param desired: a planning.model.Desired.
    :param peers: names of the nodes that answer.
    :param observed: names of the nodes whose instances were looked at. The run counts on no other instances.
    :param before: the record at the beginning, None if there was none.
    :param lock: the held lock.Lock. Every write goes through it.
    :param serving: the instances that are published and run.
    :param notes: values that the record keeps under their keys: nodes with data, tolerated services, digests.

    ``artifact`` is the SHA-256 of the archive that all nodes must install. It is empty if it is not known beforehand.
    """

    artifact = ""

    def __init__(
        self, jobs, discovery, environment, desired, peers, observed, before, lock, identity, serving=(), notes=()
    ):
        self.jobs, self.discovery, self.environment, self.desired = jobs, discovery, environment, desired
        self.peers, self.before, self.lock, self.identity = peers, before, lock, identity
        self.app = desired.app if desired.tests else replace(desired.app, tests=())
        self.strategy = self.app.strategy
        self.acceptance = Acceptance(jobs, environment, self.app, peers)
        self.hooks = hookphases.Hooks(jobs, discovery, environment.name, self.app, desired.version, lock, identity)
        # An operator looks at all candidates, so no node may fail.
        self.budget = Budget(self.strategy.max_failures if desired.publish else 0, desired.nodes)
        self.started_on, self.adopted, self.published, self.retired, self.replaced = {}, [], [], {}, []
        self.plan, self.waiting, self.weighed, self.weights = None, {}, False, traffic.weights(serving)
        self.record, self.withdrawn, self.warm = before, {}, (before or {}).get("warm")
        # The observed instances count, not the record. A killed run recorded fewer. Instances that somebody has stopped
        # since stay stopped. The instances of a dead node that was left out do not come back.
        self.seen = set(observed)
        unseen = set(peers) - self.seen
        self.runs = {n: list(ids) for n, ids in (before or {}).get("nodes", {}).items() if n in unseen}
        self.serving, self.notes = serving, notes or {}
        self.unproved = {(i.node, i.id) for i in serving} - places(before)
        self._add(serving)

    def run(self, plan):
        """Execute ``plan``.

        :raises Failed: the deployment failed and was reverted.
        :raises NotReverted: it failed and was not completely reverted, or it is done except on nodes that may fail.
        """
        self.plan = plan
        try:
            self._clean(plan.clean)
            self._install(plan.install)
            self._weigh(plan.weigh)
            for number, wave in enumerate(plan.waves, 1):
                self.jobs.journal.wave = number
                self._wave(wave, hookphases.starts_last(plan, number, self.runs, self.desired))
            self.jobs.journal.wave = None
            self._retired_all(plan)
            if plan.publish:
                self._still_serve()
            self._correct_record(plan.paused)
        except LockLost as exc:
            raise NotReverted(str(exc)) from exc
        except hookphases.Freeze as exc:
            self._freeze(str(exc))
        except BaseException as exc:  # interrupts, too: the fleet must not stay half deployed
            self._revert(cause(exc))
        if self.budget.failed:
            raise NotReverted(self.budget.told(), self.record)
        wanted = self.desired.instances and plan.publish and not plan.paused
        if wanted and not hookphases.count(self.runs, self.desired):
            raise NotReverted(f"nothing of {self.app.name} {self.desired.version} is published")

    # -- forward ------------------------------------------------------------------------------

    def _step(self, phase, function, nodes, *args, **options):
        """Run a job that a revert undoes. A node that has begun to revert refuses the job."""
        return self.jobs.run(phase, function, nodes, *args, deployment=self.identity.id, **options)

    def _clean(self, ids):
        self._drop(ids)
        cooled = bluegreen.cooled(self.before, ids)
        if cooled != self.before:
            # The instances that are stopped here are not warm any more, even if the deployment fails.
            self._write_record(cooled)
            self.before = cooled
        job, exactly = ("clean", "app.stop", ids, self.app.name, ids), answers.exactly(ids)
        self._step(*job, deadline=stop_deadline(self.app, ids), told=told_ids, answer=exactly)

    def _install(self, nodes):
        self.hooks.run("before_install", nodes)
        about = {"app": self.app.name, "version": self.desired.version}
        about.update(digest=self.artifact, deployment=self.identity.id)
        try:
            self.jobs.run(
                "install",
                "state.apply",
                nodes,
                "app.release",
                pillar={"saltdeploy": about},
                queue=False,
                on_busy=lambda node: self.jobs.journal.say(f"{node} applies states just now: its installation waits"),
                deadline=self.strategy.progress_deadline,
                told=lambda _: f"{self.app.name} {self.desired.version}",
            )
        except PhaseFailed as exc:
            self._lose(exc, nodes)
        self.hooks.run("after_install", [node for node in nodes if node not in self.budget.failed])

    def _lose(self, failure, nodes):
        """Go on without the nodes of a PhaseFailed if that many nodes may fail."""
        self.budget.spend(failure, nodes)
        self.acceptance.peers = [peer for peer in self.peers if peer not in self.budget.failed]
        self.jobs.journal.warn(f"going on without {', '.join(failure.problems)}")

    def _weigh(self, weights):
        """Give the serving instances these weights: node -> id -> weight."""
        if weights:
            self.lock.check()
            self.weighed = True
            options = {"told": told_ids, "answer": answers.some_of(weights)}
            self._step(*self._weighing(weights), deadline=stop_deadline(self.app, weights), **options)

    def _weighing(self, weights):
        return "weigh", "discovery.weigh", weights, self.app.name, weights

    def _wave(self, wave, last):
        """Carry out a wave. ``last`` says whether no later wave starts or publishes anything."""
        self.lock.check()
        wave = self.budget.left(wave)
        self.hooks.run("before_start", list(wave.start))
        self._make_room(wave.replace)
        until = time.monotonic() + self.strategy.progress_deadline
        started = self._start(wave.start, until)
        # The time of hooks does not count as the wave's.
        until += self.hooks.run("after_start", ids_by_node(started), once=last)
        candidates = [*started, *self._adopt(wave.adopt)]
        self.lock.check()
        self.acceptance.from_elsewhere(candidates)
        self.waiting = ids_by_node(candidates)
        if self.plan.publish and candidates:
            until += self.hooks.run("before_publish", ids_by_node(candidates))
            self._publish(candidates)
            app = bluegreen.at_once(self.app) if bluegreen.returning(wave) else self.app
            health.wait(self.jobs, self.discovery, app, ids_by_node(candidates), until)
            self._measure(candidates)
            self.hooks.run("after_publish", ids_by_node(candidates), once=last)
        if self.plan.publish:
            self._withdraw(wave.withdraw)
            # One write records a pause and all that its revert needs.
            if not self.plan.paused:
                self._retire(self.budget.to_retire(wave.retire))

    def _measure(self, candidates):
        def check():
            self.lock.check()
            health.found(self.discovery, self.app, [(i.node, i.id) for i in candidates])

        if self.desired.analysis:
            where = measurements.Where(
                self.environment.name, self.desired.version, candidates[0].node, candidates[0].id
            )
            measurements.run(self.jobs, self.app, where, check)

    def _make_room(self, ids):
        """Retire the old instances that have the ports of the new instances."""
        if ids:
            self._still_serve()
            self._enough_serve(ids)
            self.replaced.append(ids)
            self._stop_old(ids)

    def _start(self, counts, until):
        self.started_on.update(counts)
        tests = [t for t in self.app.tests if t.origin == "node"]
        slowest = max(counts.values(), default=0) * sum(t.timeout for t in tests)

        def told(value):
            ids = [f"{i['id']} on {addresses.join(i['address'], i['port'])}" for i in value["instances"]]
            return ", ".join(ids) + (f", {len(tests)} test{'s' * (len(tests) > 1)} passed" if tests else ", up")

        try:
            replies = self._step(
                "start",
                "app.start",
                counts,
                self.app.name,
                self.desired.version,
                count=counts,
                held=not self.plan.publish,
                tests=self.desired.tests,
                deadline=min(self.strategy.healthy_deadline + slowest + TALK_DEADLINE, until - time.monotonic()),
                told=told,
                answer=lambda node, value: answers.started(
                    value,
                    self.app,
                    self.environment.nodes[node],
                    self.desired.version,
                    counts[node],
                    self.identity.id,
                ),
                wrong=lambda value: joined(value["failures"]),
            )
        except PhaseFailed as exc:
            self._lose(exc, counts)
            self._start_back({node: counts[node] for node in exc.problems})
            replies = exc.values
        return [Instance(**i) for value in replies.values() for i in value["instances"]]

    def _start_back(self, counts):
        """On failed nodes, stop the new instances and restore the old instances that were retired for them."""
        out = self.replaced[-1] if self.replaced and set(self.replaced[-1]) & set(counts) else {}
        old = {node: ids for node, ids in out.items() if node in counts}
        problems = self._change_back_on(old, set(counts))
        # If this fails, a later revert of the deployment tries it again.
        if old and not problems:
            self.replaced[-1] = {node: ids for node, ids in out.items() if node not in old}
        self.budget.owe(counts, {} if problems else old, problems)

    def _adopt(self, candidates):
        """Take the held or warm candidates of an earlier deployment, once they pass their own tests again."""
        taken = [i for instances in candidates.values() for i in instances]
        health.still(self.jobs.journal, self.discovery, self.app, [i for i in taken if not i.held])
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
        job, exactly = ("publish", "discovery.publish", ids, self.app.name, ids), answers.exactly(ids)
        self._step(*job, weight=weight, deadline=publish_deadline(self.app), told=told_ids, answer=exactly)

    def _withdraw(self, ids):
        """Withdraw the instances that the new instances have replaced, and keep them warm."""
        if ids:
            self._still_serve()
            self.withdrawn, self.retired = ids, dict(ids)
            self._drop(ids)
            # No earlier set is left, unless this run only finishes the work of a run that was cut off.
            earlier = None if self.published else self.warm
            self.warm = bluegreen.kept(earlier, ids, time.time() + self.strategy.keep_old)
            self._write_record(self._now())
            job, exactly = ("withdraw", "discovery.withdraw", ids, self.app.name, ids), answers.exactly(ids)
            self._step(*job, held=False, told=told_ids, answer=exactly)

    def _retire(self, ids):
        """Retire the instances that the new instances have replaced."""
        if ids:
            self._still_serve()
        for node, instances in ids.items():
            self.retired[node] = [*self.retired.get(node, ()), *instances]
        self._stop_old(ids)

    def _still_serve(self):
        """Make sure that clients still find all instances of the release that are to stay."""
        parts = [part for w in self.plan.waves for part in (w.replace, w.withdraw, w.retire)]
        going = {(node, i) for part in parts for node, ids in part.items() for i in ids}
        counted = {
            node: [i for i in ids if version_of(i) == self.desired.version and (node, i) not in going]
            for node, ids in self.runs.items()
            if node in self.seen
        }
        ids = {node: some for node, some in counted.items() if some}
        # The record names all instances that a run saw stay healthy. A killed run may have published others.
        unproved = any((node, i) in self.unproved for node, some in ids.items() for i in some)
        health.still_serve(self.jobs.journal, self.discovery, self.app, ids, unproved)
        self.unproved = set()

    def _enough_serve(self, out):
        """Make sure that at most half of the instances are out with ``out``, because others may have died since."""
        sick = {(i.node, i.id) for i in self.serving if not i.healthy}
        up = {(node, i) for node in self.seen for i in self.runs.get(node, ())} - sick
        others = up - {(node, i) for node, some in out.items() for i in some}
        health.enough_serve(self.jobs.journal, self.discovery, self.app, others, len(up) - max(1, len(up) // 2))

    def _stop_old(self, ids):
        """Remove instances from the record, so that highstate does not restore them, and stop them."""
        self.hooks.run("before_retire", ids, on=hookphases.newest(self.runs, self.desired, ids))
        self._drop(ids)
        self._write_record(self._now())
        job, exactly = ("retire", "app.stop", ids, self.app.name, ids), answers.exactly(ids)
        self._step(*job, deadline=stop_deadline(self.app, ids), told=told_ids, answer=exactly)
        self.hooks.run("after_retire", ids, once=False)

    def _retired_all(self, plan):
        """Run the hooks that run once, as soon as no old instance is left: kept, warm, or on a failed node."""
        if self.warm or any(version_of(i) != self.desired.version for ids in self.runs.values() for i in ids):
            return
        gone = {n: ids for wave in plan.waves for part in (wave.replace, wave.retire) for n, ids in part.items()}
        self.hooks.run("after_retire", gone, on=hookphases.newest(self.runs, self.desired, gone), every=False)
