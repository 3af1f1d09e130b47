"""``deploy.remove``: removes an app from an environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ... import definition
from ...core import hooks, records
from ...core.errors import DONE, Refused, cause
from ...planning import explain, planner
from ...planning.explain import listed
from .. import membership, outcome
from ..outcome import Ending, Outcome
from ..remote.jobs import Jobs, PhaseFailed
from ..rollout import steps
from . import oldreleases, task
from .task import Task

if TYPE_CHECKING:
    from ...core.records import Record
    from ...planning.model import Observed
    from ..lock import Lock
    from ..rollout.context import Identity, Ids
    from .appsite import Site
    from .session import Session
    from .task import Result


def run(
    session: Session, name: object, env: object, confirm: bool, test: bool, reason: object, of: str | None = None
) -> Result:
    """Remove app ``name``: its instances, its releases and its record. The history stays.

    It reports a failure half way, and does not undo it.

    :param of: as for rollback.run.
    """
    # A running app can be removed even if no environment defines it any more.
    environment, app = session.defined_or_not(name, env)
    with session.whole_site(environment, app) as site:

        def decide(observed: Observed) -> Task:
            site.still(of)
            # Services that others have registered may stay.
            theirs = (membership.Kind.OTHER, membership.Kind.FOREIGN)
            membership.refuse(site.strangers(observed), app.name, environment, theirs)
            ids, releases = planner.everything(observed)
            record = site.record()
            if app.name not in environment.apps and not (ids or releases or record):
                definition.find_app(environment, app.name)
            lines = [f"withdraw, drain and stop {listed(ids)}"] if ids else []
            lines += [f"remove the releases {listed(releases)}"] if releases else []
            lines += [f"forget the record: {outcome.counted(record['nodes'])}"] if record else []
            needing = sorted(a.name for a in environment.apps.values() if app.name in a.requires)
            if lines and not (confirm or test):
                needed = f" {', '.join(needing)} would miss it." if needing else ""
                raise Refused(f"say confirm=True to {'; '.join(lines)}.{needed}")
            jobs = Jobs(site.fleet, session.journal)
            return Task(
                version=(record or records.NOTHING)["version"],
                lines=lines or ["nothing to do: there is nothing of it"],
                changes=bool(lines),
                act=lambda lock, identity: act(jobs, site, ids, releases, record, lock, identity),
                verdict=lambda result: _verdict(result, explain.data_folders(observed)),
                removes=True,
            )

        return task.carry_out(session, site, "remove", decide, reason, test)


def act(
    jobs: Jobs,
    site: Site,
    ids: Ids,
    releases: Mapping[str, Sequence[str]],
    record: Record | None,
    lock: Lock,
    identity: Identity,
) -> Ending:
    """Stop the instances ``ids``, and remove the record, the ``releases`` and the marks of hooks."""
    key = records.current_key(site.prefix)
    try:
        lock.check()
        try:
            step = steps.stop("stop", site.app, ids)
            jobs.run(*step.job, deployment=identity.id, **step.options)
        except PhaseFailed as exc:
            if record:
                record = {**record, "nodes": {n: i for n, i in record["nodes"].items() if n in exc.nodes}}
                lock.write({key: record})
            raise
        if record:
            lock.write({}, [key])
            record = None
        oldreleases.remove(jobs, site.app.name, releases, identity)
        marks = site.discovery.keys(hooks.marks_key(site.prefix))
        if marks:
            lock.write({}, marks)
    except BaseException as exc:
        return Ending(Outcome.NOT_REVERTED, record, cause(exc))
    return Ending(Outcome.DONE, None)


def _verdict(result: Result, data: str) -> str:
    """Return the outcome in words. ``data`` says where the app's data is."""
    name, where = result["app"], result["environment"]
    if result["retcode"] != DONE:
        why = result.get("untrue") or outcome.first_line(result)
        return f"{name} could not be removed completely from {where}, repair and run it again: {why}"
    if not result["changed"]:
        return f"there is nothing of {name} in {where}, nothing was done"
    return f"{name} is removed from {where}. Its history stays{f', and its data stays: {data}' if data else ''}"
