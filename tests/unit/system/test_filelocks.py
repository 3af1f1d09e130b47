"""Locks that only their owner may open, that end, and that say who holds them."""

import fcntl
import os
import stat
import subprocess
import sys
import threading
import time

import pytest
from saltdeploy.core.errors import Failed
from saltdeploy.system import filelocks

from tests.support.files import umask

HOLD = (
    "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); time.sleep(60)"
)


@pytest.mark.parametrize("mask", [0, 0o077])
def test_only_its_owner_may_open_it(tmp_path, mask):
    with umask(mask), filelocks.hold(tmp_path / ".lock"):
        assert stat.S_IMODE((tmp_path / ".lock").stat().st_mode) == 0o600


def test_one_of_before_is_closed_to_others(tmp_path):
    (tmp_path / ".lock").touch(0o644)
    with filelocks.hold(tmp_path / ".lock"):
        assert stat.S_IMODE((tmp_path / ".lock").stat().st_mode) == 0o600


def test_who_holds_it_for_too_long_is_named(tmp_path):
    path = tmp_path / ".lock"
    path.touch()
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        began = time.monotonic()
        told = rf"{path} is locked by process {holder.pid} \(python\S*\), for longer than 0.3s"
        with pytest.raises(Failed, match=told), filelocks.hold(path, 0.3):
            raise AssertionError("it was held")
        assert 0.3 <= time.monotonic() - began < 5
        holder.kill()
    with filelocks.hold(path, 5):
        pass


def test_it_is_waited_for(tmp_path):
    path, order = tmp_path / ".lock", []

    def second():
        with filelocks.hold(path, 10):
            order.append("second")

    with filelocks.hold(path):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_one_that_was_removed_is_nobody_s(tmp_path):
    """…also with the folder that it was in."""
    path, entered = tmp_path / "app" / ".lock", threading.Event()

    def second():
        with filelocks.hold(path, 10):
            entered.set()

    with filelocks.hold(path):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.2)
        path.unlink()
        path.parent.rmdir()
    thread.join(10)
    assert entered.is_set() and path.exists()


def test_where_nothing_can_be_written_a_lock_of_before_is_held(tmp_path, monkeypatch):
    path, opened = tmp_path / ".lock", os.open
    path.touch()

    def read_only(name, flags, *mode, **options):
        if flags & os.O_CREAT:
            raise OSError(30, "Read-only file system", str(name))
        return opened(name, flags, *mode, **options)

    monkeypatch.setattr(os, "open", read_only)
    with filelocks.hold(path), path.open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
