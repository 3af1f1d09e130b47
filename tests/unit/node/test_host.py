"""A node's folder as a whole: its locks, a disk that cannot be written, and an app that is removed."""

import stat
import subprocess

import pytest
from saltdeploy.core.errors import Failed
from saltdeploy.node.host import DEFAULT_ROOT, Host

from tests.support.node import ADDRESS


def test_the_default_root():
    assert str(Host("web1").root) == DEFAULT_ROOT


def test_of_an_app_that_is_removed_no_folder_stays(node, app):
    node.releases.install(app, "1.0", None)
    node.releases.install(app, "2.0", None)
    instance = node.instances.allocate(app, "1.0", ADDRESS, "d1")
    with node.turns.alone("shop", after="d1"):
        node.instances.forget(instance.id)
    node.releases.remove("shop", "1.0")
    assert (node.root / "shop").is_dir()
    node.releases.remove("shop", "2.0")
    assert not (node.root / "shop").exists()
    assert node.releases.install(app, "1.0", None) is True


def test_locks_are_closed_to_others(node, app):
    node.releases.install(app, "1.0", None)
    with node.turns.alone("shop", after="d1"):
        node.instances.allocate(app, "1.0", ADDRESS, "d1")
    found = [p for p in node.root.rglob(".*") if p.name in (".lock", ".starting")]
    assert len(found) == 4 and {stat.S_IMODE(p.stat().st_mode) for p in found} == {0o600}


@pytest.fixture
def read_only(node, app):
    """Return a function that makes the node's folder read-only, as a kernel does with a disk that fails."""
    mounted = []

    def mount():
        if subprocess.run(["mount", "--bind", node.root, node.root], capture_output=True, check=False).returncode:
            pytest.skip("this process may not mount")
        mounted.append(node.root)
        subprocess.run(["mount", "-o", "remount,ro,bind", node.root], check=True)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_on_a_disk_that_cannot_be_written_steps_are_done_and_then_it_is_told(node, app, read_only):
    instance = node.instances.allocate(app, "1.0", ADDRESS, "d1")
    with node.turns.alone("shop", after="d0"):
        pass
    read_only()
    done = []
    with node.turns.alone("shop", "d1"):
        done.append("forward")
    told = "The step is done, but web1 does not refuse late steps of deployment d2: .*Read-only file system"
    with pytest.raises(Failed, match=told), node.turns.alone("shop", after="d2"):
        done.append("back")
    assert done == ["forward", "back"]
    path = node.instances.folder(instance.id)
    for act in (
        lambda: node.instances.save(instance),
        lambda: node.instances.forget(instance.id),
        lambda: node.turns.end("shop", "d3"),
    ):
        with pytest.raises(Failed, match=r"Read-only file system. See `dmesg` there, repair the file system"):
            act()
    assert node.instances.recorded("shop") == [instance] and path.exists()
