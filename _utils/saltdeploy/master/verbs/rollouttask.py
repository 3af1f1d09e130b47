"""The task of all verbs that have a plan of instances: its sentences, and how it is carried out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ...core import hooks, records
from ...core.editions import settings as settings_of
from ...core.errors import INTERRUPTS, Failed, NotReverted, cause
from ...definition import loadbalancer
from ...planning import affinity, editions, explain, planner
from .. import outcome, preflight
from ..outcome import Ending, Outcome
from ..remote.jobs import Jobs
from ..rollout import contents, hookphases
from ..rollout.context import Context, Frozen, Incomplete, Notes
from ..rollout.executor import Deployment
from . import oldreleases
from .task import Task

if TYPE_CHECKING:
    from ...planning.model import Desired, Observed, Plan
    from ..journal import Journal
    from ..lock import Lock
    from ..rollout.context import Identity
    from .appsite import Site
    from .session import Session

    Make = Callable[[Desired, Observed], Plan]


def decide(
    session: Session, site: Site, observed: Observed, desired: Desired, make: Make, said: str = "", left: str = ""
) -> Task:
    """Return the Task of a plan.

    :param make: makes the plan from ``desired`` and from ``observed`` with its health.
    :param said: a text that the verdict adds if the deployment succeeds.
    :param left: the release that a rollback leaves.
    """
    for warning in loadbalancer.lacking(site.app, desired.instances, observed.slots):
        session.journal.warn(warning)
    observed = preflight.health(site.discovery, desired, observed, session.journal)
    plan = make(desired, observed)
    known = {"app": site.app.name, "version": desired.release, "environment": site.environment.name}
    marks = hookphases.marks(site.discovery, site.prefix, desired.release) if site.app.hooks else {}
    if plan.install or plan.waves:
        hooks.refuse_unknown(site.app.name, site.environment.name, desired.release, marks)
    left_serving = preflight.left(site) if plan.waves else []
    record, forgotten = site.record() or records.NOTHING, site.forgotten()
    owes = set(site.owing()) - site.settled() != set(record.get("absent", ()))
    return Task(
        version=desired.version,
        lines=[
            *explain.settings(plan, desired, observed),
            *explain.lines(plan, site.app.name, desired.version),
            *left_serving,
            *(f"{node} does not answer, and is left out" for node in sorted(site.absent)),
            *forgotten,
            *hooks.lines(site.app, plan, marks, known),
        ],
        # A frozen deployment is not frozen any more, so the record changes.
        changes=bool(plan) or "frozen" in record or (desired.publish and bool(forgotten or owes)),
        act=lambda lock, identity: _act(session.journal, site, observed, desired, plan, lock, identity, left),
        verdict=lambda result: outcome.verdict(result, desired, said),
        more={"left": left} if left else {},
        actions=explain.actions(plan, observed, desired.version, editions.changed(desired, observed)),
        publishes=desired.publish,
        keep=desired.keep,
        alone=not (desired.keep or plan.paused or site.chosen),
    )


def _act(
    journal: Journal,
    site: Site,
    observed: Observed,
    desired: Desired,
    plan: Plan,
    lock: Lock,
    identity: Identity,
    left: str,
) -> Ending:
    """Carry out ``plan``."""
    before, jobs = site.record(), Jobs(site.fleet, journal)
    digests = contents.recorded(before, observed)
    artifact, number = "", settings_of(desired.version)
    try:
        # Nobody else gets this number, also if this run is killed before its record.
        if plan.waves and number > records.highest(site.discovery, site.prefix):
            lock.write({records.settings_key(site.prefix): number})
        if plan.install or (plan.waves and site.digest):
            known = digests.get(desired.release) or site.digest
            artifact = _agreed(site, desired.release, plan.install, observed, known)
    except Failed as exc:
        return Ending(Outcome.REVERTED, before, str(exc))
    if artifact:
        digests[desired.release] = artifact
    data = affinity.recorded(desired, observed, before)
    if site.forget:
        data = [node for node in data if node in site.environment.nodes]
    context = Context(
        jobs,
        site.discovery,
        site.environment,
        replace(desired, app=site.app),
        site.answering,
        site.observed,
        lock,
        identity,
        serving=[i for i in observed.instances if i.published and i.running],
        notes=Notes(data, sorted(site.tolerated), digests, site.owing(), site.settled()),
        artifact=artifact,
        prepared=observed.prepared,
    )
    deployment = Deployment(context, before, plan)
    try:
        deployment.run()
    except Incomplete as exc:
        return Ending(Outcome.INCOMPLETE, exc.record, str(exc))
    except Frozen as exc:
        return Ending(Outcome.FROZEN, exc.record, str(exc))
    except NotReverted as exc:
        return Ending(Outcome.NOT_REVERTED, exc.record, str(exc))
    except Failed as exc:
        return Ending(Outcome.REVERTED, deployment.ledger.before, str(exc))
    if plan.install and site.app.source.kind in ("pip", "ansible"):
        _warn_of_packages(journal, site, desired.release, contents.nodes(plan.install, observed, desired.release))
    if plan and desired.publish:
        now = planner.installed(observed, plan, desired.release)
        _tidy(journal, site, now, desired.version, left, lock, identity)
    paused = plan.paused and desired.publish
    return Ending(Outcome.PAUSED if paused else Outcome.DONE, deployment.ledger.record)


def _agreed(site: Site, version: str, nodes: Sequence[str], observed: Observed, known: str) -> str:
    """Return the digest of the release on all nodes. Raises Failed, before any change, if they differ."""
    try:
        return contents.agree(site.fleet, site.app, version, nodes, observed, known)
    except INTERRUPTS as exc:
        raise Failed(cause(exc)) from exc


def _warn_of_packages(journal: Journal, site: Site, version: str, nodes: Sequence[str]) -> None:
    """Warn of packages that differ between nodes. If the comparison fails, the deployment has not failed."""
    try:
        warning = contents.differing_packages(site.fleet, site.app, version, nodes)
    except (Exception, *INTERRUPTS) as exc:
        warning = f"whether all nodes have the same packages was not found out: {cause(exc)}"
    if warning:
        journal.warn(warning)


def _tidy(
    journal: Journal, site: Site, observed: Observed, version: str, left: str, lock: Lock, identity: Identity
) -> None:
    """Remove releases beyond ``keep_releases``. If that fails, the deployment has not failed."""
    releases: Mapping[str, Sequence[str]] = observed.releases
    if all(len(here) <= site.app.strategy.keep_releases for here in releases.values()):
        return
    try:
        going = oldreleases.beyond_kept(site, observed, version, (left,))
        oldreleases.remove(Jobs(site.fleet, journal), site.app.name, going, identity)
        hookphases.forget(site, lock, observed, going)
    except (Exception, *INTERRUPTS) as exc:
        journal.warn(f"old releases were not removed, see deploy.prune: {cause(exc)}")
