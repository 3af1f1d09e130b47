"""The verb for one-time hooks: shows their outcomes, and settles hooks whose end no run saw."""

from __future__ import annotations

import time

from ... import discovery
from ...core import arguments, hooks, records
from ...core.errors import DONE, Refused
from ...core.words import shown
from ..lock import Lock
from .base import Verbs

SETTLED = ("done", "again")


class Settling(Verbs):
    """Asks discovery only, because the node that ran a hook may be gone."""

    def hooks(self, name, env, version, settle):
        """Show the marks of hooks that run once. With ``settle``, replace the marks of hooks without a known end."""
        environment, app = self._known(name, env, looking=settle is None)
        version = arguments.release(app, version)
        if settle not in (None, *SETTLED):
            raise Refused(f"settle={shown(settle)}: {' or '.join(SETTLED)} is allowed")
        prefix, where = records.prefix(environment.name, app.name), f"{app.name} {version or ''}".rstrip()
        with discovery.connect(environment.discovery) as backend:
            found = _marks(backend, prefix, version)
            if settle:
                info = {
                    "app": app.name,
                    "environment": environment.name,
                    "owner": self.owner,
                    "deployment": "none",
                    "doing": "settled",
                }
                with Lock(backend, records.lock_key(prefix), info) as lock:
                    found = _marks(backend, prefix, version)
                    if not (changed := {key: one for key, one in found.items() if one["state"] != "done"}):
                        raise Refused(f"there is no hook of {where} in {environment.name} whose end is not known.")
                    lock.write(*_settled(changed, settle, self.owner))
                    found = _marks(backend, prefix, version)
        lines = [f"{_version(prefix, key)} {m['phase']} `{m['command']}`: {hooks.told(m)}" for key, m in found.items()]
        none = f"no hook that runs once has run for {where} in {environment.name}"
        about = {"app": app.name, "environment": environment.name, "hooks": list(found.values())}
        return {**about, "verdict": "\n".join(lines) or none, "retcode": DONE}


def _marks(backend, prefix, version):
    """Return all marks of an app, or of a release of it, by their complete keys."""
    found = hooks.usable(backend.read_all(hooks.marks_key(prefix)))
    return {key: one for key, one in sorted(found.items()) if version in (None, _version(prefix, key))}


def _version(prefix, key):
    return key.removeprefix(hooks.marks_key(prefix)).partition("/")[0]


def _settled(marks, settle, owner):
    """Return the entries to write and the keys to remove."""
    if settle == "again":
        return {}, list(marks)
    return {key: {**one, "state": "done", "owner": owner, "time": time.time()} for key, one in marks.items()}, ()
