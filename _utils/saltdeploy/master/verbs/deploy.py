"""``deploy.app``: deploys a release of an app, and waits out a pause for a time."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ... import discovery
from ...core import arguments, names, records, traffic, versions
from ...core.editions import release
from ...core.errors import DONE, INTERRUPTS, NOT_REVERTED, REVERTED, Failed, Refused, cause
from ...core.instanceids import version_of
from ...definition import loadbalancer
from ...discovery.registration import instance_of
from ...planning import editions, planner
from ...planning.model import Desired
from .. import outcome, preflight
from ..outcome import Outcome
from ..remote.fleet import Fleet
from ..remote.jobs import Jobs
from ..rollout import contents, health, measurements
from . import abort, promote, rollouttask, task

if TYPE_CHECKING:
    from ...core.environment import Environment
    from ...core.model import App
    from ...core.records import Record
    from ...discovery.backend import Backend, Endpoint
    from ...planning.model import Desired, Observed, Plan
    from .promotion import Origin
    from .session import Session
    from .task import Result, Task


def run(
    session: Session,
    name: object,
    env: object,
    version: object,
    instances: object,
    nodes: object,
    publish: bool,
    test: bool,
    keep: bool,
    reason: object,
    move: bool,
    wait: object = 0,
    from_env: object = None,
    allow_drift: bool = False,
    presumed: Collection[str] = (),
) -> Result:
    """Deploy a release of app ``name``.

    :param from_env: the environment whose accepted release is deployed, None for ``version`` or that of the definition.
    :param allow_drift: whether these environments may be unlike.
    :param presumed: names of the apps that will be there by then. It is for a plan, and ``requires`` may have them.
    """
    if session.forget and not publish:
        raise Refused("forget=True, publish=False: say one of them. Candidates alone do not change the record.")
    patience = arguments.patience(wait)
    environment, app = session.definitions(name, env, starts=True)
    origin = None if from_env is None else _origin(session, environment, app, version, from_env, allow_drift)
    if not origin and not versions.is_open(app, version):
        versions.check(app, version)
    count = arguments.count("instances", instances, app.instances)
    loadbalancer.refuse_beyond(environment, app, count)
    with session.site(environment, app, nodes, presumed=presumed) as site:
        wanted = origin.version if origin else preflight.wanted(site, version)
        site.digest = origin.digest if origin else ""
        site.compare, site.settles = wanted, True

        def decide(observed: Observed) -> Task:
            site.not_paused()
            if origin:
                if patience:
                    _refuse_overtaken(session, environment, app, origin, from_env, allow_drift)
                _refuse_other_content(origin, site.record())
            site.refuse_strangers(observed, keep)
            if publish and not keep:
                preflight.refuse_unseen(site)
            traffic.refuse_unseen(app, site.discovery.instances(app.name, passing=True), site.observed)
            edition = editions.choose(observed, wanted, site.editions)
            pause = records.pauses(app, edition, site.record())
            session.advise(site, acts=not test)
            # A node that an earlier run left out gets its share now.
            even = bool(site.returned()) and not app.data
            options: dict[str, Any] = {"pause": pause, "analysis": True, "move": move or even, "even": even}
            desired = Desired(app, edition, count, site.nodes, publish, keep, **options)

            installing: list[str] = []

            def make(desired: Desired, observed: Observed) -> Plan:
                plan = planner.plan(desired, observed)
                installing.extend(plan.install)
                if plan.install or plan.waves:
                    preflight.files(site.fleet, app, wanted, site.nodes, session.journal)
                if not plan.install and contents.may_change(app):
                    contents.check(site.fleet, app, wanted, (), observed, site.record())
                return plan

            decided = rollouttask.decide(session, site, observed, desired, make)
            if test:
                changes = contents.preview(site.fleet, app, wanted, installing, session.journal)
                decided = replace(decided, lines=[*decided.lines, *changes])
            session.facts.update(origin.as_data() if origin else {})
            return replace(decided, more={**decided.more, "before": _before(site.record())})

        result = task.carry_out(session, site, "deploy", decide, reason, test, patience)
    waits = result.get("outcome") == Outcome.PAUSED and math.isfinite(app.strategy.pause)
    return _wait_out(session, environment, app, result) if waits else result


def _origin(
    session: Session, environment: Environment, app: App, version: object, from_env: object, allow_drift: bool
) -> Origin:
    """Return the release that another environment has accepted."""
    if version is not None:
        raise Refused("version=, from_env=: say one of them. With from_env, the other environment says the version.")
    from . import promotion  # few deployments are promotions

    origin = promotion.accepted(session, environment, app, arguments.word(from_env), allow_drift)
    if not origin.digest and app.source.kind in ("archive", "ansible", "git"):
        session.warn(f"{origin.environment} has no digest of {app.name} {origin.version}, so the contents may differ.")
    session.journal.say(f"{origin.version}, accepted in {origin.environment} ({origin.deployment})")
    return replace(origin, version=versions.check(app, origin.version))


def _refuse_overtaken(
    session: Session, environment: Environment, app: App, origin: Origin, from_env: object, allow_drift: bool
) -> None:
    """Raise Refused if the other environment has accepted something else since this run began to wait."""
    from . import promotion

    now = promotion.accepted(session, environment, app, arguments.word(from_env), allow_drift)
    if (now.version, now.digest) != (origin.version, origin.digest):
        raise Refused(
            f"{origin.environment} has accepted {now.version} meanwhile, and not {origin.version}. Run again."
        )


def _refuse_other_content(origin: Origin, record: Record | None) -> None:
    """Raise Refused if the release of this version was deployed here with another content than in ``origin``."""
    known = (record or records.NOTHING).get("digests", {}).get(origin.version, "")
    if known and origin.digest and known != origin.digest:
        raise Refused(
            f"{origin.version} has another content here ({names.content(known)}) than in {origin.environment}"
            f" ({names.content(origin.digest)}). Content under a version never changes: give the new one a new version."
        )


def _before(record: Record | None) -> str:
    """Return the edition that clients have before a deployment, or an empty text."""
    return records.settled(record) or (record or records.NOTHING)["version"]


def _wait_out(session: Session, environment: Environment, app: App, result: Result) -> Result:
    """Wait out the pause without the lock, then promote. Abort if the new instances do not stay healthy."""
    record, prefix = result["record"], records.prefix(environment.name, app.name)
    service, new = traffic.watched(app, record)
    session.journal.say(f"paused for {app.strategy.pause:g}s: deploy.promote goes on at once, deploy.abort goes back")

    def lost(found: Sequence[Endpoint]) -> set[tuple[str, str]]:
        return new - {(e.minion, instance_of(e.id)) for e in found}

    try:
        with discovery.connect(environment.discovery) as backend:
            gone = backend.wait(service, lost, time.monotonic() + app.strategy.pause, passing=True)
            bad = (
                "it did not stay healthy while it was paused"
                if gone
                else _measure(session, environment, app, service, new, backend)
            )
            now = records.read(backend, prefix)[0]
    except (Failed, *INTERRUPTS) as exc:
        return _unfinished(result, f"{records.paused(app.name, environment.name, record)}. ({cause(exc)})")
    if now != record:
        return {**result, "verdict": f"somebody went on with {app.name} meanwhile: {outcome.look_at(result)}"}
    try:
        if not bad:
            promoted = promote.run(session, app.name, environment.name, False, result["reason"])
            if promoted["retcode"] != REVERTED:
                return {**promoted, "before": result["before"]}
            # The deployment is paused once more, and nobody is there to continue it.
            bad = f"after the pause, {promoted['why']}".partition("\n")[0]
        back = abort.run(session, app.name, environment.name, False, bad[: arguments.REASON])
    except (Refused, Failed, *INTERRUPTS) as exc:
        why = str(exc) if isinstance(exc, Refused) else cause(exc)
        paused, way = records.paused(app.name, environment.name, record), "back" if bad else "on"
        return _unfinished(result, f"{paused}. (It could not go {way}: {why})")
    if back["retcode"] == DONE:
        return {**back, "outcome": Outcome.REVERTED.value, "retcode": REVERTED}
    return {**back, "outcome": Outcome.NOT_REVERTED.value, "retcode": NOT_REVERTED}


def _unfinished(result: Result, verdict: str) -> Result:
    """Return the result of a deployment that stays paused, although nobody is there to continue it."""
    return {**result, "verdict": verdict, "outcome": Outcome.NOT_REVERTED.value, "retcode": NOT_REVERTED}


def _measure(
    session: Session, environment: Environment, app: App, service: str, new: set[tuple[str, str]], backend: Backend
) -> str:
    """Measure once more before a pause ends by itself, without the lock. Return the problem, or an empty text."""
    if service != app.name:
        return ""  # candidates have no clients, so there is nothing to measure
    node, instance = min(new)
    where = measurements.Where(environment.name, release(version_of(instance)), node, instance)
    try:
        with Fleet(session.opts) as fleet:
            jobs = Jobs(fleet, session.journal)
            measurements.run(jobs, app, where, lambda: health.found(backend, app, new))
    except Failed as exc:
        return f"at the end of the pause, {exc}"
    return ""
