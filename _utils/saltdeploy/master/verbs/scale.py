"""``deploy.scale``: runs another number of instances of the deployed release."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...core import arguments, editions, hooks, records, versions
from ...core.errors import Refused
from ...core.instanceids import version_of
from ...definition import loadbalancer
from ...planning import planner
from ...planning.model import Desired
from .. import preflight
from . import rollouttask, task

if TYPE_CHECKING:
    from collections.abc import Collection

    from ...core.environment import Environment
    from ...core.model import App
    from ...core.records import Record
    from ...planning.model import Observed
    from .session import Session
    from .task import Result, Task


def run(
    session: Session, name: object, env: object, instances: object, test: bool, reason: object, move: bool
) -> Result:
    """Run another number of instances of the recorded release of app ``name``."""
    environment, app = session.definitions(name, env, starts=True)
    count = arguments.count("instances", instances, None)
    if count is None:
        raise Refused(f"how many of {app.name}? Say instances=, the definition has {app.instances}.")
    loadbalancer.refuse_beyond(environment, app, count)
    return _run(session, environment, app, count, verb="scale", test=test, reason=reason, move=move)


def place(session: Session, name: object, env: object, **options: Any) -> Result:
    """Run as many instances of app ``name`` as now, on the nodes that may run it now.

    :param options: as for :func:`_run`.
    """
    environment, app = session.definitions(name, env, starts=True)
    return _run(session, environment, app, None, **options)


def _run(
    session: Session,
    environment: Environment,
    app: App,
    count: int | None,
    *,
    verb: str,
    test: bool,
    reason: object,
    move: bool,
    even: bool = False,
    presumed: Collection[str] = (),
) -> Result:
    """Run ``count`` instances of the recorded release.

    :param count: None is as many as now.
    :param verb: the name of this in the history.
    :param even: whether they are spread evenly again.
    :param presumed: as for deploy.run.
    """
    with session.site(environment, app, choice=False, presumed=presumed, skips=verb == "scale") as site:
        site.compare, site.settles = editions.release(site.deployed()["version"]), even

        def decide(observed: Observed) -> Task:
            record = site.deployed()
            if record.get("paused"):
                raise Refused(records.paused(app.name, environment.name, record))
            if count is None:
                _refuse_unfinished(app, environment, record)
            site.refuse_strangers(observed)
            preflight.refuse_unseen(site)
            version = versions.recorded(app, record["version"])
            # A changed definition is deployed by deploy.app.
            number = count or sum(map(len, record["nodes"].values()))
            desired = Desired(app, version, number, site.nodes, move=move, even=even, register=False, as_before=True)
            differs = f". The definition says {app.instances}: so will the next deploy.app without instances="
            said = differs if number != app.instances else ""
            return rollouttask.decide(session, site, observed, desired, planner.plan, said)

        return task.carry_out(session, site, verb, decide, reason, test)


def _refuse_unfinished(app: App, environment: Environment, record: Record) -> None:
    """Raise Refused if instances of several releases run, or a hook froze a deployment: nobody has decided on one."""
    frozen = hooks.frozen(app.name, environment.name, record)
    if frozen:
        raise Refused(frozen)
    found = sorted({version_of(i) for ids in record["nodes"].values() for i in ids})
    if len(found) > 1:
        raise Refused(
            f"{app.name} runs in several releases in {environment.name}: {', '.join(map(editions.told, found))}. Deploy"
            " one of them everywhere first."
        )
