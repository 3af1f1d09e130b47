"""The source kind ``pip``: a virtualenv with a project of a Python package index.

Code of packages runs while it is built, never as root.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import limits, model, names, urls, words
from ..core.errors import Failed, Refused
from ..system import commands, disk, trees
from . import base, credentials, lockfile, uv
from .artifacts import Artifacts
from .builder import Builder, check_way, choose, closed, end_all, execute, hand_over, proxies, take_over
from .lockfile import normal
from .ordering import newest, parsed

# The variables of the minion's environment that a build sees, beside PIP_*. None of them belongs to Salt's own Python.
KEPT = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
QUIET = ("--no-input", "--disable-pip-version-check", "--quiet")
# pip looks for the files of a project, and installs nothing.
LOOK = ("--dry-run", "--no-deps", "--ignore-installed")
ONLY_WHEELS = "--only-binary=:all:"
# pip's words for a project without a wheel that this Python could use, and for other projects that it does not find.
NOT_FOUND = re.compile(r"No matching distribution found for ([A-Za-z0-9._-]+)")


@dataclass(frozen=True)
class Pip:
    """A project of a Python package index, in the exact version of the release, with further requirements.

    :param definition: the ``source`` of an app.
    """

    definition: model.Source

    def missing(self) -> Iterator[str]:
        yield from credentials.missing(self.definition)
        python, wheelhouse = self.definition.python, self.definition.wheelhouse
        if python and not (os.access(python, os.X_OK) if "/" in python else shutil.which(python)):
            yield f"source:python: there is no program {python} on this node"
        if wheelhouse.startswith("/") and not Path(wheelhouse).is_dir():
            yield f"source:wheelhouse: there is no folder {wheelhouse} on this node"

    def origin(self, version: str) -> base.Origin:
        return base.origin(self.definition, version)

    def changes(self, version: str, recorded: Mapping[str, Any]) -> list[str]:
        return base.changes(self.origin(version), recorded["origin"])

    def current_digest(self, version: str, folder: Path, fetch: base.Fetch) -> str:
        return self._read_lock(version, folder, fetch)[1] if self.definition.lock else ""

    def newest(self, node: base.Asking) -> base.Newest:
        source, digests = self.definition, self.definition.sha256
        if isinstance(digests, dict):
            found = newest(digests, node.above)
        elif source.lock and "{version}" not in source.lock:
            found = self._locked(self._read_lock("", node.folder, node.fetch)[0])
        else:
            with self._packages(node.folder, node.fetch) as wheelhouse:
                found = newest_offered(source, node.above, node.folder / "files", node.user, wheelhouse)
        return {"version": found, "stamp": ""}

    def check(
        self,
        version: str,
        folder: Path,
        fetch: base.Fetch,
        artifacts: Artifacts,
        warn: Callable[[str], object],
    ) -> str:
        digest = self._requirements(version, folder, fetch)[1]
        for problem in credentials.missing(self.definition):
            raise Failed(problem)
        if self.definition.wheelhouse.startswith("salt://"):
            fetch(base.folder(self.definition.wheelhouse), None)
        artifacts.require(0)
        return digest

    def install(self, installation: base.Installation) -> base.Installed:
        version, target, fetch = installation.version, installation.target, installation.fetch
        requirements, digest = self._requirements(version, target.parent, fetch)
        if digest and installation.digest not in ("", digest):
            raise Failed(f"{self._place(version)}: was changed meanwhile. Run it again.")
        with self._packages(target.parent, fetch) as wheelhouse:
            builder = build(self.definition, requirements, target, installation.user, wheelhouse)
        return {"artifact": digest, "packages": installed(target), "builder": builder}

    # -- the requirements ---------------------------------------------------------------------

    def _requirements(self, version: str, folder: Path, fetch: base.Fetch) -> tuple[list[str], str]:
        """Return the requirements of a release, its own project first, and the digest of the lock file, if any."""
        source = self.definition
        if not source.lock:
            return [self._pinned(version), *source.requirements], ""
        lock, digest = self._read_lock(version, folder, fetch)
        found = self._locked(lock)
        if found != version:
            raise Refused(f"{self._place(version)}: has {source.location} {found}, and not {version}.")
        own = [self._pinned(version)] if source.sha256 else lock.of(self._project())
        return [*own, *lock.without(self._project())], digest

    def _pinned(self, version: str) -> str:
        """Return the requirement of the project, for pip."""
        pinned, digests = f"{self.definition.location}=={version}", self.definition.sha256
        if not digests:
            return pinned
        if not isinstance(digests, dict) or version not in digests:
            raise Refused(f"no digest is known for {pinned}: add it to the app's source:sha256.")
        return f"{pinned} --hash=sha256:{digests[version]}"

    def _read_lock(self, version: str, folder: Path, fetch: base.Fetch) -> tuple[lockfile.Lock, str]:
        """Return the content of the lock file, and its SHA-256."""
        place, path = self._place(version), folder / "lock"
        if place.startswith("salt://"):
            fetch(place, path)
        else:
            path = Path(place)
        try:
            with path.open("rb") as data:
                content = data.read(limits.LOCK + 1)
        except OSError as exc:
            raise Failed(f"{place}: cannot be read on this node: {exc.strerror or exc}") from None
        finally:
            if place.startswith("salt://"):
                path.unlink(missing_ok=True)
        if len(content) > limits.LOCK:
            raise Failed(f"{place}: is larger than {disk.human(limits.LOCK)}: no lock file.")
        return lockfile.read(content.decode(errors="replace"), place), hashlib.sha256(content).hexdigest()

    def _locked(self, lock: lockfile.Lock) -> str:
        """Return the version of the project in the lock file."""
        found = lock.versions.get(normal(self._project()))
        if found is None:
            raise Refused(
                f"{self.definition.lock}: does not have {self._project()}. Make it from a file of requirements that has"
                " the project, too."
            )
        return found

    def _place(self, version: str) -> str:
        return self.definition.lock.replace("{version}", version)

    def _project(self) -> str:
        return self.definition.location.partition("[")[0]

    @contextlib.contextmanager
    def _packages(self, folder: Path, fetch: base.Fetch) -> Iterator[str]:
        """Yield the folder of the packages that are not fetched from an index, empty if there is none."""
        place = self.definition.wheelhouse
        if not place.startswith("salt://"):
            yield place
            return
        path = folder / "wheelhouse"
        try:
            path.mkdir()
            fetch(base.folder(place), path)
            # pip does not run as root.
            path.chmod(0o755)
            for package in path.iterdir():
                package.chmod(0o644)
            yield str(path)
        finally:
            trees.remove(path)


def build(source: model.Source, requirements: Sequence[str], target: Path, user: str, wheelhouse: str = "") -> str:
    """Make a virtualenv in the empty folder ``target`` and return the program that installed its packages.

    Afterwards its files belong to this process's user, and nobody else may write to them.

    :param requirements: the requirements of a release.
    :param user: the app's user. If this process is root, the build runs as that user, or as ``nobody``.
    :param wheelhouse: a folder of packages in place of the package index, or an empty text.
    :raises Refused: this node has no such user.
    :raises Failed: it could not be made.
    """
    builder = choose(user, "pip")
    with _virtualenv(source, requirements, target, builder, wheelhouse) as virtualenv:
        installer = virtualenv.install(_kinds(source), requirements[0].partition(" ")[0])
    take_over(target, builder, "pip")
    # A process that opened a file before could still write to it.
    end_all(target.parent, builder)
    return installer


def newest_offered(source: model.Source, above: str, target: Path, user: str, wheelhouse: str = "") -> str:
    """Return the newest version that the package index offers, and that the further requirements allow.

    It is the version that pip would install. So it is a final release, unless the project has no other.

    :param above: the deployed version: no older version is found. Empty if nothing is deployed, and without meaning if
        it is none of Python's, because the app had a source of another kind.
    :param target: a path for a virtualenv, which is needed meanwhile.
    :param user, wheelhouse: as for :func:`build`.
    :raises Failed: pip finds no version.
    """
    builder, project, floor = choose(user, "pip"), source.location, parsed(above)
    target.mkdir()
    wanted = f"{project}>={floor.public}" if floor else project
    with _virtualenv(source, [wanted, *source.requirements], target, builder, wheelhouse) as virtualenv:
        # pip documents the format of the report. It has had it since 22.2, and it says the format's version.
        report = virtualenv.private / "report.json"
        virtualenv.pip([*LOOK, "--report", report, *_kinds(source)], wanted)
        found = _version_in(report, normal(project.partition("[")[0]))
    offered = parsed(found)
    return above if floor and (offered is None or offered < floor) else found


def _kinds(source: model.Source) -> list[str]:
    """Return the options, which pip and uv have in common, for the kinds of packages that may be installed."""
    if source.sdists is True:
        return []
    return [ONLY_WHEELS, *(f"--no-binary={project}" for project in source.sdists or ())]


def _version_in(report: Path, project: str) -> str:
    """Return the version of ``project`` in a report of pip.

    Code of packages may have run, and may have put anything in its place.

    :raises Failed: the report does not have it.
    """
    found: Any = None
    with (
        contextlib.suppress(OSError, ValueError, RecursionError),
        open(os.open(report, os.O_NOFOLLOW | os.O_NONBLOCK)) as data,
    ):
        if stat.S_ISREG(os.fstat(data.fileno()).st_mode):
            found = json.loads(data.read(limits.REPORT))
    installs = found.get("install") if isinstance(found, dict) else None
    for each in installs if isinstance(installs, list) else ():
        package = each.get("metadata") if isinstance(each, dict) else None
        if isinstance(package, dict) and normal(str(package.get("name"))) == project:
            version = package.get("version")
            if names.is_version(version):
                return version
    raise Failed(f"pip does not say the newest version of {project}.")


@contextlib.contextmanager
def _virtualenv(
    source: model.Source, requirements: Sequence[str], target: Path, builder: Builder | None, wheelhouse: str
) -> Iterator[_Virtualenv]:
    """Make an empty virtualenv in the folder ``target``, for the time of a build."""
    python = source.python or (shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin") or sys.executable)
    check_way(target, builder, "pip")
    private = Path(tempfile.mkdtemp(prefix="home.", dir=target.parent))
    try:
        index = [f"--index-url {source.index}"] if source.index else []
        index += ["--no-index", f"--find-links {wheelhouse}"] if wheelhouse else []
        _write(private / "requirements.txt", "\n".join([*index, *requirements]) + "\n")
        run = _Run(private, builder, _environment(source, private, builder))
        installer = uv.find(run.environment, private, requirements, source.index)
        if installer and closed(Path(installer.program), builder):
            installer = installer.copied(private / "uv")
        hand_over(private, builder)
        if builder:
            os.chown(target, builder.uid, builder.gid, follow_symlinks=False)
        made = _Virtualenv(python, target, private, run, installer)
        made.make()
        yield made
    finally:
        trees.remove(private)


class _Virtualenv:
    """A virtualenv without pip, so that its content is the same whether uv or pip installs its packages.

    :param private: a folder of the builder's own, with the file ``requirements.txt``.
    :param installer: uv, or None if it is not on this node or cannot install these requirements.
    """

    def __init__(self, python: str, target: Path, private: Path, run: _Run, installer: uv.Uv | None) -> None:
        self.python, self.target, self.private, self.run, self.installer = python, target, private, run, installer

    def make(self) -> None:
        """Make the virtualenv. Packages that are in it are removed."""
        self.run([self.python, "-m", "venv", "--clear", "--without-pip", self.target], f"{self.python} -m venv")

    def install(self, options: Sequence[str], what: str) -> str:
        """Install the requirements with uv, or with pip if uv cannot. Return the name of the program.

        :param options: options that both have.
        :param what: a requirement, for messages.
        """
        if self.installer:
            try:
                self._install_with(self.installer, options, what)
                return "uv"
            except Failed:
                self.make()  # pip has the last word, and so the same errors are seen on all nodes
        self.pip(options, what)
        return "pip"

    def pip(self, options: Sequence[object], what: str) -> None:
        """Run ``pip install`` for the requirements, with a pip that is not in the virtualenv itself."""
        command = [self._python, self._pip(), "install", *QUIET, *options, *self._file]
        try:
            self.run(command, f"pip install {what}")
        except Failed as exc:
            found = NOT_FOUND.search(str(exc))
            if ONLY_WHEELS not in options or not found:
                raise
            raise Failed(
                f"{exc}. Only wheels are installed. If {found[1]} has no wheel for this Python, allow its source"
                f" archive: `source:sdists: [{found[1]}]`."
            ) from None

    def _install_with(self, installer: uv.Uv, options: Sequence[str], what: str) -> None:
        command = [installer.program, "pip", "install", "--quiet", "--python", self._python]
        command += [*installer.options, *options, *self._file]
        self.run(command, f"uv pip install {what}", installer.environment)

    @property
    def _python(self) -> Path:
        return self.target / "bin/python"

    @property
    def _file(self) -> tuple[str, Path]:
        return "--requirement", self.private / "requirements.txt"

    def _pip(self) -> Path:
        """Return the folder of a pip that finds no other package beside itself."""
        alone = self.private / "alone/pip"
        if not alone.is_symlink():
            tools = self.private / "tools"
            self.run([self.python, "-m", "venv", tools], f"{self.python} -m venv")
            found = next(tools.glob("lib/python*/site-packages/pip"), None)
            if found is None:
                raise Failed(f"{self.python} -m venv: made a virtualenv without pip.")
            alone.parent.mkdir(exist_ok=True)
            alone.symlink_to(found)
        return alone


def installed(target: Path) -> list[str]:
    """Return the packages of a virtualenv, as ``["name==version", …]``."""
    found = [p.name.rpartition(".")[0].partition("-") for p in target.glob("lib/python*/site-packages/*.dist-info")]
    return sorted(f"{normal(name)}=={version}" for name, _, version in found)


def _environment(source: model.Source, private: Path, builder: Builder | None) -> dict[str, str]:
    """Return the environment of a build.

    If this process builds itself, the build has its home, with pip's cache and configuration.
    """
    kept = {k: v for k, v in os.environ.items() if k in KEPT or k.startswith("PIP_")} | proxies()
    home = str(private) if builder else os.environ.get("HOME", str(private))
    # The virtualenv has no setuptools, with which an old pip would build.
    own = {"PATH": PATH, **kept, "HOME": home, "TMPDIR": str(private), "PIP_USE_PEP517": "1"}
    if source.netrc:
        # Not the whole file, because code that a package runs during its build may read this copy.
        logins = credentials.of_hosts(source.netrc, [source.index, *source.requirements])
        own["NETRC"] = _private(private / "netrc", logins)
    if source.ca:
        own["REQUESTS_CA_BUNDLE"] = own["PIP_CERT"] = _private(private / "ca.pem", credentials.text(source.ca, "ca"))
    if source.cert:
        own["PIP_CLIENT_CERT"] = _private(private / "client.pem", credentials.certificate_and_key(source))
    return own


def _private(path: Path, text: str) -> str:
    """Write a new file that only its owner may read, and return its path."""
    _write(path, text)
    return str(path)


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

    def __call__(self, command: Sequence[object], what: str, environment: Mapping[str, str] | None = None) -> None:
        """Run ``command``, which messages call ``what``.

        :param environment: another environment than that of pip.
        """
        words, env = [str(word) for word in command], environment or self.environment
        try:
            code, output = execute(words, self.private, env, self.builder, limits.PIP, self.private.parent)
        except commands.CommandFailed as exc:
            hangs = isinstance(exc.__cause__, subprocess.TimeoutExpired)
            raise Failed(f"{what}: {f'hangs, killed after {limits.PIP:g}s' if hangs else exc}") from exc
        if code:
            raise Failed(f"{what}: {_error(output)}")


def _error(output: str) -> str:
    """Return the error in pip's own words."""
    lines = [line for line in output.strip().splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines
    return words.message(urls.without_secrets(" ".join(errors[-2:])))
