"""Runs commands that end within their time, with their children, and keeps the end of their output."""

from __future__ import annotations

import contextlib
import os
import pwd
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import TypedDict

from ..core import deadlines
from . import baseenv, processes

# How much of the end of a command's output is kept, in bytes.
KEPT = 1 << 20
# How much of the output is read at once, in bytes, which is the size of a pipe.
PIECE = 1 << 16


class CommandFailed(Exception):
    """A command could not be started, or hung and was killed."""


class Identity(TypedDict, total=False):
    """The arguments of subprocess for the user of a process."""

    user: int
    group: int
    extra_groups: list[int]


def execute(
    command: Sequence[str],
    folder: str | os.PathLike[str],
    env: Mapping[str, str] | None,
    user: str,
    timeout: float,
    groups: bool = True,
) -> tuple[int, str]:
    """Run ``command``, a list of words, in ``folder``, and return its exit code and the end of its output.

    :param env: the variables of its environment beside those of every process (baseenv.base).
    :param user: the user that it runs as. Empty takes the user of this process.
    :param timeout: seconds after which it is killed, with its children.
    :param groups: whether it has the further groups of ``user``.
    :raises CommandFailed: it cannot be started, or hangs. If it hangs, the cause is subprocess.TimeoutExpired.
    """
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**baseenv.base(user), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **as_user(user, groups),
        )
    except OSError as exc:
        raise CommandFailed(f"{command[0]}: {exc.strerror or exc}") from exc
    assert process.stdout
    try:
        with process.stdout:
            output = until_its_end(process, timeout)
    except subprocess.TimeoutExpired as exc:
        _kill(process)
        raise CommandFailed(f"`{shlex.join(command)}` hangs: killed after {timeout:g}s") from exc
    return process.returncode, output


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with its children, also children that made a session of their own."""
    known = [found] if (found := processes.read(process.pid)) else []
    for each in processes.of(known=known):
        each.send(signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs in the kernel, and nobody can end it
        process.wait(deadlines.KILL)


def until_its_end(process: subprocess.Popen[bytes], timeout: float) -> str:
    """Wait for ``process`` and return the last KEPT bytes that it printed to its pipe, as text.

    :raises subprocess.TimeoutExpired: it runs on, prints on, or a child of it holds its output open.
    """
    assert process.stdout
    kept, deadline = bytearray(), time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            # poll(2) takes no timeout as long as a month.
            if not selector.select(min(left, 3600.0)):
                continue
            piece = os.read(process.stdout.fileno(), PIECE)
            if not piece:
                process.wait(deadline - time.monotonic())
                return kept.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
            kept += piece
            del kept[:-KEPT]
    raise subprocess.TimeoutExpired(process.args, timeout)


def as_user(user: str, groups: bool = True) -> Identity:
    """Return the arguments that make subprocess run as ``user``, if this process may change its user.

    :param groups: whether with all groups of the user, or only with the main group.
    """
    if not user or os.geteuid() != 0:
        return {}
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise CommandFailed(f"there is no user {user} on this node") from None
    further = os.getgrouplist(user, entry.pw_gid) if groups else []
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": further}
