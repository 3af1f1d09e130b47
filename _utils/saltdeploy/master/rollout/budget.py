"""Counts the nodes that may fail to install or start a release while the deployment goes on. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from ...core.errors import Failed
from ...core.words import joined
from ..remote.jobs import told_failure

if TYPE_CHECKING:
    from ...planning.model import Wave
    from ..remote.jobs import PhaseFailed
    from .context import Ids

Value = TypeVar("Value")


class Budget:
    """Reduces a plan by the nodes that failed. The instances that served there before go on serving.

    :param most: how many nodes may fail: a number, or a percentage of ``nodes``, rounded down.
    :param nodes: names of the nodes of the deployment.

    ``failed`` has the phase and the problem of each node that failed. ``problems`` has the problems of undoing them.
    """

    def __init__(self, most: int | str, nodes: Sequence[str]) -> None:
        self.most = most if isinstance(most, int) else len(nodes) * int(most[:-1]) // 100
        self.failed: dict[str, tuple[str, str]] = {}
        self.problems: list[str] = []
        # How many more old instances must stay in the place of new instances that did not start.
        self._owed = 0

    def spend(self, failure: PhaseFailed, nodes: Collection[str]) -> None:
        """Take note that a phase failed.

        :param failure: a jobs.PhaseFailed. It is raised if too many nodes have failed by now. It is also raised if all
            of ``nodes`` have failed, because then the release is at fault.
        """
        lost = {**self.failed, **{node: (failure.phase, problem) for node, problem in failure.problems.items()}}
        if len(lost) > self.most or set(failure.problems) >= set(nodes):
            raise failure
        self.failed = lost

    def left(self, wave: Wave) -> Wave:
        """Return ``wave`` without the starts and replacements on nodes that have failed to install.

        :raises Failed: no node is left. A later wave must not be the first to try the release.
        """
        if wave.start and set(wave.start) <= set(self.failed):
            raise Failed(f"no node of a wave is left: {self.told()}")
        self._owed += sum(count for node, count in wave.start.items() if node in self.failed)
        self._owed -= sum(len(ids) for node, ids in wave.replace.items() if node in self.failed)
        return replace(wave, start=self.without(wave.start), replace=self.without(wave.replace))

    def owe(self, counts: Mapping[str, int], replaced: Ids, problems: Sequence[str]) -> None:
        """Take note that nodes did not start their new instances, and that the old instances serve there again.

        :param counts: node -> number of new instances that did not start.
        :param replaced: node -> ids of the old instances that were restored.
        :param problems: the problems of undoing it there, in sentences.
        """
        self.problems += problems
        self._owed += sum(counts.values()) - sum(map(len, replaced.values()))

    def to_retire(self, ids: Ids) -> dict[str, Sequence[str]]:
        """Return the instances of ``ids``, by node, that retire: none on failed nodes, and fewer by those owed."""
        self._owed -= sum(len(some) for node, some in ids.items() if node in self.failed)
        going: dict[str, Sequence[str]] = {}
        for node, some in self.without(ids).items():
            spared = min(max(0, self._owed), len(some))
            self._owed -= spared
            if len(some) > spared:
                going[node] = some[spared:]
        return going

    def without(self, by_node: Mapping[str, Value]) -> dict[str, Value]:
        """Return ``by_node`` without the nodes that failed."""
        return {node: value for node, value in by_node.items() if node not in self.failed}

    def told(self) -> str:
        """Return the failed nodes, the reasons, and the problems of undoing them, in sentences."""
        by_phase: dict[str, dict[str, str]] = {}
        for node, (phase, problem) in sorted(self.failed.items()):
            by_phase.setdefault(phase, {})[node] = problem
        return joined([*(told_failure(phase, problems) for phase, problems in by_phase.items()), *self.problems])
