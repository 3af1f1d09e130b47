"""The user of foreign code while a release is made, which is never root, and the way of its files to root."""

from __future__ import annotations

import functools
import os
import pwd
import signal
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import Failed, Refused
from ..system import baseenv, commands, processes

# The variables of the minion's environment that name proxies. They may be needed to fetch files.
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
# The user of a build for an app that itself runs as root.
NOBODY = "nobody"
# A namespace of processes. With its first process, which is a shell of root's, the kernel ends all others.
NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--")
FIRST = ("sh", "-c", 'umask 022; "$@"; exit $?', "sh")
# The session of the process outside is not visible in the namespace, and some programs need the number of theirs.
SESSION = ("setsid", "--wait")


@dataclass(frozen=True)
class Builder:
    """The user that a build runs as."""

    name: str
    uid: int
    gid: int


def proxies() -> dict[str, str]:
    """Return the proxies in the environment of the minion."""
    return {name: value for name, value in os.environ.items() if name.lower() in PROXIES}


def choose(user: str, program: str) -> Builder | None:
    """Return the Builder of an app whose user is ``user``, or None if this process is not root and builds itself.

    :param program: the program that it runs, for messages.
    """
    if os.geteuid() != 0:
        return None
    name = NOBODY if user in ("", "root") else user
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise Refused(
            f"there is no user {name} on this node, as whom {program} runs: apply the state app.release, or add it."
        ) from None
    if entry.pw_uid == 0:
        raise Refused(f"{name} is root on this node, and {program} never runs as root: give the app another `user`.")
    return Builder(name, entry.pw_uid, entry.pw_gid)


def check_way(target: Path, builder: Builder | None, program: str) -> None:
    """Fail if the builder may not enter a folder above ``target``. The message is clearer than the program's."""
    folder = closed(target, builder)
    if folder and builder:
        raise Failed(
            f"{folder} may not be entered by {builder.name}, as whom {program} runs here: `chmod o+x` it, or set"
            " another `root` in the minion's configuration."
        )


def closed(path: Path, builder: Builder | None) -> Path | None:
    """Return a folder above ``path`` that the builder may not enter, or None."""
    for folder in path.parents if builder else ():
        found = folder.stat()
        if not found.st_mode & stat.S_IXOTH and builder and found.st_uid != builder.uid:
            return folder
    return None


def hand_over(target: Path, builder: Builder | None) -> None:
    """Give all files of a folder to the builder. Nobody else could write to them before.

    It works from the bottom up: the owner of a folder could put a link in the place of an entry that is still to come.
    """
    if builder is None:
        return
    for folder, folders, files in os.walk(target, topdown=False):
        for name in (*files, *folders):
            os.chown(os.path.join(folder, name), builder.uid, builder.gid, follow_symlinks=False)
    os.chown(target, builder.uid, builder.gid, follow_symlinks=False)


def execute(
    command: Sequence[str], folder: Path, env: Mapping[str, str], builder: Builder | None, seconds: float, within: Path
) -> tuple[int, str]:
    """Run foreign code, and return its exit code and the end of its output. No process of it goes on afterwards.

    The code has no groups but that of the builder, because a group like ``docker`` may have the rights of root.

    :param within: the folder by which processes are found that it left behind, where this process has no namespaces.
    :raises CommandFailed: as :func:`commands.execute`.
    """
    try:
        if builder is None or not has_namespaces():
            return commands.execute(command, folder, env, builder.name if builder else "", seconds, groups=False)
        become = ("setpriv", f"--reuid={builder.uid}", f"--regid={builder.gid}", "--clear-groups", "--")
        words = (*NAMESPACE, *FIRST, *SESSION, *become, *command)
        return commands.execute(words, folder, {**baseenv.base(builder.name), **env}, "", seconds)
    finally:
        end_all(within, builder)


@functools.lru_cache(maxsize=1)
def has_namespaces() -> bool:
    """Return whether this process may make namespaces: it is root, and no container forbids it."""
    try:
        return commands.execute((*NAMESPACE, *FIRST, *SESSION, "setpriv", "true"), "/", None, "", 10.0)[0] == 0
    except commands.CommandFailed:
        return False


def end_all(folder: Path, builder: Builder | None) -> None:
    """Kill the processes that a build in ``folder`` left behind. None may go on once the files are taken over.

    :raises Failed: a process does not end.
    """
    user = builder.uid if builder else os.geteuid()
    processes.end(lambda: processes.using(folder, user), signal.SIGKILL, 0)


def take_over(target: Path, builder: Builder | None, program: str) -> None:
    """Make all files this process's own, with a mode that lets nobody else write to them.

    It works from the top down. The former owner of a folder cannot replace an entry in it any more.

    :raises Failed: an entry is neither a file, a folder nor a link, or it belongs to somebody else.
    """
    pending, owner = [target], builder.uid if builder else os.geteuid()
    while pending:
        path = pending.pop()
        found = os.lstat(path)
        if found.st_uid != owner:
            raise Failed(f"{path} belongs to somebody else than {program} ran as: refused.")
        os.chown(path, os.geteuid(), os.getegid(), follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            os.chmod(path, 0o755)
            pending += [path / name for name in os.listdir(path)]
        elif stat.S_ISREG(found.st_mode):
            os.chmod(path, 0o755 if found.st_mode & stat.S_IXUSR else 0o644)
        elif not stat.S_ISLNK(found.st_mode):
            raise Failed(f"{path} is a device, pipe or socket: refused.")
