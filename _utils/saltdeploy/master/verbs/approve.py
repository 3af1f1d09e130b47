"""``deploy.approve``: says that a release may be deployed to an environment."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ... import discovery
from ...core import arguments, records, versions
from ...core.errors import DONE, Refused
from ...core.words import listed
from .. import conditions

if TYPE_CHECKING:
    from .session import Session
    from .task import Result


def run(session: Session, name: object, version: object, env: object, reason: object) -> Result:
    """Approve the release ``version`` of app ``name``. The last approval of a person counts, and replaces the others.

    :param version: None is the release that the definition names.
    """
    environment, app = session.definitions(name, env)
    release = versions.check(app, version)
    why = arguments.text("reason", reason, arguments.REASON) or ""
    people, who = environment.conditions.approvals.by, conditions.person(session.owner)
    if not people:
        raise Refused(f"{environment.name} needs no approvals: see environments:{environment.name}:approvals.")
    if who not in people:
        raise Refused(f"{session.owner} may not approve in {environment.name}: approvals:by has {listed(people)}.")
    prefix = records.prefix(environment.name, app.name)
    key = records.approval_key(prefix, who)
    with discovery.connect(environment.discovery) as backend:
        backend.leader()
        value = conditions.approval(session.owner, release, time.time(), why)
        if not backend.replace(key, value, backend.read(key)[1]):
            raise Refused(f"somebody else approves as {who} at this moment. Run it again.")
        found = conditions.approved_by(backend, prefix, environment.conditions, release)
    needed = environment.conditions.approvals.count
    verdict = f"{who} approves {app.name} {release} in {environment.name}: {len(found)} of {needed}"
    about = {"app": app.name, "environment": environment.name, "version": release}
    return {**about, "approved_by": found, "verdict": verdict, "retcode": DONE}
