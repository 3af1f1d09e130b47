"""``deploy.unlock``: shows the holder of a lock, and takes it away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ... import definition, discovery
from ...core import records, shapes
from ...core.errors import DONE, Refused
from ..lock import held

if TYPE_CHECKING:
    from .session import Session
    from .task import Result


def run(session: Session, name: object, env: object, force: bool) -> Result:
    """Show the holder of the lock of app ``name``. With ``force``, take the lock away.

    :param name: None is the lock of a run for several apps.
    """
    if name is None:
        environment, app = session.environment(env), ""
        key = records.environment_lock_key(environment.name)
    else:
        environment, defined = session.defined_or_not(name, env)
        app = defined.name
        key = records.lock_key(records.prefix(environment.name, app))
    what = f"{app} in {environment.name}" if app else environment.name
    with discovery.connect(environment.discovery) as backend:
        found, index, locked = backend.read(key)
        holder = shapes.holder(found)
        if not locked:
            if app:
                definition.find_name(environment, app)
            return {"app": app, "verdict": f"{what} is not locked.", "retcode": DONE}
        if not force:
            raise Refused(held(holder, {"app": app, "environment": environment.name}))
        # If the value did not change, the run would see no other holder and take the lock again. The write fails
        # if another run has the lock by now.
        if not backend.replace(key, {**holder, "taken_by": session.owner}, index):
            raise Refused(f"the lock of {what} changed hands meanwhile: see who has it now, without force=True.")
        backend.destroy_session(locked)
    run = f"The run of {holder['owner']}" if holder.get("owner") else "The run that held it"
    # Each app that such a run has begun has a lock of its own.
    rest = "can write nothing more" if app else "begins no further app. Apps that it has begun go on"
    verdict = f"{what} is unlocked. {run} {rest}."
    return {"app": app, "verdict": verdict, "retcode": DONE}
