"""The hooks of an app, and the marks of the hooks that run once. Pure.

A hook that runs once leaves a mark beside the record, ``hooks/<version>/<phase>-<digest of its command>``. The mark is
``started`` before the hook runs and ``done`` after it. If a mark stays ``started``, nobody saw the end of the hook.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from . import durations, editions, placeholders, shapes, words
from .errors import Mistakes, Refused
from .model import Hook
from .phases import STEPS
from .versions import argument

if TYPE_CHECKING:
    from .model import App
    from .protocols import Identity, Plan
    from .records import Record

UNREADABLE = "unreadable"
NO_PORT = "{port} is not allowed. A hook runs once on a node for all instances. Their ports are in the variable PORTS."


def parse(raw: Mapping[str, Any], at: str) -> dict[str, tuple[Hook, ...]]:
    """Return ``{phase: (Hook, …)}`` from the ``hooks`` of a definition.

    :param at: their key path, for messages.
    :raises DefinitionError: a timeout is 0 or too long.
    """
    found, mistakes = {}, Mistakes()
    for phase, commands in raw.items():
        listed = commands if isinstance(commands, list) else [commands]
        path = f"{at}:{words.path([phase])}"
        paths = [f"{path}:{number}" if isinstance(commands, list) else path for number in range(len(listed))]
        found[phase] = tuple(mistakes.attempt(_hook, *given) for given in zip(listed, paths))
    mistakes.refuse()
    return {phase: some for phase, some in found.items() if some}


def _hook(raw: str | Mapping[str, Any], at: str) -> Hook:
    values: dict[str, Any] = {"command": raw} if isinstance(raw, str) else dict(raw)
    if "timeout" in values:
        values["timeout"] = durations.positive(values["timeout"], f"{at}:timeout")
    return Hook(**values)


def texts(app: App) -> list[tuple[str, str]]:
    """Return ``(key, command)`` of each hook of ``app``, for a check of their placeholders."""
    return [
        (words.path(["hooks", phase, number] if len(some) > 1 else ["hooks", phase]), hook.command)
        for phase, some in app.hooks.items()
        for number, hook in enumerate(some)
    ]


def key(phase: str, hook: Hook) -> str:
    """Return the key of ``hook`` among the hooks of a release. It stays the same with another timeout."""
    return f"{phase}-{hashlib.sha256(hook.command.encode()).hexdigest()[:12]}"


def lines(app: App, plan: Plan, marks: Mapping[str, Mark], values: Mapping[str, str]) -> list[str]:
    """Return a sentence on each hook that ``plan`` will run.

    :param values: the placeholders that are the same on each node.
    :param marks: the marks of the release, by key.
    """
    doing = {
        "install": plan.install,
        "start": any(wave.start for wave in plan.waves),
        "publish": plan.publish and any(wave.start or wave.adopt for wave in plan.waves),
        "retire": any(wave.retire or wave.replace for wave in plan.waves),
    }
    return [
        f"hook {phase}: {_command(hook, values)},"
        f" {_where(marks.get(key(phase, hook))) if hook.once else 'on each node'}"
        for phase, some in app.hooks.items()
        if doing[STEPS[phase]]
        for hook in some
    ]


def _command(hook: Hook, values: Mapping[str, str]) -> str:
    left = [f"{{{name}}}" for name in dict.fromkeys(placeholders.used(hook.command)) if name not in values]
    there = f" ({', '.join(left)} {'are' if len(left) > 1 else 'is'} filled in there)" if left else ""
    return f"`{placeholders.fill_known(hook.command, values)}`{there}"


def _where(mark: Mark | None) -> str:
    return f"not again: {told(mark)}" if mark else "once, on one node"


# -- marks ------------------------------------------------------------------------------------


class Mark(TypedDict):
    """The mark of a hook that runs once. ``state`` is ``started``, ``done`` or UNREADABLE."""

    state: str
    phase: str
    command: str
    node: str
    deployment: str
    owner: str
    time: float


def marks_key(prefix: str, version: str = "", key: str = "") -> str:
    """Return the key of a mark, or the prefix of all marks if there is no ``version`` and no ``key``."""
    return f"{prefix}hooks/" + (f"{version}/{key}" if version else "")


def usable(found: Mapping[str, object]) -> dict[str, Mark]:
    """Return marks by their full key. A mark that cannot be read becomes a mark of a hook with an unknown end.

    :param found: the values in Consul, by key.
    """
    return {key: value if shapes.is_mark(value) else _unreadable(key) for key, value in found.items()}


def _unreadable(name: str) -> Mark:
    return {
        "state": UNREADABLE,
        "phase": name.rpartition("/")[2],
        "command": "?",
        "node": "nobody",
        "deployment": "nobody",
        "owner": "nobody",
        "time": 0.0,
    }


def of_release(marks: Mapping[str, Mark], prefix: str, version: str) -> dict[str, Mark]:
    """Return the marks of the release ``version`` among ``marks``, by key without the prefix."""
    start = marks_key(prefix, version)
    return {name.removeprefix(start): mark for name, mark in marks.items() if name.startswith(start)}


def of_releases(names: Iterable[str], prefix: str, versions: Collection[str]) -> list[str]:
    """Return the keys among ``names`` that are marks of the releases in ``versions``."""
    return [name for name in names if name.removeprefix(marks_key(prefix)).partition("/")[0] in versions]


def mark(state: str, phase: str, hook: Hook, node: str, identity: Identity) -> Mark:
    """Return the mark of ``hook``, which the deployment ``identity`` runs on ``node``."""
    return {
        "state": state,
        "phase": phase,
        "command": hook.command,
        "node": node,
        "deployment": identity.id,
        "owner": identity.owner,
        "time": time.time(),
    }


def told(mark: Mark) -> str:
    """Return a mark in words."""
    if mark["state"] == UNREADABLE:
        return "its mark cannot be read"
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(mark["time"]))
    state = "it ran" if mark["state"] == "done" else "it was started, and its end is not known,"
    return f"{state} on {mark['node']}, {when}, by {mark['owner']} ({mark['deployment']})"


def refuse_unknown(app: str, environment: str, version: str, marks: Mapping[str, Mark]) -> None:
    """Raise Refused if the end of a hook is not known.

    :param app, environment: their names.
    :param marks: the marks of the release ``version``.
    """
    for one in marks.values():
        if one["state"] != "done":
            raise Refused(
                f"{one['phase']} `{one['command']}` of {app} {version} must run once, and {told(one)}. Find out whether"
                f" it has done its work. If so, run: salt-run deploy.hooks {app} {argument(version)} env={environment}"
                " settle=done. If it must run again, use settle=again."
            )


# -- a deployment that is frozen --------------------------------------------------------------


def frozen(app: str, environment: str, record: Record | None) -> str:
    """Return the message on a frozen deployment with the commands to go on, or an empty text if none is frozen.

    :param app, environment: their names.
    """
    about = record.get("frozen") if record else None
    if not record or not about:
        return ""
    on, back = f"deploy.app {app} {argument(editions.release(about['version']))}", f"deploy.rollback {app}"
    if "scale" in about:
        # `deploy.app` would bring in the settings of now.
        on = f"deploy.scale {app} instances={about['scale']}"
    if record.get("paused"):
        on, back = f"deploy.promote {app}", f"deploy.abort {app}"
    on, back = f"{on} env={environment}", f"{back} env={environment}"
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(about["since"]))
    what = f"{app} {editions.told(about['version'])}"
    return (
        f"{what} is FROZEN half way, since {when}, by {about['by']} ({about['deployment']}):"
        f" {about['why'].partition(chr(10))[0]}. Nothing was reverted. Look at it. To go on, run: salt-run {on}. To go"
        f" back, run: salt-run {back}"
    )
