"""Archives become a release's files; whatever would leave its folder is refused."""

import gzip
import hashlib
import http.server
import io
import os
import stat
import tarfile
import threading
import zipfile
import zlib

import pytest
from saltdeploy.core import limits
from saltdeploy.core.errors import Failed, Refused
from saltdeploy.core.model import Source
from saltdeploy.source import Asking
from saltdeploy.source.archive import Archive
from saltdeploy.source.artifacts import Artifacts
from saltdeploy.system import disk

from tests.support.sources import install


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def tar(*members, mode="w:gz"):
    """Return a tar of ``members``: name, then content or a dict of TarInfo's fields."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, what in members:
            info = tarfile.TarInfo(name)
            content = what if isinstance(what, bytes) else b""
            info.size, info.mode = len(content), 0o644
            for key, value in what.items() if isinstance(what, dict) else ():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zipped(*members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def symlink(target):
    return {"type": tarfile.SYMTYPE, "linkname": target}


def hardlink(target):
    return {"type": tarfile.LNKTYPE, "linkname": target}


class Site:
    """A folder with an artifact, and the empty folder of a release next to things that must not be touched."""

    def __init__(self, path):
        self.path = path
        self.files = path / "build" / "files"
        self.files.mkdir(parents=True)
        self.outside = path / "outside"
        self.outside.mkdir()
        (self.outside / "secret").write_text("secret")

    def build(self, data, digest=None, location="shop-{version}.tgz", **source):
        (self.path / "shop-1.0.tgz").write_bytes(data)
        source = Source("archive", f"{self.path}/{location}", sha256=digest or sha256(data), **source)
        install(source, self.files)

    def made(self):
        return sorted(str(p.relative_to(self.files)) for p in self.files.rglob("*"))

    def untouched(self):
        """Return whether nothing but the artifact is anywhere outside the release's folder."""
        names = {p.name for p in (self.path / "build").iterdir()}
        return (
            [p.name for p in self.outside.iterdir()] == ["secret"]
            and (self.outside / "secret").read_text() == "secret"
            and (self.outside / "secret").stat().st_nlink == 1
            and names == {"files", "artifact"}
            and {p.name for p in self.path.iterdir()} == {"build", "outside", "shop-1.0.tgz"}
        )


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


# -- good archives ----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_of_any_compression(site, mode):
    site.build(tar(("./bin/shop", b"#!"), ("README", b"read"), mode=mode))
    assert site.made() == ["README", "bin", "bin/shop"]
    assert (site.files / "bin/shop").read_bytes() == b"#!"


def test_a_zip(site):
    site.build(zipped(("bin/shop", b"#!"), ("empty/", b""), ("README", b"read")))
    assert site.made() == ["README", "bin", "bin/shop", "empty"]
    assert (site.files / "README").read_bytes() == b"read"


def test_a_tar_that_ends_with_a_zip_is_a_tar(site):
    site.build(tar(("app", b"app"), ("lib.zip", zipped(("inner", b"inner"))), mode="w"))
    assert site.made() == ["app", "lib.zip"]


def test_the_artifact_is_not_kept(site):
    site.build(tar(("app", b"app")))
    assert [p.name for p in site.files.parent.iterdir()] == ["files"]


def test_a_file_that_is_not_unpacked_is_the_release(site):
    data = zipped(("META-INF/MANIFEST.MF", b"Main-Class: Shop"))
    site.build(data, unpack=False)
    [file] = site.files.iterdir()
    assert file.name == "shop-1.0.tgz" and file.read_bytes() == data
    assert stat.S_IMODE(file.stat().st_mode) == 0o755
    assert [p.name for p in site.files.parent.iterdir()] == ["files"]


def test_a_file_that_is_not_unpacked_has_the_digest_and_finds_room(site, monkeypatch):
    with pytest.raises(Failed, match="shop-1.0.tgz: .*sha256"):
        site.build(b"jar", digest="0" * 64, unpack=False)
    needs = []
    monkeypatch.setattr(disk, "require", lambda found: needs.extend((n.bytes, n.files) for n in found))
    site.build(b"jar", unpack=False)
    assert (3, 1) in needs


def test_links_inside_are_kept(site):
    links = ("app", symlink("a/app")), ("b/app", symlink("../a/app")), ("hard", hardlink("a/app"))
    site.build(tar(("a/app", b"app"), *links))
    assert os.readlink(site.files / "b/app") == "../a/app"
    assert (site.files / "app").read_bytes() == b"app"
    assert (site.files / "hard").stat().st_ino == (site.files / "a/app").stat().st_ino


@pytest.mark.parametrize("make", [tar, zipped])
def test_strip_takes_leading_folders_away(site, make):
    site.build(make(("shop-1.0/bin/shop", b"#!"), ("shop-1.0/README", b"read"), ("LICENSE", b"mine")), strip=1)
    assert site.made() == ["README", "bin", "bin/shop"]


def test_strip_takes_leading_folders_of_hard_links_away(site):
    site.build(tar(("top/app", b"app"), ("top/hard", hardlink("top/app"))), strip=1)
    assert (site.files / "hard").read_bytes() == b"app"


def test_modes_are_those_of_a_program_or_a_file_and_never_more(site):
    site.build(
        tar(
            ("program", {"mode": 0o6755}),
            ("secret", {"mode": 0o600}),
            ("wide", {"mode": 0o666}),
            ("folder", {"mode": 0o1777, "type": tarfile.DIRTYPE}),
        )
    )
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in site.files.iterdir()}
    assert modes == {"program": 0o755, "secret": 0o644, "wide": 0o644, "folder": 0o755}


def test_a_program_in_a_zip_is_executable(site):
    program = zipfile.ZipInfo("program")
    program.external_attr = 0o104755 << 16
    site.build(zipped((program, b"#!"), ("plain", b"")))
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in site.files.iterdir()}
    assert modes == {"program": 0o755, "plain": 0o644}


def test_files_belong_to_who_unpacks_them(site):
    site.build(tar(("app", {"uid": 12345, "gid": 12345, "uname": "nobody", "gname": "nogroup"})))
    assert (site.files / "app").stat().st_uid == os.geteuid()


# -- hostile archives -------------------------------------------------------------------------

CHARACTER_DEVICE = {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}
# {outside} is an absolute path, of a folder next to the release's.
HOSTILE = {
    "parent": [("../evil", b"evil")],
    "parent in the middle": [("a/../../evil", b"evil")],
    "absolute": [("{outside}/evil", b"evil")],
    "absolute folder": [("{outside}/evil", {"type": tarfile.DIRTYPE})],
    "link out": [("link", symlink("../../outside/secret"))],
    "absolute link out": [("link", symlink("{outside}/secret"))],
    "link to the parent": [("a/link", symlink("../.."))],
    "link out through a link": [("a", symlink(".")), ("a/b", symlink("../outside"))],
    "write through a link to a folder": [("link", symlink("{outside}")), ("link/evil", b"evil")],
    "folder through a link": [("link", symlink("{outside}")), ("link/evil", {"type": tarfile.DIRTYPE})],
    "write through a link to a file": [("link", symlink("{outside}/secret")), ("link", b"evil")],
    "write through two links": [("x", symlink("..")), ("y", symlink("x/../outside")), ("y/evil", b"evil")],
    "link in a linked folder": [("link", symlink("{outside}")), ("link/evil", symlink("/etc"))],
    "hard link out": [("hard", hardlink("../../outside/secret"))],
    "absolute hard link out": [("hard", hardlink("{outside}/secret"))],
    "hard link through a link": [("link", symlink("{outside}")), ("hard", hardlink("link/secret"))],
    "hard link to a link": [("link", symlink("{outside}/evil")), ("hard", hardlink("link")), ("hard", b"evil")],
    "parent of the release": [("../artifact2", b"evil")],
    "second name of a link that leads out from there": [("a/l", symlink("../x")), ("l", hardlink("a/l"))],
    "link in a folder whose link is replaced": [
        ("e/f", b"f"),
        ("d", symlink("e")),
        ("d/l", symlink("../../outside/secret")),
        ("d", symlink(".")),
    ],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_tar_that_would_leave_its_folder(site, name):
    members = []
    for path, what in HOSTILE[name]:
        if isinstance(what, dict) and "linkname" in what:
            what = {**what, "linkname": what["linkname"].format(outside=site.outside)}
        members.append((path.format(outside=site.outside), what))
    with pytest.raises(Failed, match="the archive would write outside its folder, at .*: refused"):
        site.build(tar(("first", b"first"), *members))
    assert site.untouched()


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "{outside}/evil", "/{outside}/evil", "../evil/"])
def test_a_zip_that_would_leave_its_folder(site, name):
    with pytest.raises(Failed, match="the archive would write outside its folder, at .*: refused"):
        site.build(zipped((name.format(outside=site.outside), b"evil")))
    assert site.untouched()


@pytest.mark.parametrize("name", ["a/../../evil", "top/../evil"])
def test_strip_is_no_way_out(site, name):
    with pytest.raises(Failed, match="outside its folder"):
        site.build(tar((name, b"evil")), strip=1)
    assert site.untouched()


def zipped_link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def test_a_link_in_a_zip_is_a_link(site):
    site.build(zipped(("lib/libshop.so.1", b"so"), (zipped_link("lib/libshop.so"), b"libshop.so.1")))
    assert os.readlink(site.files / "lib/libshop.so") == "libshop.so.1"
    assert (site.files / "lib/libshop.so").read_bytes() == b"so"


@pytest.mark.parametrize("members", [["{outside}/secret"], ["../../outside/secret"], ["{outside}", "link/evil"]])
def test_a_link_in_a_zip_that_would_leave_its_folder(site, members):
    links = [(zipped_link("link"), members[0].format(outside=site.outside))]
    with pytest.raises(Failed, match="the archive would write outside its folder, at .*link.*: refused"):
        site.build(zipped(("first", b"first"), *links, *((name, b"evil") for name in members[1:])))
    assert site.untouched()


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_devices_and_pipes_in_a_zip_are_refused(site, kind):
    info = zipfile.ZipInfo("evil")
    info.external_attr = (kind | 0o777) << 16
    with pytest.raises(Failed, match="the archive holds a device or pipe, evil: refused"):
        site.build(zipped((info, b"")))


@pytest.mark.parametrize(
    "member",
    [CHARACTER_DEVICE, {**CHARACTER_DEVICE, "type": tarfile.BLKTYPE}, {"type": tarfile.FIFOTYPE}],
    ids=["character device", "block device", "pipe"],
)
def test_devices_and_pipes_are_refused(site, member):
    with pytest.raises(Failed, match="the archive holds a device or pipe, dev/evil: refused"):
        site.build(tar(("dev/evil", member)))
    assert site.made() == []


def test_a_device_by_the_detour_of_a_link_that_cannot_be_made(site):
    """tarfile makes in its place what the link points to, wherever in the archive that is."""
    with pytest.raises(Failed):
        site.build(tar(("link", symlink("./" * 3000 + "evil")), ("evil", CHARACTER_DEVICE)))
    assert not any(stat.S_ISCHR(p.lstat().st_mode) for p in site.files.rglob("*"))
    assert site.untouched()


def test_the_last_of_two_links_of_one_name_stays(site):
    site.build(tar(("1", b"1"), ("2", b"2"), ("link", symlink("1")), ("link", symlink("2"))))
    assert os.readlink(site.files / "link") == "2"


def test_a_hard_link_to_nothing(site):
    with pytest.raises(Failed, match="cannot be unpacked"):
        site.build(tar(("hard", hardlink("nothing"))))


# -- what cannot be unpacked ------------------------------------------------------------------


def damaged():
    deflate = zlib.compressobj(wbits=31)
    half = tar(("text", b"x" * 100000), mode="w")[:50000]
    return deflate.compress(half) + deflate.flush(zlib.Z_FULL_FLUSH) + b"\x07"


def encrypted():
    data = bytearray(zipped(("app", b"app")))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1
    return bytes(data)


@pytest.mark.parametrize(
    "data, problem",
    [
        (b"<html>not found</html>", "shop-1.0.tgz: cannot be unpacked: it is neither a tar nor a zip archive"),
        (b"", "it is neither a tar nor a zip archive"),
        (tar(("a", b"x" * 100000))[:60], "cannot be unpacked"),
        (damaged(), "cannot be unpacked"),
        (encrypted(), "cannot be unpacked: .*encrypted"),
        (gzip.compress(tar(("a", os.urandom(20000)), mode="w")[:9000]), "cannot be unpacked"),
        (tar(("a", b"file"), ("a/b", b"in a file")), "cannot be unpacked"),
        (zipped(("a", b"file"), ("a/b", b"in a file")), "cannot be unpacked"),
        (tar(), "is empty"),
    ],
    ids=["html", "nothing", "cut off", "damaged", "encrypted", "cut inside", "file as folder", "zip likewise", "empty"],
)
def test_an_archive_that_cannot_be_unpacked(site, data, problem):
    with pytest.raises(Failed, match=problem):
        site.build(data)


def test_strip_that_leaves_nothing(site):
    with pytest.raises(Failed, match=r"shop-1.0.tgz: is empty below 2 folders \(source:strip\)"):
        site.build(tar(("top/app", b"app")), strip=2)


# -- digests ----------------------------------------------------------------------------------


def test_a_wrong_digest_unpacks_nothing(site):
    data = tar(("app", b"app"))
    with pytest.raises(Failed, match=f"wrong digest: sha256 is {sha256(data)}, the definition says {'0' * 64}"):
        site.build(data, digest="0" * 64)
    assert site.made() == []


def test_a_digest_in_capitals(site):
    data = tar(("app", b"app"))
    site.build(data, digest=sha256(data).upper())
    assert site.made() == ["app"]


def test_a_mapping_of_versions_to_digests(site):
    data = tar(("app", b"app"))
    site.build(data, digest={"1.0": sha256(data).upper(), "1.1": "0" * 64})
    assert site.made() == ["app"]


def test_a_version_the_mapping_lacks(site):
    with pytest.raises(Refused, match=r"no digest is known for version 1.0.*\(known: 1.1, 1.2\)"):
        site.build(tar(("app", b"app")), digest={"1.2": "0" * 64, "1.1": "0" * 64})
    assert site.made() == []


@pytest.mark.parametrize(
    "text",
    [
        "{digest}\n",
        "{digest}  shop-1.0.tgz\n",
        "{digest} *shop-1.0.tgz\n{other} *shop-0.9.tgz\n",
        "{other}  shop-0.9.tgz\n{digest}  ./dist/shop-1.0.tgz\n{other}  shop-1.0.tgz.asc\n",
        "\n{DIGEST}  shop-1.0.tgz\n\n",
    ],
)
def test_a_file_of_digests(site, text):
    data = tar(("app", b"app"))
    sums = text.format(digest=sha256(data), DIGEST=sha256(data).upper(), other="0" * 64)
    (site.path / "1.0.sha256").write_text(sums)
    site.build(data, digest=f"file://{site.path}/{{version}}.sha256")
    assert site.made() == ["app"]


@pytest.mark.parametrize("text", ["", "no digest here", "{other}  shop-0.9.tgz\n{other}  shop-0.8.tgz\n", "{other}0\n"])
def test_a_file_without_the_digest(site, text):
    (site.path / "sums").write_text(text.format(other="0" * 64))
    with pytest.raises(Failed, match="sums: holds no sha256 digest of shop-1.0.tgz"):
        site.build(tar(("app", b"app")), digest=f"{site.path}/sums")
    assert site.made() == []


# -- where archives come from -----------------------------------------------------------------


def test_a_file_that_is_not_there(site):
    with pytest.raises(Failed, match="gone.tgz: cannot be copied: No such file"):
        site.build(b"", location="gone.tgz")


def test_salt_files_are_fetched_by_salt(site):
    data = tar(("app", b"app"))
    files = {"salt://shop/shop-1.0.tgz": data, "salt://shop/1.0.sha256": sha256(data).encode()}
    source = Source("archive", "salt://shop/shop-{version}.tgz", sha256="salt://shop/{version}.sha256")
    install(source, site.files, fetch=lambda url, path: path and path.write_bytes(files[url]))
    assert site.made() == ["app"]


@pytest.fixture
def artifacts():
    """Serve ``{path: content}`` over HTTP; a path that is not there is a 404."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path in served else 404)
            self.end_headers()
            for piece in served.get(self.path, ()):
                self.wfile.write(piece)

        def log_message(self, *args):
            pass

    served = {}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", served
        server.shutdown()


def test_archive_and_digest_over_http(site, artifacts):
    base, served = artifacts
    data = tar(("app", b"app"))
    served.update({"/shop-1.0.tgz": [data], "/shop-1.0.tgz.sha256": [f"{sha256(data)}  shop-1.0.tgz\n".encode()]})
    location = base + "/shop-{version}.tgz"
    install(Source("archive", location, sha256=location + ".sha256"), site.files)
    assert site.made() == ["app"]


def test_a_server_that_has_it_not(site, artifacts):
    base, _ = artifacts
    with pytest.raises(Failed, match="shop-1.0.tgz: the server answers 404 Not Found"):
        install(Source("archive", f"{base}/shop-1.0.tgz", sha256="0" * 64), site.files)


def test_a_server_that_is_not_there(site, artifacts):
    with pytest.raises(Failed, match="http://127.0.0.1:1/shop: cannot be fetched: .*refused"):
        install(Source("archive", "http://127.0.0.1:1/shop", sha256="0" * 64), site.files)


# -- an installed release ---------------------------------------------------------------------

ONE, OTHER = "ab" * 32, "cd" * 32


def archive(location="http://a/{version}.tgz", **source):
    return Archive(Source("archive", location, **source))


def test_the_digest_decides_whether_the_content_changes():
    recorded = {"origin": archive(sha256=ONE).origin("1.0"), "artifact": ONE}
    assert archive("http://b/shop.tgz", sha256={"1.0": ONE.upper()}).changes("1.0", recorded) == []
    assert archive(sha256=OTHER).changes("1.0", recorded) == ["sha256"]
    assert archive(sha256=OTHER, strip=1).changes("1.0", recorded) == ["sha256", "strip"]


def test_the_name_is_a_part_of_the_content_of_a_file_that_is_not_unpacked():
    jar = archive("http://a/shop-{version}.jar", sha256=ONE, unpack=False)
    recorded = {"origin": jar.origin("1.0"), "artifact": ONE}
    assert archive("http://b/x/shop-1.0.jar?raw=1", sha256=ONE, unpack=False).changes("1.0", recorded) == []
    assert archive("http://a/shop.jar", sha256=ONE, unpack=False).changes("1.0", recorded) == ["location"]
    assert archive("http://a/shop-1.0.jar", sha256=ONE).changes("1.0", recorded) == ["unpack"]
    # Before there was such a key, all archives were unpacked.
    del recorded["origin"]["unpack"]
    assert archive("http://a/shop.jar", sha256=ONE).changes("1.0", recorded) == []
    assert jar.changes("1.0", recorded) == ["unpack"]


def test_without_a_digest_in_the_definition_the_location_decides():
    recorded = {"origin": archive(sha256="http://a/sums").origin("1.0"), "artifact": ONE}
    assert archive(sha256="http://a/sums").changes("1.0", recorded) == []
    assert archive("http://b/shop.tgz", sha256="http://a/sums").changes("1.0", recorded) == ["location"]


def test_only_a_file_of_digests_may_give_another_digest_now(tmp_path):
    (tmp_path / "sums").write_text(ONE)
    assert archive(sha256=f"{tmp_path}/sums").current_digest("1.0", tmp_path, None) == ONE
    assert archive(sha256={"1.0": OTHER}).current_digest("1.0", tmp_path, None) == ""


# -- before an installation -------------------------------------------------------------------


def test_the_check_returns_the_digest_and_asks_for_room(site, monkeypatch):
    needs = []
    monkeypatch.setattr(disk, "require", lambda found: needs.extend(need.bytes for need in found))
    data = tar(("app", b"app"))
    (site.path / "shop.tgz").write_bytes(data)
    source, artifacts = archive(f"{site.path}/shop.tgz", sha256=sha256(data)), Artifacts(site.path, "shop", site.files)
    assert source.check("1.0", site.path, None, artifacts, print) == sha256(data)
    assert needs == [2 * len(data)]


def test_files_that_are_missing_here(tmp_path):
    (tmp_path / "token").write_text("hunter2")
    assert list(archive(token_file=str(tmp_path / "token")).missing()) == []
    assert list(archive(token_file=f"{tmp_path}/gone").missing()) == [
        f"source:token_file: {tmp_path}/gone cannot be read on this node: No such file or directory"
    ]


def latest(place, text, tmp_path):
    (tmp_path / "version").write_bytes(text)
    source = Source("archive", "/shop-{version}.tar", sha256="0" * 64, latest=place.format(tmp_path / "version"))
    return Archive(source).newest(Asking(tmp_path, None))["version"]


def test_the_newest_version_is_the_only_line_of_a_file(tmp_path):
    assert latest("{}", b"1.4.3\n", tmp_path) == latest("file://{}", b"1.4.3", tmp_path) == "1.4.3"
    for text in (b"", b"1.4.2\n1.4.3\n", b"<html>", b"../x", b"\xff", b"1" * 100):
        with pytest.raises(Failed, match="version: does not have a version as its only line"):
            latest("{}", text, tmp_path)
    with pytest.raises(Failed, match="is larger than"):
        latest("{}", b"1" * (limits.DIGESTS + 1), tmp_path)
    with pytest.raises(Refused, match="source:latest: is missing. Write the URL of a file"):
        latest("", b"", tmp_path)
