"""The source kind ``ansible``: a playbook that runs on the node and makes the files of the release.

Ansible is in a virtualenv of its own, ``<root>/.ansible/<digest of its requirements>/files``. Releases share it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core import limits, model
from ..core.errors import Failed
from ..system import commands, disk, filelocks, trees
from ..system.files import make_folder
from . import ansiblerun, base, path, pip
from .archive import Archive
from .artifacts import Artifacts

FOLDER = ".ansible"
# The packages that have the programs of Ansible. The second brings the first, and many collections.
PACKAGES = ("ansible-core", "ansible")
# The newest for Python 3.11, which Debian 12 has. It runs with later Pythons, too.
DEFAULT = "ansible-core==2.19.14"
# The seconds after which a virtualenv is removed that no installation has used.
STALE = 30 * 24 * 3600
# How long an installation waits while another installation makes the virtualenv, in seconds.
PATIENCE = 300.0
# The parts of an origin that determine the content. A later playbook or a later Ansible is for later releases.
IDENTITY = ("kind", "location", "sha256")


@dataclass(frozen=True)
class Ansible:
    """A playbook in a folder of the Salt master's files, or in an archive if the definition has a digest.

    :param definition: the ``source`` of an app.
    """

    definition: model.Source

    def missing(self) -> Iterator[str]:
        return pip.Pip(self.definition).missing()

    def origin(self, version: str) -> base.Origin:
        return base.origin(self.definition, version)

    def changes(self, version: str, recorded: Mapping[str, Any]) -> list[str]:
        return [key for key in base.changes(self.origin(version), recorded["origin"]) if key in IDENTITY]

    def current_digest(self, version: str, folder: Path, fetch: base.Fetch) -> str:
        if self._is_archive():
            return self._archive().current_digest(version, folder, fetch)
        # A folder without a version in its name serves all versions, and has the next one's content at any time.
        return self._fetch(version, folder, fetch) if "{version}" in self.definition.location else ""

    def newest(self, node: base.Asking) -> base.Newest:
        return self._archive().newest(node)

    def check(
        self, version: str, folder: Path, fetch: base.Fetch, artifacts: Artifacts, warn: Callable[[str], object]
    ) -> str:
        if self._is_archive():
            return self._archive().check(version, folder, fetch, artifacts, warn)
        artifacts.require(0)
        digest = self._fetch(version, folder, fetch)
        self._require_playbook(folder / "content", version)
        return digest

    def install(self, installation: base.Installation) -> base.Installed:
        with self._prepared(installation, [installation.artifacts.root]) as ready:
            ready.playbook.run(ready.seconds())
        if not any(installation.target.iterdir()):
            raise Failed(
                f"{self.definition.playbook}: it left the folder of the release empty. It must put the files of the"
                " release into `directory`, a variable."
            )
        return {"artifact": ready.digest, "packages": pip.installed(ready.playbook.programs.parent)}

    def preview(self, installation: base.Installation, root: Path) -> list[str]:
        """Run the playbook in check mode, and return the changes that it would make, as texts.

        :param installation: its target, and the root of its artifacts, are temporary folders.
        :param root: the node's folder. If it has Ansible, that is used.
        """
        with self._prepared(installation, [root, installation.artifacts.root]) as ready:
            return ansiblerun.told(ready.playbook.run(ready.seconds(), check=True))

    # -- the playbook -------------------------------------------------------------------------

    @contextlib.contextmanager
    def _prepared(self, installation: base.Installation, roots: Sequence[Path]) -> Iterator[_Ready]:
        """Yield the playbook, with all that it needs in a folder beside the target.

        :param roots: folders that may have Ansible. If it is in none, it comes into the last.
        """
        until = time.monotonic() + installation.seconds
        installation.artifacts.require(0)
        work = Path(tempfile.mkdtemp(prefix="ansible.", dir=installation.target.parent))
        # A task may become another user, who must come to the files of its module.
        work.chmod(0o711)
        try:
            digest = self._bring(installation, work)
            self._require_playbook(work / "content", installation.version)
            brought = programs(self.definition, roots)
            release = installation.artifacts.releases / installation.version
            own = {
                "app": installation.artifacts.app,
                "version": installation.version,
                "release": str(release),
                "directory": str(installation.target),
            }
            playbook = ansiblerun.Playbook(brought, work, self.definition.playbook, own, self.definition.vars)
            ready = _Ready(playbook, digest, until)
            if self.definition.collections:
                playbook.install_collections(self.definition.collections, ready.seconds())
            yield ready
        finally:
            trees.remove(work)

    def _bring(self, installation: base.Installation, work: Path) -> str:
        """Bring the playbook's folder as ``work/content``, and return its digest."""
        content = work / "content"
        if self._is_archive():
            content.mkdir(0o700)
            return self._archive().install(replace(installation, target=content))["artifact"]
        digest = self._fetch(installation.version, work, installation.fetch)
        if installation.digest and digest != installation.digest:
            shown = base.location(self.definition, installation.version)
            raise Failed(f"{shown} was changed meanwhile. Run it again.")
        return digest

    def _fetch(self, version: str, folder: Path, fetch: base.Fetch) -> str:
        """Bring the playbook's folder of the master as ``folder/content``, and return the SHA-256 of its content."""
        content = folder / "content"
        content.mkdir(0o700)
        fetch(base.folder(base.location(self.definition, version)), content)
        chosen = [self.definition.playbook, *self.definition.collections, *self.definition.requirements]
        about = "\n".join([path.digest(content), *chosen])
        return hashlib.sha256(about.encode()).hexdigest()

    def _require_playbook(self, content: Path, version: str) -> None:
        if not (content / self.definition.playbook).is_file():
            shown = self.origin(version)["location"]
            raise Failed(f"source:playbook: {shown} has no file {self.definition.playbook}.")

    def _is_archive(self) -> bool:
        return self.definition.sha256 is not None

    def _archive(self) -> Archive:
        return Archive(self.definition)


@dataclass(frozen=True)
class _Ready:
    """A playbook that is ready to run.

    :param digest: the digest of its folder or archive.
    :param until: its end, in the time of the monotonic clock.
    """

    playbook: ansiblerun.Playbook
    digest: str
    until: float

    def seconds(self) -> float:
        """Return the seconds that are left."""
        return max(1.0, self.until - time.monotonic())


# -- the virtualenv -------------------------------------------------------------------------------


def programs(source: model.Source, roots: Sequence[Path]) -> Path:
    """Return the folder with Ansible's programs, in the virtualenv for ``source``. It is made if it is not there.

    :param roots: the folders that may have it. If none has it, it is made in the last.
    :raises Failed: it could not be made.
    """
    first, others = requirements(source)
    wanted = "\n".join([first, *others, source.python, source.index])
    name = hashlib.sha256(wanted.encode()).hexdigest()[:16]
    for root in roots[:-1]:
        if _is_complete(root / FOLDER / name):
            return root / FOLDER / name / "files" / "bin"
    above = roots[-1] / FOLDER
    home = above / name
    make_folder(above)
    with filelocks.hold(above / f".{home.name}.lock", PATIENCE):
        if not _is_complete(home):
            trees.remove(home)
            disk.require([disk.Need(above, limits.ANSIBLE)])
            make_folder(home / "files")
            try:
                pip.build(replace(source, kind="pip"), [first, *others], home / "files", "")
            except BaseException:
                trees.remove(home)
                raise
            os.sync()
        (home / "complete").touch()
    _tidy(above, home)
    return home / "files" / "bin"


def requirements(source: model.Source) -> tuple[str, tuple[str, ...]]:
    """Return the requirement of Ansible itself, and the others."""
    given = source.requirements
    first = next((each for each in given if re.split(r"[^A-Za-z0-9._-]", each)[0].lower() in PACKAGES), DEFAULT)
    return first, tuple(each for each in given if each != first)


def _is_complete(home: Path) -> bool:
    """Return whether a virtualenv was made completely, and has the Python that it was made with."""
    if not (home / "complete").exists():
        return False
    command = [str(home / "files/bin/python"), "-c", "import ansible"]
    try:
        return commands.execute(command, "/", {"PYTHONDONTWRITEBYTECODE": "1"}, "", 60.0)[0] == 0
    except commands.CommandFailed:
        return False


def _tidy(above: Path, current: Path) -> None:
    """Remove the virtualenvs that no installation has used for a long time."""
    for home in above.iterdir():
        if home.name.startswith(".") or home == current:
            continue
        lock = above / f".{home.name}.lock"
        with contextlib.suppress(OSError, filelocks.Held), filelocks.hold(lock, 0):
            if time.time() - (home / "complete").stat().st_mtime > STALE:
                trees.remove(home)
                lock.unlink(missing_ok=True)
