"""``deploy.reload``: has the published instances read their files again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.errors import Refused
from ..rollout import steps
from . import restart

if TYPE_CHECKING:
    from .session import Session
    from .task import Result

RELOAD = restart.Way("reload", "reloaded", steps.reload, out=False)


def run(session: Session, name: object, env: object, test: bool, reason: object) -> Result:
    """Reload the published instances of app ``name``, wave by wave, until the first failure or death of an instance.

    Clients use them meanwhile. It reports a failure half way, and does not undo it.
    """
    environment, app = session.definitions(name, env)
    if app.reload is None:
        raise Refused(
            f"apps:{app.name}:reload: is missing, so nobody knows how {app.name} reads its files again. Write"
            f" `reload: {{signal: HUP}}`, for example, or restart it: salt-run deploy.restart {app.name}"
            f" env={environment.name}"
        )
    return restart.go_through(session, environment, app, RELOAD, False, test, reason)
