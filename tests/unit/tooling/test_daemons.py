"""The demo's processes: known by their mark, never confused with a stranger, gone when stopped."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tooling import ToolError, daemons
from tooling.commands import environment, run
from tooling.daemons import Daemon, Daemons, check_free, connections, listener, only_one

# Says when it is ready, so that a signal does not come before the handler.
READY = "print('ready', flush=True); import time; time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {READY}"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); {READY}"


def wait_until(true, seconds=10):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.02)


@pytest.fixture
def ours(tmp_path):
    found = Daemons(tmp_path)
    yield found
    found.stop()
    assert found.find() == []


def start(ours, tmp_path, name="web", code=READY, digest="1"):
    log = tmp_path / f"{name}.log"
    ours.start(Daemon(name, (sys.executable, "-c", code), log, digest))
    wait_until(lambda: name in ours.running() and "ready" in log.read_text())
    return ours.running()[name]


def alive(pid):
    """Return whether the process is there; a zombie is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_daemon_is_found_by_its_mark_and_stopped(ours, tmp_path):
    process = start(ours, tmp_path, digest="abc")
    assert (process.name, process.digest, process.leader) == ("web", "abc", True)
    assert Daemons(tmp_path / "other").find() == []
    ours.stop()
    assert ours.find() == []
    assert not alive(process.pid)


def test_what_outlives_its_daemon_is_no_daemon_and_ends_before_the_next_one_starts(ours, tmp_path):
    parent = start(ours, tmp_path, code=PARENT)
    os.kill(parent.pid, signal.SIGKILL)
    wait_until(lambda: not alive(parent.pid))
    (orphan,) = ours.find()
    assert ours.running() == {}
    process = start(ours, tmp_path)
    assert [p.pid for p in ours.find()] == [process.pid]
    assert not alive(orphan.pid)


def test_stop_ends_children_too(ours, tmp_path):
    start(ours, tmp_path, code=PARENT)
    wait_until(lambda: len(ours.find()) == 2)
    ours.stop()
    assert ours.find() == []


def test_who_ignores_sigterm_is_killed(ours, tmp_path, monkeypatch):
    monkeypatch.setattr(daemons, "GRACE", 0.3)
    monkeypatch.setattr(daemons, "ORPHAN_GRACE", 0.1)
    process = start(ours, tmp_path, code=STUBBORN)
    ours.stop()
    assert not alive(process.pid)


def test_stop_of_one_leaves_the_others(ours, tmp_path):
    start(ours, tmp_path, "one")
    start(ours, tmp_path, "two")
    ours.stop(lambda p: p.name == "one")
    assert set(ours.running()) == {"two"}


def test_a_stranger_with_the_same_pid_is_not_signalled(ours, tmp_path):
    process = start(ours, tmp_path)
    ours.send(replace(process, started=process.started - 1), signal.SIGKILL)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        ours.send(replace(process, pid=stranger.pid), signal.SIGKILL)
        assert stranger.poll() is None
        stranger.kill()
    assert ours.running()["web"] == process


def test_what_an_interrupted_step_left_is_found_without_a_name(ours, tmp_path):
    with subprocess.Popen(["sleep", "60"], env=environment(**{daemons.OWNER: str(tmp_path)})) as step:
        wait_until(lambda: ours.find() != [])
        assert [(p.pid, p.name) for p in ours.find()] == [(step.pid, "")]
        assert ours.running() == {}
        ours.stop(lambda p: not p.name)
        assert step.wait(5) == -signal.SIGTERM


def test_log_of_the_last_run_is_kept_aside(ours, tmp_path):
    start(ours, tmp_path, code="print('ready first', flush=True); import time; time.sleep(60)")
    start(ours, tmp_path, code="print('ready second', flush=True); import time; time.sleep(60)")
    assert (tmp_path / "web.log").read_text() == "ready second\n"
    assert (tmp_path / "web.log.1").read_text() == "ready first\n"


def test_second_driver_is_refused_and_the_first_is_named(tmp_path):
    refused = pytest.raises(ToolError, match=rf"pid {os.getpid()}\)")
    with only_one(tmp_path / "lock"), refused, only_one(tmp_path / "lock"):
        pytest.fail("it was let in")
    with only_one(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_port_that_is_taken_is_told_with_who_has_it():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ToolError, match=rf"127.0.0.1:{port} is needed for Consul, but .*\(pid {os.getpid()}\)"):
            check_free("127.0.0.1", port, "Consul")
        assert connections(port) == 0
        with socket.create_connection(("127.0.0.1", port)):
            assert connections(port) == 1
    check_free("127.0.0.1", port, "Consul")
    assert listener(port) == ""


def test_command_that_fails_shows_its_last_lines():
    with pytest.raises(ToolError, match=r"(?s)exit code 3\n.*line 49$") as caught:
        run(["sh", "-c", "for i in $(seq 50); do echo line $((i - 1)); done; exit 3"])
    assert "line 10\n" not in str(caught.value)


def test_command_that_takes_too_long_is_killed_with_its_children(tmp_path):
    began = time.monotonic()
    with pytest.raises(ToolError, match=r"not done after 0\.5 s"):
        run(["sh", "-c", f"sleep 60 & echo $! > {tmp_path}/pid; wait"], timeout=0.5)
    assert time.monotonic() - began < 10
    wait_until(lambda: not alive(int((tmp_path / "pid").read_text())))


def test_command_that_is_not_there_is_told():
    with pytest.raises(ToolError, match="no-such-command"):
        run(["no-such-command"])


def test_environment_leaves_out_what_would_lead_a_daemon_astray(monkeypatch):
    for name in ("PYTHONPATH", "CONSUL_HTTP_ADDR", "VIRTUAL_ENV", "MAKEFLAGS"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.org")
    found = environment(MORE="1")
    assert not {"PYTHONPATH", "CONSUL_HTTP_ADDR", "VIRTUAL_ENV", "MAKEFLAGS"} & set(found)
    assert (found["HTTPS_PROXY"], found["MORE"]) == ("http://proxy.example.org", "1")
