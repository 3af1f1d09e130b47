"""``deploy.promote``: continues a paused deployment."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ... import discovery
from ...core import records, versions
from ...core.changes import told
from ...core.editions import release
from ...core.errors import Refused
from ...planning import editions, planner
from ...planning.model import Desired
from . import rollouttask, task

if TYPE_CHECKING:
    from ...core.environment import Environment
    from ...core.model import App
    from ...core.records import Paused
    from ...planning.model import Observed, Plan
    from .session import Session
    from .task import Result, Task


def run(session: Session, name: object, env: object, test: bool, reason: object) -> Result:
    """Continue the paused deployment of app ``name``."""
    environment, app = session.definitions(name, env)
    version, paused = paused_release(environment, app)
    away = session.marked(environment)
    # A choice of all nodes counts as no choice: then no other release may serve in the end.
    all_nodes = set(environment.eligible(app)) - away
    chosen = None if set(paused["nodes"]) - away == all_nodes else [n for n in paused["nodes"] if n not in away]
    with session.site(environment, app, chosen, choice=False, skips=False) as site:
        site.compare = release(version)

        def decide(observed: Observed) -> Task:
            if (site.record() or records.NOTHING).get("paused") != paused:
                raise Refused(
                    f"somebody went on with {app.name} meanwhile: see salt-run deploy.status {app.name}"
                    f" env={environment.name}"
                )
            site.tell_strangers(observed)
            move = paused.get("move", False)
            options: dict[str, Any] = {"adopt": True, "analysis": True, "as_before": True, "move": move}
            desired = Desired(app, version, paused["instances"], site.nodes, **options)

            def make(desired: Desired, observed: Observed) -> Plan:
                plan = planner.plan(desired, observed)
                _refuse_changed(environment, desired, observed, plan)
                return plan

            # The record changes in any case.
            return replace(rollouttask.decide(session, site, observed, desired, make), changes=True)

        return task.carry_out(session, site, "promote", decide, reason, test)


def _refuse_changed(environment: Environment, desired: Desired, observed: Observed, plan: Plan) -> None:
    """Raise Refused if nodes would start other settings than those that the first wave has shown to be good."""
    app, what = desired.app.name, editions.differs(desired, observed)
    nodes = editions.lacking(desired, observed, plan.starting)
    if nodes and what:
        raise Refused(
            f"the definition of {app} has changed since its first wave ({told(what)}), and {', '.join(nodes)} would"
            f" start what it says now. Undo that change and promote then, or go back: salt-run deploy.abort {app}"
            f" env={environment.name}"
        )


def paused_release(environment: Environment, app: App) -> tuple[str, Paused]:
    """Return the paused release and its entry in the record. Raises Refused if no deployment is paused."""
    with discovery.connect(environment.discovery) as backend:
        record = records.read(backend, records.prefix(environment.name, app.name))[0]
    if not record or not record.get("paused"):
        where = environment.name
        raise Refused(
            f"no deployment of {app.name} is paused in {where}: see salt-run deploy.status {app.name} env={where}"
        )
    return versions.recorded(app, record["version"]), record["paused"]
