"""Releases: complete or absent, never changed, and installed again if they are broken."""

import contextlib
import multiprocessing
import shutil
import socket
import stat
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from saltdeploy.core.errors import Failed, Refused
from saltdeploy.source import images
from saltdeploy.source.artifacts import Artifacts
from saltdeploy.system import filelocks, trees

from tests.support.files import assert_all_may_enter, umask
from tests.support.node import ADDRESS, archive

fork = multiprocessing.get_context("fork")


def visible(node):
    """Return the names in the folder of releases that are not hidden."""
    return [p.name for p in (node.root / "shop/releases").glob("*") if not p.name.startswith(".")]


def hidden(node):
    return [p.name for p in (node.root / "shop/releases").glob(".*") if p.name != ".lock"]


def test_a_release_is_installed_once(node, app):
    assert not node.releases.installed(app, "1.0")
    assert node.releases.install(app, "1.0", None) is True
    assert (node.releases.path("shop", "1.0") / "app").read_text() == "app"
    assert node.releases.installed(app, "1.0")
    inode = (node.releases.path("shop", "1.0") / "app").stat().st_ino
    assert node.releases.install(app, "1.0", None) is False
    assert (node.releases.path("shop", "1.0") / "app").stat().st_ino == inode
    assert node.releases.versions("shop") == ["1.0"]


def test_no_releases(node):
    assert node.releases.versions("shop") == []


@pytest.mark.parametrize("order", [1, -1])
def test_releases_whose_versions_begin_alike_leave_each_other_alone(node, app, order):
    versions = ["1.0", "1.0-rc1", "1.0-rc1-2", "1.0.1", "1.0_1", "1.0+a~b"]
    for version in versions[::order]:
        node.releases.install(app, version, None)
    assert node.releases.versions("shop") == versions[::order]
    assert all((node.releases.path("shop", v) / "app").read_text() == "app" for v in versions)


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_a_release_can_be_entered_by_the_app_s_user_whatever_the_umask(node, app, mask):
    with umask(mask):
        node.releases.install(app, "1.0", None)
    path = node.releases.path("shop", "1.0").resolve()
    assert stat.S_IMODE((path / "app").stat().st_mode) == 0o644
    assert_all_may_enter(path, node.root)


def test_another_source_under_the_same_version_is_refused(node, app, tmp_path):
    node.releases.install(app, "1.0", None)
    other = replace(app, source=archive(tmp_path / "other.tar", "changed"))
    told = r"shop 1.0 is installed on web1 from another source \(sha256 changed\)"
    with pytest.raises(Refused, match=told):
        node.releases.install(other, "1.0", None)
    with pytest.raises(Refused, match="A release never changes"):
        node.releases.installed(other, "1.0")
    assert (node.releases.path("shop", "1.0") / "app").read_text() == "app"


def built(app, command="sh -c 'cat app app > made'"):
    return replace(app, user="", source=replace(app.source, build=command))


@pytest.fixture
def releases(node):
    """Releases in a folder that all users may enter, because a build does not run as root."""
    folder = Path(tempfile.mkdtemp(prefix="sd-", dir="/tmp"))
    folder.chmod(0o755)
    yield replace(node.releases, root=folder)
    shutil.rmtree(folder)


def test_a_release_is_built_from_the_files_of_its_source(releases, app):
    releases.install(built(app), "1.0", None)
    assert (releases.path("shop", "1.0") / "made").read_text() == "appapp"
    assert releases.installed(built(app), "1.0")
    for other in (app, built(app, "make")):
        with pytest.raises(Refused, match=r"from another source \(build changed\)"):
            releases.installed(other, "1.0")


def test_a_build_that_fails_leaves_nothing(releases, app):
    with pytest.raises(Failed, match="ended with 1"):
        releases.install(built(app, "false"), "1.0", None)
    assert visible(releases) == hidden(releases) == releases.versions("shop") == []


def test_a_release_that_fails_to_build_leaves_nothing(node, app):
    broken = replace(app, source=replace(app.source, sha256="0" * 64))
    with pytest.raises(Failed, match="wrong digest"):
        node.releases.install(broken, "1.0", None)
    assert visible(node) == hidden(node) == node.releases.versions("shop") == []
    assert node.releases.install(app, "1.0", None) is True


def test_an_archive_of_nested_folders_is_no_trouble_for_the_next_one(node, app, tmp_path):
    """The archive is refused, and nothing of it stays. A corrected archive of the same version is installed."""
    nested = replace(app, source=archive(tmp_path / "nested.tar", name="a/" * 1100 + "app"))
    with pytest.raises(Failed, match="is too long: a path may have 1024 bytes"):
        node.releases.install(nested, "1.0", None)
    assert hidden(node) == []
    assert node.releases.install(app, "1.0", None) is True


def test_what_an_earlier_installation_left_is_in_nobody_s_way(node, app, monkeypatch):
    """Folders deeper than Python's stack are removed. A folder that cannot be removed does no harm."""
    releases = node.root / "shop/releases"
    left = releases / ".1.0@left"
    left.mkdir(parents=True)
    at = left
    for _ in range(1100):
        at = at / "d"
        at.mkdir()
    assert node.releases.install(app, "1.0", None) is True
    assert len(hidden(node)) == 1
    node.releases.remove("shop", "1.0")
    (releases / ".1.0@stuck").mkdir(parents=True)

    def stuck(folder):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(trees, "remove", stuck)
    assert node.releases.install(app, "1.0", None) is True
    assert (node.releases.path("shop", "1.0") / "app").read_text() == "app"


def test_a_release_that_cannot_be_removed_after_a_failure_does_not_hide_the_failure(node, app, monkeypatch):
    broken = replace(app, source=replace(app.source, sha256="0" * 64))

    def stuck(folder):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(trees, "remove", stuck)
    with pytest.raises(Failed, match="wrong digest"):
        node.releases.install(broken, "1.0", None)


@pytest.mark.parametrize("broken", ["no files", "no build", "a loop", "no record", "half a record", "another record"])
def test_a_release_that_is_broken_is_installed_again(node, app, broken):
    node.releases.install(app, "1.0", None)
    release = node.releases.path("shop", "1.0")
    build = release.resolve().parent
    if broken == "no files":
        shutil.rmtree(build / "files")
    elif broken == "no build":
        shutil.rmtree(build)
    elif broken == "a loop":
        release.unlink()
        release.symlink_to("1.0")
    else:
        text = {"no record": None, "half a record": '{"app": "sh', "another record": "[1]"}[broken]
        (build / "release.json").unlink()
        if text:
            (build / "release.json").write_text(text)
    assert not node.releases.installed(app, "1.0")
    if "record" not in broken:
        assert node.releases.versions("shop") == []
    assert node.releases.install(app, "1.0", None) is True
    assert node.releases.installed(app, "1.0") and (release / "app").read_text() == "app"
    node.releases.remove("shop", "1.0")
    assert hidden(node) == visible(node) == []


def test_somebody_s_folder_in_the_place_of_a_release(node, app):
    node.releases.path("shop", "1.0").mkdir(parents=True)
    with pytest.raises(Failed, match="releases/1.0 on web1 is not a release that saltdeploy installed. Move it away"):
        node.releases.install(app, "1.0", None)


# -- one content under a version --------------------------------------------------------------


def test_another_digest_than_the_deployment_s_is_refused(node, app, tmp_path):
    """The file of digests changed between the installations of two nodes."""
    sums = tmp_path / "sums"
    sums.write_text(app.source.sha256)
    by_file = replace(app, source=replace(app.source, sha256=str(sums)))
    with pytest.raises(Failed, match=f"wrong digest: sha256 is {app.source.sha256}, the definition says {'f' * 64}"):
        node.releases.install(by_file, "1.0", None, digest="f" * 64)
    assert node.releases.install(by_file, "1.0", None, digest=app.source.sha256) is True
    assert node.releases.install(by_file, "1.0", None, digest=app.source.sha256) is False
    with pytest.raises(Refused, match=r"from another source \(sha256 changed\)"):
        node.releases.install(by_file, "1.0", None, digest="f" * 64)


def test_what_a_node_says_of_a_release(node, app, tmp_path):
    sums = tmp_path / "sums"
    sums.write_text(app.source.sha256)
    by_file = replace(app, source=replace(app.source, sha256=str(sums)))
    digest = app.source.sha256
    assert node.releases.room(by_file, "1.0", None) == {
        "installed": False,
        "digest": digest,
        "now": digest,
        "packages": [],
        "warnings": [],
    }
    node.releases.install(by_file, "1.0", None)
    assert node.releases.room(by_file, "1.0", None) == {
        "installed": True,
        "digest": digest,
        "now": digest,
        "packages": [],
        "warnings": [],
    }
    sums.write_text("e" * 64)
    assert node.releases.room(by_file, "1.0", None)["now"] == "e" * 64
    sums.unlink()
    assert node.releases.room(by_file, "1.0", None)["now"] == ""


def test_the_same_content_from_elsewhere_is_the_same_release(node, app, tmp_path):
    """An artifact server may move without new versions of its apps."""
    node.releases.install(app, "1.0", None)
    moved = replace(app, source=replace(app.source, location=str(tmp_path / "gone.tar")))
    assert node.releases.installed(moved, "1.0")
    assert node.releases.installed(
        replace(app, source=replace(app.source, sha256={"1.0": app.source.sha256.upper()})), "1.0"
    )
    assert node.releases.installed(replace(app, source=replace(app.source, sha256={"2.0": "0" * 64})), "1.0")
    with pytest.raises(Refused, match=r"another source \(strip changed\)"):
        node.releases.installed(replace(app, source=replace(app.source, strip=1)), "1.0")


def test_a_full_disk_is_told_with_node_and_release(node, app):
    def fetch(url, path):
        raise OSError(28, "No space left on device")

    salty = replace(app, source=replace(app.source, location="salt://shop.tar"))
    with pytest.raises(Failed, match="shop 1.0 cannot be installed on web1: .*No space left"):
        node.releases.install(salty, "1.0", fetch)
    assert hidden(node) == []


def test_killed_while_it_builds_nothing_is_visible_and_the_next_install_cleans_up(node, app):
    """The process is killed when it has half of the artifact."""
    with socket.create_server((ADDRESS, 0)) as server:
        reached = threading.Event()
        threading.Thread(target=_serve_half, args=[server, reached], daemon=True).start()
        url = f"http://{ADDRESS}:{server.getsockname()[1]}/shop.tar"
        slow = replace(app, source=replace(app.source, location=url))
        process = fork.Process(target=node.releases.install, args=[slow, "1.0", None])
        process.start()
        assert reached.wait(20)
        process.kill()
        process.join()
    assert process.exitcode == -9
    assert visible(node) == node.releases.versions("shop") == []
    assert not node.releases.installed(app, "1.0")
    assert len(hidden(node)) == 1
    assert node.releases.install(app, "1.0", None) is True
    assert visible(node) == ["1.0"]
    assert len(hidden(node)) == 1
    assert (node.releases.path("shop", "1.0") / "app").read_text() == "app"


def _serve_half(server, reached):
    connection, _ = server.accept()
    with connection:
        connection.recv(10000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500)
        reached.set()
        with contextlib.suppress(ConnectionError):
            connection.recv(1)  # until the client is gone


def _install(node, app, results):
    results.put(node.releases.install(app, "1.0", None))


def test_installed_by_many_at_once_it_is_built_once(node, app):
    results = fork.SimpleQueue()
    processes = [fork.Process(target=_install, args=[node, app, results]) for _ in range(4)]
    for process in processes:
        process.start()
    done = [results.get() for _ in processes]
    for process in processes:
        process.join()
    assert sorted(done) == [False, False, False, True]
    assert len(hidden(node)) == 1


def test_remove_release(node, app):
    node.releases.install(app, "1.0", None)
    node.releases.install(app, "2.0", None)
    assert node.releases.remove("shop", "1.0") is True
    assert node.releases.remove("shop", "1.0") is False
    assert node.releases.versions("shop") == ["2.0"]
    assert len(hidden(node)) == 1
    assert not node.releases.installed(app, "1.0")


def test_a_release_in_use_is_not_removed(node, app):
    node.releases.install(app, "1.0", None)
    instance = node.instances.allocate(app, "1.0", ADDRESS, "d1")
    with pytest.raises(Refused, match="shop 1.0 is in use on web1 by shop_1.0_0. Stop every instance of it first"):
        node.releases.remove("shop", "1.0")
    node.instances.forget(instance.id)
    assert node.releases.remove("shop", "1.0") is True


# -- broken releases --------------------------------------------------------------------------


def dangle(node):
    """Remove the files of release 1.0, as a power failure might."""
    shutil.rmtree(node.releases.path("shop", "1.0").resolve().parent)


def forget_its_origin(node):
    (node.releases.path("shop", "1.0").resolve().parent / "release.json").write_text("")


def point_elsewhere(node):
    node.releases.path("shop", "1.0").unlink()
    elsewhere = node.root / "elsewhere" / "files"
    elsewhere.mkdir(parents=True)
    node.releases.path("shop", "1.0").symlink_to(elsewhere)


@pytest.mark.parametrize("damage", [dangle, forget_its_origin, point_elsewhere])
def test_a_broken_release_is_named_and_installed_again(node, app, damage):
    node.releases.install(app, "1.0", None)
    node.releases.install(app, "2.0", None)
    damage(node)
    assert node.releases.versions("shop") == ["2.0"] and list(node.releases.broken("shop")) == ["1.0"]
    assert not node.releases.installed(app, "1.0")
    assert node.releases.install(app, "1.0", None) is True
    assert (node.releases.path("shop", "1.0") / "app").read_text() == "app"
    assert node.releases.broken("shop") == {} and len(hidden(node)) == 2


@pytest.mark.parametrize("damage", [dangle, forget_its_origin, point_elsewhere])
def test_a_broken_release_can_be_removed(node, app, damage):
    node.releases.install(app, "1.0", None)
    damage(node)
    assert node.releases.remove("shop", "1.0") is True
    assert visible(node) == hidden(node) == [] and node.releases.broken("shop") == {}
    assert damage is not point_elsewhere or (node.root / "elsewhere").exists()


def test_the_files_that_an_instance_runs_from_stay_when_its_release_is_repaired(node, app):
    node.releases.install(app, "1.0", None)
    node.instances.allocate(app, "1.0", ADDRESS, "d1")
    running = node.releases.path("shop", "1.0").resolve()
    forget_its_origin(node)
    node.releases.install(app, "1.0", None)
    assert (running / "app").exists() and node.releases.path("shop", "1.0").resolve() != running


def test_an_artifact_stays_whose_release_was_made_just_before_its_lock_was_free(node, app, monkeypatch):
    node.releases.install(app, "1.0", None)
    release, digest, removed = node.releases.path("shop", "1.0"), app.source.sha256, []
    link = release.rename(node.root / "link")
    images.claim(node.root, digest, "r.example/shop")
    whole = node.root / ".downloads" / digest
    whole.parent.mkdir(exist_ok=True)
    whole.write_text("")
    hold = filelocks.hold

    def held(path, patience=0.0):
        if link.is_symlink():
            link.rename(release)
        return hold(path, patience)

    monkeypatch.setattr(filelocks, "hold", held)
    monkeypatch.setattr(images, "_remove", removed.append)
    for tidy in (images.tidy, lambda root, used: Artifacts(root, "other", root).tidy(used)):
        if release.is_symlink():
            release.rename(link)
        tidy(node.root, node.releases._digests)
    assert whole.exists() and removed == [] and (node.root / ".images" / digest).exists()
    shutil.rmtree(node.root / "shop")
    node.releases._tidy(Artifacts(node.root, "other", node.root))
    assert not whole.exists() and removed == ["r.example/shop"] and not list((node.root / ".images").iterdir())
