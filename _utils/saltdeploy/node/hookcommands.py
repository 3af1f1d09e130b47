"""Runs hooks on a node, in the environment of a release."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from ..core import editions, hooks, placeholders
from ..core.errors import Failed, Refused
from ..core.instanceids import slot_of, version_of
from ..core.model import Instance
from ..core.redaction import hidden
from ..system import commands
from ..system.files import explained, make_folder
from .launch import Launch

if TYPE_CHECKING:
    from ..core.model import App, Hook
    from .lifecycle import Lifecycle

# Hooks run without an instance. While they run, this stand-in has a folder with the app's configuration.
# Its number is out of the range of ports, and larger than the number of an app's instances.
STAND_IN = "{app}_{version}_99999"
# How much of the output of a failed hook is returned, in characters.
OUTPUT = 2000


class Outcome(TypedDict):
    """The outcome of the hooks of a phase on a node.

    ``ran`` has the commands that passed. ``problem`` is a sentence, empty if all hooks passed. ``failed`` is the key of
    the failed hook, empty if no hook could start, None if no hook failed. ``ended`` says whether the node saw its end.
    """

    node: str
    ran: list[str]
    problem: str
    failed: str | None
    ended: bool


def run(
    lifecycle: Lifecycle, name: str, phase: str, version: str, keys: Sequence[str], instances: Sequence[str] = ()
) -> Outcome:
    """Run the hooks of ``phase`` that ``keys`` name, one after the other, until one fails.

    :param version: the release that is deployed. If it is not installed, the release of an instance is taken.
    :param instances: ids of the instances on this node that the phase is about.
    """
    outcome: Outcome = {"node": lifecycle.host.node, "ran": [], "problem": "", "failed": None, "ended": True}
    try:
        app = lifecycle.app(name)
        chosen = _choose(app, phase, keys, lifecycle.host.node)
        with _place(lifecycle, app, phase, version, instances) as (folder, values, env, user):
            for key, hook in chosen.items():
                words = [placeholders.fill(word, values) for word in shlex.split(hook.command)]
                problem, ended = _run(hook, words, folder, env, user)
                if problem:
                    problem = hidden(problem, {key: env[key] for key in app.env})
                    return {**outcome, "problem": problem, "failed": key, "ended": ended}
                outcome["ran"].append(hook.command)
    except (Refused, Failed) as exc:
        return {**outcome, "problem": str(exc), "failed": ""}
    return outcome


def _choose(app: App, phase: str, keys: Sequence[str], node: str) -> dict[str, Hook]:
    """Return ``{key: Hook}``, in the order of ``keys``."""
    here = {hooks.key(phase, hook): hook for hook in app.hooks.get(phase, ())}
    if set(keys) - set(here):
        raise Refused(
            f"the pillar of {node} has other hooks for {phase} of {app.name} than the master. Run:"
            f" salt {node} saltutil.refresh_pillar wait=True"
        )
    return {key: here[key] for key in keys}


@contextlib.contextmanager
def _place(
    lifecycle: Lifecycle, app: App, phase: str, version: str, instances: Sequence[str]
) -> Iterator[tuple[Path, dict[str, object], dict[str, str], str]]:
    """Yield the place where hooks run: folder, placeholders, additional environment variables, user."""
    host = lifecycle.host
    installing = phase == "before_install"
    there = host.releases.versions(app.name)
    if not installing and version not in there:
        version = next((r for i in instances if (r := editions.release(version_of(i))) in there), version)
        if version not in there:
            raise Refused(f"{app.name} {version} is not installed on {host.node}, so no hook of {phase} can run there.")
    port = app.ports.first if app.ports else None
    name = STAND_IN.format(app=app.name, version=version)
    stand_in = Instance(name, host.node, app.name, version, 0, lifecycle.node.address, port)
    launch = Launch(app, stand_in, host, lifecycle.environment.name)
    env = _env(launch.env, app, instances)
    if installing:
        # The release is not installed yet. A new node may not even have its user.
        folder = launch.release.parent
        with explained():
            make_folder(folder)
        yield folder, launch.values, env, ""
        return
    try:
        launch.write(launch.rendered(lifecycle.render))
        yield launch.release, launch.values, env, app.user
    finally:
        host.instances.forget(name)


def _env(env: Mapping[str, str], app: App, instances: Sequence[str]) -> dict[str, str]:
    """Return the environment of hooks: the release's ``env``, and the instances that the hooks are about."""
    own = {k: v for k, v in env.items() if k != "PORT" or k in app.env}
    ports = [str(slot_of(i)) for i in instances] if app.ports else []
    return {"INSTANCES": " ".join(instances), "PORTS": " ".join(ports), **own}


def _run(hook: Hook, words: Sequence[str], folder: Path, env: Mapping[str, str], user: str) -> tuple[str, bool]:
    """Run one hook. Return the problem, empty if there is none, and whether this node saw the hook end."""
    try:
        code, output = commands.execute(words, folder, env, user, hook.timeout)
    except commands.CommandFailed as exc:
        # Work that the hook began elsewhere, for example in a database, may go on after the hook was killed.
        return f"hook `{hook.command}`: {exc}", not isinstance(exc.__cause__, subprocess.TimeoutExpired)
    if code:
        return f"hook `{hook.command}` ended with {code}\n{output.strip()[-OUTPUT:]}".rstrip(), True
    return "", True
