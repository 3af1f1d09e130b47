"""``deploy.history``: shows the last deployments of an app."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ... import definition, discovery
from ...core import arguments, entries, records
from ...core.errors import DONE

if TYPE_CHECKING:
    from .session import Session
    from .task import Result

# How many entries it shows by default.
LIMIT = 10


def run(session: Session, name: object, env: object, limit: object) -> Result:
    """Return the last deployments of app ``name``, the newest first."""
    environment, app = session.defined_or_not(name, env, looking=True)
    count = arguments.count("limit", limit, LIMIT)
    with discovery.connect(environment.discovery) as backend:
        newest, problems = entries.read(backend, records.prefix(environment.name, app.name))
    if not newest and not problems:
        definition.find_name(environment, app.name)
    about = {"app": app.name, "environment": environment.name, "history": newest[:count]}
    return {**about, "warnings": problems, "retcode": DONE}
