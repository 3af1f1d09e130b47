"""``deploy.prune``: removes old releases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ...core import bluegreen, records
from ...core.errors import DONE, cause
from ...planning.explain import listed
from .. import outcome
from ..outcome import Ending, Outcome
from ..remote.jobs import Jobs
from ..rollout import hookphases, steps
from . import oldreleases, task
from .task import Task

if TYPE_CHECKING:
    from ...planning.model import Observed
    from ..lock import Lock
    from ..rollout.context import Identity, Ids
    from .appsite import Site
    from .session import Session
    from .task import Result


def run(session: Session, name: object, env: object, test: bool, reason: object) -> Result:
    """Remove the releases of app ``name`` beyond ``keep_releases``, on each node that answers.

    It reports a failure half way, and does not undo it.
    """
    environment, app = session.definitions(name, env)
    with session.whole_site(environment, app) as site:

        def decide(observed: Observed) -> Task:
            record = site.record()
            version, over = (record or records.NOTHING)["version"], bluegreen.over(record, observed)
            rest = [i for i in observed.instances if i.id not in over.get(i.node, ())]
            going = oldreleases.beyond_kept(site, replace(observed, instances=tuple(rest)), version)
            retired = [f"retire the warm instances whose time is over: {listed(over)}"] if over else []
            kept = f"nothing to do: no node has a release to spare beyond the {app.strategy.keep_releases} kept"
            jobs = Jobs(site.fleet, session.journal)
            return Task(
                version=version,
                lines=[*retired, *([f"remove the releases {listed(going)}"] if going else [])] or [kept],
                changes=bool(over or going),
                act=lambda lock, identity: act(jobs, site, observed, over, going, lock, identity),
                verdict=lambda result: _verdict(result, over, going),
            )

        return task.carry_out(session, site, "prune", decide, reason, test)


def act(
    jobs: Jobs,
    site: Site,
    observed: Observed,
    over: Ids,
    going: Mapping[str, Sequence[str]],
    lock: Lock,
    identity: Identity,
) -> Ending:
    """Retire the warm instances ``over``, and remove the releases ``going``, both by node."""
    record = site.record()
    try:
        if over:
            step = steps.stop("retire", site.app, over)
            jobs.run(*step.job, deployment=identity.id, **step.options)
            record = bluegreen.cooled(record, over)
            lock.write({records.current_key(site.prefix): record})
        oldreleases.remove(jobs, site.app.name, going, identity)
        hookphases.forget(site, lock, observed, going)
    except BaseException as exc:
        return Ending(Outcome.NOT_REVERTED, record, cause(exc))
    return Ending(Outcome.DONE, record)


def _verdict(result: Result, over: Ids, going: Mapping[str, Sequence[str]]) -> str:
    name, where = result["app"], result["environment"]
    if result["retcode"] != DONE:
        why = outcome.first_line(result)
        return f"releases of {name} in {where} were NOT all removed, repair and run it again: {why}"
    done = [f"{what} {listed(ids)}" for what, ids in (("retired", over), ("removed", going)) if ids]
    return f"{name} in {where}: {'; '.join(done) or result['plan'][0]}"
