"""Reverts a failed deployment: brings the old instances back, and stops the new instances."""

from __future__ import annotations

from ...core import traffic
from ...core.errors import Failed, NotReverted, cause
from ...core.words import joined
from ...discovery.registration import first_result
from ..remote import answers
from ..remote.jobs import ids_by_node, most, stop_deadline, told_ids
from . import health
from .ledger import Recording


class Reverting(Recording):
    """The part of an executor.Deployment that reverts it. Its methods return the problems, in sentences."""

    def _revert(self, why):
        """Bring the old instances back, and stop the new instances. Raises Failed or NotReverted, with ``why``."""
        if not self.strategy.auto_revert and (self.started_on or self.adopted):
            raise NotReverted(f"auto_revert is off, so the new instances stay as they are, after: {why}")
        try:
            problems = self._change_back() or self._bring_back() or self._take_back()
        except BaseException as exc:
            problems = [cause(exc)]
        if problems:
            raise NotReverted(joined([*problems, f"after: {why}"]))
        raise Failed(why)

    def _change_back(self):
        """Undo the waves that made room, the last wave first, so that no more instances are out than before."""
        while self.replaced:
            old = self.replaced.pop()
            problems = self._change_back_on(old, set(self.started_on) & set(old))
            if problems:
                return [*problems, "the other nodes stay as they are, to serve"]
        return []

    def _change_back_on(self, old, new):
        """Stop the instances that were started on the nodes ``new``, and restore ``old``."""
        # If this run is killed now, highstate must bring back the old instances, not the new instances.
        self._drop(ids_by_node([i for i in self.published if i.node in old]))
        self._put(old)
        # The new instance goes first, because it has the port of the old instance.
        recorded = self._try_record(self._now()) if old else []
        problems = recorded + self._stop_new(new) + self._restore(old)
        if not problems:
            for node in new:
                self.started_on.pop(node, None)
        return problems

    def _bring_back(self):
        """Bring back the retired instances. If that fails, the new instances must stay."""
        # Instances that were only withdrawn still run. If they do not, they are started again like the others.
        ids = self.withdrawn
        # This job waits for the job that withdraws them. The jobs below also wait for the jobs that they undo.
        deadline = stop_deadline(self.app, ids) + first_result(self.app)
        job, exactly = ("publish", "discovery.publish", ids, self.app.name, ids), answers.exactly(ids)
        self._attempt(*job, deadline=deadline, told=told_ids, answer=exactly)
        problems = self._restore(self.retired)
        return problems and [*problems, "the new instances stay published, to serve in their place"]

    def _restore(self, ids):
        each = self.strategy.healthy_deadline + first_result(self.app) + 2 * self.app.stop.timeout
        deadline = most(ids) * each + stop_deadline(self.app, ids)
        job = ("restore", "app.restore", ids, self.app.name, ids)
        some = answers.some_of(ids)
        return self._attempt(*job, deadline=deadline, told=told_ids, answer=some) or self._not_found(ids)

    def _not_found(self, ids):
        """Wait until clients find the restored instances, because only then others may go. Return the problem."""
        # A restored instance that was not healthy before does not become healthy.
        sick = {(i.node, i.id) for i in self.serving if not i.healthy}
        wanted = {node: [i for i in some if (node, i) not in sick] for node, some in ids.items()}
        problem = health.not_back(self.jobs.journal, self.discovery, self.app, {n: i for n, i in wanted.items() if i})
        return [f"restored, and {problem}"] if problem else []

    def _take_back(self):
        adopted = ids_by_node(self.adopted)
        job = ("withdraw", "discovery.withdraw", adopted, self.app.name, adopted)
        held, deadline = any(i.held for i in self.adopted), stop_deadline(self.app, adopted)
        exactly = answers.exactly(adopted)
        problems = self._attempt(*job, held=held, deadline=deadline, told=told_ids, answer=exactly)
        problems += self._stop_new(set(self.started_on))
        problems += self._weigh_back()
        if self.record is not self.before or self.published:
            problems += self._try_record(self.before)
        return problems

    def _weigh_back(self):
        """Give all old instances the weights that they had. Restored instances came back with the normal weight."""
        if not self.weighed and not (self.retired and traffic.unusual(self.weights)):
            return []
        deadline, some = stop_deadline(self.app, self.weights), answers.some_of(self.weights)
        return self._attempt(*self._weighing(self.weights), deadline=deadline, told=told_ids, answer=some)

    def _attempt(self, phase, function, nodes, *args, **options):
        """Run a job of the revert, and return the problems. Raises LockLost: then another run does the rest.

        The job that it undoes may still be on its way to a node. From now on, the node refuses that job.
        """
        if nodes:
            self.lock.check()
        return self.jobs.attempt(phase, function, nodes, *args, after=self.identity.id, **options)

    def _stop_new(self, nodes):
        """Stop the instances that this deployment started on ``nodes``."""
        deadline = stop_deadline(self.app, {node: range(self.started_on.get(node, 1)) for node in nodes})
        job = ("stop", "app.stop", nodes, self.app.name)
        mine = answers.of_app(self.app.name)
        return self._attempt(*job, deployment=self.identity.id, deadline=deadline, told=told_ids, answer=mine)
