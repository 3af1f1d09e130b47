"""Reverts a failed deployment: brings the old instances back, and stops the new instances."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from ...core import traffic
from ...core.errors import Failed, NotReverted, cause
from ...core.words import joined
from ...discovery.registration import first_result
from ..remote import answers
from ..remote.jobs import ids_by_node, stop_deadline, told_ids
from . import health, steps

if TYPE_CHECKING:
    from .context import Context, Ids, Progress
    from .ledger import Ledger
    from .steps import Step


class Reversal:
    """The way back of a deployment. Its methods return the problems, in sentences.

    :param progress: the changes of the deployment, which this undoes.
    """

    def __init__(self, context: Context, ledger: Ledger, progress: Progress) -> None:
        self.context, self.ledger, self.progress = context, ledger, progress
        self.weights = traffic.weights(context.serving)

    def revert(self, why: str) -> None:
        """Bring the old instances back, and stop the new instances. Raises Failed or NotReverted, with ``why``."""
        if not self.context.strategy.auto_revert and (self.progress.started_on or self.progress.adopted):
            raise NotReverted(f"auto_revert is off, so the new instances stay as they are, after: {why}")
        try:
            problems = self._change_back() or self._bring_back() or self._take_back()
        except BaseException as exc:
            problems = [cause(exc)]
        if problems:
            raise NotReverted(joined([*problems, f"after: {why}"]))
        raise Failed(why)

    def _change_back(self) -> list[str]:
        """Undo the waves that made room, the last wave first, so that no more instances are out than before."""
        while self.progress.replaced:
            old = self.progress.replaced.pop()
            problems = self.change_back_on(old, set(self.progress.started_on) & set(old))
            if problems:
                return [*problems, "the other nodes stay as they are, to serve"]
        return []

    def change_back_on(self, old: Ids, new: Collection[str]) -> list[str]:
        """Stop the instances that were started on the nodes ``new``, and restore ``old``."""
        # If this run is killed now, highstate must bring back the old instances, not the new instances.
        self.ledger.drop(ids_by_node([i for i in self.progress.published if i.node in old]))
        self.ledger.put(old)
        # The new instance goes first, because it has the port of the old instance.
        recorded = self.ledger.try_write(self.ledger.now()) if old else []
        problems = recorded + self._stop_new(new) + self._restore(old)
        if not problems:
            for node in new:
                self.progress.started_on.pop(node, None)
        return problems

    def _bring_back(self) -> list[str]:
        """Bring back the retired instances. If that fails, the new instances must stay."""
        # Instances that were only withdrawn still run. If they do not, they are started again like the others.
        ids, app = self.progress.withdrawn, self.context.app
        # This job waits for the job that withdraws them. The jobs below also wait for the jobs that they undo.
        self._attempt(steps.publish(app, ids, deadline=stop_deadline(app, ids) + first_result(app)))
        problems = self._restore(self.progress.retired)
        return problems and [*problems, "the new instances stay published, to serve in their place"]

    def _restore(self, ids: Ids) -> list[str]:
        return self._attempt(steps.restore(self.context.app, ids)) or self._not_found(ids)

    def _not_found(self, ids: Ids) -> list[str]:
        """Wait until clients find the restored instances, because only then others may go. Return the problem."""
        # A restored instance that was not healthy before does not become healthy.
        wanted = {node: [i for i in some if (node, i) not in self.context.sick] for node, some in ids.items()}
        wanted = {node: some for node, some in wanted.items() if some}
        problem = health.not_back(self.context.jobs.journal, self.context.discovery, self.context.app, wanted)
        return [f"restored, and {problem}"] if problem else []

    def _take_back(self) -> list[str]:
        """Withdraw and stop the new instances, and write the old record again."""
        app, adopted = self.context.app, ids_by_node(self.progress.adopted)
        held = any(i.held for i in self.progress.adopted)
        problems = self._attempt(steps.withdraw(app, adopted, held=held, deadline=stop_deadline(app, adopted)))
        problems += self._stop_new(self.progress.started_on)
        problems += self._weigh_back()
        # An instance must pass the checks that it is registered with after its reload.
        problems += self._register_back()
        problems += self._reload_back()
        if self.ledger.record is not self.ledger.before or self.progress.published:
            problems += self.ledger.try_write(self.ledger.before)
        return problems

    def _weigh_back(self) -> list[str]:
        """Give all old instances the weights that they had. Restored instances came back with the normal weight."""
        if not self.progress.weighed and not (self.progress.retired and traffic.unusual(self.weights)):
            return []
        return self._attempt(steps.weigh(self.context.app, self.weights))

    def _reload_back(self) -> list[str]:
        """Give the instances that stayed the files of ``config`` that they had before."""
        problems = []
        for ids in self.progress.reloaded:
            problems += self._attempt(steps.renew(self.context.app, ids, back=True)) or self._not_found(ids)
        return problems

    def _register_back(self) -> list[str]:
        """Register the instances that stayed as they were registered before."""
        app, problems = self.context.app, []
        for ids in self.progress.registered:
            problems += self._attempt(steps.register(app, ids, back=True)) or self._not_found(ids)
        return problems

    def _stop_new(self, nodes: Collection[str]) -> list[str]:
        """Stop the instances that this deployment started on ``nodes``."""
        app, identity = self.context.app, self.context.identity
        deadline = stop_deadline(app, {node: range(self.progress.started_on.get(node, 1)) for node in nodes})
        options = {"deployment": identity.id, "deadline": deadline, "told": told_ids}
        job = ("stop", "app.stop", set(nodes), app.name)
        return self._attempt(steps.Step(job, {**options, "answer": answers.of_app(app.name)}))

    def _attempt(self, step: Step) -> list[str]:
        """Run a job of the revert, and return the problems. Raises LockLost: then another run does the rest.

        The job that it undoes may still be on its way to a node. From now on, the node refuses that job.
        """
        options: dict[str, Any] = {"after": self.context.identity.id, **step.options}
        if step.nodes:
            self.context.lock.check()
        return self.context.jobs.attempt(*step.job, **options)
