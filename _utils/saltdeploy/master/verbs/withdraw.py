"""``deploy.withdraw``: takes instances out of discovery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...core import arguments, editions, records
from ...core.errors import DONE, INTERRUPTS, Failed, Refused, cause
from ...planning import planner
from .. import membership
from ..outcome import Ending, Outcome
from ..remote.jobs import Jobs, ids_by_node
from ..rollout import steps
from . import task
from .task import Task

if TYPE_CHECKING:
    from ...core.model import Instance
    from ...planning.model import Observed
    from ..lock import Lock
    from ..rollout.context import Identity
    from .appsite import Site
    from .session import Session
    from .task import Result


def run(
    session: Session,
    name: object,
    env: object,
    version: object,
    nodes: object,
    confirm: bool,
    test: bool,
    reason: object,
) -> Result:
    """Take instances of app ``name`` out of discovery. They run on as candidates.

    It reports a failure half way, and does not undo it.
    """
    environment, app = session.definitions(name, env)
    release = arguments.release(app, version)
    with session.site(environment, app, nodes, back=True, places=False) as site:

        def decide(observed: Observed) -> Task:
            published = [i for i in observed.instances if i.published]
            going = [i for i in published if release in (None, editions.release(i.version))]
            if not going:
                raise Refused(f"nothing of {app.name} {release or ''} is published on {', '.join(site.nodes)}.")
            planner.refuse_lost(going)
            found = site.discovery.instances(app.name, passing=True)
            ours, _ = membership.divide(found, app.name, environment, site.known)
            others = {(e.minion, e.id) for e in ours}
            if not others - {(i.node, i.id) for i in going} and not (confirm or test):
                raise Refused(f"no instance of {app.name} would be left for clients. To do it, say confirm=True.")
            return Task(
                ", ".join(sorted({editions.told(i.version) for i in going})),
                [f"withdraw {i.id} on {i.node}" for i in going],
                True,
                lambda lock, identity: act(Jobs(site.fleet, session.journal), site, going, lock, identity),
                _verdict,
            )

        return task.carry_out(session, site, "withdraw", decide, reason, test)


def act(jobs: Jobs, site: Site, instances: Sequence[Instance], lock: Lock, identity: Identity) -> Ending:
    """Take ``instances`` out of the record, then out of discovery."""
    ids, record = ids_by_node(instances), site.record()
    try:
        if record:
            left = {n: [i for i in some if i not in ids.get(n, ())] for n, some in record["nodes"].items()}
            rest: records.Record = {**record, "nodes": {n: some for n, some in left.items() if some}}
            lock.write({records.current_key(site.prefix): rest})
            record = rest
        step = steps.withdraw(site.app, ids)
        jobs.run(*step.job, deployment=identity.id, **step.options)
    except (Failed, *INTERRUPTS) as exc:
        return Ending(Outcome.NOT_REVERTED, record, cause(exc))
    return Ending(Outcome.DONE, record)


def _verdict(result: Result) -> str:
    if result["retcode"] != DONE:
        return f"failed: {result['why']}"
    count, name, where = len(result["plan"]), result["app"], result["environment"]
    return f"{count} of {name} withdrawn in {where}. They run on, and deploy.publish brings them back."
