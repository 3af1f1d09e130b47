"""What the hooks of an app are, and what is remembered of those that run once. Pure.

A hook that runs once leaves a mark beside the record, ``hooks/<version>/<phase>-<digest of its command>``: ``started``
before it runs, ``done`` after it. A mark that stays ``started`` is of a hook whose end nobody saw.
"""

from __future__ import annotations

import hashlib
import time

from . import bounds, durations, shapes
from .errors import DefinitionError, Refused
from .model import Hook
from .versions import argument
from .words import shown

UNREADABLE = "unreadable"
NO_PORT = "{port}: a hook runs once on a node for all its instances: it finds theirs in the variable PORTS"


def parse(raw, at):
    """Return ``{phase: (Hook, …)}`` of what a definition says.

    :param at: the key path, for messages.
    :raises DefinitionError: a timeout is zero.
    """
    found = {}
    for phase, commands in raw.items():
        listed = commands if isinstance(commands, list) else [commands]
        path = f"{at}:{phase}:{{}}" if isinstance(commands, list) else f"{at}:{phase}"
        found[phase] = tuple(_hook(one, path.format(number)) for number, one in enumerate(listed))
    return {phase: some for phase, some in found.items() if some}


def _hook(raw, at):
    values = {"command": raw} if isinstance(raw, str) else dict(raw)
    if "timeout" in values:
        values["timeout"] = durations.seconds(values["timeout"])
        if not 0 < values["timeout"] <= bounds.DURATION:
            raise DefinitionError(
                f"{at}:timeout: found {shown(raw['timeout'])}, allowed is more than 0, and at most {bounds.LONGEST}"
            )
    return Hook(**values)


def texts(app):
    """Return ``(key, command)`` of each hook of ``app``, for a check of their placeholders."""
    return [
        (f"hooks:{phase}:{number}" if len(some) > 1 else f"hooks:{phase}", hook.command)
        for phase, some in app.hooks.items()
        for number, hook in enumerate(some)
    ]


def key(phase, hook):
    """Return what identifies ``hook`` among those of a release: also after it was given another timeout."""
    return f"{phase}-{hashlib.sha256(hook.command.encode()).hexdigest()[:12]}"


def lines(app, plan, marks):
    """Return the sentences of a plan on the hooks that it will run.

    :param marks: those of the release, by key.
    """
    doing = {
        "install": plan.install,
        "start": any(wave.start for wave in plan.waves),
        "publish": plan.publish and any(wave.start or wave.adopt for wave in plan.waves),
        "retire": any(wave.retire or wave.replace for wave in plan.waves),
    }
    return [
        f"hook {phase}: `{hook.command}`, {_where(marks.get(key(phase, hook))) if hook.once else 'on each node'}"
        for phase, some in app.hooks.items()
        if doing[phase.partition("_")[2]]
        for hook in some
    ]


def _where(mark):
    return f"not again: {told(mark)}" if mark else "once, on one node"


# -- marks ------------------------------------------------------------------------------------


def marks_key(prefix, version="", key=""):
    """Return the key of a mark; without ``version`` and ``key``, the prefix of all marks."""
    return f"{prefix}hooks/" + (f"{version}/{key}" if version else "")


def usable(found):
    """Return marks, by their whole key, as they can be used. Of a hook whose mark cannot be read the end is unknown.

    :param found: what Consul has under these keys.
    """
    return {key: value if shapes.is_mark(value) else _unreadable(key) for key, value in found.items()}


def _unreadable(name):
    nobody = dict.fromkeys(("node", "deployment", "owner"), "nobody")
    return {**nobody, "state": UNREADABLE, "phase": name.rpartition("/")[2], "command": "?", "time": 0.0}


def of_release(marks, prefix, version):
    """Return those of ``marks`` that are of the release ``version``, by key without the prefix."""
    start = marks_key(prefix, version)
    return {name.removeprefix(start): mark for name, mark in marks.items() if name.startswith(start)}


def of_releases(names, prefix, versions):
    """Return those of the marks' ``names`` that are of releases in ``versions``."""
    return [name for name in names if name.removeprefix(marks_key(prefix)).partition("/")[0] in versions]


def mark(state, phase, hook, node, identity):
    """Return the mark of ``hook``, which a deployment (executor.Identity) runs on ``node``."""
    return {
        "state": state,
        "phase": phase,
        "command": hook.command,
        "node": node,
        "deployment": identity.id,
        "owner": identity.owner,
        "time": time.time(),
    }


def told(mark):
    """Return a mark in words."""
    if mark["state"] == UNREADABLE:
        return "what Consul has of it cannot be read"
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(mark["time"]))
    state = "it ran" if mark["state"] == "done" else "it was started, and its end is not known,"
    return f"{state} on {mark['node']}, {when}, by {mark['owner']} ({mark['deployment']})"


def refuse_unknown(app, version, marks):
    """Raise Refused if one of ``marks``, those of the release, is of a hook whose end is not known."""
    for one in marks.values():
        if one["state"] != "done":
            raise Refused(
                f"{one['phase']} `{one['command']}` of {app} {version} must run once, and {told(one)}. Look at what it"
                f" has done, then say that it is done: salt-run deploy.hooks {app} {argument(version)} settle=done; or"
                " settle=again, to have it run again."
            )


# -- a deployment that is frozen --------------------------------------------------------------


def frozen(app, record):
    """Return the sentence on a deployment that is frozen, and how to go on; empty if none is.

    :param record: ``frozen`` in it has ``version``, ``why``, ``by``, ``reason``, ``deployment``, ``since``.
    """
    about = (record or {}).get("frozen")
    if not about:
        return ""
    on, back = f"deploy.app {app} {argument(about['version'])}", f"deploy.rollback {app}"
    if record.get("paused"):
        on, back = f"deploy.promote {app}", f"deploy.abort {app}"
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(about["since"]))
    return (
        f"{app} {about['version']} is FROZEN half way, since {when}, by {about['by']} ({about['deployment']}):"
        f" {about['why'].partition(chr(10))[0]}. Nothing was reverted. Look at it, then go on: salt-run {on}; or back:"
        f" {back}"
    )
