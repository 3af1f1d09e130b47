"""Checks whether the file systems have room for a release, and a reserve for all that already runs from them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass

from ..core import limits


class NoRoom(OSError):
    """There will be no room. ENOSPC would say so only when it is too late. The message has folder, needed and free."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.ENOSPC, message)

    def __str__(self) -> str:
        return self.strerror or ""


@dataclass(frozen=True)
class Space:
    """A file system's room.

    :param free: bytes that ordinary users, such as instances, can still write. The reserve for root does not count.
    :param total: its size in bytes. 0 means that it does not say its size.
    :param block: bytes of which a file takes whole multiples.
    :param files: how many more files ordinary users can make (inodes).
    :param most_files: how many files there can be in all. 0 means that there is no such limit.
    """

    free: int
    total: int
    block: int = 4096
    files: int = 0
    most_files: int = 0

    @property
    def reserve(self) -> int:
        """How many bytes stay free."""
        return min(limits.RESERVE, self.total // limits.RESERVE_PART)

    def lacks(self, needed: int, files: int = 0) -> str:
        """Return the shortage for ``needed`` bytes in ``files`` files, in words, empty if there is room."""
        if self.total and needed + self.reserve > self.free:
            return f"{human(needed)} are needed, {human(self.reserve)} must stay free, and {human(self.free)} are free"
        if self.most_files and files > self.files:
            return f"{files} files are needed, and there are inodes for {self.files} more"
        return ""

    def footprint(self, sizes: Iterable[int]) -> int:
        """Return the bytes that files of ``sizes`` (bytes) take. An empty file takes a block, for its name."""
        return sum(max(1, -(-size // self.block)) * self.block for size in sizes)


@dataclass(frozen=True)
class Need:
    """So many bytes to write, in so many files, below ``folder``, which need not exist yet."""

    folder: os.PathLike[str]
    bytes: int
    files: int = 0


def space(folder: str | os.PathLike[str]) -> Space:
    """Return the Space of the file system that ``folder`` is on, or will be."""
    found = os.statvfs(_existing(folder))
    frame = found.f_frsize
    return Space(found.f_bavail * frame, found.f_blocks * frame, frame, found.f_favail, found.f_files)


def require(needs: Iterable[Need]) -> None:
    """Do nothing if there is room for all ``needs`` together, some of which may share a file system.

    :raises NoRoom: there is too little room.
    """
    by_device: dict[int, list[Need]] = {}
    for need in needs:
        by_device.setdefault(os.stat(_existing(need.folder)).st_dev, []).append(need)
    for there in by_device.values():
        folders = " and ".join(dict.fromkeys(str(need.folder) for need in there))
        lacking = space(there[0].folder).lacks(sum(n.bytes for n in there), sum(n.files for n in there))
        if lacking:
            raise NoRoom(f"no room in {folders}: {lacking}. Make room there (deploy.prune removes old releases).")


class Meter:
    """Room that is used up bit by bit, by files whose size nobody knows beforehand.

    It looks at the disk again each time that limits.STEP bytes were taken, or that the room found before is used up.

    :param folder: where the files are written. It need not exist yet.
    """

    def __init__(self, folder: os.PathLike[str]) -> None:
        self.folder = folder
        self._look()

    def _look(self) -> None:
        self.space, self.bytes, self.files = space(self.folder), 0, 0

    def take(self, size: int, files: int = 0) -> None:
        """Take ``size`` more bytes, in ``files`` new files.

        :raises NoRoom: there is too little room.
        """
        # Bytes that are appended to a file take no block of their own.
        needed = self.space.footprint([size]) if files else size
        self.bytes, self.files = self.bytes + needed, self.files + files
        if self.bytes > limits.STEP or self.space.lacks(self.bytes, self.files):
            require([Need(self.folder, needed, files)])
            self._look()
            self.bytes, self.files = needed, files


def is_full(exc: OSError) -> bool:
    """Return whether an OSError says that there is no room: on the file system, in a quota, in a limit of sizes."""
    return exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def human(size: float) -> str:
    """Return ``size`` (bytes) as people write it."""
    units = ["B", "kB", "MB", "GB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.0f} {units[0]}" if size >= 10 or units[0] == "B" else f"{size:.1f} {units[0]}"


def _existing(folder: str | os.PathLike[str]) -> str:
    """Return ``folder``, or the nearest folder above it that exists."""
    path = os.path.abspath(folder)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path
