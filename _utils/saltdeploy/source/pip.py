"""The source kind ``pip``: a virtualenv with a project of a Python package index.

Code of packages runs while it is built, never as root.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import deadlines, limits, model, urls, words
from ..core.errors import Failed, Refused
from ..system import probes, processes, trees
from . import base, credentials
from .artifacts import Artifacts

# The variables of the minion's environment that a build sees, beside PIP_*. None of them belongs to Salt's own Python.
KEPT = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The user of a build for an app that itself runs as root.
NOBODY = "nobody"
# The packages that a virtualenv has by itself, in a version that its Python chose.
SEEDS = ("pip", "setuptools", "wheel")


@dataclass(frozen=True)
class Pip:
    """A project of a Python package index, in the exact version of the release, with further requirements.

    :param definition: the ``source`` of an app.
    """

    definition: model.Source

    def missing(self) -> Iterator[str]:
        yield from credentials.missing(self.definition)
        python = self.definition.python
        if python and not (os.access(python, os.X_OK) if "/" in python else shutil.which(python)):
            yield f"source:python: there is no program {python} on this node"

    def origin(self, version: str) -> base.Origin:
        return base.origin(self.definition, version)

    def changes(self, version: str, recorded: Mapping[str, Any]) -> list[str]:
        return base.changes(self.origin(version), recorded["origin"])

    def current_digest(self, version: str, folder: Path, fetch: base.Fetch) -> str:
        return ""

    def check(
        self,
        version: str,
        folder: Path,
        fetch: base.Fetch,
        artifacts: Artifacts,
        warn: Callable[[str], object],
    ) -> str:
        self._pinned(version)
        if self.definition.netrc:
            credentials.logins(self.definition.netrc)
        artifacts.require(0)
        return ""

    def install(self, installation: base.Installation) -> base.Installed:
        pinned = self._pinned(installation.version)
        return {"artifact": "", "packages": build(self.definition, pinned, installation.target, installation.user)}

    def _pinned(self, version: str) -> str:
        """Return the requirement of the project, for pip."""
        pinned, digests = f"{self.definition.location}=={version}", self.definition.sha256
        if not digests:
            return pinned
        if not isinstance(digests, dict) or version not in digests:
            raise Refused(f"no digest is known for {pinned}: add it to the app's source:sha256.")
        return f"{pinned} --hash=sha256:{digests[version]}"


@dataclass(frozen=True)
class Builder:
    """The user that a build runs as."""

    name: str
    uid: int
    gid: int


def build(source: model.Source, pinned: str, target: Path, user: str) -> list[str]:
    """Make a virtualenv in the empty folder ``target`` and return its packages, as ``["name==version", …]``.

    Afterwards its files belong to this process's user, and nobody else may write to them.

    :param pinned: the requirement of the project itself: an exact version, with a digest if one is known.
    :param user: the app's user. If this process is root, the build runs as that user, or as ``nobody``.
    :raises Refused: this node has no such user.
    :raises Failed: it could not be made.
    """
    builder = _builder(user)
    python = source.python or (shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin") or sys.executable)
    _check_way(target, builder)
    private = Path(tempfile.mkdtemp(prefix="home.", dir=target.parent))
    try:
        requirements = private / "requirements.txt"
        index = [f"--index-url {source.index}"] if source.index else []
        _write(requirements, "\n".join([*index, pinned, *source.requirements]) + "\n")
        run = _Run(private, builder, _environment(source, private, builder))
        if builder:
            for path in (private, target, *private.iterdir()):
                os.chown(path, builder.uid, builder.gid)
        run([python, "-m", "venv", target], f"{python} -m venv")
        options = ["--no-input", "--disable-pip-version-check", "--quiet"]
        pip = [target / "bin/python", "-m", "pip", "install", *options, "--requirement", requirements]
        run(pip, f"pip install {pinned.partition(' ')[0]}")
    finally:
        trees.remove(private)
    _take_over(target, builder)
    # A process that opened a file before could still write to it.
    _end_all(target.parent, builder)
    return installed(target)


def installed(target: Path) -> list[str]:
    """Return the packages of a virtualenv, as ``["name==version", …]``, without those that every virtualenv has."""
    found = [p.name.rpartition(".")[0].partition("-") for p in target.glob("lib/python*/site-packages/*.dist-info")]
    names = {re.sub(r"[-_.]+", "-", name).lower(): version for name, _, version in found}
    return sorted(f"{name}=={version}" for name, version in names.items() if name not in SEEDS)


def _builder(user: str) -> Builder | None:
    """Return the Builder of an app whose user is ``user``, or None if this process is not root and builds itself."""
    if os.geteuid() != 0:
        return None
    name = NOBODY if user in ("", "root") else user
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise Refused(
            f"there is no user {name} on this node, as whom pip runs: apply the state app.release, or add it."
        ) from None
    if entry.pw_uid == 0:
        raise Refused(f"{name} is root on this node, and pip never runs as root: give the app another `user`.")
    return Builder(name, entry.pw_uid, entry.pw_gid)


def _check_way(target: Path, builder: Builder | None) -> None:
    """Fail if the builder may not enter a folder above ``target``. The message is clearer than pip's."""
    if builder is None:
        return
    for folder in target.parents:
        found = folder.stat()
        if not found.st_mode & stat.S_IXOTH and found.st_uid != builder.uid:
            raise Failed(
                f"{folder} may not be entered by {builder.name}, as whom pip runs here: `chmod o+x` it, or set another"
                " `root` in the minion's configuration."
            )


def _environment(source: model.Source, private: Path, builder: Builder | None) -> dict[str, str]:
    """Return the environment of a build.

    If this process builds itself, the build has its home, with pip's cache and configuration.
    """
    kept = {k: v for k, v in os.environ.items() if k in KEPT or k.lower() in PROXIES or k.startswith("PIP_")}
    home = str(private) if builder else os.environ.get("HOME", str(private))
    own = {"PATH": PATH, **kept, "HOME": home, "TMPDIR": str(private)}
    if not source.netrc:
        return own
    # Not the whole file, because code that a package runs during its build may read this copy.
    path = private / "netrc"
    _write(path, credentials.of_hosts(source.netrc, [source.index, *source.requirements]))
    return {**own, "NETRC": str(path)}


def _write(path: Path, text: str) -> None:
    """Write a new file that only its owner may read."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)


class _Run:
    """Runs commands of a build, as its builder, and ends all processes that they leave behind.

    :param private: a folder of the builder's own, with files that only a build may read.
    """

    def __init__(self, private: Path, builder: Builder | None, environment: Mapping[str, str]) -> None:
        self.private, self.builder, self.environment = private, builder, environment

    def __call__(self, command: Sequence[object], what: str) -> None:
        """Run ``command``, which messages call ``what``."""
        try:
            process = subprocess.Popen(
                list(map(str, command)),
                cwd=self.private,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=0o022,
                user=self.builder.uid if self.builder else None,
                group=self.builder.gid if self.builder else None,
                extra_groups=[] if self.builder else None,
            )
        except OSError as exc:
            raise Failed(f"{what}: {exc}") from exc
        try:
            with process.stdout:  # type: ignore[union-attr]  # it is a pipe
                output = probes.until_its_end(process, limits.PIP)
        except subprocess.TimeoutExpired as exc:
            raise Failed(f"{what}: hangs, killed after {limits.PIP:g}s") from exc
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            _end_all(self.private.parent, self.builder)
            with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs in the kernel, and nobody can end it
                process.wait(deadlines.KILL)
        if process.returncode:
            raise Failed(f"{what}: {_error(output)}")


def _end_all(folder: Path, builder: Builder | None) -> None:
    """Kill the processes that a build in ``folder`` left behind. None may go on once the files are taken over.

    :raises Failed: a process does not end.
    """
    user = builder.uid if builder else os.geteuid()
    processes.end(lambda: processes.using(folder, user), signal.SIGKILL, 0)


def _error(output: str) -> str:
    """Return the error in pip's own words."""
    lines = [line for line in output.strip().splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines
    return words.message(urls.without_secrets(" ".join(errors[-2:])))


def _take_over(target: Path, builder: Builder | None) -> None:
    """Make all files this process's own, with a mode that lets nobody else write to them.

    It works from the top down. The former owner of a folder cannot replace an entry in it any more.

    :raises Failed: an entry is neither a file, a folder nor a link, or it belongs to somebody else.
    """
    pending, owner = [target], builder.uid if builder else os.geteuid()
    while pending:
        path = pending.pop()
        found = os.lstat(path)
        if found.st_uid != owner:
            raise Failed(f"{path} belongs to somebody else than pip ran as: refused.")
        os.chown(path, os.geteuid(), os.getegid(), follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            os.chmod(path, 0o755)
            pending += [path / name for name in os.listdir(path)]
        elif stat.S_ISREG(found.st_mode):
            os.chmod(path, 0o755 if found.st_mode & stat.S_IXUSR else 0o644)
        elif not stat.S_ISLNK(found.st_mode):
            raise Failed(f"{path} is a device, pipe or socket: refused.")
