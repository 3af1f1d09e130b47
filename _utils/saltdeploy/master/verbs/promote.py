"""``deploy.promote``: continues a paused deployment."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ... import discovery
from ...core import records, versions
from ...core.errors import Refused
from ...planning import planner
from ...planning.model import Desired
from . import rollouttask, task

if TYPE_CHECKING:
    from ...core.model import App, Environment
    from ...core.records import Paused
    from ...planning.model import Observed
    from .session import Session
    from .task import Result, Task


def run(session: Session, name: object, env: object, test: bool, reason: object) -> Result:
    """Continue the paused deployment of app ``name``."""
    environment, app = session.definitions(name, env)
    version, paused = paused_release(environment, app)
    # A choice of all nodes counts as no choice: then no other release may serve in the end.
    chosen = paused["nodes"] if set(paused["nodes"]) != set(environment.eligible(app)) else None
    with session.site(environment, app, chosen, choice=False) as site:

        def decide(observed: Observed) -> Task:
            if (site.record() or records.NOTHING).get("paused") != paused:
                raise Refused(
                    f"somebody went on with {app.name} meanwhile: see salt-run deploy.status {app.name}"
                    f" env={environment.name}"
                )
            site.tell_strangers(observed)
            move = paused.get("move", False)
            desired = Desired(app, version, paused["instances"], site.nodes, adopt=True, analysis=True, move=move)
            # The record changes in any case.
            return replace(rollouttask.decide(session, site, observed, desired, planner.plan), changes=True)

        return task.carry_out(session, site, "promote", decide, reason, test)


def paused_release(environment: Environment, app: App) -> tuple[str, Paused]:
    """Return the paused release and its entry in the record. Raises Refused if no deployment is paused."""
    with discovery.connect(environment.discovery) as backend:
        record = records.read(backend, records.prefix(environment.name, app.name))[0]
    if not record or not record.get("paused"):
        where = environment.name
        raise Refused(
            f"no deployment of {app.name} is paused in {where}: see salt-run deploy.status {app.name} env={where}"
        )
    return versions.check(app, record["version"]), record["paused"]
