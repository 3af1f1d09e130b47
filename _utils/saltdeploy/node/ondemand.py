"""Logs of instances, and commands run in their place."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, TypedDict

from .. import definition, runtime
from ..core import arguments, placeholders
from ..core.errors import Refused
from ..system import commands

if TYPE_CHECKING:
    from .lifecycle import Lifecycle
# The most characters of a command's output that are returned. A job's result has a limit.
OUTPUT = 100_000
# The most bytes of logs that are returned, for all instances together.
LOGS = 1_000_000


class Execution(TypedDict):
    """A command that ran in the place of an instance. The code is None if it hung or could not be started."""

    instance: str
    code: int | None
    output: str


def logs(
    lifecycle: Lifecycle,
    name: str,
    ids: Collection[str] | None = None,
    lines: int = 50,
    since: float | None = None,
    strict: bool = True,
) -> dict[str, str]:
    """Return ``{id: text}``, the last lines of each instance.

    :param since: only lines printed since then, in seconds since 1970.
    :param strict: refuse ids that are not here. False leaves them out.
    """
    app, host = definition.known_by_name(lifecycle.environment, name), lifecycle.host
    if not strict and ids is not None:
        ids = [i.id for i in host.instances.recorded(name) if i.id in ids]
    units = {i.id: lifecycle.launch(app, i).unit for i in lifecycle.select(name, ids)}
    most = min(runtime.LOG, LOGS // max(1, len(units)))
    return {i: lifecycle.runtime.logs(unit, lines, since, most) for i, unit in units.items()}


def execute(
    lifecycle: Lifecycle, name: str, command: str, instance: str, timeout: float, fill: bool = False
) -> Execution:
    """Run ``command`` as the instance would: in its release's folder, with its environment and its user.

    :param fill: fill in the placeholders of the command.
    """
    app, words, [chosen] = lifecycle.app(name), arguments.words(command), lifecycle.select(name, [instance])
    state = lifecycle.runtime.states().get(instance)
    if not (state and state.running):
        raise Refused(f"{instance} on {lifecycle.host.node} does not run: see app.logs.")
    launch = lifecycle.launch(app, chosen)
    words = [placeholders.fill(word, launch.values) for word in words] if fill else words
    code: int | None
    try:
        code, output = commands.execute(words, launch.release, launch.env, launch.app.user, timeout)
    except commands.CommandFailed as exc:
        code, output = None, str(exc)
    return {"instance": instance, "code": code, "output": _shorten(output)}


def _shorten(output: str) -> str:
    cut = len(output) - OUTPUT
    return output if cut <= 0 else f"… (the first {cut} characters are cut)\n{output[-OUTPUT:]}"
