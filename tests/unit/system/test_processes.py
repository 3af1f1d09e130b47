"""Processes of instances are found in proc(5) and ended, against processes that the tests start."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from saltdeploy.core import deadlines
from saltdeploy.core.errors import Failed
from saltdeploy.system import processes

from tests.unit.system.probing import wait_until


@pytest.fixture
def start():
    """Start processes, each the leader of a session of its own, and kill what is left of the sessions at the end."""
    started = []

    def run(*command, folder=None, **options):
        env = {"PATH": os.environ["PATH"], **({processes.MARK: str(folder)} if folder else {})}
        process = subprocess.Popen(command, env=env, start_new_session=True, **options)
        started.append(process)
        return process

    yield run
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout:
            process.stdout.close()


def ready(process):
    """Wait for the first line that ``process`` prints, and return it."""
    return process.stdout.readline().decode().strip()


def test_a_process_is_read_while_it_runs(start):
    process = start("sleep", "60")
    deadline = time.monotonic() + 10
    while processes.read(process.pid).command != "sleep" and time.monotonic() < deadline:
        time.sleep(0.01)  # until then it is this program's
    found = processes.read(process.pid)
    assert (found.pid, found.parent, found.session, found.command) == (process.pid, os.getpid(), process.pid, "sleep")
    assert found.alive and str(found) == f"process {process.pid} (sleep)"
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert processes.read(process.pid) is None and not found.alive  # only its exit code is left
    found.send(signal.SIGTERM)  # it is no error


def test_the_name_of_a_command_may_have_brackets(start, tmp_path):
    program = tmp_path / "a) Z (b"
    program.symlink_to("/bin/sleep")
    process = start(program, "60")
    deadline = time.monotonic() + 10
    while processes.read(process.pid).command != "a) Z (b" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert processes.read(process.pid).command == "a) Z (b"


def test_a_later_process_with_the_same_number_is_another(start):
    process = start("sleep", "60")
    found = processes.read(process.pid)
    other = processes.Process(found.pid, found.parent, found.group, found.session, found.began - 1, found.command)
    assert not other.alive
    other.send(signal.SIGKILL)
    assert found.alive


def test_an_instance_s_processes_are_found_by_mark_parent_and_session(start, tmp_path):
    """A child of the child has no mark, and its parent is gone. It is in the session of the instance."""
    script = "env -i sleep 61 & (env -i sleep 62 &) ; echo up; wait"
    process = start("sh", "-c", script, folder=tmp_path, stdout=subprocess.PIPE)
    assert ready(process) == "up"
    # Each child is `env` for a moment.
    assert wait_until(lambda: [p.command for p in processes.of(tmp_path)].count("sleep") == 2)
    found = processes.of(tmp_path)
    assert process.pid in [p.pid for p in found] and len(found) == 3
    assert processes.of(tmp_path / "other") == []
    assert processes.of(known=[processes.read(process.pid)]) == found
    assert {p.pid for p in processes.marked(tmp_path.parent)[tmp_path]} == {process.pid}
    assert processes.marked(tmp_path) == {}


def test_this_process_is_never_an_instance_s():
    me = processes.read(os.getpid())
    assert me not in processes.of(known=[me])


def test_a_process_that_listens_is_found_by_its_port(start):
    program = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); time.sleep(60)"
    process = start(sys.executable, "-c", program, stdout=subprocess.PIPE)
    port = int(ready(process))
    found, others = processes.listening("127.0.0.1", port)
    assert [p.pid for p in found] == [process.pid] and others == []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert processes.listening("127.0.0.1", free.getsockname()[1]) == ([], [])


def test_a_process_in_a_folder_is_known_by_where_it_works(start, tmp_path):
    (tmp_path / "here").mkdir()
    process = processes.read(start("sleep", "60", cwd=tmp_path / "here").pid)
    assert processes.is_inside(process, tmp_path) and processes.is_inside(process, tmp_path / "here")
    (tmp_path / "he").mkdir()
    assert not processes.is_inside(process, tmp_path / "he")


def test_a_process_that_uses_a_folder_is_found_if_it_is_the_user_s(start, tmp_path):
    process = start("sleep", "60", cwd=tmp_path)
    assert process.pid in [p.pid for p in processes.using(tmp_path, os.geteuid())]
    assert processes.using(tmp_path, os.geteuid() + 1) == []


def test_processes_end_by_the_signal(start):
    process = start("sleep", "60")
    found = processes.read(process.pid)
    assert processes.end(lambda: [found] if found.alive else [], signal.SIGTERM, 10) is False
    assert process.wait() == -signal.SIGTERM


def test_a_process_that_ignores_the_signal_is_killed(start):
    process = start("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done", stdout=subprocess.PIPE)
    ready(process)
    found = processes.read(process.pid)
    assert processes.end(lambda: [found] if found.alive else [], signal.SIGTERM, 0.2) is True
    assert process.wait() == -signal.SIGKILL


def test_processes_that_come_again_and_again_are_given_up(start, monkeypatch):
    monkeypatch.setattr(deadlines, "KILL", 0.3)
    with pytest.raises(Failed, match=r"process \d+ \(.*\): does not end, or is started again and again"):
        processes.end(lambda: [processes.read(start("sleep", "60").pid)], signal.SIGKILL, 0.2)
