"""The source kind ``git``: the files of a commit of a Git repository.

git never runs as root, and never with the configuration of the node. Its files come as a tar archive, which is unpacked
like any other archive. So nothing of a repository reaches this process but that archive.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import limits, model, urls, versions, words
from ..core.errors import Failed
from ..core.names import is_version
from . import base, credentials, ordering, unpacker
from .artifacts import Artifacts
from .repository import Repository, is_ssh, opened, ssh_key, ssh_known_hosts

# How a file begins that stands for a file in Git LFS.
POINTER = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True)
class Git:
    """A Git repository. A tag or a branch says the commit of a release, and the commit is its digest.

    :param definition: the ``source`` of an app.
    """

    definition: model.Source

    def missing(self) -> Iterator[str]:
        yield from credentials.missing(self.definition)
        ssh = is_ssh(self.definition.location)
        for program in ("git", *(["ssh"] if ssh else [])):
            if not shutil.which(program):
                yield f"source:git: there is no program {program} on this node"
        for read in (ssh_key, ssh_known_hosts) if ssh else ():
            try:
                read(self.definition)
            except Failed as exc:
                yield str(exc)

    def origin(self, version: str) -> dict[str, object]:
        shown = urls.public(self.definition.location)
        return {"kind": "git", "location": shown, "ref": self._ref(version), "submodules": self.definition.submodules}

    def changes(self, version: str, recorded: Mapping[str, Any]) -> list[str]:
        # The place and the name of a commit may change. The digests say whether it is the same commit.
        there = recorded["origin"]
        wanted = {"kind": "git", "submodules": self.definition.submodules}
        return [key for key, value in wanted.items() if there.get(key) != value]

    def current_digest(self, version: str, folder: Path, fetch: base.Fetch) -> str:
        with self._opened(folder, limits.SMALL) as repository:
            return self._commit(repository, version)

    def newest(self, node: base.Asking) -> base.Newest:
        with self._opened(node.folder, limits.SMALL) as repository:
            if versions.is_branch(self.definition):
                return {"version": versions.of_commit(self._found(repository, "")), "stamp": ""}
            begin, _, end = self.definition.ref.partition("{version}")
            form = re.compile(rf"refs/tags/{re.escape(begin)}(.+){re.escape(end)}")
            named = map(form.fullmatch, repository.refs(f"refs/tags/{begin}*{end}"))
            tagged = [match[1] for match in named if match and is_version(match[1])]
        where = f"{urls.public(self.definition.location)}: tags like {self.definition.ref}"
        return {"version": ordering.newest(tagged, node.above, where), "stamp": ""}

    def check(
        self, version: str, folder: Path, fetch: base.Fetch, artifacts: Artifacts, warn: Callable[[str], object]
    ) -> str:
        artifacts.require(0)
        return self.current_digest(version, folder, fetch)

    def install(self, installation: base.Installation) -> base.Installed:
        version, target, until = installation.version, installation.target, time.monotonic() + installation.seconds
        commit = installation.digest
        with self._opened(target.parent, installation.seconds) as repository:
            commit = commit or self._commit(repository, version)
            modules = self._take(repository, commit, installation, target)
        count = 0
        while modules:
            count += 1
            if count > limits.SUBMODULES:
                raise Failed(f"{self.definition.location} has more than {limits.SUBMODULES} submodules: refused.")
            path, url, its = modules.pop()
            folder = _empty_folder(target, path)
            with opened(self.definition, url, target.parent, until - time.monotonic()) as repository:
                inner = self._take(repository, its, installation, folder)
            modules += [(f"{path}/{below}", other, its) for below, other, its in inner]
        _refuse_pointers(target)
        return {"artifact": commit}

    def _take(
        self, repository: Repository, commit: str, installation: base.Installation, target: Path
    ) -> list[tuple[str, str, str]]:
        """Put the files of ``commit`` into the empty folder ``target``. Return its submodules: path, URL, commit."""
        repository.fetch(commit)
        archive = repository.archive(commit)
        try:
            unpacker.unpack(archive, target, 0, installation.artifacts.releases)
        except (Failed, *unpacker.UNREADABLE) as exc:
            if isinstance(exc, OSError):
                raise
            raise Failed(f"{repository.shown}: {exc}") from exc
        archive.unlink()
        return list(repository.submodules(commit)) if self.definition.submodules else []

    @contextlib.contextmanager
    def _opened(self, folder: Path, seconds: float) -> Iterator[Repository]:
        with opened(self.definition, self.definition.location, folder, seconds) as repository:
            yield repository

    def _ref(self, version: str) -> str:
        return self.definition.ref.replace("{version}", version)

    def _commit(self, repository: Repository, version: str) -> str:
        """Return the commit of ``version``."""
        found = self._found(repository, version)
        begin = versions.commit(version) if versions.is_branch(self.definition) else ""
        return found if found.startswith(begin) else repository.earlier(self._ref(version), begin)

    def _found(self, repository: Repository, version: str) -> str:
        """Return the commit of the tag of ``version``, or of its branch if there is no such tag."""
        name = self._ref(version)
        found = repository.refs(
            f"refs/tags/{name}", f"refs/tags/{name}^{{}}", f"refs/heads/{name}", f"refs/tags/v{name}"
        )
        # A tag with a text of its own is an object beside its commit.
        for ref in (f"refs/tags/{name}^{{}}", f"refs/tags/{name}", f"refs/heads/{name}"):
            if ref in found:
                return found[ref]
        hint = (
            f' It has the tag v{name}. Write `ref: "v{self.definition.ref}"`.' if f"refs/tags/v{name}" in found else ""
        )
        raise Failed(f"{repository.shown}: there is no tag and no branch {words.harmless(name)}.{hint}")


def _empty_folder(target: Path, path: str) -> Path:
    """Return the folder of a submodule, which is empty and not reached by a link.

    :raises Failed: there is something else.
    """
    folder = target / path
    if os.path.realpath(folder) != os.path.join(os.path.realpath(target), path) or not folder.is_dir():
        raise Failed(f"the submodule {words.harmless(path)} has no folder of its own: refused.")
    if any(folder.iterdir()):
        raise Failed(f"the folder of the submodule {words.harmless(path)} is not empty: refused.")
    return folder


def _refuse_pointers(target: Path) -> None:
    """Raise Failed if a file is a pointer of Git LFS, without the content that it stands for."""
    for folder, _, names in os.walk(target):
        for name in names:
            path = Path(folder, name)
            if path.is_symlink() or path.stat().st_size > limits.POINTER:
                continue
            with path.open("rb") as data:
                pointer = data.read(len(POINTER)) == POINTER
            if pointer:
                raise Failed(
                    f"{words.harmless(str(path.relative_to(target)))} is in Git LFS, which saltdeploy does not fetch."
                    " Deploy an archive with its content (source:archive), or keep the file in Git itself."
                )
