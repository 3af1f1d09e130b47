"""``deploy.abort``: reverts a paused deployment, or stops the candidates that wait for publication."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ...core import editions, records, versions
from ...core.errors import Refused
from ...planning import planner
from ...planning.model import Desired
from .. import outcome
from . import rollouttask, task

if TYPE_CHECKING:
    from ...core.records import Record
    from ...planning.model import Desired, Observed
    from .appsite import Site
    from .session import Session
    from .task import Result, Task


def run(session: Session, name: object, env: object, test: bool, reason: object) -> Result:
    """Revert the paused deployment of app ``name``. If none is paused, stop the candidates."""
    environment, app = session.definitions(name, env)
    with session.site(environment, app, choice=False, back=True) as site:

        def decide(observed: Observed) -> Task:
            site.tell_strangers(observed)
            record = site.record()
            paused = record["version"] if record and record.get("paused") else ""
            if record and paused:
                desired, make = _before(site, observed, record), planner.plan
            else:
                version = (record or records.NOTHING)["version"]
                desired, make = Desired(app, version, 0, site.nodes), planner.without_candidates
                if not make(desired, observed):
                    raise Refused(f"nothing of {app.name} is paused in {environment.name}, and no candidate waits.")
            it = rollouttask.decide(session, site, observed, desired, make, left=paused)
            it = replace(it, changes=True, publishes=bool(paused), back=True)
            return replace(it, verdict=lambda result: outcome.aborted(result, desired, paused))

        return task.carry_out(session, site, "abort", decide, reason, test)


def _before(site: Site, observed: Observed, record: Record) -> Desired:
    """Return the state before the paused deployment, which ``record`` tells of. Raises Refused if it does not."""
    app, paused = site.app, record["paused"]
    if not paused["from"]:
        version, env = record["version"], site.environment.name
        raise Refused(
            f"the record does not say which release served before {editions.told(version)}, so abort cannot go back."
            f" Deploy the old release by its version: salt-run deploy.app {app.name} version=… env={env}"
        )
    origin = versions.recorded(app, paused["from"])
    # The deployment may have been on some nodes only. The other nodes keep their instances.
    good = sum(i.good and i.version == origin for i in observed.instances)
    # Data that the new release wrote may be left on nodes where nothing ran before. That needs no second confirmation.
    count, move = max(paused["before"], good), bool(app.data)
    return Desired(app, origin, count, site.nodes, move=move, register=False, as_before=True)
