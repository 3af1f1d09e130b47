"""The source kind ``path``: a folder of the node, for example a working copy. A release is a copy of it.

The owner of the folder may change it at any moment, and this runs as root. So the folder is read by open folders and
files. No link in it is followed, and a link on the way to it only if root made it where nobody else can replace it.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ..core import limits, model, urls, versions, words
from ..core.errors import Failed, Refused
from ..system import disk
from . import base
from .artifacts import Artifacts

# Left out of every copy. The history of the folder, and files that Python makes of others.
EXCLUDED = (".git", "__pycache__")
PIECE = 1 << 16
# A file may change twice within one tick of the clock of a file system. Then its dates do not tell, in seconds.
TICK = 2.0
# How many links may be on the way to the folder, as for Linux.
LINKS = 40


@dataclass(frozen=True)
class Folder:
    """A folder of this node.

    :param definition: the ``source`` of an app.
    :param excluded: the names that every copy leaves out.
    """

    definition: model.Source
    excluded: tuple[str, ...] = EXCLUDED

    def missing(self) -> Iterator[str]:
        try:
            with self._explained(), self._opened():
                pass
        except (Failed, Refused) as exc:
            yield str(exc)

    def origin(self, version: str) -> dict[str, object]:
        return {"kind": "path", "location": urls.public(self.definition.location)}

    def changes(self, version: str, recorded: Mapping[str, Any]) -> list[str]:
        # The content of a copy does not depend on the place. The digests say whether it is the same.
        return [] if recorded["origin"].get("kind") == "path" else ["kind"]

    def current_digest(self, version: str, folder: Path, fetch: base.Fetch) -> str:
        # Such a version names its content. The folder may have other content by now.
        return "" if versions.is_of_content(version) else self.read()

    def newest(self, node: base.Asking) -> base.Newest:
        stamp = self._stamp()
        version = node.known.get(stamp) or versions.of_content(self.read())
        return {"version": version, "stamp": stamp}

    def check(
        self, version: str, folder: Path, fetch: base.Fetch, artifacts: Artifacts, warn: Callable[[str], object]
    ) -> str:
        reading = _Reading(self.definition.location)
        digest = self.read(reading)
        self._compare(version, digest)
        artifacts.require(reading.bytes)
        return digest

    def install(self, installation: base.Installation) -> base.Installed:
        reading = _Reading(self.definition.location, installation.target, installation.artifacts.releases)
        digest = self.read(reading)
        self._compare(installation.version, digest)
        if installation.digest and digest != installation.digest:
            raise Failed(f"source:path: {self.definition.location} was changed meanwhile. Run it again.")
        if not any(installation.target.iterdir()):
            raise Failed(f"source:path: {self.definition.location} has no files.")
        return {"artifact": digest}

    def _compare(self, version: str, digest: str) -> None:
        """Raise Failed if ``version`` names other content."""
        now = versions.of_content(digest)
        if versions.is_of_content(version) and version != now:
            raise Failed(
                f"source:path: {self.definition.location} has {now} now, and not {version}. Without a version, the"
                " present content is deployed."
            )

    def read(self, reading: _Reading | None = None) -> str:
        """Return the SHA-256 of the content."""
        reading = reading or _Reading(self.definition.location)
        with self._explained():
            for entry in self._entries():
                with _naming(entry.path):
                    reading.take(entry)
        return reading.finish()

    def _stamp(self) -> str:
        """Return a text that changes with any change, or an empty text if a change is too young to tell."""
        found, latest = hashlib.sha256(), 0.0
        with self._explained():
            for entry in self._entries(itself=True):
                about = entry.about
                facts = (about.st_ino, about.st_mode, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
                found.update(f"{entry.path}\0{facts}\0".encode(errors="surrogateescape"))
                latest = max(latest, about.st_ctime)
        return "" if latest > time.time() - TICK else found.hexdigest()

    # -- the entries --------------------------------------------------------------------------

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        """Open the folder itself.

        :raises Refused: it is the whole file system, or a link on the way could lead anywhere by tomorrow.
        """
        with contextlib.ExitStack() as opened:
            yield self._walk(opened)

    def _walk(self, opened: contextlib.ExitStack) -> int:
        """Open the folders on the way, one after the other, and the folder itself. Return its descriptor."""
        location, links = self.definition.location, 0
        top = folder = opened.enter_context(_descriptor("/", os.O_DIRECTORY))
        left = list(PurePosixPath(location).parts[1:])
        while left:
            name = left.pop(0)
            about = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISLNK(about.st_mode):
                folder = opened.enter_context(_descriptor(name, os.O_DIRECTORY, folder))
                continue
            links += 1
            if links > LINKS or not _is_trusted(about.st_uid) or not _is_closed(os.fstat(folder)):
                raise Refused(
                    f"source:path: {location}: {words.harmless(name)} is a link that others than root can change. Name"
                    " the folder that it leads to."
                )
            first, *others = PurePosixPath(os.readlink(name, dir_fd=folder)).parts or (".",)
            folder, left = (top, [*others, *left]) if first == "/" else (folder, [first, *others, *left])
        if os.path.samestat(os.fstat(folder), os.fstat(top)):
            raise Refused(f"source:path: {location} is the whole file system. Name a folder.")
        return folder

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn an OSError into Failed, with the file that it is about. A full disk is another matter."""
        try:
            yield
        except OSError as exc:
            if isinstance(exc, disk.NoRoom) or disk.is_full(exc):
                raise
            at = f" at {_cut(exc.filename)}" if exc.filename and not os.path.isabs(exc.filename) else ""
            raise Failed(f"source:path: {self.definition.location}: cannot be read{at}: {exc.strerror or exc}") from exc

    def _entries(self, itself: bool = False) -> Iterator[_Entry]:
        """Yield all that is in the folder and not excluded, each folder before its content, in a fixed order.

        :param itself: whether the folder itself is the first entry.
        :raises Failed: it has too many entries, or its folders are too deep.
        """
        with self._opened() as root:
            if itself:
                yield _Entry("", "", os.fstat(root), root)
            for number, entry in enumerate(self._below(root, ())):
                if number == limits.MEMBERS:
                    raise Failed(f"{self.definition.location} has more than {limits.MEMBERS} files: refused.")
                yield entry

    def _below(self, folder: int, above: tuple[str, ...]) -> Iterator[_Entry]:
        if len(above) > limits.DEPTH:
            raise Failed(f"{_cut('/'.join(above))} is more than {limits.DEPTH} folders deep: refused.")
        for name in sorted(os.listdir(folder), key=os.fsencode):
            path = "/".join((*above, name))
            if self._excluded(name, path):
                continue
            if len(os.fsencode(path)) > limits.PATH:
                raise Failed(f"{_cut(path)} is too long: a path may have {limits.PATH} bytes: refused.")
            with _naming(path):
                about = os.stat(name, dir_fd=folder, follow_symlinks=False)
                yield _Entry(path, name, about, folder)
                if stat.S_ISDIR(about.st_mode):
                    with _descriptor(name, os.O_DIRECTORY, folder) as inner:
                        yield from self._below(inner, (*above, name))

    def _excluded(self, name: str, path: str) -> bool:
        """Return whether a pattern fits: with a slash the whole path, without a slash the name."""
        patterns = (*self.excluded, *self.definition.exclude)
        return any(fnmatch.fnmatchcase(path if "/" in each else name, each.strip("/")) for each in patterns)


def digest(folder: Path) -> str:
    """Return the SHA-256 of all the content of a folder that belongs to this process."""
    return Folder(model.Source("path", str(folder)), ()).read()


class _Entry(NamedTuple):
    """A file, folder or link.

    :param path: its path below the folder of the source.
    :param folder: the open folder that it is in.
    """

    path: str
    name: str
    about: os.stat_result
    folder: int


class _Reading:
    """The content of a folder, as a digest, and as a copy if there is a ``target``.

    :param location: the folder.
    :param target: the empty folder for the copy.
    :param where: the folder to name if the disk has no room.
    """

    def __init__(self, location: str, target: Path | None = None, where: Path | None = None) -> None:
        self.location, self.target = location, target
        self.root = os.path.realpath(target or location)
        self.digest, self.bytes, self.links = hashlib.sha256(), 0, list[str]()
        self._meter = disk.Meter(where or target) if target else None

    def take(self, entry: _Entry) -> None:
        """Take an entry in.

        :raises Failed: it is neither a file, a folder nor a link, or it is too large, or it changes just now.
        """
        mode = entry.about.st_mode
        if stat.S_ISREG(mode):
            self._file(entry)
        elif stat.S_ISDIR(mode):
            self._note("folder", entry.path)
            if self.target:
                self._room(0)
                (self.target / entry.path).mkdir()
                (self.target / entry.path).chmod(0o755)
        elif stat.S_ISLNK(mode):
            self._link(entry)
        else:
            path = _cut(entry.path)
            raise Failed(f"{self.location} has a device, pipe or socket, {path}: refused. Add it to `exclude`.")

    def finish(self) -> str:
        """Return the SHA-256 of all that was taken in.

        :raises Failed: a link leads out of the folder.
        """
        for path in self.links:
            real = os.path.realpath(os.path.join(self.root, path))
            if real != self.root and not real.startswith(f"{self.root}/"):
                self._leads_out(path)
        return self.digest.hexdigest()

    def _link(self, entry: _Entry) -> None:
        leads = os.readlink(entry.name, dir_fd=entry.folder)
        if leads.startswith("/"):
            self._leads_out(entry.path)
        self._note("link", entry.path, leads)
        self.links.append(entry.path)
        if self.target:
            self._room(0)
            (self.target / entry.path).symlink_to(leads)

    def _leads_out(self, path: str) -> None:
        raise Failed(f"{self.location}: the link {_cut(path)} leads out of the folder: refused. Add it to `exclude`.")

    def _file(self, entry: _Entry) -> None:
        with contextlib.ExitStack() as opened:
            # A pipe that has just come into the place of the file would block without O_NONBLOCK.
            descriptor = opened.enter_context(_descriptor(entry.name, os.O_NONBLOCK, entry.folder))
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                self._changed(entry)
            if about.st_nlink > 1 and about.st_uid != os.fstat(entry.folder).st_uid:
                raise Failed(
                    f"{self.location}: {_cut(entry.path)} is another user's file, which has another name elsewhere:"
                    " refused. Add it to `exclude`."
                )
            program = bool(about.st_mode & stat.S_IXUSR)
            self._count(about.st_size)
            self._note("program" if program else "file", entry.path, str(about.st_size))
            out = opened.enter_context(open(self.target / entry.path, "xb")) if self.target else None
            for piece in _pieces(descriptor, about.st_size):
                self.digest.update(piece)
                if out:
                    out.write(piece)
            now = os.fstat(descriptor)
            if (now.st_size, now.st_mtime_ns) != (about.st_size, about.st_mtime_ns):
                self._changed(entry)
            if out:
                os.fchmod(out.fileno(), 0o755 if program else 0o644)
        if self.target:
            os.utime(self.target / entry.path, ns=(about.st_mtime_ns, about.st_mtime_ns))

    def _count(self, size: int) -> None:
        """Count ``size`` bytes of a file.

        :raises Failed: the files are too large together.
        """
        self.bytes += size
        if self.bytes > limits.FOLDER:
            raise Failed(
                f"{self.location} has more than {disk.human(limits.FOLDER)}: refused. Add to `exclude` what a release"
                " does not need."
            )
        self._room(size)

    def _changed(self, entry: _Entry) -> None:
        raise Failed(f"{self.location}: {_cut(entry.path)} was changed while it was read. Run it again.")

    def _note(self, *words: str) -> None:
        self.digest.update("".join(f"{word}\0" for word in words).encode(errors="surrogateescape"))

    def _room(self, size: int) -> None:
        if self._meter:
            self._meter.take(size, 1)


def _pieces(descriptor: int, size: int) -> Iterator[bytes]:
    """Yield the first ``size`` bytes of an open file, fewer if it ends before."""
    while size > 0 and (piece := os.read(descriptor, min(PIECE, size))):
        size -= len(piece)
        yield piece


@contextlib.contextmanager
def _descriptor(path: str, flags: int, folder: int | None = None) -> Iterator[int]:
    """Open a file or folder to read it, but no link."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_trusted(user: int) -> bool:
    return user in (0, os.geteuid())


def _is_closed(folder: os.stat_result) -> bool:
    """Return whether only root and this process's user can replace the content of ``folder``."""
    shared = folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not folder.st_mode & stat.S_ISVTX
    return _is_trusted(folder.st_uid) and not shared


def _cut(path: str) -> str:
    """Return a path for a message. It may have characters that no text can have."""
    return words.harmless(path if len(path) <= 200 else f"{path[:200]}…")


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """Give an OSError the whole path of its file. An open folder only knows the name."""
    try:
        yield
    except OSError as exc:
        if exc.filename and not os.path.isabs(exc.filename):
            exc.filename = path
        raise
