"""A folder as a source: a copy of it, whatever its owner puts into it, and a version that names its content."""

import os
import socket
import stat
import time
from pathlib import Path

import pytest
from saltdeploy.core import limits, versions
from saltdeploy.core.errors import Failed, Refused
from saltdeploy.core.model import Source
from saltdeploy.source import Asking, choose, path
from saltdeploy.source.artifacts import Artifacts

from tests.support.files import umask
from tests.support.sources import install


@pytest.fixture
def copy(tmp_path):
    """A working copy with a program in it."""
    folder = tmp_path / "copy"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/serve").write_text("#!/bin/sh\n")
    (folder / "bin/serve").chmod(0o700)
    (folder / "page").write_text("hello")
    return folder


@pytest.fixture
def target(tmp_path):
    (tmp_path / "release/files").mkdir(parents=True)
    return tmp_path / "release/files"


def source(copy, **given):
    return Source("path", str(copy), **given)


def newest(copy, known=None, **given):
    return choose(source(copy, **given)).newest(Asking(copy, None, known=known or {}))


def version(copy, **given):
    return newest(copy, **given)["version"]


def names(folder):
    return sorted(str(found.relative_to(folder)) for found in folder.rglob("*"))


def check(copy, tmp_path, wanted="1.0", **given):
    artifacts = Artifacts(tmp_path, "shop", tmp_path)
    return choose(source(copy, **given)).check(wanted, tmp_path, None, artifacts, None)


def test_a_release_is_a_copy(copy, target, tmp_path):
    os.utime(copy / "page", (1, 1_000_000))
    (copy / "page").chmod(0o6666)
    (copy / "naïve 文").write_text("unicode")
    (copy / os.fsdecode(b"raw\xff")).write_text("no UTF-8")
    (copy / "inside").symlink_to("bin/../page")
    (copy / "empty").mkdir()
    before = version(copy)
    with umask(0o077):
        made = install(source(copy), target, before)
    assert names(target) == names(copy)
    assert made["artifact"][:12] == before[3:] and versions.is_of_content(before)
    modes = {
        str(p.relative_to(target)): stat.S_IMODE(p.lstat().st_mode) for p in target.rglob("*") if not p.is_symlink()
    }
    assert (modes["page"], modes["bin/serve"], modes["bin"], modes["empty"]) == (0o644, 0o755, 0o755, 0o755)
    assert ((target / "page").stat().st_mtime, (target / "page").stat().st_uid) == (1_000_000, os.geteuid())
    assert (target / "inside").readlink() == Path("bin/../page")
    # The copy has the same content as the folder, and so the same version.
    assert version(target) == before and check(copy, tmp_path) == made["artifact"]


def test_the_version_names_names_modes_and_bytes(copy):
    seen = [version(copy)]
    (copy / "page").write_text("hallo")
    seen.append(version(copy))
    (copy / "page").chmod(0o755)
    seen.append(version(copy))
    (copy / "page").rename(copy / "site")
    seen.append(version(copy))
    (copy / "link").symlink_to("site")
    seen.append(version(copy))
    (copy / "folder").mkdir()
    seen.append(version(copy))
    assert len(set(seen)) == len(seen)
    # Two files are not one file with a name that looks like both, and the bits for others say nothing.
    (copy / "site").chmod(0o744)
    os.utime(copy / "site", (1, 1))
    assert version(copy) == seen[-1]


def test_what_is_left_out(copy, target):
    for name in (".git/config", "lib/__pycache__/x.pyc", "node_modules/a/b", "lib/debug.log", "doc/build/x", "build/x"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text(name)
    (copy / "node_modules/device").symlink_to("/dev/null")
    exclude = ("node_modules", "*.log", "doc/build/")
    before = version(copy, exclude=exclude)
    (copy / ".git/config").write_text("other")
    (copy / "lib/debug.log").write_text("other")
    assert version(copy, exclude=exclude) == before
    install(source(copy, exclude=exclude), target)
    assert names(target) == ["bin", "bin/serve", "build", "build/x", "doc", "lib", "page"]


def test_a_symlinked_folder_is_the_folder(copy, target, tmp_path):
    (tmp_path / "link").symlink_to(copy)
    install(source(tmp_path / "link"), target)
    assert names(target) == names(copy) and version(tmp_path / "link") == version(copy)
    (tmp_path / "root").symlink_to("/")
    with pytest.raises(Refused, match="is the whole file system"):
        version(tmp_path / "root")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users, as root")
def test_a_link_on_the_way_that_another_user_can_change_is_refused(copy, target, tmp_path):
    """Its owner could have root copy any folder of the machine."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "shop").symlink_to(copy)
    for owner, mode, link in ((1000, 0o755, 0), (0, 0o777, 0), (0, 0o1777, 1000)):
        os.chown(home, owner, owner)
        home.chmod(mode)
        os.lchown(home / "shop", link, link)
        with pytest.raises(Refused, match="shop is a link that others than root can change. Name the folder"):
            install(source(home / "shop/bin"), target)
    os.lchown(home / "shop", 0, 0)
    install(source(home / "shop/bin"), target)
    assert names(target) == ["serve"]


def test_a_circle_of_links_ends(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(Refused, match=" is a link that others"):
        version(tmp_path / "a")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users, as root")
def test_a_second_name_of_another_user_s_file_is_refused(copy, target, tmp_path):
    (tmp_path / "secret").write_text("root's")
    os.link(tmp_path / "secret", copy / "mine")
    install(source(copy), target)
    os.chown(copy, 1000, 1000)
    with pytest.raises(Failed, match="mine is another user's file, which has another name elsewhere: refused"):
        version(copy)


def test_a_name_that_is_no_text_can_be_told(copy):
    os.mkfifo(os.fsencode(copy) + b"/\xff")
    with pytest.raises(Failed) as failed:
        version(copy)
    str(failed.value).encode()


def test_a_file_that_has_just_been_deleted_may_not_be_the_last_change(copy, monkeypatch):
    later = time.time() + 60
    monkeypatch.setattr(path.time, "time", lambda: later)
    assert newest(copy)["stamp"]
    monkeypatch.undo()
    (copy / "page").unlink()
    assert not newest(copy)["stamp"]


@pytest.mark.parametrize("leads", ["/etc/passwd", "../../secret", "bin/../../x", "up/x"])
def test_a_link_out_of_the_folder_is_refused(copy, target, leads):
    (copy / "up").symlink_to(".")
    (copy / "evil").symlink_to(leads if leads != "up/x" else "up/../../x")
    for attempt in (lambda: version(copy), lambda: install(source(copy), target)):
        with pytest.raises(Failed, match="the link evil leads out of the folder: refused. Add it to `exclude`"):
            attempt()
    assert version(copy, exclude=("evil",)) != version(copy, exclude=("evil", "page"))


def test_a_pipe_and_a_socket_are_refused(copy):
    os.mkfifo(copy / "pipe")
    with pytest.raises(Failed, match="has a device, pipe or socket, pipe: refused"):
        version(copy)
    (copy / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(copy, os.O_RDONLY)  # the path of a socket must be short
        listener.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
        with pytest.raises(Failed, match="has a device, pipe or socket, socket: refused"):
            version(copy)


def test_a_folder_that_is_not_there_or_not_readable(copy, tmp_path):
    with pytest.raises(Failed, match="source:path: .*/gone: cannot be read at gone: No such file or directory"):
        version(tmp_path / "gone")
    with pytest.raises(Failed, match="page: cannot be read at page: Not a directory"):
        version(copy / "page")
    assert list(choose(source(tmp_path / "gone")).missing()) and not list(choose(source(copy)).missing())


def test_an_unreadable_file_is_named(copy, monkeypatch):
    opened = os.open

    def deny(name, *args, **kwargs):
        if name == "serve":
            raise PermissionError(13, "Permission denied", name)
        return opened(name, *args, **kwargs)

    monkeypatch.setattr(path.os, "open", deny)
    with pytest.raises(Failed, match="cannot be read at bin/serve: Permission denied"):
        version(copy)


def test_limits(copy, monkeypatch):
    monkeypatch.setattr(limits, "FOLDER", 10)
    with pytest.raises(Failed, match="has more than 10 B: refused. Add to `exclude`"):
        version(copy)
    monkeypatch.setattr(limits, "FOLDER", 1 << 20)
    monkeypatch.setattr(limits, "MEMBERS", 2)
    with pytest.raises(Failed, match="has more than 2 files: refused"):
        version(copy)
    monkeypatch.setattr(limits, "MEMBERS", 100)
    monkeypatch.setattr(limits, "DEPTH", 2)
    (copy / "a/b/c/d").mkdir(parents=True)
    with pytest.raises(Failed, match="is more than 2 folders deep: refused"):
        version(copy)
    monkeypatch.setattr(limits, "DEPTH", 64)
    monkeypatch.setattr(limits, "PATH", 6)
    with pytest.raises(Failed, match="is too long: a path may have 6 bytes"):
        version(copy)


class Meddler:
    """Changes the folder at the moment at which a file of it is opened."""

    def __init__(self, monkeypatch, name, act):
        self.opened = os.open
        monkeypatch.setattr(path.os, "open", lambda *args, **kwargs: self(name, act, *args, **kwargs))

    def __call__(self, name, act, opened, *args, **kwargs):
        if opened == name:
            act()
        return self.opened(opened, *args, **kwargs)


def test_a_file_that_becomes_a_link_is_not_followed(copy, target, tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("secret")

    def swap():
        (copy / "page").unlink()
        (copy / "page").symlink_to(tmp_path / "secret")

    Meddler(monkeypatch, "page", swap)
    with pytest.raises(Failed, match="cannot be read at page"):
        install(source(copy), target)
    assert not (target / "page").exists()


def test_a_folder_that_becomes_a_link_is_not_followed(copy, target, tmp_path, monkeypatch):
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/serve").write_text("secret")

    def swap():
        (copy / "bin").rename(tmp_path / "moved")
        (copy / "bin").symlink_to(tmp_path / "secrets")

    Meddler(monkeypatch, "bin", swap)
    with pytest.raises(Failed, match="cannot be read at bin"):
        install(source(copy), target)
    assert "secret" not in [p.read_text() for p in target.rglob("*") if p.is_file()]


def test_a_file_that_becomes_a_pipe_does_not_block(copy, monkeypatch):
    def swap():
        (copy / "page").unlink()
        os.mkfifo(copy / "page")

    Meddler(monkeypatch, "page", swap)
    with pytest.raises(Failed, match="page was changed while it was read. Run it again"):
        version(copy)


def test_a_file_that_grows_while_it_is_read(copy, monkeypatch):
    read = os.read

    def grow(descriptor, size):
        with (copy / "page").open("a") as out:
            out.write("more")
        return read(descriptor, size)

    monkeypatch.setattr(path.os, "read", grow)
    with pytest.raises(Failed, match="page was changed while it was read"):
        version(copy)


def test_a_folder_that_changed_before_the_installation(copy, target, tmp_path):
    before = version(copy)
    digest = check(copy, tmp_path, before)
    (copy / "page").write_text("changed")
    with pytest.raises(Failed, match=f"has {version(copy)} now, and not {before}. Without a version"):
        install(source(copy), target, before)
    with pytest.raises(Failed, match="now, and not"):
        check(copy, tmp_path, before)
    assert check(copy, tmp_path) != digest  # a version that says nothing of its content


def test_an_empty_folder_is_no_release(tmp_path, target):
    (tmp_path / "empty").mkdir()
    with pytest.raises(Failed, match="has no files"):
        install(source(tmp_path / "empty"), target)


def test_only_a_version_of_content_outlasts_a_change(copy, tmp_path):
    kind = choose(source(copy))
    assert kind.current_digest(version(copy), tmp_path, None) == ""
    assert kind.current_digest("1.0", tmp_path, None) == check(copy, tmp_path)
    recorded = {"origin": kind.origin("1.0")}
    assert kind.changes("1.0", recorded) == []
    assert choose(source(tmp_path / "other")).changes("1.0", recorded) == []
    assert kind.changes("1.0", {"origin": {"kind": "archive"}}) == ["kind"]


def test_files_that_did_not_change_are_not_read_again(copy, monkeypatch):
    assert newest(copy)["stamp"] == ""  # a change may be too young to tell
    monkeypatch.setattr(path, "TICK", -1.0)
    first = newest(copy)
    known = {first["stamp"]: first["version"]}
    with monkeypatch.context() as patched:
        patched.setattr(path._Reading, "take", None)
        assert newest(copy, known) == first
    (copy / "page").write_text("hallo")
    again = newest(copy, known)
    assert again["stamp"] not in known and again["version"] != first["version"]
