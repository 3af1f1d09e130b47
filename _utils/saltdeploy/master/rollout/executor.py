"""Turn a plan into Salt jobs and wait for what they must lead to. Any failure reverts.

One job a phase and wave, whatever the number of nodes.
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
    """Which deployment this is, and whose."""

    id: str
    owner: str
    reason: str = ""


class Deployment(Reverting):
    """One run of a plan. Call :meth:`run` once, with the lock held.

    :param jobs: a jobs.Jobs.
    :param discovery: the environment's discovery, as the master sees it.
    :param desired: a planner.Desired.
    :param peers: names of the nodes that answer.
    :param observed: names of those whose instances were looked at: only on these the run counts on any.
    :param before: the record as it was, None if there was none.
    :param lock: the held lock.Lock; every write goes through it.
    :param serving: the instances that are published and run.
    :param notes: values that the record keeps under their keys: nodes with data, tolerated services, digests.

    ``artifact`` is the SHA-256 that all nodes must have the release from; empty: it is not known beforehand.
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
        # Candidates wait for somebody to look at all of them.
        self.budget = Budget(self.strategy.max_failures if desired.publish else 0, desired.nodes)
        self.started_on, self.adopted, self.published, self.retired, self.replaced = {}, [], [], {}, []
        self.plan, self.waiting, self.weighed, self.weights = None, {}, False, traffic.weights(serving)
        self.record, self.withdrawn, self.warm = before, {}, (before or {}).get("warm")
        # What was seen counts: a killed run recorded less, and what somebody stopped since is to stay stopped.
        # A node that was left out of this deployment because it is dead does not bring back what it ran.
        self.seen = set(observed)
        unseen = set(peers) - self.seen
        self.runs = {n: list(ids) for n, ids in (before or {}).get("nodes", {}).items() if n in unseen}
        self.serving, self.notes = serving, notes or {}
        self.unproved = {(i.node, i.id) for i in serving} - places(before)
        self._add(serving)

    def run(self, plan):
        """Execute ``plan``.

        :raises Failed: it failed, and all is as before.
        :raises NotReverted: it failed, and is not wholly undone; or it is done, but for nodes that might fail.
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
        except BaseException as exc:  # whatever it was, an interrupt too: the fleet is not left half deployed
            self._revert(cause(exc))
        if self.budget.failed:
            raise NotReverted(self.budget.told(), self.record)
        wanted = self.desired.instances and plan.publish and not plan.paused
        if wanted and not hookphases.count(self.runs, self.desired):
            raise NotReverted(f"nothing of {self.app.name} {self.desired.version} is published")

    # -- forward ------------------------------------------------------------------------------

    def _step(self, phase, function, nodes, *args, **options):
        """Run a job that the way back undoes: a node that is on its way back already refuses it."""
        return self.jobs.run(phase, function, nodes, *args, deployment=self.identity.id, **options)

    def _clean(self, ids):
        self._drop(ids)
        cooled = bluegreen.cooled(self.before, ids)
        if cooled != self.before:
            # What is stopped here is not warm any more, whatever becomes of the rest.
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
        """Go on without the nodes of a PhaseFailed, if so many may fail."""
        self.budget.spend(failure, nodes)
        self.acceptance.peers = [peer for peer in self.peers if peer not in self.budget.failed]
        self.jobs.journal.warn(f"going on without {', '.join(failure.problems)}")

    def _weigh(self, weights):
        """Give what serves these weights: node -> id -> weight."""
        if weights:
            self.lock.check()
            self.weighed = True
            options = {"told": told_ids, "answer": answers.some_of(weights)}
            self._step(*self._weighing(weights), deadline=stop_deadline(self.app, weights), **options)

    def _weighing(self, weights):
        return "weigh", "discovery.weigh", weights, self.app.name, weights

    def _wave(self, wave, last):
        """Handle one wave; ``last`` is whether it is the last one that starts or publishes anything."""
        self.lock.check()
        wave = self.budget.left(wave)
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
            health.wait(self.jobs, self.discovery, app, ids_by_node(candidates), until)
            self._measure(candidates)
            self.hooks.run("after_publish", ids_by_node(candidates), once=last)
        if self.plan.publish:
            self._withdraw(wave.withdraw)
            # A pause is recorded with all that it goes back to, in one write.
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
        """Retire what has the ports of the new instances."""
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
        """Undo what nodes that failed have started, and retired before."""
        out = self.replaced[-1] if self.replaced and set(self.replaced[-1]) & set(counts) else {}
        old = {node: ids for node, ids in out.items() if node in counts}
        problems = self._change_back_on(old, set(counts))
        # What is not undone stays to be undone, should the deployment fail later.
        if old and not problems:
            self.replaced[-1] = {node: ids for node, ids in out.items() if node not in old}
        self.budget.owe(counts, {} if problems else old, problems)

    def _adopt(self, candidates):
        """Take what an earlier deployment left, held for publication or warm, once it passes its own tests again."""
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
        """Take what the new instances have replaced from users, and keep it warm."""
        if ids:
            self._still_serve()
            self.withdrawn, self.retired = ids, dict(ids)
            self._drop(ids)
            # Of an earlier set nothing is left, unless this run only goes on with what one that was cut off began.
            earlier = None if self.published else self.warm
            self.warm = bluegreen.kept(earlier, ids, time.time() + self.strategy.keep_old)
            self._write_record(self._now())
            job, exactly = ("withdraw", "discovery.withdraw", ids, self.app.name, ids), answers.exactly(ids)
            self._step(*job, held=False, told=told_ids, answer=exactly)

    def _retire(self, ids):
        """Retire what the new instances have replaced."""
        if ids:
            self._still_serve()
        for node, instances in ids.items():
            self.retired[node] = [*self.retired.get(node, ()), *instances]
        self._stop_old(ids)

    def _still_serve(self):
        """Make sure that all instances of the release that are to stay serve users still: none may be lost for them."""
        parts = [part for w in self.plan.waves for part in (w.replace, w.withdraw, w.retire)]
        going = {(node, i) for part in parts for node, ids in part.items() for i in ids}
        counted = {
            node: [i for i in ids if version_of(i) == self.desired.version and (node, i) not in going]
            for node, ids in self.runs.items()
            if node in self.seen
        }
        ids = {node: some for node, some in counted.items() if some}
        # The record names all instances that a run has seen stay healthy. A killed run may have published others.
        unproved = any((node, i) in self.unproved for node, some in ids.items() for i in some)
        health.still_serve(self.jobs.journal, self.discovery, self.app, ids, unproved)
        self.unproved = set()

    def _enough_serve(self, out):
        """Make sure that at most half are out while ``out`` is, as the plan has it: others may have died since."""
        sick = {(i.node, i.id) for i in self.serving if not i.healthy}
        up = {(node, i) for node in self.seen for i in self.runs.get(node, ())} - sick
        others = up - {(node, i) for node, some in out.items() for i in some}
        health.enough_serve(self.jobs.journal, self.discovery, self.app, others, len(up) - max(1, len(up) // 2))

    def _stop_old(self, ids):
        """Stop instances, out of the record first: highstate must not bring them back."""
        self.hooks.run("before_retire", ids, on=hookphases.newest(self.runs, self.desired, ids))
        self._drop(ids)
        self._write_record(self._now())
        job, exactly = ("retire", "app.stop", ids, self.app.name, ids), answers.exactly(ids)
        self._step(*job, deadline=stop_deadline(self.app, ids), told=told_ids, answer=exactly)
        self.hooks.run("after_retire", ids, once=False)

    def _retired_all(self, plan):
        """Run the hooks that come once, when nothing old is left: neither kept, nor warm, nor on a node that failed."""
        if self.warm or any(version_of(i) != self.desired.version for ids in self.runs.values() for i in ids):
            return
        gone = {n: ids for wave in plan.waves for part in (wave.replace, wave.retire) for n, ids in part.items()}
        self.hooks.run("after_retire", gone, on=hookphases.newest(self.runs, self.desired, gone), every=False)
