"""``deploy.restart``: restarts the published instances in turn, as ``deploy.reload`` reloads them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ...core import editions, records
from ...core.errors import DONE, Refused, cause
from ...planning import planner
from ...planning.explain import listed
from ...planning.model import Desired
from .. import outcome, preflight
from ..outcome import Ending, Outcome
from ..remote.jobs import Jobs, ids_by_node, most
from ..rollout import health, steps
from . import task
from .task import Task

if TYPE_CHECKING:
    from ...core.environment import Environment
    from ...core.model import App
    from ...planning.model import Observed
    from ..journal import Journal
    from ..lock import Lock
    from ..rollout.context import Identity, Ids
    from ..rollout.steps import Step
    from .appsite import Site
    from .session import Session
    from .task import Result

    Places = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Way:
    """A thing to do with instances in turn.

    :param verb: the verb of the runner, and its phase.
    :param past: the same in the past, for messages.
    :param step: makes the job.
    :param out: whether an instance serves no clients meanwhile.
    """

    verb: str
    past: str
    step: Callable[[App, Ids], Step]
    out: bool


RESTART = Way("restart", "restarted", steps.restart, out=True)


def run(session: Session, name: object, env: object, confirm: bool, test: bool, reason: object) -> Result:
    """Restart the published instances of app ``name``, see :func:`go_through`."""
    environment, app = session.definitions(name, env)
    return go_through(session, environment, app, RESTART, confirm, test, reason)


def go_through(
    session: Session, environment: Environment, app: App, way: Way, confirm: bool, test: bool, reason: object
) -> Result:
    """Go through the published instances of ``app``, wave by wave, until the first failure or death of an instance.

    It reports a failure half way, and does not undo it.
    """
    with session.whole_site(environment, app) as site:

        def decide(observed: Observed) -> Task:
            version = (site.record() or records.NOTHING)["version"]
            seen = _with_health(session.journal, site, observed, version)
            waves = planner.restarts(seen, environment.eligible(app), app.strategy.waves)
            if not waves:
                raise Refused(f"nothing of {app.name} is published in {environment.name}: nothing to {way.verb}.")
            single = [len(ids) for wave in waves for ids in wave.values()] == [1]
            if way.out and single and not (confirm or test):
                raise Refused(
                    f"users have one instance of {app.name} only, and none while it restarts: say so with"
                    f" confirm=True, or run more first: salt-run deploy.scale {app.name} instances=2"
                    f" env={environment.name}"
                )
            up = _places(ids_by_node([i for i in seen.instances if i.published and i.running]))
            return Task(
                version,
                [f"wave {number}: {way.verb} {listed(wave)}" for number, wave in enumerate(waves, 1)],
                True,
                lambda lock, identity: act(session.journal, site, way, waves, up, lock, identity),
                lambda result: _verdict(result, way),
                restarts=frozenset().union(*map(_places, waves)),
            )

        return task.carry_out(session, site, way.verb, decide, reason, test)


def _with_health(journal: Journal, site: Site, observed: Observed, version: str) -> Observed:
    """Return ``observed``, in which instances that discovery does not have as healthy count as not running.

    They serve no clients. So it is their turn first, and nobody counts on them.
    """
    desired = Desired(site.app, version, 0, site.nodes)
    seen = preflight.health(site.discovery, desired, observed, journal)
    return replace(seen, instances=tuple(replace(i, running=i.running and i.healthy) for i in seen.instances))


def act(
    journal: Journal,
    site: Site,
    way: Way,
    waves: Sequence[Ids],
    up: Collection[tuple[str, str]],
    lock: Lock,
    identity: Identity,
) -> Ending:
    """Do so with one instance on each node of a wave at a time, while all other counted instances serve.

    :param up: ``(node, id)`` of the instances that serve at the beginning.
    """
    record, counted, jobs = site.record(), set(up), Jobs(site.fleet, journal)
    left = [(number, ids) for number, wave in enumerate(waves, 1) for ids in _in_turn(wave, up)]
    try:
        while left:
            journal.wave, ids = left[0]
            lock.check()
            _others_serve(journal, site, counted - _places(ids))
            left.pop(0)
            step = way.step(site.app, ids)
            jobs.run(*step.job, deployment=identity.id, **step.options)
            until = time.monotonic() + site.app.strategy.healthy_deadline
            health.wait(jobs, site.discovery, site.app, ids, until)
            counted |= _places(ids)
        _others_serve(journal, site, counted)
    except BaseException as exc:
        untouched = f"{', '.join(listed(ids) for _, ids in left)} not {way.past}; " if left else ""
        return Ending(Outcome.NOT_REVERTED, record, f"{untouched}{cause(exc)}")
    return Ending(Outcome.DONE, record)


def _others_serve(journal: Journal, site: Site, counted: Collection[tuple[str, str]]) -> None:
    """Make sure that clients find all of ``counted``, pairs of node and id, before more are taken out."""
    ids = {node: [i for n, i in sorted(counted) if n == node] for node, _ in counted}
    health.still_serve(journal, site.discovery, site.app, ids)


def _places(ids: Ids) -> Places:
    """Return ``(node, id)`` of node -> ids."""
    return frozenset((node, i) for node, some in ids.items() for i in some)


def _in_turn(wave: Ids, up: Collection[tuple[str, str]]) -> Iterator[Ids]:
    """Yield the parts of a wave that are out at once: an instance of each node. Idle instances come first."""
    idle = {node: [i for i in ids if (node, i) not in up] for node, ids in wave.items()}
    order = {node: [*idle[node], *(i for i in ids if (node, i) in up)] for node, ids in wave.items()}
    for turn in range(most(wave)):
        yield {node: ids[turn : turn + 1] for node, ids in order.items() if len(ids) > turn}


def _verdict(result: Result, way: Way) -> str:
    what, where = f"{result['app']} {editions.told(result['version'])}".rstrip(), result["environment"]
    if result["retcode"] != DONE:
        look = outcome.look_at(result)
        why = result.get("untrue") or outcome.first_line(result)
        return f"the {way.verb} of {what} in {where} FAILED and stopped there, look now ({look}): {why}"
    return f"{what} was {way.past} in {where}: {outcome.running(result['serving'])}"
