"""Unpacks archives in one pass, and checks each member before anything of it is written.

No member may leave its folder, be a device, or cost more than :mod:`saltdeploy.core.limits` allows. A member that is
larger than the disk's room is refused by its header, before its content is decompressed.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import math
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, Protocol

from ..core import limits
from ..core.errors import Failed
from ..system import disk

# The exceptions that Python raises for a damaged, encrypted or hostile archive.
UNREADABLE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    ValueError,
)

COMPRESSED: dict[bytes, Callable[[BinaryIO, Literal["rb"]], contextlib.AbstractContextManager[_Data]]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
PIECE = 1 << 16
# The methods by which members of a zip archive may be compressed. With other methods Python decompresses a whole piece
# at once, and a kilobyte may become gigabytes in memory.
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def unpack(archive: Path, target: Path, strip: int = 0, where: Path | None = None) -> None:
    """Unpack a tar (also compressed by gzip, bzip2 or xz) or zip file into an empty folder.

    :param strip: how many leading folders of each path are left out.
    :param where: the folder to name if the disk has no room. None takes ``target``.
    :raises Failed: the archive would write outside of its folder, or it costs more than is allowed.
    :raises OSError: for example disk.NoRoom. The other exceptions in UNREADABLE may be raised, too.
    """
    unpacking = _Unpacking(target, strip, archive.stat().st_size, disk.Meter(where or target))
    # The order matters, because a tar that ends with a zip looks like a zip, too.
    with _decompressed(archive) as data:
        reader = _Reader(data, unpacking)
        if _is_tar(reader):
            unpacking.tar(reader)
        elif zipfile.is_zipfile(archive):
            _check_directory(archive)
            with zipfile.ZipFile(archive) as zipped:
                unpacking.zip(zipped)
        else:
            raise tarfile.ReadError("it is neither a tar nor a zip archive")
    unpacking.finish()


class _Unpacking:
    """The unpacking of an archive into a folder.

    :param size: the size of the archive, in bytes.
    """

    def __init__(self, target: Path, strip: int, size: int, meter: disk.Meter) -> None:
        self.target, self.strip = target, strip
        self.real = os.path.realpath(target)
        self.most = max(limits.FLOOR, size * limits.RATIO)
        self.meter, self.members, self.bytes = meter, 0, 0
        # Folders that were made here, inside of such folders only. No link leads through them, and nothing replaces
        # them.
        self.folders = {PurePosixPath()}
        self.links: list[str] = []

    # -- limits -------------------------------------------------------------------------------

    def produce(self, size: int) -> None:
        """Count the bytes that were decompressed."""
        self.bytes += size
        self._refuse_bomb(self.bytes)

    def _refuse_bomb(self, size: int) -> None:
        if size > self.most:
            raise Failed(
                f"it unpacks to more than {disk.human(self.most)}, {limits.RATIO} times its size (a decompression"
                " bomb?): refused."
            )

    def member(self, name: str, size: int) -> PurePosixPath | None:
        """Check a member and return its path below the folder, or None if all of its path is stripped."""
        self.members += 1
        if self.members > limits.MEMBERS:
            raise Failed(f"it has more than {limits.MEMBERS} files and folders: refused.")
        path = _stripped(name, self.strip)
        if size < 0:
            raise Failed(f"{_short(name)} has a size below zero: refused.")
        self._refuse_bomb(self.bytes + size)
        if path is not None:
            self.meter.take(size, 1)
        return path

    # -- tar ----------------------------------------------------------------------------------

    def tar(self, reader: _Reader) -> None:
        with tarfile.TarFile(fileobj=reader, mode="r", errorlevel=1, tarinfo=_counting_headers()) as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # typeshed lacks it. Otherwise all stay in memory.
                if member.issparse():
                    raise Failed(
                        f"{_short(member.name)} is stored sparse (tar --sparse): refused. Make the archive without."
                    )
                path = self.member(member.name, member.size if member.isreg() else 0)
                if path is not None:
                    self._tarred(reader, member, path)

    def _tarred(self, reader: _Reader, member: tarfile.TarInfo, path: PurePosixPath) -> None:
        if member.issym():
            self._symlink(path, member.linkname)
        elif member.islnk():
            self._hard_link(path, member)
        elif member.isdir():
            self._folder(path)
        elif member.isreg():
            reader.seek(member.offset_data)
            self._file(path, reader, member.size, member.mode)
            self._date(path, member.mtime)
        else:
            raise Failed(f"the archive holds a device or pipe, {_short(member.name)}: refused.")

    def _hard_link(self, path: PurePosixPath, member: tarfile.TarInfo) -> None:
        linked = self.target / (_stripped(member.linkname, self.strip) or "")
        self._inside(linked, f"link {_short(member.name)} -> {_short(member.linkname)}")
        self._free(path)
        # If tarfile cannot make a link, it unpacks the target of the link without any check. So it is not used here.
        os.link(linked, self.target / path, follow_symlinks=False)
        self._remember(path)  # the path may be the second name of a symlink, and lead elsewhere from there

    # -- zip ----------------------------------------------------------------------------------

    def zip(self, zipped: zipfile.ZipFile) -> None:
        for info in zipped.infolist():
            if info.compress_type not in ZIP_METHODS:
                names: dict[int, str] = zipfile.compressor_names  # type: ignore[attr-defined]  # typeshed lacks it
                method = names.get(info.compress_type, info.compress_type)
                raise Failed(
                    f"{_short(info.filename)} is compressed with {method}: refused. Compress the archive with deflate,"
                    " as zip does by default."
                )
            path = self.member(info.filename, info.file_size)
            self.produce(info.file_size)
            if path is not None:
                self._zipped(zipped, info, path)

    def _zipped(self, zipped: zipfile.ZipFile, info: zipfile.ZipInfo, path: PurePosixPath) -> None:
        mode = info.external_attr >> 16
        if info.is_dir():
            self._folder(path)
        elif stat.S_ISLNK(mode):
            with zipped.open(info) as data:
                linkname = data.read(limits.PATH + 1)
            if not linkname or len(linkname) > limits.PATH:
                raise Failed(f"link {_short(info.filename)} is to nothing, or to a path that is too long: refused.")
            self._symlink(path, os.fsdecode(linkname))
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise Failed(f"the archive holds a device or pipe, {_short(info.filename)}: refused.")
        else:
            with zipped.open(info) as data:
                self._file(path, data, info.file_size, mode)

    # -- writing ------------------------------------------------------------------------------

    def _folder(self, path: PurePosixPath) -> None:
        """Make a folder and its parents, which all users may enter with any umask."""
        if path in self.folders:
            return
        self._folder(path.parent)  # limits.DEPTH deep at most
        folder = self.target / path
        try:
            folder.mkdir()
        except FileExistsError:
            self._inside(folder, _short(str(path)))
            if not folder.is_dir():
                raise
        else:
            folder.chmod(0o755)
            if path.parent in self.folders:
                self.folders.add(path)

    def _free(self, path: PurePosixPath) -> None:
        """Make the folder of ``path``, and remove the file of an earlier member with the same name."""
        self._folder(path.parent)
        if path.parent not in self.folders:
            self._inside((self.target / path).parent, _short(str(path)))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.target / path)

    def _symlink(self, path: PurePosixPath, linkname: str) -> None:
        if "\0" in linkname:
            raise Failed(f"link {_short(str(path))} has a NUL character in its target: refused.")
        self._free(path)
        (self.target / path).symlink_to(linkname)
        self._remember(path)

    def _remember(self, path: PurePosixPath) -> None:
        """Note the real path of a link, for the check in the end.

        A link that leads to that path may be replaced meanwhile.
        """
        self.links.append(os.path.join(os.path.realpath((self.target / path).parent), path.name))

    def _file(self, path: PurePosixPath, data: _Data, size: int, mode: int) -> None:
        """Write ``size`` bytes from ``data`` to a new file."""
        if (self.target / path).is_symlink():  # refuse a link out of the folder before it is removed
            self._inside(self.target / path, _short(str(path)))
        self._free(path)
        with open(self.target / path, "xb") as out:
            while size > 0:
                piece = data.read(min(PIECE, size))
                if not piece:
                    raise EOFError("it ends in the middle of a file")
                out.write(piece)
                size -= len(piece)
            os.fchmod(out.fileno(), 0o755 if mode & stat.S_IXUSR else 0o644)

    def _date(self, path: PurePosixPath, mtime: float) -> None:
        """Give a file its date, unless the date is nonsense. Python compares it with the date in its compiled file."""
        if math.isfinite(mtime) and 0 <= mtime < 1 << 33:
            os.utime(self.target / path, (mtime, mtime))

    def _inside(self, path: str | Path, what: str) -> None:
        """Fail if ``path`` is outside of the folder once every link is followed, as the kernel would."""
        real = os.path.realpath(path)
        if real != self.real and not real.startswith(f"{self.real}/"):
            raise Failed(f"the archive would write outside its folder, at {what}: refused.")

    def finish(self) -> None:
        """Check the targets of the links, now that all paths exist that the links may lead through."""
        for link in self.links:
            if os.path.islink(link):
                name = os.path.relpath(link, self.real)
                self._inside(link, f"link {_short(name)} -> {_short(os.readlink(link))}")


def _stripped(name: str, strip: int) -> PurePosixPath | None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise Failed(f"the archive would write outside its folder, at {_short(name)}: refused.")
    if "\0" in name:
        raise Failed(f"the archive has a name with a NUL character, {_short(name)}: refused.")
    raw = os.fsencode(name)
    if len(raw) > limits.PATH or any(len(part) > limits.NAME for part in raw.split(b"/")):
        raise Failed(
            f"{_short(name)} is too long: a path may have {limits.PATH} bytes, a name in it {limits.NAME}: refused."
        )
    if len(path.parts) > limits.DEPTH:
        raise Failed(f"{_short(name)} is in more than {limits.DEPTH} folders within each other: refused.")
    parts = path.parts[strip:]
    return PurePosixPath(*parts) if parts else None


def _short(name: str) -> str:
    """Return a path for a message, only its beginning and its end if it is long."""
    name = name.replace("\0", "\\0")
    return name if len(name) <= 120 else f"{name[:60]}…{name[-50:]}"


# -- reading ----------------------------------------------------------------------------------


class _Data(Protocol):
    """A file that is read from its beginning to its end."""

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes, and no bytes at the end."""


class _Reader(io.RawIOBase):
    """The file that tarfile reads, only forwards, at most a header at once, and with all bytes counted.

    :param data: the archive, decompressed while it is read.
    """

    def __init__(self, data: _Data, unpacking: _Unpacking) -> None:
        self._data, self._unpacking, self._position, self._ahead = data, unpacking, 0, b""

    def peek(self, size: int) -> bytes:
        """Return the next ``size`` bytes, which :meth:`read` returns again."""
        self._ahead = self._data.read(size)
        return self._ahead

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= limits.TAR_HEADER:
            raise Failed(f"it has a header of more than {disk.human(limits.TAR_HEADER)}: refused.")
        found, self._ahead = self._ahead[:size], self._ahead[size:]
        # A decompressor may return less than it is asked for.
        while len(found) < size:
            piece = self._data.read(size - len(found))
            if not piece:
                break
            found += piece
        self._position += len(found)
        self._unpacking.produce(len(found))
        return found

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or position < self._position:
            raise tarfile.ReadError("its members are not one after the other")
        while self._position < position:
            if not self.read(min(PIECE, position - self._position)):
                break
        return self._position

    def tell(self) -> int:
        return self._position


def _counting_headers() -> type[tarfile.TarInfo]:
    """Return a class for an archive's headers, which counts their sizes before their content is read."""
    most = {tarfile.XHDTYPE: limits.TAR_EXTENDED, tarfile.XGLTYPE: limits.TAR_GLOBAL}
    names, seen = {tarfile.XHDTYPE: "extended", tarfile.XGLTYPE: "global"}, dict.fromkeys(most, 0)

    class Header(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Header:
            header = super().frombuf(buf, encoding, errors)
            kind = tarfile.XHDTYPE if header.type == tarfile.SOLARIS_XHDTYPE else header.type
            if kind in most:
                seen[kind] += max(0, header.size)
                if seen[kind] > most[kind]:
                    raise Failed(f"it has {names[kind]} headers of more than {disk.human(most[kind])}: refused.")
            return header

    return Header


@contextlib.contextmanager
def _decompressed(archive: Path) -> Iterator[_Data]:
    with archive.open("rb") as raw:
        begin = raw.read(6)
        raw.seek(0)
        opener = next((opener for magic, opener in COMPRESSED.items() if begin.startswith(magic)), None)
        if opener is None:
            yield raw
            return
        with opener(raw, "rb") as data:
            yield data


def _is_tar(reader: _Reader) -> bool:
    try:
        header = reader.peek(tarfile.BLOCKSIZE)
        tarfile.TarInfo.frombuf(header, tarfile.ENCODING, "surrogateescape")
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # typeshed lacks it
        return True  # an empty tar begins with its end
    except tarfile.HeaderError:
        return False
    return True


def _check_directory(archive: Path) -> None:
    """Fail if the directory of a zip archive, which zipfile reads into memory, is too large."""
    with archive.open("rb") as data:
        size = data.seek(0, os.SEEK_END)
        data.seek(max(0, size - (1 << 16) - 22 - 76))
        tail = data.read()
    end = tail.rfind(b"PK\x05\x06")
    directory = struct.unpack_from("<L", tail, end + 12)[0]
    wide = tail.rfind(b"PK\x06\x06", 0, end)
    if directory == 0xFFFFFFFF and wide >= 0:
        directory = struct.unpack_from("<Q", tail, wide + 40)[0]
    if directory > limits.ZIP_DIRECTORY:
        raise Failed(f"its directory has more than {disk.human(limits.ZIP_DIRECTORY)}: refused.")
