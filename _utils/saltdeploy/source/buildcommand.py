"""The ``build`` of a source: a command that makes a release out of its files, as an unprivileged user."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from ..core import limits, model, placeholders, urls, words
from ..core.errors import Failed
from ..system import commands, trees
from . import base, builder

PROGRAM = "the build"


def run(source: model.Source, installation: base.Installation, seconds: float) -> None:
    """Run the build of a release whose files are in the folder of the installation.

    Afterwards the files belong to this process's user, and nobody else may write to them.

    :param seconds: the time that is left for the installation.
    :raises Refused: this node has no user for it.
    :raises Failed: it fails or hangs, or leaves files that a release must not have.
    """
    target, user = installation.target, builder.choose(installation.user, PROGRAM)
    home = Path(tempfile.mkdtemp(prefix="home.", dir=target.parent))
    try:
        builder.check_way(home, user, PROGRAM)
        for folder in (home, target):
            builder.hand_over(folder, user)
        _execute(source, installation, home, user, min(source.build_timeout, seconds))
    finally:
        trees.remove(home)
    builder.take_over(target, user, PROGRAM)
    # A process that opened a file before could still write to it.
    builder.end_all(target.parent, user)
    _refuse_links_out(target)
    if not any(target.iterdir()):
        raise Failed("source:build: leaves no files.")
    installation.artifacts.require(0)


def _execute(
    source: model.Source, installation: base.Installation, home: Path, user: builder.Builder | None, seconds: float
) -> None:
    about = {"app": installation.artifacts.app, "version": installation.version, "release": str(installation.target)}
    command = [placeholders.fill(word, about) for word in shlex.split(source.build)]
    kept = builder.proxies()
    own = {"HOME": str(home), "TMPDIR": str(home), **{k.upper(): v for k, v in about.items()}}
    shown = f"source:build: `{words.harmless(source.build)}`"
    try:
        env = {**kept, **own}
        target = installation.target
        code, output = builder.execute(command, target, env, user, seconds, target.parent)
    except commands.CommandFailed as exc:
        if isinstance(exc.__cause__, subprocess.TimeoutExpired):
            raise Failed(
                f"{shown} did not end within {seconds:.0f}s, and was killed. source:build_timeout is"
                f" {source.build_timeout:g}s. The strategy's progress_deadline ends it, too."
            ) from None
        raise Failed(f"{shown}: {exc}") from None
    if code:
        told = urls.without_secrets(output.strip()[-limits.OUTPUT :])
        raise Failed(f"{shown} ended with {code}\n{words.harmless(told)}".rstrip())


def _refuse_links_out(target: Path) -> None:
    """Raise Failed if a link leads out of the release, where nobody keeps its target."""
    root = os.path.realpath(target)
    for folder, folders, files in os.walk(target):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            real = os.path.realpath(path) if os.path.islink(path) else root
            if real != root and not real.startswith(f"{root}/"):
                shown = words.harmless(os.path.relpath(path, target))
                raise Failed(f"source:build: the link {shown} leads out of the release: refused. Have it make a copy.")
