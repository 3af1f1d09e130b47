"""``deploy.scale``: runs another number of instances of the deployed release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core import arguments, editions, records, versions
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
    session: Session, name: object, env: object, instances: object, test: bool, reason: object, move: bool
) -> Result:
    """Run another number of instances of the recorded release of app ``name``."""
    environment, app = session.definitions(name, env, starts=True)
    count = arguments.count("instances", instances, None)
    if count is None:
        raise Refused(f"how many of {app.name}? Say instances=, the definition has {app.instances}.")
    loadbalancer.refuse_beyond(environment, app, count)
    with session.site(environment, app, choice=False) as site:
        site.compare = editions.release(site.deployed()["version"])

        def decide(observed: Observed) -> Task:
            record = site.deployed()
            if record.get("paused"):
                raise Refused(records.paused(app.name, environment.name, record))
            site.refuse_strangers(observed)
            preflight.refuse_unseen(site)
            version = versions.recorded(app, record["version"])
            # A changed definition is deployed by deploy.app.
            desired = Desired(app, version, count, site.nodes, move=move, register=False, as_before=True)
            differs = f". The definition says {app.instances}: so will the next deploy.app without instances="
            said = differs if count != app.instances else ""
            return rollouttask.decide(session, site, observed, desired, planner.plan, said)

        return task.carry_out(session, site, "scale", decide, reason, test)
