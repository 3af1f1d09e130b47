"""``deploy.hooks``: shows the outcomes of hooks that run once, and settles hooks whose end no run saw."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from ... import discovery
from ...core import arguments, hooks, records
from ...core.errors import DONE, Refused
from ...core.words import shown
from ..lock import Lock

if TYPE_CHECKING:
    from ...discovery.backend import Backend
    from .session import Session
    from .task import Result

SETTLED = ("done", "again")


def run(session: Session, name: object, env: object, version: object, settle: object) -> Result:
    """Show the marks of hooks that run once. With ``settle``, replace the marks of hooks without a known end.

    It asks discovery only, because the node that ran a hook may be gone.
    """
    environment, app = session.known(name, env, looking=settle is None)
    release = arguments.release(app, version)
    if settle not in (None, *SETTLED):
        raise Refused(f"settle={shown(settle)}: {' or '.join(SETTLED)} is allowed")
    prefix, where = records.prefix(environment.name, app.name), f"{app.name} {release or ''}".rstrip()
    about = {"app": app.name, "environment": environment.name}
    with discovery.connect(environment.discovery) as backend:
        found = _marks(backend, prefix, release)
        if settle:
            info = {**about, "owner": session.owner, "deployment": "none", "doing": "settled"}
            with Lock(backend, records.lock_key(prefix), info) as lock:
                found = _marks(backend, prefix, release)
                if not (changed := {key: mark for key, mark in found.items() if mark["state"] != "done"}):
                    raise Refused(f"there is no hook of {where} in {environment.name} whose end is not known.")
                lock.write(*_settled(changed, settle, session.owner))
                found = _marks(backend, prefix, release)
    lines = [f"{_version(prefix, key)} {m['phase']} `{m['command']}`: {hooks.told(m)}" for key, m in found.items()]
    none = f"no hook that runs once has run for {where} in {environment.name}"
    return {**about, "hooks": list(found.values()), "verdict": "\n".join(lines) or none, "retcode": DONE}


def _marks(backend: Backend, prefix: str, version: str | None) -> dict[str, hooks.Mark]:
    """Return all marks of an app, or of a release of it, by their complete keys."""
    found = hooks.usable(backend.read_all(hooks.marks_key(prefix)))
    return {key: mark for key, mark in sorted(found.items()) if version in (None, _version(prefix, key))}


def _version(prefix: str, key: str) -> str:
    return key.removeprefix(hooks.marks_key(prefix)).partition("/")[0]


def _settled(marks: Mapping[str, hooks.Mark], settle: object, owner: str) -> tuple[dict[str, Any], Collection[str]]:
    """Return the entries to write and the keys to remove."""
    if settle == "again":
        return {}, list(marks)
    now = time.time()
    return {key: {**mark, "state": "done", "owner": owner, "time": now} for key, mark in marks.items()}, ()
