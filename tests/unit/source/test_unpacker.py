"""What an archive may cost: everything is looked at before it is written, and no figure of its own is believed."""

import bz2
import gzip
import io
import lzma
import os
import random
import stat
import struct
import tarfile
import time
import tracemalloc
import zipfile

import pytest
from saltdeploy.core import limits
from saltdeploy.core.errors import Failed
from saltdeploy.source import unpacker
from saltdeploy.system import disk, trees

from tests.support.files import umask
from tests.unit.source.test_archive import hardlink, symlink, tar, zipped

HARMLESS = (Failed, *unpacker.UNREADABLE)


@pytest.fixture
def unpack(tmp_path):
    target = tmp_path / "files"

    def unpack(data, strip=0):
        path = tmp_path / "archive"
        path.write_bytes(data)
        target.mkdir(exist_ok=True)
        unpacker.unpack(path, target, strip)
        return sorted(str(p.relative_to(target)) for p in target.rglob("*"))

    unpack.target = target
    return unpack


def pax(name, content=b"", **headers):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo(name)
        info.size, info.pax_headers = len(content), {k.replace("__", "."): v for k, v in headers.items()}
        archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def header(name, size, kind=tarfile.REGTYPE):
    """Return a tar header that says anything."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


# -- bombs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [bz2.compress, lzma.compress, gzip.compress])
def test_a_bomb_is_refused_by_its_header(unpack, compress):
    """A small file of 1.5 GB: nothing of it is decompressed, let alone written."""
    zeros = compress(header("bomb", 1500 << 20) + bytes(1 << 20))
    began = time.process_time()
    with pytest.raises(Failed, match=r"unpacks to more than 67 MB, 250 times its size \(a decompression bomb\?\)"):
        unpack(zeros)
    assert time.process_time() - began < 2 and list(unpack.target.iterdir()) == []


def test_a_bomb_of_many_files_is_refused_while_it_is_read(unpack, monkeypatch):
    monkeypatch.setattr(limits, "FLOOR", 1 << 20)
    members = gzip.compress(b"".join(header(f"f{n}", 1 << 18) + bytes(1 << 18) for n in range(8)))
    with pytest.raises(Failed, match="unpacks to more than"):
        unpack(members)
    assert sum(p.stat().st_size for p in unpack.target.iterdir()) <= 1 << 20


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_of_a_gigabyte_takes_no_memory(unpack, kind):
    with pytest.raises(Failed, match="it has (a|extended|global) headers? of more than [0-9.]+ [kM]B: refused"):
        unpack(gzip.compress(header("x", 1 << 30, kind) + bytes(1 << 20)))


def test_what_comes_before_a_member_counts_too(unpack, monkeypatch):
    """Headers upon headers, of which no member comes."""
    monkeypatch.setattr(limits, "FLOOR", 1 << 20)
    one = header("x", 1 << 17, tarfile.GNUTYPE_LONGNAME) + b"x" * (1 << 17)
    with pytest.raises((Failed, RuntimeError)):
        unpack(gzip.compress(one * 20))


@pytest.mark.parametrize(
    "kind, limit, said",
    [
        (tarfile.XGLTYPE, "TAR_GLOBAL", "global"),
        (tarfile.XHDTYPE, "TAR_EXTENDED", "extended"),
        (tarfile.SOLARIS_XHDTYPE, "TAR_EXTENDED", "extended"),
    ],
)
def test_the_headers_of_all_members_have_a_limit_together(unpack, monkeypatch, kind, limit, said):
    """Each of them is small. Python takes seconds for a megabyte, and keeps the global ones."""
    monkeypatch.setattr(limits, limit, 3000)

    def archive(size):
        one = header("x", size, kind) + b"6 a=b\n".ljust(1024, b"\0")
        return gzip.compress(b"".join(one + header(f"f{n}", 0) for n in range(4)) + bytes(1024))

    assert unpack(archive(700)) == ["f0", "f1", "f2", "f3"]
    with pytest.raises(Failed, match=rf"it has {said} headers of more than 3.0 kB: refused"):
        unpack(archive(1000))


def test_a_zip_bomb_is_refused_before_it_is_unpacked(unpack, monkeypatch):
    monkeypatch.setattr(limits, "FLOOR", 1 << 20)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for n in range(3):
            archive.writestr(f"zeros{n}", bytes(800 << 10))
    with pytest.raises(Failed, match="unpacks to more than 1.0 MB"):
        unpack(out.getvalue())
    assert sum(p.stat().st_size for p in unpack.target.iterdir()) <= 1 << 20


@pytest.mark.parametrize("method, said", [(zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "lzma")])
def test_a_zip_that_python_decompresses_without_a_limit_is_refused(unpack, method, said):
    """Neither is the size that it claims believed: a member of 10 bytes may take gigabytes of memory."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("zeros", bytes(24 << 20))
    data = bytearray(out.getvalue())
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = struct.pack("<L", 10)
    tracemalloc.start()
    try:
        with pytest.raises(Failed, match=f"^zeros is compressed with {said}: refused. Compress the archive with defl"):
            unpack(bytes(data))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert list(unpack.target.iterdir()) == []


def test_a_zip_with_an_unknown_method_is_refused(unpack):
    data = bytearray(zipped(("a", b"x")))
    at = data.index(b"PK\x01\x02") + 10
    data[at : at + 2] = struct.pack("<H", 777)
    with pytest.raises(Failed, match="^a is compressed with 777: refused"):
        unpack(bytes(data))


def test_a_zip_takes_no_more_memory_than_a_piece(unpack):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(24 << 20))
    tracemalloc.start()
    try:
        assert unpack(out.getvalue()) == ["zeros"]
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_zip_that_lies_about_a_size(unpack):
    data = bytearray(zipped(("a", b"x" * 1000)))
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = struct.pack("<L", 10)
    with pytest.raises(HARMLESS):
        unpack(bytes(data))
    assert sum(p.stat().st_size for p in unpack.target.iterdir()) <= 1000


def test_the_directory_of_a_zip_takes_no_memory(unpack, monkeypatch):
    monkeypatch.setattr(limits, "ZIP_DIRECTORY", 1000)
    assert len(unpack(zipped(*((f"f{n}", b"") for n in range(10))))) == 10
    with pytest.raises(Failed, match="its directory has more than 1.0 kB"):
        unpack(zipped(*((f"f{n}", b"") for n in range(30))))


def test_a_disk_without_room_is_found_member_by_member(unpack, monkeypatch):
    monkeypatch.setattr(disk, "space", lambda folder: disk.Space(200_000, 1_000_000))
    with pytest.raises(disk.NoRoom, match="152 kB are needed, 50 kB must stay free, and 200 kB are free"):
        unpack(tar(("small", bytes(1000)), ("large", bytes(150_000))))
    assert [p.name for p in unpack.target.iterdir()] == ["small"]


def test_what_compresses_well_is_no_bomb(unpack):
    assert unpack(gzip.compress(tar(("log", b"GET / 200\n" * 500_000), mode="w"))) == ["log"]


# -- members ----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [tar, zipped])
def test_members_have_a_limit(unpack, monkeypatch, make):
    monkeypatch.setattr(limits, "MEMBERS", 10)
    assert len(unpack(make(*((f"f{n}", b"") for n in range(10))))) == 10
    with pytest.raises(Failed, match="it has more than 10 files and folders: refused"):
        unpack(make(*((f"f{n}", b"") for n in range(11))))


@pytest.mark.parametrize("make", [tar, zipped])
@pytest.mark.parametrize(
    "name, said",
    [
        ("a/" * 65 + "f", "in more than 64 folders within each other"),
        ("a/" * 1100 + "f", "is too long"),
        ("x" * 256, "is too long: a path may have 1024 bytes, a name in it 255"),
        ("\u00e4" * 128, "is too long"),
        ("/".join(["y" * 200] * 6), "is too long"),
    ],
)
def test_names_have_a_limit(unpack, make, name, said):
    with pytest.raises(Failed, match=said):
        unpack(make(("first", b""), (name, b"")))
    assert [p.name for p in unpack.target.iterdir()] == ["first"]


@pytest.mark.parametrize("make", [tar, zipped])
def test_names_up_to_the_limit(unpack, make):
    deep = "a/" * 63 + "f"
    assert unpack(make((deep, b""), ("x" * 255, b"")))[-1] == "x" * 255


def test_a_name_with_nul(unpack):
    with pytest.raises(Failed, match=r"a name with a NUL character, a\\0b: refused"):
        unpack(pax("x", path="a\0b"))
    with pytest.raises(Failed, match="NUL"):
        unpack(tar(("link", {**symlink("a"), "pax_headers": {"linkpath": "a\0b"}}), mode="w"))


@pytest.mark.parametrize(
    "headers",
    [
        {"mtime": "1e400"},
        {"mtime": "-1e400"},
        {"mtime": "nan"},
        {"mtime": "99999999999999"},
        {"mtime": "-5"},
        {"uid": "99999999999999999999"},
        {"gid": "-1", "uname": "x" * 1000},
        {"atime": "1e999", "ctime": "nonsense"},
    ],
)
def test_nonsense_about_a_member_is_left_out(unpack, headers):
    assert unpack(pax("app", b"app", **headers)) == ["app"]
    assert (unpack.target / "app").read_bytes() == b"app"
    assert abs((unpack.target / "app").stat().st_mtime - time.time()) < 60 or "mtime" not in headers


def test_a_date_is_kept(unpack):
    """Python compares it with what it has compiled."""
    unpack(tar(("app.py", {"mtime": 1234567890})))
    assert (unpack.target / "app.py").stat().st_mtime == 1234567890


@pytest.mark.parametrize("size", ["-1", "-512", "-99999999999"])
def test_a_size_below_zero(unpack, size):
    with pytest.raises(HARMLESS):
        unpack(pax("app", b"app" * 1000, size=size))


def test_a_size_beyond_the_end(unpack):
    with pytest.raises(HARMLESS):
        unpack(pax("app", b"app", size="500000"))


def test_sparse_files_are_refused(unpack):
    with pytest.raises(Failed, match="app is stored sparse"):
        unpack(pax("app", b"1\n0\n3\n" + bytes(512), GNU__sparse__major="1", GNU__sparse__minor="0",
                   GNU__sparse__realsize="1099511627776", GNU__sparse__name="app"))  # fmt: skip


@pytest.mark.parametrize("make", [tar, zipped])
def test_the_last_of_two_files_of_one_name_stays(unpack, make, recwarn):
    assert unpack(make(("app", b"first, and longer"), ("app", b"second"))) == ["app"]
    assert (unpack.target / "app").read_bytes() == b"second"


def test_a_file_that_replaces_a_hard_link_leaves_the_other_name_alone(unpack):
    unpack(tar(("a", b"a"), ("b", hardlink("a")), ("b", b"b")))
    assert ((unpack.target / "a").read_bytes(), (unpack.target / "b").read_bytes()) == (b"a", b"b")


def test_names_that_differ_in_case_are_two(unpack):
    assert unpack(tar(("App", b"1"), ("app", b"2"))) == ["App", "app"]


def test_everybody_may_read_it_whatever_the_umask_is(unpack):
    with umask(0o077):
        unpack(tar(("a/b/app", b"app"), ("c", {"type": tarfile.DIRTYPE, "mode": 0o700})))
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in unpack.target.rglob("*")}
    assert modes == {"a": 0o755, "b": 0o755, "app": 0o644, "c": 0o755}


def test_many_headers_before_one_member(unpack):
    with pytest.raises(HARMLESS):
        unpack(header("x", 3, tarfile.GNUTYPE_LONGNAME) + b"abc" + bytes(509))
    chain = (header("x", 3, tarfile.GNUTYPE_LONGNAME) + b"abc" + bytes(509)) * 3000
    with pytest.raises(HARMLESS):
        unpack(chain)


@pytest.mark.parametrize("kind", ["tar", "gz", "zip", "pax"])
def test_damage_is_never_a_surprise(unpack, kind):
    """Damaged archives: each is unpacked or refused, by an exception that is meant for that."""
    whole = {
        "tar": tar(("a/app", b"app"), ("link", symlink("a")), ("hard", hardlink("a/app")), mode="w"),
        "gz": tar(("a/app", os.urandom(2000)), ("b", b"b")),
        "zip": zipped(("a/app", b"app"), ("b", b"b" * 500)),
        "pax": pax("\u00e4" * 60, b"app" * 100, mtime="12.5", comment="x" * 50),
    }[kind]
    chance = random.Random(kind)
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.choice((0, 255, 45, 48, 57, chance.randrange(256)))
        if chance.random() < 0.2:
            del data[chance.randrange(len(data)) :]
        try:
            unpack(bytes(data))
        except HARMLESS:
            pass
        finally:
            trees.remove(unpack.target)
