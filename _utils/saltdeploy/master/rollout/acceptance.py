"""The tests of an app: from the node itself, from a peer, from the master."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ...core.errors import Failed
from ...core.words import joined
from ...system import probes
from ..remote import answers
from ..remote.jobs import TALK_DEADLINE, ids_by_node, most

if TYPE_CHECKING:
    from ...core.environment import Environment
    from ...core.model import App, Instance
    from ..remote.jobs import Jobs

    # Instance -> the results of its tests.
    Results = Mapping[str, Sequence[Mapping[str, Any]]]

MASTER_THREADS = 8


class Acceptance:
    """Runs an app's tests on instances. Each method raises Failed with all tests that did not pass.

    :param peers: names of the nodes that a test from a peer may run on.
    """

    def __init__(self, jobs: Jobs, environment: Environment, app: App, peers: Sequence[str]) -> None:
        self.jobs, self.environment, self.app, self.peers = jobs, environment, app, peers
        self._origins = Counter(t.origin for t in app.tests)

    def from_nodes(self, instances: Iterable[Instance]) -> None:
        """Run the tests from the node itself."""
        ids = ids_by_node(instances) if "node" in self._origins else {}
        expected = {node: dict.fromkeys(some, self._origins["node"]) for node, some in ids.items()}
        self._run("app.test", ids, expected)

    def from_elsewhere(self, instances: Iterable[Instance]) -> None:
        """Run the tests from a peer and from the master."""
        targets = [asdict(i) for i in instances]
        if targets and "peer" in self._origins:
            self._from_peers(targets)
        if targets and "master" in self._origins:
            self._from_master(targets)

    def _from_peers(self, targets: Sequence[dict[str, Any]]) -> None:
        by_peer: dict[str, list[dict[str, Any]]] = {}
        for number, target in enumerate(targets):
            others = [p for p in self.peers if p != target["node"]]
            if not others:
                raise Failed(f"no other node of {self.environment.name} answers, to test {target['id']} from a peer.")
            by_peer.setdefault(others[number % len(others)], []).append(target)
        count = self._origins["peer"]
        names = {peer: [f"{t['id']}@{t['node']}" for t in some] for peer, some in by_peer.items()}
        self._run("deploy.test_peers", by_peer, {peer: dict.fromkeys(some, count) for peer, some in names.items()})

    def _run(
        self, function: str, by_node: Mapping[str, Sequence[Any]], expected: Mapping[str, Mapping[str, int]]
    ) -> None:
        """Run tests on nodes. ``expected`` is node -> instance -> number of tests."""
        job = ("test", function, by_node, self.app.name, by_node)
        complete, deadline = answers.tests(expected), self._deadline(by_node)
        self.jobs.run(*job, told=_passed, answer=complete, wrong=_failed, deadline=deadline)

    def _from_master(self, targets: Sequence[dict[str, Any]]) -> None:
        began = time.monotonic()
        self.jobs.journal.begin("test", ["master"])
        with ThreadPoolExecutor(MASTER_THREADS) as pool:
            parts = pool.map(lambda t: probes.run_from("master", self.environment, self.app, [t]), targets)
            results = {k: v for part in parts for k, v in part.items()}
        problem = _failed(results)
        self.jobs.journal.add("test", "master", problem or _passed(results), time.monotonic() - began, not problem)
        if problem:
            raise Failed(f"test from master: {problem}")

    def _deadline(self, by_node: Mapping[str, Sequence[Any]]) -> float:
        return most(by_node) * sum(t.timeout for t in self.app.tests) + TALK_DEADLINE


def _passed(results: Results) -> str:
    count = sum(map(len, results.values()))
    return f"{', '.join(results)}: {count} test{'s' * (count != 1)} passed" if count else "nothing to test"


def _failed(results: Results) -> str:
    wrong = [(i, r) for i, tests in results.items() for r in tests if not r["ok"]]
    return joined(f"{instance}: test `{r['test']}` failed: {r['detail']}" for instance, r in wrong)
