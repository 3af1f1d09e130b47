"""Whether the file systems have room for a release, and some to spare for what already runs from them."""

from __future__ import annotations

import errno
import os
import tarfile
import zipfile
from dataclasses import dataclass

# What an installation leaves free, in bytes: instances that serve users write to the same file system (logs, data, the
# record of each), and must not be stopped by one. 64 MiB is hours of an ordinary log, and all that a disk of any size
# needs for that; of a small one it would be too much: there it is a twentieth, as ext4 keeps for root.
RESERVE = 64 << 20
RESERVE_PART = 20


class NoRoom(OSError):
    """There will be no room: what ENOSPC says once it is too late. The message has folder, needed and free."""

    def __init__(self, message):
        super().__init__(errno.ENOSPC, message)

    def __str__(self):
        return self.strerror


@dataclass(frozen=True)
class Space:
    """A file system's room.

    :param free: bytes that ordinary users can still write, which instances are: what is reserved for root is not.
    :param total: its size in bytes; 0: it does not say.
    :param block: bytes of which a file takes whole multiples.
    :param files: how many more files ordinary users can make (inodes).
    :param most_files: how many there can be in all; 0: there is no such limit.
    """

    free: int
    total: int
    block: int = 4096
    files: int = 0
    most_files: int = 0

    @property
    def reserve(self):
        """How many bytes stay free."""
        return min(RESERVE, self.total // RESERVE_PART)

    def lacks(self, needed, files=0):
        """Return what there is too little of for ``needed`` bytes in ``files`` files, in words; empty: nothing."""
        if self.total and needed + self.reserve > self.free:
            return f"{human(needed)} are needed, {human(self.reserve)} must stay free, and {human(self.free)} are free"
        if self.most_files and files > self.files:
            return f"{files} files are needed, and there are inodes for {self.files} more"
        return ""

    def footprint(self, sizes):
        """Return the bytes that files of ``sizes`` (bytes) take; one without content takes a block, for its name."""
        return sum(max(1, -(-size // self.block)) * self.block for size in sizes)


@dataclass(frozen=True)
class Need:
    """What is to be written: so many bytes, in so many files, below ``folder`` (which need not exist yet)."""

    folder: os.PathLike
    bytes: int
    files: int = 0


def space(folder):
    """Return the Space of the file system that ``folder`` is on, or will be."""
    found = os.statvfs(_existing(folder))
    frame = found.f_frsize
    return Space(found.f_bavail * frame, found.f_blocks * frame, frame, found.f_favail, found.f_files)


def require(needs):
    """Do nothing if there is room for all ``needs`` together, some of which may be on one file system.

    :raises NoRoom: there is not.
    """
    by_device = {}
    for need in needs:
        by_device.setdefault(os.stat(_existing(need.folder)).st_dev, []).append(need)
    for there in by_device.values():
        folders = " and ".join(dict.fromkeys(str(need.folder) for need in there))
        lacking = space(there[0].folder).lacks(sum(n.bytes for n in there), sum(n.files for n in there))
        if lacking:
            raise NoRoom(f"no room in {folders}: {lacking}. Make room there (deploy.prune removes old releases).")


def unpacked(archive, folder):
    """Return the Need of unpacking ``archive`` (a path) into ``folder``, according to what it says of its members.

    :raises tarfile.TarError, zipfile.BadZipFile, OSError, …: it cannot be read.
    """
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            sizes = [member.size if member.isreg() else 0 for member in tar]
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            sizes = [info.file_size for info in zipped.infolist()]
    else:
        raise tarfile.ReadError("it is neither a tar nor a zip archive")
    return Need(folder, space(folder).footprint(sizes), len(sizes))


def is_full(exc):
    """Return whether an OSError says that there is no room: on the file system, in a quota, in a limit of sizes."""
    return exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def human(size):
    """Return ``size`` (bytes) as people write it."""
    units = ["B", "kB", "MB", "GB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.0f} {units[0]}" if size >= 10 or units[0] == "B" else f"{size:.1f} {units[0]}"


def _existing(folder):
    """Return ``folder``, or the nearest above it that exists."""
    path = os.path.abspath(folder)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path
