"""``deploy.publish``: publishes the candidates that ``publish=False`` left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core import arguments, editions, versions
from ...core.errors import Refused
from ...definition import loadbalancer
from ...planning import planner
from ...planning.model import Desired
from .. import preflight
from . import rollouttask, task

if TYPE_CHECKING:
    from ...planning.model import Observed
    from .session import Session
    from .task import Result, Task


def run(
    session: Session,
    name: object,
    env: object,
    version: object,
    instances: object,
    nodes: object,
    test: bool,
    keep: bool,
    reason: object,
    move: bool,
) -> Result:
    """Publish the candidates of app ``name``."""
    environment, app = session.definitions(name, env, starts=True)
    wanted = None if version is None else versions.check(app, version)
    count = arguments.count("instances", instances, app.instances)
    loadbalancer.refuse_beyond(environment, app, count)
    with session.site(environment, app, nodes) as site:

        def decide(observed: Observed) -> Task:
            site.not_paused()
            site.refuse_strangers(observed, keep)
            if not keep:
                preflight.refuse_unseen(site)
            in_order = sorted(observed.instances, key=lambda i: i.deployment)
            waiting = [i.version for i in in_order if i.held and not i.published]
            releases = sorted(set(map(editions.release, waiting)))
            if wanted is None and len(releases) > 1:
                chosen = " or ".join(map(versions.argument, releases))
                raise Refused(f"candidates of several releases wait. Choose one: {chosen}")
            release = wanted or versions.check(app, releases[0] if releases else None)
            # Candidates with other settings than those of the newest deployment are old. A publication that was
            # killed may have left none.
            newest = [*(i.version for i in in_order if i.published), *waiting]
            version = next((v for v in reversed(newest) if editions.release(v) == release), release)
            desired = Desired(app, version, count, site.nodes, keep=keep, analysis=True, move=move)
            return rollouttask.decide(session, site, observed, desired, planner.publication)

        return task.carry_out(session, site, "publish", decide, reason, test)
