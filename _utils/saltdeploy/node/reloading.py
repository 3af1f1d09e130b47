"""Has running instances read their files again, by a signal or a command of the app."""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core import placeholders
from ..core.errors import Failed, Refused
from ..core.redaction import hidden
from ..system import commands
from . import crashes, registrationfiles
from .readiness import POLL

if TYPE_CHECKING:
    from ..core.model import App, Instance, Reload
    from ..runtime.base import State
    from .lifecycle import Lifecycle

# How long a process may take to end by a signal that it does not know, in seconds.
ENDS = 1.0
# How much of a command's output a message has, in characters.
SHOWN = 300


def reload(
    lifecycle: Lifecycle, name: str, ids: Collection[str] | None = None, deployment: str | None = None
) -> list[str]:
    """Reload instances of app ``name``, one after the other, until the first failure. Return their ids.

    :param deployment: the deployment of this step, see Turns.alone.
    :raises Refused: the app's definition does not say how, or an instance is not here.
    :raises Failed: an instance does not run, its command fails, its process ends, or it does not pass its checks and
        the tests from the node afterwards.
    """
    app = lifecycle.app(name)
    with lifecycle.alone(name, deployment):
        way(lifecycle, app)
        chosen = lifecycle.select(name, ids)
        for instance in chosen:
            one(lifecycle, app, instance, deployment)
    return [i.id for i in chosen]


def way(lifecycle: Lifecycle, app: App) -> Reload:
    """Return how instances of ``app`` are reloaded.

    :raises Refused: its definition does not say how.
    """
    if app.reload is None:
        raise Refused(f"apps:{app.name}:reload: is missing on {lifecycle.host.node}. Write `reload: {{signal: HUP}}`.")
    return app.reload


def one(lifecycle: Lifecycle, app: App, instance: Instance, deployment: str | None = None, tests: bool = True) -> None:
    """Reload an instance as :func:`reload` does, in the turn of the caller.

    It must pass the checks that it was published with. A candidate must pass those of the definition.

    :param deployment: the deployment of this step. Once its revert has begun here, nobody waits for the instance.
    :param tests: whether it must also pass the tests from the node.
    """
    how, before = way(lifecycle, app), crashes.running(lifecycle.runtime, instance.id)
    if not before:
        raise Failed(f"{instance.id} does not run, so it cannot be reloaded")
    # It may have ended since its publication. If it ends from now on, this step is the reason.
    crashes.note(lifecycle.host, lifecycle.runtime, instance.id)
    if how.signal:
        _signal(instance, before, how.signal)
    else:
        _command(lifecycle, app, how, instance)
    # A process that does not handle the signal ends by it, and its supervisor starts it again.
    until = time.monotonic() + ENDS
    while time.monotonic() < until and crashes.running(lifecycle.runtime, instance.id) == before:
        time.sleep(POLL)
    if crashes.running(lifecycle.runtime, instance.id) != before:
        raise Failed(f"{instance.id}: its process ended by the reload{lifecycle.last_words(app, instance)}")
    problem = _await_ready(lifecycle, app, instance, before, deployment)
    problems = [problem] if problem else lifecycle.failed_tests(app, instance) if tests else []
    if not problems and crashes.running(lifecycle.runtime, instance.id) != before:
        problems = ["its process ended"]
    if problems:
        words = lifecycle.last_words(app, instance)
        raise Failed(f"{instance.id} after its reload: {'; '.join(problems)}{words}")


def _await_ready(
    lifecycle: Lifecycle, app: App, instance: Instance, before: list[list[int]], deployment: str | None
) -> str | None:
    """Wait until the process ``before`` passes its checks. Return None then, else the problem."""

    def states() -> dict[str, State]:
        lifecycle.host.turns.refuse_ended(app.name, deployment)
        found = lifecycle.runtime.states()
        state = found.get(instance.id)
        # It may have ended before this reload, and be up again.
        if state and state.running and crashes.running(lifecycle.runtime, instance.id) == before:
            return {**found, instance.id: replace(state, failed=False)}
        return found

    checks = registrationfiles.checks(lifecycle.host, instance.id)
    deadline = time.monotonic() + app.strategy.healthy_deadline
    return lifecycle.await_ready(app, instance, deadline, checks, states)


def _signal(instance: Instance, running: list[list[int]], name: str) -> None:
    for pid, _ in running:
        try:
            os.kill(pid, signal.Signals[f"SIG{name}"])
        except OSError as exc:
            raise Failed(f"{instance.id} cannot get SIG{name}: {exc.strerror}") from exc


def _command(lifecycle: Lifecycle, app: App, way: Reload, instance: Instance) -> None:
    launch = lifecycle.launch(app, instance)
    words = [placeholders.fill(word, launch.values) for word in shlex.split(way.command)]
    try:
        code, output = commands.execute(words, launch.release, launch.env, launch.app.user, way.timeout)
    except commands.CommandFailed as exc:
        raise Failed(f"{instance.id}: {hidden(str(exc), launch.own_env)}") from exc
    if code:
        said = hidden(output.strip(), launch.own_env)[-SHOWN:]
        raise Failed(f"{instance.id}: `{way.command}` ended with {code}: {said}".removesuffix(": "))
