"""``deploy.test``: runs the tests of an app."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core import arguments, editions
from ...core.errors import DONE, REVERTED, Failed, Refused
from ..remote.jobs import Jobs
from ..rollout.acceptance import Acceptance

if TYPE_CHECKING:
    from .session import Session
    from .task import Result


def run(session: Session, name: object, env: object, version: object, nodes: object) -> Result:
    """Run the tests of app ``name``, from everywhere, on its candidates, or else on its published instances."""
    environment, app = session.definitions(name, env, looking=True)
    release = arguments.release(app, version)
    with session.site(environment, app, nodes) as site:
        observed = session.observe(site)
        # A warm instance is no candidate. It is tested only if its release is named.
        known = [i for i in observed.instances if i.running and i.recorded]
        running = [i for i in known if (release or (i.node, i.id) not in observed.warm)]
        chosen = [i for i in running if release in (None, editions.release(i.version))]
        chosen = [i for i in chosen if not i.published] or chosen
        if not chosen:
            which = " ".join(filter(None, ["no instance of", app.name, release, "runs in", environment.name]))
            raise Refused(f"{which}. Deploy it before you test it.")
        peers = [node for node in site.answering if node not in site.environment.away]
        acceptance = Acceptance(Jobs(site.fleet, session.journal), environment, app, peers)
        why = ""
        try:
            acceptance.from_nodes(chosen)
            acceptance.from_elsewhere(chosen)
        except Failed as exc:
            why = str(exc)
    ids = ", ".join(f"{i.id} on {i.node}" for i in chosen)
    verdict = f"{app.name} failed: {why}" if why else f"{app.name}: {len(app.tests)} tests passed on {ids}"
    code = REVERTED if why else DONE
    return {"app": app.name, "verdict": verdict, "steps": session.journal.as_data(), "retcode": code}
