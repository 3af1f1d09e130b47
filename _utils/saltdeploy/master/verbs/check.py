"""``deploy.check``: says whether a deployment could begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core import arguments, hooks, records, shapes, traffic, versions, words
from ...core.errors import DONE, Refused
from ...definition import loadbalancer
from ...discovery import wording
from ...planning import editions, explain, planner
from ...planning.model import Desired
from .. import notify, preflight
from ..lock import held
from ..outcome import Ending, Outcome
from ..rollout import contents, hookphases
from .task import Task, refused

if TYPE_CHECKING:
    from .appsite import Site
    from .session import Session
    from .task import Result


def run(
    session: Session, name: object, env: object, version: object, instances: object, nodes: object, move: bool
) -> Result:
    """Raise Refused, with the same message, if a deployment of app ``name`` would be refused."""
    journal = session.journal
    environment, app = session.definitions(name, env, looking=True, starts=True)
    if not versions.is_open(app, version):
        versions.check(app, version)
    count = arguments.count("instances", instances, app.instances)
    loadbalancer.refuse_beyond(environment, app, count)
    with session.site(environment, app, nodes) as site:
        site.compare = release = preflight.wanted(site, version)
        holder, _, locked = site.discovery.read(records.lock_key(site.prefix))
        if locked:
            raise Refused(held(shapes.holder(holder), {"app": app.name, "environment": environment.name}))
        site.not_paused()
        observed = session.observe(site)
        site.refuse_strangers(observed)
        preflight.refuse_unseen(site)
        traffic.refuse_unseen(app, site.discovery.instances(app.name, passing=True), site.observed)
        session.advise(site)
        for warning in (*loadbalancer.lacking(app, count, observed.slots), *notify.lacking(environment)):
            journal.warn(warning)
        edition = editions.choose(observed, release, site.editions)
        pause = records.pauses(app, edition, site.record())
        desired = Desired(app, edition, count, site.nodes, pause=pause, analysis=True, move=move)
        plan = planner.plan(desired, preflight.health(site.discovery, desired, observed, journal))
        if app.hooks and (plan.install or plan.waves):
            marks = hookphases.marks(site.discovery, site.prefix, release)
            hooks.refuse_unknown(app.name, environment.name, release, marks)
        for warning in contents.check(site.fleet, app, release, plan.concerned, observed, site.record()):
            journal.warn(warning)
        preflight.files(site.fleet, app, release, site.nodes, journal)
        _refuse_conditions(session, site, edition, bool(plan))
        there, store = ", ".join(site.answering), wording.of(environment.discovery).store
    verdict = (
        f"{app.name} {release} can be deployed in {environment.name}: its definition is valid, its nodes answer"
        f" ({there}), {store} has a leader, nobody deploys {app.name}, and there is room for"
        f" {count} instance{'s' * (count != 1)} and on the disks."
    )
    return {
        "app": app.name,
        "environment": environment.name,
        "version": release,
        "verdict": verdict,
        "plan": [*explain.settings(plan, desired, observed), *explain.lines(plan, app.name, edition)],
        "actions": explain.actions(plan, observed, edition, editions.changed(desired, observed)),
        "warnings": journal.warnings,
        "retcode": DONE,
    }


def _refuse_conditions(session: Session, site: Site, edition: str, changes: bool) -> None:
    """Raise Refused if the environment does not allow a deployment now."""
    asked = Task(edition, [], changes, act=lambda *given: Ending(Outcome.DONE, None), verdict=str)
    against, _ = refused(session, site, "deploy", asked)
    if against:
        raise Refused(words.joined(against))
