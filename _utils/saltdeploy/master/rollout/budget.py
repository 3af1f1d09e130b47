"""How many nodes a deployment may lose and go on: those that cannot install or start the release. Pure."""

from __future__ import annotations

from dataclasses import replace

from ...core.errors import Failed
from ...core.words import joined
from ..remote.jobs import told_failure


class Budget:
    """What of a plan is left without the nodes that failed, where what served before goes on serving.

    :param most: how many nodes may fail: a number, or a percentage of ``nodes``, rounded down.
    :param nodes: names of those of the deployment.

    ``failed`` has the phase and the problem of each node that failed. ``problems`` has what could not be undone there.
    """

    def __init__(self, most, nodes):
        self.most = most if isinstance(most, int) else len(nodes) * int(most[:-1]) // 100
        self.failed, self.problems = {}, []
        # How many old instances are to stay in the place of new ones, beyond those that do.
        self._owed = 0

    def spend(self, failure, nodes):
        """Take note that a phase failed.

        :param failure: a jobs.PhaseFailed, which is raised if it is too much: if too many nodes have failed by now, or
            all of ``nodes``, so that it is the release that is at fault.
        """
        lost = {**self.failed, **{node: (failure.phase, problem) for node, problem in failure.problems.items()}}
        if len(lost) > self.most or set(failure.problems) >= set(nodes):
            raise failure
        self.failed = lost

    def left(self, wave):
        """Return what of ``wave`` is left to start, once nodes have failed to install.

        :raises Failed: none of its nodes: no later wave may be the first to try the release.
        """
        if wave.start and set(wave.start) <= set(self.failed):
            raise Failed(f"no node of a wave is left: {self.told()}")
        self._owed += sum(count for node, count in wave.start.items() if node in self.failed)
        self._owed -= sum(len(ids) for node, ids in wave.replace.items() if node in self.failed)
        return replace(wave, start=self.without(wave.start), replace=self.without(wave.replace))

    def owe(self, counts, replaced, problems):
        """Take note that nodes did not start so many instances, and have back what these were to replace.

        :param problems: what could not be undone there, in sentences.
        """
        self.problems += problems
        self._owed += sum(counts.values()) - sum(map(len, replaced.values()))

    def to_retire(self, ids):
        """Return which of ``ids``, by node, go: none of a node that failed, and one less for each that is owed."""
        self._owed -= sum(len(some) for node, some in ids.items() if node in self.failed)
        going = {}
        for node, some in self.without(ids).items():
            spared = min(max(0, self._owed), len(some))
            self._owed -= spared
            if len(some) > spared:
                going[node] = some[spared:]
        return going

    def without(self, by_node):
        """Return ``by_node`` without the nodes that failed."""
        return {node: value for node, value in by_node.items() if node not in self.failed}

    def told(self):
        """Say which nodes failed, and why, and what of it could not be undone."""
        by_phase = {}
        for node, (phase, problem) in sorted(self.failed.items()):
            by_phase.setdefault(phase, {})[node] = problem
        return joined([*(told_failure(phase, problems) for phase, problems in by_phase.items()), *self.problems])
