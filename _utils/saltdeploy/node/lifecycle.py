"""The life of an app's instances on one node: start, test, publish, withdraw, restart, stop.

Every wait here has a deadline, so that a job on a node always ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .. import definition, discovery
from ..core import deadlines, editions, names, records
from ..core.errors import DiscoveryUnavailable, Refused
from ..core.redaction import hidden
from ..definition import instancefiles
from ..discovery import registration
from ..discovery.registration import CANDIDATE
from ..runtime import choose
from ..system import filelocks, probes
from . import crashes, following, nodefiles, preparation, readiness
from .host import Host
from .inventory import Inventory
from .launch import Launch
from .readiness import Readiness
from .termination import Ending

if TYPE_CHECKING:
    from ..core.model import App, Instance, Probe
    from ..discovery.backend import Backend, Service
    from ..runtime.base import Runtime, State
    from .launch import Fetch, Render

# The most lines and bytes of an instance's output that a failure shows.
LOG_LINES, LOG_BYTES = 15, 4000


@dataclass(frozen=True)
class StartResult:
    """The instances that were started, and the problems of those that are not ready or failed a test."""

    ok: bool
    instances: list[Instance]
    failures: list[str]


class Lifecycle:
    """The instances of this node's environment.

    :param node: the minion's id.
    :param pillar: its pillar: ``apps`` and its own environment.
    :param settings: the minion's ``saltdeploy`` configuration: root, runtime, supervisord.
    :raises Refused: this minion is a node of no environment.
    """

    def __init__(
        self, node: str, pillar: Mapping[str, Any], settings: Mapping[str, Any], fetch: Fetch, render: Render
    ) -> None:
        self.host = Host(node, **({"root": settings["root"]} if "root" in settings else {}))
        self.environment = definition.load_own(node, pillar, self.host.mistakes.find)
        self.node = self.environment.nodes[node]
        self.settings, self.fetch, self.render = settings, fetch, render
        self._runtime: Runtime | None = None
        self._discovery: Backend | None = None
        self._ending: Ending | None = None
        # Events that the operator should know of, in sentences.
        self.warnings: list[str] = []

    @property
    def runtime(self) -> Runtime:
        self._runtime = self._runtime or choose(self.settings)
        return self._runtime

    @property
    def discovery(self) -> Backend:
        self._discovery = self._discovery or discovery.connect(self.environment.discovery, self.node.address)
        return self._discovery

    @property
    def inventory(self) -> Inventory:
        return Inventory(self.host, self.environment, self.runtime, self.discovery)

    @property
    def ending(self) -> Ending:
        self._ending = self._ending or Ending(self.host, self.runtime)
        return self._ending

    def app(self, name: str) -> App:
        """Return the definition of app ``name``, with the addresses of the services that it follows.

        :raises Refused: this environment does not have the app.
        """
        app = definition.find_app(self.environment, name)
        return following.resolved(app, self.environment.name, lambda: self.discovery)

    def begin(self, name: str, deployment: str, compare: str | None) -> None:
        """Make ``deployment`` the current run of app ``name`` on this node, and keep what the app defines now for it.

        :param compare: the release whose settings it compares. A run that compares nothing starts no instance by its
            definition. So nothing is kept for any run.
        :raises Failed: ``deployment`` has ended here, or its file cannot be written.
        """
        self.host.turns.begin(names.app(name), deployment)
        known = compare is not None and name in self.environment.apps
        app = self.app(name) if known else None
        self.host.settings.begin(names.app(name), app, deployment)

    # -- starting -----------------------------------------------------------------------------

    def install(self, name: str, version: str, digest: str | None = "") -> bool:
        """Install a release and return whether anything was done.

        :param digest: the SHA-256 of the release's archive. Empty takes the digest of the definition.
        """
        return self.host.releases.install(self.app(name), version, self.fetch, names.digest(digest))

    def start(
        self,
        name: str,
        version: str,
        count: int,
        deployment: str,
        held: bool = False,
        slots: Sequence[int] | None = None,
        tests: bool = True,
        as_before: bool = False,
    ) -> StartResult:
        """Start ``count`` candidates of a release and run the tests that are from the node itself.

        :param version: the release, or the edition to start.
        :param held: keep them in discovery until they are published or stopped. Otherwise they leave it
            by themselves after the deployment's deadline.
        :param slots: the ports to take. None takes any free port.
        :param tests: False counts ready instances as tested.
        :param as_before: start them with the settings that are kept of the edition, and not with those of the
            definition.
        """
        app = self.app(name) if tests else replace(self.app(name), tests=())
        release = editions.release(names.edition(version))
        if not self.host.releases.installed(app, release):
            raise Refused(f"{name} {release} is not installed on {self.host.node}: run app.install first.")
        return self.start_installed(app, version, count, deployment, held, slots, as_before)

    def start_installed(
        self,
        app: App,
        version: str,
        count: int,
        deployment: str,
        held: bool = False,
        slots: Sequence[int] | None = None,
        as_before: bool = False,
    ) -> StartResult:
        """Start candidates as :meth:`start` does, from the installed release, of any origin."""
        app = self.host.settings.begun(app, deployment)
        deadline = time.monotonic() + app.strategy.healthy_deadline
        started: list[Instance] = []
        failures: list[str] = []
        with self.host.turns.starting(app.name, deployment):
            avoid = {i.slot for i in self.inventory.instances(app.name) if i.running and not i.recorded}
            self.warnings += self.ending.sweep(app, self.node.address, self.inventory.in_use(app.name))
            left = max(1.0, deadline - time.monotonic())
            self.host.releases.put_in_place(app.name, editions.release(version), left)
            wanted: Sequence[int | None] = slots or [None] * count
            # Where its settings are kept for, an instance has all that it had.
            first = self.host.settings.slots(app.name).get(version, ()) if as_before else ()
            for slot in wanted:
                instance = self.host.instances.allocate(app, version, self.node.address, deployment, slot, avoid, first)
                started.append(replace(instance, held=held))
            units = []
            for instance in started:
                self.host.instances.save(instance)
                units.append(preparation.write(self, app, instance, as_before).unit)
            self.runtime.start(*units)
        for instance in started:
            failures += self.prove(app, instance, deadline, deployment)
        return StartResult(not failures, [self._record(i) for i in started], failures)

    def prove(
        self,
        app: App,
        instance: Instance,
        deadline: float,
        deployment: str | None = None,
        checks: Sequence[Probe] | None = None,
    ) -> list[str]:
        """Wait until the instance is ready, run its own tests, and register it as a candidate. Return the problems.

        :param deployment: the deployment of this step. It may have ended while this process was suspended.
        :param checks: the checks that it must pass. None takes those of the definition.
        """
        candidate = self.candidate(app, instance)
        candidate = candidate if checks is None else replace(candidate, checks=tuple(checks))
        # Only discovery can run some checks. Nobody finds the candidate until it passes.
        if any(check.kind in registration.REMOTE for check in candidate.checks):
            with self.host.turns.starting(app.name, deployment):
                self.discovery.publish(candidate, proved=False)
        problems = self.problems(app, instance, deadline, checks)
        if problems:
            return [f"{instance.id}: {problem}" for problem in problems]
        with self.host.turns.starting(app.name, deployment):
            self.host.instances.save(replace(instance, tested=True))
            self.discovery.publish(candidate)
        return []

    def problems(
        self, app: App, instance: Instance, deadline: float, checks: Sequence[Probe] | None = None
    ) -> list[str]:
        """Wait until an instance is ready, and run its tests from the node. Return the problems, in sentences.

        :param checks: as for :meth:`prove`.
        """
        problem = self.await_ready(app, instance, deadline, checks)
        problems = [problem] if problem else self.failed_tests(app, instance)
        if problems:
            # The lines are lost when the instance is removed.
            problems[-1] += self.last_words(app, instance)
        return problems

    def last_words(self, app: App, instance: Instance) -> str:
        """Return the last lines that an instance printed, as the end of a message. It is empty if there are none."""
        lines = self._last_lines(self.launch(app, instance))
        return f"\nits last lines:\n{lines}" if lines else ""

    def await_ready(
        self,
        app: App,
        instance: Instance,
        deadline: float,
        checks: Sequence[Probe] | None = None,
        states: Callable[[], Mapping[str, State]] | None = None,
    ) -> str | None:
        """Return None when the process is up and passes its checks, else the problem.

        :param checks: its checks. None takes those of the definition.
        :param states: returns the states of instances. None asks the supervisor.
        """
        values, key = (
            self.launch(app, instance).values,
            records.current_key(records.prefix(self.environment.name, app.name)),
        )

        def first() -> bool:
            try:
                return self.discovery.read(key)[0] is None
            except DiscoveryUnavailable:
                return False

        def results() -> dict[str, tuple[str, str]]:
            return self.discovery.results(instance.id) or self.discovery.results(instance.id + CANDIDATE)

        states = states or self.runtime.states
        ready = Readiness(app, instance, self.host, states, values, results, first, checks)
        return ready.wait(deadline)

    def candidate(self, app: App, instance: Instance) -> Service:
        """Return an instance as a candidate in discovery."""
        expires = None if instance.held else app.strategy.progress_deadline
        return registration.of(app, instance, self.environment.name, self.host.key, candidate=True, expires=expires)

    def waiting(self, name: str) -> dict[str, str]:
        """Return ``{id: text}``, the reasons why starting instances of app ``name`` are not ready yet."""
        return readiness.notes(self.host, names.app(name))

    # -- testing ------------------------------------------------------------------------------

    def test(self, name: str, ids: Collection[str] | None = None) -> dict[str, list[probes.Result]]:
        """Run the tests from the node on its instances of app ``name``. Return the results by id."""
        app = self.app(name)
        return {i.id: self._test(app, i) for i in self.select(name, ids)}

    def test_others(self, name: str, targets: Sequence[Mapping[str, Any]]) -> dict[str, list[probes.Result]]:
        """Run the tests that are from a peer on instances elsewhere.

        :param targets: the instances, as plain data.
        """
        return probes.run_from("peer", self.environment, self.app(name), targets)

    def failed_tests(self, app: App, instance: Instance) -> list[str]:
        """Run the tests of an instance from the node. Return the failures, in sentences."""
        return [f"test `{r['test']}` failed: {r['detail']}" for r in self._test(app, instance) if not r["ok"]]

    def _test(self, app: App, instance: Instance) -> list[probes.Result]:
        launch = self.launch(app, instance)
        results = [probes.run(t, launch.values, launch.env, launch.app.user) for t in app.tests if t.origin == "node"]
        return [{**result, "detail": hidden(result["detail"], launch.own_env)} for result in results]

    def find_crashed(self, name: str, ids: Collection[str] | None) -> dict[str, str]:
        """Return ``{id: last lines}`` of the instances ``ids`` whose process has ended since their publication."""
        app, chosen = self.app(name), {i.id: i for i in self.select(name, ids)}
        crashed = crashes.since_publication(self.host, self.runtime, list(chosen))
        return {i: self._last_lines(self.launch(app, chosen[i])) for i in crashed}

    def _last_lines(self, launch: Launch) -> str:
        """Return the last lines that an instance printed, without the values of its ``env``."""
        lines = self.runtime.logs(launch.unit, LOG_LINES, most=LOG_BYTES)
        return hidden(lines, launch.own_env)

    # -- taking turns -------------------------------------------------------------------------

    def alone(self, name: str, deployment: str | None = None, after: str | None = None) -> AbstractContextManager[None]:
        """Take the turn as Turns.alone does. A step that reverts other steps waits longer for them."""
        return self.host.turns.alone(name, deployment, after, self.patience(name) if after else filelocks.MOMENT)

    def patience(self, name: str) -> float:
        """Return how many seconds a step waits for its turn, which is as long as retiring instances may take."""
        app = self.inventory.app(name)
        ids = {*(i.id for i in self.host.instances.recorded(name)), *self.host.instances.strays(name)}
        longest = max([app.stop.timeout, *self.inventory.stop_timeouts(ids).values()])
        return deadlines.CATALOG + app.strategy.drain + deadlines.ending(longest, len(ids))

    # -- helpers ------------------------------------------------------------------------------

    def select(self, name: str, ids: Collection[str] | None) -> list[Instance]:
        """Return the instances ``ids`` of app ``name``, or all for None. Raise Refused if an instance is not here."""
        here = {i.id: i for i in self.host.instances.recorded(name)}
        unknown = sorted(set(ids or ()) - set(here))
        if unknown:
            raise Refused(
                f"no such instance on {self.host.node}: {', '.join(unknown)}. Here: {', '.join(here) or 'none'}"
            )
        return [here[i] for i in (here if ids is None else ids)]

    def _record(self, instance: Instance) -> Instance:
        return nodefiles.instance(self.host.instances.folder(instance.id) / instancefiles.RECORD)

    def launch(self, app: App, instance: Instance) -> Launch:
        """Return the launch of an instance: the files that it is started from, and its settings."""
        kept = self.host.settings.read(app.name, instance.version, instance.slot)
        return Launch(app, instance, self.host, self.environment.name, kept)
