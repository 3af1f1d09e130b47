"""``deploy.status``: shows the state of apps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ... import definition, discovery
from ...core import arguments
from ...core.errors import DONE
from .. import settings, status
from ..remote.fleet import Fleet
from .session import stand_in

if TYPE_CHECKING:
    from .session import Session
    from .task import Result


def run(session: Session, name: object, env: object) -> Result:
    """Return the state of an app, or of all apps, by discovery, record and nodes, even without a definition."""
    word = arguments.one_name(name) or None
    environment = session.environment(env, word)
    session.warn_of_others(environment, word)
    with discovery.connect(environment.discovery) as backend:
        backend.leader()
        undefined = status.undefined(backend, environment)
        if word is None:
            chosen = [definition.known_by_name(environment, n) for n in environment.names]
            chosen += map(stand_in, undefined)
        else:
            chosen = [stand_in(word) if word in undefined else definition.known_by_name(environment, word)]
        replaced = backend.replaced()
        apps = [status.of_app(backend, environment, app, replaced) for app in chosen]
        with Fleet(session.opts) as fleet:
            settings.add(fleet, environment, apps)
    return {"environment": environment.name, "apps": apps, "retcode": DONE}
