"""Turns a plan into Salt jobs and waits for their effects. Any failure reverts.

Each phase of a wave is one job for any number of nodes.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...core import addresses, bluegreen, editions, traffic
from ...core.errors import LockLost, NotReverted, cause
from ...core.instanceids import version_of
from ...core.model import NORMAL_WEIGHT, Instance
from ...core.words import joined
from ..outcome import places
from ..remote import answers
from ..remote.jobs import TALK_DEADLINE, PhaseFailed, ids_by_node
from . import health, hookphases, measurements, steps
from .acceptance import Acceptance
from .budget import Budget
from .context import Incomplete, Progress
from .ledger import Ledger
from .reversal import Reversal

if TYPE_CHECKING:
    from ...core.records import Record
    from ...planning.model import Plan, Wave
    from .context import Context, Ids


class Deployment:
    """One run of a plan. Call :meth:`run` once, with the lock held.

    :param before: the record at the beginning, None if there was none.
    """

    def __init__(self, context: Context, before: Record | None, plan: Plan) -> None:
        self.context, self.plan = context, plan
        self.jobs, self.discovery, self.desired = context.jobs, context.discovery, context.desired
        self.app, self.strategy, self.lock = context.app, context.strategy, context.lock
        self.progress, self.ledger = Progress(), Ledger(context, before)
        self.reversal = Reversal(context, self.ledger, self.progress)
        self.acceptance = Acceptance(self.jobs, context.environment, self.app, self._peers())
        self.hooks = hookphases.Hooks(
            self.jobs, self.discovery, context.prefix, self.app, self.desired.release, self.lock, context.identity
        )
        # An operator looks at all candidates, so no node may fail.
        self.budget = Budget(self.strategy.max_failures if self.desired.publish else 0, self.desired.nodes)
        self.unproved = {(i.node, i.id) for i in context.serving} - places(before)

    def run(self) -> None:
        """Execute the plan.

        :raises Failed: the deployment failed and was reverted.
        :raises Incomplete: it is done, but for nodes that may fail.
        :raises Frozen: a hook failed after which nothing more may be changed.
        :raises NotReverted: it failed and was not completely reverted.
        """
        plan = self.plan
        try:
            self._clean(plan.clean)
            self._install(plan.install)
            self._weigh(plan.weigh)
            self._reload(plan.reload)
            self._register(plan.register)
            for number, wave in enumerate(plan.waves, 1):
                self.jobs.journal.wave = number
                self._wave(wave, hookphases.starts_last(plan, number, self.ledger.runs, self.desired))
            self.jobs.journal.wave = None
            self._retired_all()
            if plan.publish:
                self._still_serve()
            self.ledger.correct(self.ledger.pause(plan.canary, self.progress.waiting) if plan.paused else None)
        except LockLost as exc:
            raise NotReverted(str(exc)) from exc
        except hookphases.Freeze as exc:
            self.ledger.freeze(str(exc), self._weights())
        except BaseException as exc:  # interrupts, too: the fleet must not stay half deployed
            self.reversal.revert(cause(exc))
        if self.budget.failed:
            raise Incomplete(self.budget.told(), self.ledger.record)
        wanted = self.desired.instances and plan.publish and not plan.paused
        if wanted and not hookphases.count(self.ledger.runs, self.desired):
            raise NotReverted(f"nothing of {self.app.name} {editions.told(self.desired.version)} is published")

    def _step(self, *job: Any, **options: Any) -> dict[str, Any]:
        """Run a job that a revert undoes. A node that has begun to revert refuses the job."""
        return self.jobs.run(*job, deployment=self.context.identity.id, **options)

    # -- before the waves ---------------------------------------------------------------------

    def _clean(self, ids: Ids) -> None:
        """Stop instances that serve no client."""
        self.ledger.cool(ids)
        step = steps.stop("clean", self.app, ids)
        self._step(*step.job, **step.options)

    def _install(self, nodes: Sequence[str]) -> None:
        self.hooks.run("before_install", nodes)
        step = steps.install(self.context, nodes)
        try:
            self.jobs.run(*step.job, **step.options)
        except PhaseFailed as exc:
            self._lose(exc, nodes)
        self.hooks.run("after_install", [node for node in nodes if node not in self.budget.failed])

    def _peers(self) -> list[str]:
        """Return the nodes that may test from a peer: those that answer and are in use."""
        return [node for node in self.context.answering if node not in self.context.environment.away]

    def _lose(self, failure: PhaseFailed, nodes: Collection[str]) -> None:
        """Go on without the nodes of a PhaseFailed if that many nodes may fail."""
        self.budget.spend(failure, nodes)
        self.acceptance.peers = [peer for peer in self._peers() if peer not in self.budget.failed]
        self.jobs.journal.warn(f"going on without {', '.join(failure.problems)}")

    def _weigh(self, weights: Mapping[str, Mapping[str, int]]) -> None:
        """Give the serving instances these weights: node -> id -> weight."""
        if weights:
            self.lock.check()
            self.progress.weighed = True
            step = steps.weigh(self.app, weights)
            self._step(*step.job, **step.options)

    def _reload(self, waves: Sequence[Mapping[str, Collection[str]]]) -> None:
        """Have instances that stay take in changed files of ``config``, wave by wave."""
        for wave in waves:
            ids = {node: list(some) for node, some in wave.items()}
            self.lock.check()
            self.progress.reloaded.append(ids)
            step = steps.renew(self.app, ids)
            self._step(*step.job, **step.options)
            health.wait(self.jobs, self.discovery, self.app, ids, time.monotonic() + self.strategy.progress_deadline)

    def _register(self, waves: Sequence[Mapping[str, Collection[str]]]) -> None:
        """Register instances again that stay, wave by wave. Before that, all nodes run the checks that are to come."""
        groups = [{node: list(ids) for node, ids in wave.items()} for wave in waves]
        if groups:
            step = steps.register(self.app, {node: ids for group in groups for node, ids in group.items()}, test=True)
            self._step(*step.job, **step.options)
        for ids in groups:
            self.lock.check()
            self.progress.registered.append(ids)
            step = steps.register(self.app, ids)
            self._step(*step.job, **step.options)
            health.wait(self.jobs, self.discovery, self.app, ids, time.monotonic() + self.strategy.progress_deadline)

    def _weights(self) -> dict[str, int]:
        """Return version -> weight if the serving instances by now have other weights than normal."""
        if self.plan.weigh and not self.progress.weighed:
            return traffic.in_force(self.ledger.record)
        about = traffic.recorded(self.plan.canary, self.desired.version, self.ledger.runs, self.progress.waiting)
        return about.get("weights", {})

    # -- a wave -------------------------------------------------------------------------------

    def _wave(self, wave: Wave, last: bool) -> None:
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
        self.progress.waiting = ids_by_node(candidates)
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

    def _make_room(self, ids: Ids) -> None:
        """Retire the old instances that have the ports of the new instances."""
        if ids:
            self._still_serve()
            self._enough_serve(ids)
            self.progress.replaced.append(ids)
            self._stop_old(ids)

    def _start(self, counts: dict[str, int], until: float) -> list[Instance]:
        """Start ``counts`` new instances, node -> number, until the :func:`time.monotonic` time ``until``."""
        self.progress.started_on.update(counts)
        tests = [t for t in self.app.tests if t.origin == "node"]
        slowest = max(counts.values(), default=0) * sum(t.timeout for t in tests)

        def told(value: Any) -> str:
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
                as_before=self.desired.as_before,
                deadline=min(self.strategy.healthy_deadline + slowest + TALK_DEADLINE, until - time.monotonic()),
                told=told,
                answer=lambda node, value: answers.started(
                    value,
                    self.app,
                    self.context.environment.nodes[node],
                    self.desired.version,
                    counts[node],
                    self.context.identity.id,
                ),
                wrong=lambda value: joined(value["failures"]),
            )
        except PhaseFailed as exc:
            self._lose(exc, counts)
            self._start_back({node: counts[node] for node in exc.problems})
            replies = dict(exc.values)
        return [Instance(**i) for value in replies.values() for i in value["instances"]]

    def _start_back(self, counts: dict[str, int]) -> None:
        """On failed nodes, stop the new instances and restore the old instances that were retired for them."""
        replaced = self.progress.replaced
        out = replaced[-1] if replaced and set(replaced[-1]) & set(counts) else {}
        old = {node: ids for node, ids in out.items() if node in counts}
        problems = self.reversal.change_back_on(old, set(counts))
        # If this fails, a later revert of the deployment tries it again.
        if old and not problems:
            replaced[-1] = {node: ids for node, ids in out.items() if node not in old}
        self.budget.owe(counts, {} if problems else old, problems)

    def _adopt(self, candidates: Mapping[str, Sequence[Instance]]) -> list[Instance]:
        """Take the held or warm candidates of an earlier deployment, once they pass their own tests again."""
        taken = [i for instances in candidates.values() for i in instances]
        health.still(self.jobs.journal, self.discovery, self.app, [i for i in taken if not i.held])
        self.acceptance.from_nodes(taken)
        return taken

    def _publish(self, candidates: list[Instance]) -> None:
        self.lock.check()
        self.progress.published += candidates
        self.ledger.publish(candidates)
        self.progress.adopted += [i for i in candidates if i.deployment != self.context.identity.id]
        weight = self.plan.canary.new if self.plan.canary else NORMAL_WEIGHT
        step = steps.publish(self.app, ids_by_node(candidates), weight=weight)
        self._step(*step.job, **step.options)

    def _measure(self, candidates: list[Instance]) -> None:
        """Take the measurements of the strategy's ``analysis``, if the deployment has them."""

        def check() -> None:
            self.lock.check()
            health.found(self.discovery, self.app, [(i.node, i.id) for i in candidates])

        if self.desired.analysis:
            where = measurements.Where(
                self.context.environment.name, self.desired.release, candidates[0].node, candidates[0].id
            )
            measurements.run(self.jobs, self.app, where, check)

    # -- the old instances --------------------------------------------------------------------

    def _withdraw(self, ids: Ids) -> None:
        """Withdraw the instances that the new instances have replaced, and keep them warm."""
        if ids:
            self._still_serve()
            self.progress.withdrawn, self.progress.retired = ids, dict(ids)
            self.ledger.drop(ids)
            # If nothing was published, this run only finishes the work of a run that was cut off, and an earlier warm
            # set is part of it.
            self.ledger.keep_warm(ids, time.time() + self.strategy.keep_old, add=not self.progress.published)
            self.ledger.write(self.ledger.now())
            step = steps.withdraw(self.app, ids, held=False)
            self._step(*step.job, **step.options)

    def _retire(self, ids: Ids) -> None:
        """Retire the instances that the new instances have replaced."""
        if ids:
            self._still_serve()
        for node, instances in ids.items():
            self.progress.retired[node] = [*self.progress.retired.get(node, ()), *instances]
        self._stop_old(ids)

    def _stop_old(self, ids: Ids) -> None:
        """Remove instances from the record, so that highstate does not restore them, and stop them."""
        self.hooks.run("before_retire", ids, on=hookphases.newest(self.ledger.runs, self.desired, ids))
        self.ledger.drop(ids)
        self.ledger.write(self.ledger.now())
        step = steps.stop("retire", self.app, ids)
        self._step(*step.job, **step.options)
        self.hooks.run("after_retire", ids, once=False)

    def _still_serve(self) -> None:
        """Make sure that clients still find all instances of the release that are to stay."""
        parts = [part for w in self.plan.waves for part in (w.replace, w.withdraw, w.retire)]
        going = {(node, i) for part in parts for node, ids in part.items() for i in ids}
        ids = self.ledger.staying(going, self.context.observed)
        # The record names all instances that a run saw stay healthy. A killed run may have published others.
        unproved = any((node, i) in self.unproved for node, some in ids.items() for i in some)
        health.still_serve(self.jobs.journal, self.discovery, self.app, ids, unproved)
        self.unproved = set()

    def _enough_serve(self, out: Ids) -> None:
        """Make sure that at most half of the instances are out with ``out``, because others may have died since."""
        runs = {(node, i) for node in self.context.observed for i in self.ledger.runs.get(node, ())}
        up = runs - self.context.sick
        others = up - {(node, i) for node, ids in out.items() for i in ids}
        health.enough_serve(self.jobs.journal, self.discovery, self.app, others, len(up) - max(1, len(up) // 2))

    def _retired_all(self) -> None:
        """Run the hooks that run once, as soon as no old instance is left: kept, warm, or on a failed node."""
        runs = self.ledger.runs
        if self.ledger.warm or any(version_of(i) != self.desired.version for ids in runs.values() for i in ids):
            return
        parts = [part for wave in self.plan.waves for part in (wave.replace, wave.retire)]
        gone = {node: ids for part in parts for node, ids in part.items()}
        self.hooks.run("after_retire", gone, on=hookphases.newest(runs, self.desired, gone), every=False)
