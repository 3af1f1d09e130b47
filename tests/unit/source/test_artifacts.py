"""A node fetches an archive once for all its apps, and keeps it for as long as a release is made of it."""

import hashlib
import io
import multiprocessing
import os
import subprocess
import tarfile
import threading
import time

import pytest
from saltdeploy.core.errors import Failed
from saltdeploy.core.model import App, Source
from saltdeploy.master.remote import answers
from saltdeploy.source import artifacts
from saltdeploy.source.archive import Archive
from saltdeploy.source.artifacts import Artifacts
from saltdeploy.system import disk, filelocks

from tests.support.fileserver import Answer, serving

fork = multiprocessing.get_context("fork")


def archive(content=b"app", compression=""):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{compression}") as tar:
        info = tarfile.TarInfo("app")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture
def server():
    with serving(archive()) as server:
        yield server


def digest(server):
    return hashlib.sha256(server.content).hexdigest()


def app(server, name="shop"):
    return App(name, Source("archive", server.url, sha256=digest(server)), "run")


def kept(node):
    """Return what lies in the node's downloads, each name without its digest."""
    folder = node.root / ".downloads"
    return sorted(p.name.partition(".")[1] + p.name.partition(".")[2] for p in folder.iterdir())


def broken_off(server, node, app):
    server.answers = [Answer(cut=2000), *[Answer(status=503)] * 3]
    with pytest.raises(Failed, match="the server answers 503"):
        node.releases.install(app, "1.0", None)
    server.asked.clear()


# -- once -------------------------------------------------------------------------------------


def test_apps_and_versions_of_one_archive_fetch_it_once(server, node):
    node.releases.install(app(server), "1.0", None)
    node.releases.install(app(server), "2.0", None)
    node.releases.install(app(server, "worker"), "1.0", None)
    assert server.ranges == [None]
    assert (node.releases.path("worker", "1.0") / "app").read_bytes() == b"app"


def test_a_release_that_is_installed_fetches_nothing(server, node):
    node.releases.install(app(server), "1.0", None)
    server.answers = [Answer(status=500)]
    assert node.releases.install(app(server), "1.0", None) is False
    assert len(server.asked) == 1


def _install(node, app, results):
    results.put(node.releases.install(app, "1.0", None))


def test_at_the_same_time_it_is_fetched_once_too(server, node):
    """The first is held at half of it until the others wait, or have done what they must not."""
    go_on = threading.Event()
    server.answers = [Answer(wait=go_on)]
    results = fork.SimpleQueue()
    apps = [app(server, f"app{n}") for n in range(4)]
    processes = [fork.Process(target=_install, args=[node, app, results]) for app in apps]
    for process in processes:
        process.start()
    while not all((node.root / app.name / "releases" / ".lock").exists() for app in apps):
        time.sleep(0.01)
    go_on.set()
    assert [results.get() for _ in processes] == [True] * 4
    for process in processes:
        process.join()
    assert server.ranges == [None]
    assert all((node.releases.path(app.name, "1.0") / "app").read_bytes() == b"app" for app in apps)
    assert kept(node) == [""]


def test_what_is_kept_is_verified_again(server, node):
    node.releases.install(app(server), "1.0", None)
    [whole] = (node.root / ".downloads").iterdir()
    whole.write_bytes(b"damaged")
    node.releases.install(app(server), "2.0", None)
    assert len(server.asked) == 2
    assert whole.read_bytes() == server.content


def test_another_job_s_archive_is_waited_for(server, tmp_path):
    """The lock is removed by who holds it: who waits for it must not go on with the one that is gone."""
    holder = Artifacts(tmp_path, "shop", tmp_path)
    with holder:
        whole = holder.get(server.url, digest(server))
        with (
            pytest.raises(filelocks.Held),
            filelocks.hold(whole.with_name(f"{whole.name}.lock"), 0),
        ):
            pass
        Artifacts(tmp_path, "other", tmp_path).tidy(set)
        assert whole.exists()
    Artifacts(tmp_path, "other", tmp_path).tidy(set)
    assert not whole.exists()


def _count(path, counter, times):
    for _ in range(times):
        with filelocks.hold(path):
            value = int(counter.read_text())
            counter.write_text(str(value + 1))
            path.unlink()


def test_a_lock_that_is_removed_holds(tmp_path):
    counter = tmp_path / "counter"
    counter.write_text("0")
    processes = [fork.Process(target=_count, args=[tmp_path / "lock", counter, 200]) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert counter.read_text() == "800"


# -- as long as a release ---------------------------------------------------------------------


def test_it_goes_with_its_last_release(server, node):
    node.releases.install(app(server), "1.0", None)
    node.releases.install(app(server, "worker"), "1.0", None)
    node.releases.remove("shop", "1.0")
    assert kept(node) == [""]
    node.releases.remove("worker", "1.0")
    assert kept(node) == []


def test_a_part_is_gone_on_with_and_then_gone(server, node):
    server.content = archive(os.urandom(5000))
    broken_off(server, node, app(server))
    assert kept(node) == [".app", ".partial", ".partial.from"]
    node.releases.install(app(server), "1.0", None)
    assert server.ranges == ["bytes=2000-"]
    assert kept(node) == [""]


def test_a_part_goes_when_its_app_has_installed_something_else(server, node):
    server.content = archive(os.urandom(5000))
    broken_off(server, node, app(server))
    server.content = archive()
    node.releases.install(app(server, "worker"), "1.0", None)
    assert kept(node) == ["", ".app", ".partial", ".partial.from"]
    node.releases.install(app(server), "2.0", None)
    assert kept(node) == [""]


def test_a_part_goes_after_a_time(server, node, monkeypatch):
    server.content = archive(os.urandom(5000))
    broken_off(server, node, app(server))
    monkeypatch.setattr(artifacts, "STALE", -1)
    server.content = archive()
    node.releases.install(app(server, "worker"), "1.0", None)
    assert kept(node) == [""]


def test_an_archive_that_cannot_be_unpacked_is_not_kept(server, node):
    server.content = b"no archive"
    with pytest.raises(Failed, match="neither a tar nor a zip"):
        node.releases.install(app(server), "1.0", None)
    assert kept(node) == []


def test_a_release_from_before_downloads_were_kept_is_no_trouble(server, node):
    node.releases.install(app(server), "1.0", None)
    record = node.releases.path("shop", "1.0").resolve().parent / "release.json"
    record.write_text(record.read_text().replace('"artifact"', '"other"'))
    (node.root / "shop/releases/note").write_text("somebody's")
    node.releases.install(app(server), "2.0", None)
    assert node.releases.versions("shop") == ["1.0", "2.0"]


# -- room -------------------------------------------------------------------------------------


@pytest.fixture
def small(node):
    """A disk of 1 MiB for the node's folder."""
    if os.geteuid() != 0:
        pytest.skip("mounts a small disk")
    node.root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "small", node.root], check=True)
    yield
    subprocess.run(["umount", node.root], check=True)


def left(node):
    return sorted(str(p.relative_to(node.root)) for p in node.root.rglob("*") if p.is_file() and p.name != ".lock")


def test_what_does_not_fit_is_refused_before_anything_is_fetched(server, node, small):
    """Download and release are on one disk: half a megabyte twice does not fit into one."""
    server.content = archive(os.urandom(550_000))
    told = (
        f"shop 1.0 cannot be installed on web1: no room in {node.root}/.downloads and {node.root}/shop/releases:"
        " 1.1 MB are needed, 52 kB must stay free, and 1.0 MB are free. Make room there"
    )
    with pytest.raises(Failed, match=told.replace(".", r"\.")):
        node.releases.room(app(server), "1.0", None)
    assert server.asked == [] and list(node.root.iterdir()) == []
    # A server that does not answer HEAD says the size when it is asked for the file.
    server.head = 405
    with pytest.raises(Failed, match=told.replace(".", r"\.")):
        node.releases.room(app(server), "1.0", None)
    with pytest.raises(Failed, match=told.replace(".", r"\.")):
        node.releases.install(app(server), "1.0", None)
    assert left(node) == []


def test_what_does_not_fit_unpacked_is_refused_before_it_is_unpacked(server, node, small, monkeypatch):
    server.content = archive(bytes(1_200_000), "gz")
    assert answers.room(node.releases.room(app(server), "1.0", None)) == ""
    with pytest.raises(
        Failed, match=f"cannot be installed on web1: no room in {node.root}/shop/releases: 1.2 MB are needed"
    ):
        node.releases.install(app(server), "1.0", None)
    assert left(node) == []


@pytest.mark.parametrize("share", [0.7, 1.5], ids=["while it unpacks", "while it is fetched"])
def test_a_disk_that_becomes_full_is_left_as_it_was(server, node, small, monkeypatch, share):
    """Nobody foresaw it: something else fills it meanwhile."""
    monkeypatch.setattr(disk, "require", lambda needs: None)
    server.content = archive(os.urandom(int(share * 1_000_000)))
    with pytest.raises(Failed, match=r"cannot be installed on web1: .*No space left on device.* 1\.0 MB are free in "):
        node.releases.install(app(server), "1.0", None)
    assert left(node) == []
    assert node.releases.versions("shop") == []


def test_what_is_installed_needs_no_room(server, node, monkeypatch):
    node.releases.install(app(server), "1.0", None)
    monkeypatch.setattr(Archive, "check", None)
    assert answers.room(node.releases.room(app(server), "1.0", None)) == ""


def test_what_is_here_needs_no_room_again(server, node, monkeypatch):
    needs = []
    monkeypatch.setattr(disk, "require", lambda found: needs.append([need.bytes for need in found]))
    assert answers.room(node.releases.room(app(server), "1.0", None)) == ""
    server.content = archive(os.urandom(5000))
    broken_off(server, node, app(server))
    size = len(server.content)
    needs.clear()
    assert answers.room(node.releases.room(app(server), "1.0", None)) == ""
    node.releases.install(app(server), "1.0", None)
    node.releases.room(app(server), "2.0", None)
    assert [n for n in needs if len(n) == 2] == [[size - 2000, size], [size - 2000, size], [0, size]]


@pytest.mark.parametrize(
    "location, needed",
    [("{path}", [200]), ("file://{path}", [200]), ("salt://shop.tar", [200])],
)
def test_room_for_other_sources(node, tmp_path, monkeypatch, location, needed):
    needs = []
    monkeypatch.setattr(disk, "require", lambda found: needs.append([need.bytes for need in found]))
    path = tmp_path / "shop.tar"
    path.write_bytes(b"x" * 100)
    source = Source("archive", location.format(path=path), sha256="0" * 64)
    asked = []
    node.releases.room(App("shop", source, "run"), "1.0", lambda *fetched: asked.append(fetched) or 100)
    assert needs == [needed]
    assert asked == ([(location, None)] if location.startswith("salt://") else [])


def test_what_does_not_fit_is_not_fetched_from_the_master(node, small):
    """The file of half a megabyte and the release are on one disk. Both ask for the size beforehand."""
    content, fetched = archive(os.urandom(550_000)), []
    source = Source("archive", "salt://shop.tar", sha256=hashlib.sha256(content).hexdigest())

    def fetch(url, path):
        if path is None:
            return len(content)
        fetched.append(path)
        return path.write_bytes(content)

    for act in (node.releases.room, node.releases.install):
        with pytest.raises(Failed, match=f"no room in {node.root}/shop/releases: 1.1 MB are needed, 52 kB must stay"):
            act(App("shop", source, "run"), "1.0", fetch)
    assert fetched == [] and left(node) == []


def test_a_file_whose_size_the_master_does_not_say_leaves_the_reserve(node, small):
    """The disk has room for the file, and not for as much unpacked."""
    content = archive(os.urandom(550_000))
    source = Source("archive", "salt://shop.tar", sha256=hashlib.sha256(content).hexdigest())
    app = App("shop", source, "run")

    def fetch(url, path):
        if path:
            path.write_bytes(content)

    node.releases.room(app, "1.0", fetch)
    with pytest.raises(Failed, match=f"no room in {node.root}/shop/releases: .* are needed, 52 kB must stay free"):
        node.releases.install(app, "1.0", fetch)
    assert left(node) == []


@pytest.mark.parametrize("location", ["/gone/shop.tar", "file:///gone/shop.tar", "/etc"])
def test_a_file_that_is_not_on_this_node_is_missed_beforehand(node, location):
    source = Source("archive", location, sha256="0" * 64)
    with pytest.raises(Failed, match=f"{location}: cannot be copied: (No such file|is no file) on this node"):
        node.releases.room(App("shop", source, "run"), "1.0", None)


def test_a_file_with_logins_that_is_not_there_is_missed_beforehand(node, tmp_path):
    source = Source("pip", "shop", netrc=str(tmp_path / "gone"))
    with pytest.raises(Failed, match="source:netrc: .*/gone cannot be read on this node: No such file"):
        node.releases.room(App("shop", source, "run"), "1.0", None)


@pytest.mark.parametrize("head", [401, 403, 404, 405, 500, 501, 503])
def test_a_server_that_only_does_not_say_the_size_is_asked_for_the_file(server, node, head):
    server.head = head
    assert node.releases.room(app(server), "1.0", None)["warnings"] == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
@pytest.mark.parametrize("head", [403, 500])
def test_a_file_that_its_server_will_not_send_is_missed_beforehand(server, node, status, head):
    server.head, server.answers = head, [Answer(status=status)]
    with pytest.raises(Failed, match=f"shop.tar: the server answers {status} "):
        node.releases.room(app(server), "1.0", None)


@pytest.mark.parametrize("status", [429, 500, 503, 507])
def test_a_server_that_may_send_the_file_later_is_a_warning(server, node, status):
    server.head, server.answers = 500, [Answer(status=status)]
    [warning] = node.releases.room(app(server), "1.0", None)["warnings"]
    assert warning.startswith(f"{server.url}: the server answers {status} ")
    assert warning.endswith(". An installation now would fail")


def test_so_is_a_server_that_is_not_there(node):
    source = Source("archive", "http://127.0.0.1:1/shop.tar", sha256="0" * 64)
    [warning] = node.releases.room(App("shop", source, "run"), "1.0", None)["warnings"]
    assert warning.startswith("http://127.0.0.1:1/shop.tar: ") and "refused" in warning
