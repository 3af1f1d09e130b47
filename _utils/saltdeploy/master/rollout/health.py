"""Makes sure that clients find instances in discovery, and go on finding them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ...core.errors import Failed
from ...core.words import by_problem, joined
from ...discovery import registration
from ...discovery.registration import instance_of
from ...planning.explain import listed
from .. import membership
from ..remote import answers
from ..remote.jobs import TALK_DEADLINE, ids_by_node

if TYPE_CHECKING:
    from ...core.model import App, Instance
    from ...discovery.backend import Backend, Endpoint
    from ..journal import Journal
    from ..remote.fleet import Fleet
    from ..remote.jobs import Jobs
    from .context import Ids

# How long to wait until discovery shows instances as healthy that were healthy all the time, in seconds.
SEEN = 10.0
# How often the journal names the instances that are not healthy yet, in seconds.
WORD = 10.0


def still(journal: Journal, discovery: Backend, app: App, instances: Sequence[Instance]) -> None:
    """Make sure that the checks of unpublished ``instances``, which ran before, pass in discovery.

    :raises Failed: the checks of some do not pass. The message names these instances and the remedy.
    """
    if not instances:
        return
    began, ids = time.monotonic(), ids_by_node(instances)
    wanted = {(i.node, i.id) for i in instances}
    journal.begin("healthy", sorted(ids))

    def missing(found: Iterable[Endpoint]) -> set[tuple[str, str]]:
        return wanted - {(e.minion, instance_of(e.id)) for e in found}

    passed = discovery.wait(app.candidate, lambda found: not missing(found), began + SEEN, passing=True)
    sick = set() if passed else missing(discovery.instances(app.candidate, passing=True)) or wanted
    problem = _not_warm(app, sick) if sick else ""
    journal.add("healthy", "", problem or f"warm: {listed(ids)}", time.monotonic() - began, passed)
    if problem:
        raise Failed(problem)


def _not_warm(app: App, sick: Iterable[tuple[str, str]]) -> str:
    which = ", ".join(f"{i} on {node}" for node, i in sorted(sick))
    how = "; ".join(f"salt {node} app.stop {app.name} instances='[{i}]'" for node, i in sorted(sick))
    return f"kept warm, and not healthy in discovery: {which}. To start it again, stop it ({how}), then try again"


def wait(jobs: Jobs, discovery: Backend, app: App, ids: Ids, until: float) -> None:
    """Block until discovery has all of ``ids`` as passing, and has had them so for min_healthy_time.

    :param until: :func:`time.monotonic` time at which to give up, if ``healthy_deadline`` is not over before.
    :raises Failed: naming the unhealthy instances with the output of their checks, and the crashed instances.
    """
    journal, began = jobs.journal, time.monotonic()
    journal.begin("healthy", sorted(ids))
    catalog = _Catalog(discovery, app, _pairs(ids))
    problem = _unhealthy(journal, catalog, app, min(began + app.strategy.healthy_deadline, until))
    problem = problem or _fell(catalog, app.strategy.min_healthy_time)
    if app.strategy.min_healthy_time:
        problem = problem or _crashed(jobs.fleet, app, ids)
    what = problem or f"in discovery: {listed(ids)}"
    journal.add("healthy", "", what, time.monotonic() - began, not problem)
    if problem:
        raise Failed(problem)


def still_serve(journal: Journal, discovery: Backend, app: App, ids: Ids, unproved: bool = False) -> None:
    """Make sure that discovery still has all of ``ids`` as passing.

    An instance that does not pass may come back within seconds, for example after a restart of its agent. It must
    then stay healthy for min_healthy_time.

    :param ids: node -> ids of instances.
    :param unproved: no run saw that all of them stayed healthy. Then all must stay so, from their first result on.
    :raises Failed: naming the instances that do not pass, and the output of their checks.
    """
    catalog, began = _Catalog(discovery, app, _pairs(ids)), time.monotonic()
    passed = not catalog.wanted or catalog.passes(began)
    if passed and not unproved:
        return
    first, problem = registration.first_result(app), ""
    journal.begin("healthy", sorted(ids))
    if not passed:
        journal.say(f"not healthy any more: {catalog.missing()}")
        problem = "" if catalog.passes(began + max(SEEN, first)) else f"not healthy any more: {catalog.missing()}"
    problem = problem or _fell(catalog, app.strategy.min_healthy_time + (first if unproved else 0))
    what = problem or f"in discovery{'' if passed else ' again'}: {listed(ids)}"
    journal.add("healthy", "", what, time.monotonic() - began, not problem)
    if problem:
        raise Failed(problem)


def enough_serve(journal: Journal, discovery: Backend, app: App, wanted: Iterable[tuple[str, str]], least: int) -> None:
    """Make sure that discovery has ``least`` of ``wanted``, pairs of node and id, as passing, or soon has again.

    :raises Failed: naming the instances that do not pass, and the output of their checks.
    """
    catalog, began = _Catalog(discovery, app, set(wanted)), time.monotonic()
    if catalog.has(least, began):
        return
    journal.say(f"not healthy any more: {catalog.missing()}")
    if not catalog.has(least, began + max(SEEN, registration.first_result(app))):
        raise Failed(f"too few instances serve to take another out, not healthy any more: {catalog.missing()}")


def found(discovery: Backend, app: App, wanted: Iterable[tuple[str, str]]) -> None:
    """Check once that clients find all of ``wanted``, pairs of node and id.

    :raises Failed: naming the instances that clients do not find, and the output of their checks.
    """
    catalog = _Catalog(discovery, app, set(wanted))
    if not catalog.passes(time.monotonic()):
        raise Failed(f"did not stay healthy in discovery while it was measured: {catalog.missing()}")


def not_back(journal: Journal, discovery: Backend, app: App, ids: Ids) -> str:
    """Wait until clients find the restored ``ids`` again. Return the problem, or an empty text."""
    catalog = _Catalog(discovery, app, _pairs(ids))
    return _unhealthy(journal, catalog, app, time.monotonic() + app.strategy.healthy_deadline) if ids else ""


def _unhealthy(journal: Journal, catalog: _Catalog, app: App, deadline: float) -> str:
    """Wait until ``catalog`` passes, and report missing instances meanwhile. Return the problem, or an empty text."""
    began = time.monotonic()
    while not catalog.passes(min(deadline, time.monotonic() + WORD)):
        if time.monotonic() >= deadline:
            return f"not healthy in discovery within {app.strategy.healthy_deadline:g}s: {catalog.missing()}"
        journal.say(f"not healthy in discovery after {time.monotonic() - began:.0f}s: {catalog.missing()}")
    return ""


def _fell(catalog: _Catalog, hold: float) -> str:
    """Return the problem if an instance does not stay healthy for ``hold`` seconds, or an empty text."""
    if hold and catalog.loses(time.monotonic() + hold):
        return f"did not stay healthy in discovery for {hold:g}s: {catalog.missing()}"
    return ""


def _crashed(fleet: Fleet, app: App, ids: Ids) -> str:
    """Return a sentence on the instances that crashed between two checks, or an empty text. Their nodes know."""
    problems: dict[str, str] = {}
    for node, reply in fleet.run("app.crashed", ids, app.name, ids, deadline=TALK_DEADLINE).items():
        wrong = reply.error or answers.told(answers.crashed(reply.value, ids[node]))
        texts = [wrong] if wrong else [_restarted(i, lines) for i, lines in reply.value.items()]
        problems.update({node: joined(texts)} if texts else {})
    return by_problem(problems)


def _restarted(instance: str, lines: str) -> str:
    said = f"{instance} crashed after its publication, and its supervisor restarted it"
    return f"{said}\nits last lines:\n{lines}" if lines else said


def _pairs(ids: Ids) -> set[tuple[str, str]]:
    return {(node, i) for node, some in ids.items() for i in some}


class _Catalog:
    """The entries of discovery for ``wanted``, pairs of node and id of instances of ``app``, as last seen."""

    def __init__(self, discovery: Backend, app: App, wanted: set[tuple[str, str]]) -> None:
        self.discovery, self.app, self.wanted = discovery, app, wanted
        self._seen: dict[tuple[str, str], Endpoint] = {}

    def passes(self, deadline: float) -> bool:
        """Block until all of them pass. Return whether they did before the deadline."""
        return self.discovery.wait(self.app.name, lambda found: not self._look(found), deadline)

    def has(self, least: int, deadline: float) -> bool:
        """Block until ``least`` of them pass. Return whether they did before the deadline."""
        most = len(self.wanted) - least
        return self.discovery.wait(self.app.name, lambda found: len(self._look(found)) <= most, deadline)

    def loses(self, deadline: float) -> bool:
        """Block until an instance does not pass. Return whether that happened before the deadline."""
        return self.discovery.wait(self.app.name, self._look, deadline)

    def missing(self) -> str:
        """Return the instances that did not pass, with the reasons, as text."""
        return ", ".join(f"{i} on {node} ({self._why(node, i)})" for node, i in sorted(self._missing()))

    def _look(self, found: Iterable[Endpoint]) -> set[tuple[str, str]]:
        self._seen = {(e.minion, e.id): e for e in found}
        return self._missing()

    def _missing(self) -> set[tuple[str, str]]:
        return {pair for pair in self.wanted if pair not in self._seen or self._seen[pair].status != "passing"}

    def _why(self, node: str, instance: str) -> str:
        if (node, instance) not in self._seen:
            return f"not in the catalog of {self.discovery.wording.name}: see the log of its agent on {node}"
        endpoint = self._seen[node, instance]
        output = membership.without_answer(membership.check_output(endpoint, self.app))
        return f"{endpoint.status}: {output or 'no check has run yet'}"
