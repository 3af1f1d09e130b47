"""Instances as programs of a supervisord that runs."""

import contextlib
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from saltdeploy import runtime
from saltdeploy.core.errors import Failed, Refused
from saltdeploy.core.model import App, Source, Stop
from saltdeploy.node.host import Host
from saltdeploy.node.launch import Launch
from saltdeploy.node.termination import Ending
from saltdeploy.runtime import Unit
from saltdeploy.runtime.supervisord import Supervisord
from saltdeploy.system import processes

from tests.support.site import until
from tooling.config import supervisord_config

UNIT = Unit("shop_1.0_80", Path("/start"), Path("/"), Path("/nowhere/log"))


def test_supervisord_knows_no_times():
    supervisor = Supervisord("/nowhere", "/nowhere")
    assert supervisor.logs(UNIT, 5) == ""
    with pytest.raises(Refused, match="supervisord does not keep when a line was printed: say lines="):
        supervisor.logs(UNIT, 5, 1795000000.0)


@contextlib.contextmanager
def supervisord(folder):
    """A supervisord that runs: its process, and what speaks to it."""
    programs, path = folder / "programs", folder / "sock"
    programs.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    config = folder / "supervisord.conf"
    config.write_text(supervisord_config(folder, path, "root" if os.geteuid() == 0 else ""))
    command = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "-c", config]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        until(path.exists, 20, "supervisord to listen")
        yield process, Supervisord(path, programs)
        process.terminate()


@pytest.fixture
def supervisor(tmp_path):
    with supervisord(tmp_path) as (_, speaker):
        yield speaker


def test_a_process_that_supervisord_stops_is_gone(supervisor, tmp_path):
    """…and it is waited for, where it takes a moment."""
    program, pid = tmp_path / "program", tmp_path / "pid"
    program.write_text(f"#!/bin/sh\ntrap 'sleep 0.5; exit' TERM\necho $$ > {pid}\nwhile :; do sleep 0.1; done\n")
    program.chmod(0o755)
    unit = Unit("shop_1.0_80", program, tmp_path, tmp_path / "log")

    def runs():
        return pid.exists() and pid.read_text() and supervisor.states()[unit.id].running

    supervisor.start(unit)
    until(runs, 20, "it to run")
    first = int(pid.read_text())
    pid.unlink()
    assert supervisor.stop(unit.id) is False
    supervisor.resume(unit.id)
    until(runs, 20, "it to run again")
    second = int(pid.read_text())
    assert first != second and not psutil.pid_exists(first)
    supervisor.stop(unit.id)
    assert not psutil.pid_exists(second) and supervisor.processes(unit.id) == []
    supervisor.forget(unit.id)
    assert supervisor.states() == {} and list(supervisor.include.iterdir()) == []
    supervisor.stop(unit.id)  # it is no error that it is not there
    supervisor.forget(unit.id)


def test_a_program_that_has_just_exited_by_itself_is_stopped_too(tmp_path, monkeypatch):
    """supervisord passes over it when it is to stop it, and starts it again the moment after."""
    supervisor, states = Supervisord(tmp_path / "sock", tmp_path), ["EXITED", "STARTING", "STOPPING", "STOPPED"]

    def call(method, *args, ignore=()):
        if method == "getProcessInfo":
            return {"name": "app-shop_1.0_80", "statename": states[0]}
        if method == "stopProcessGroup" and len(states) > 1:
            states.pop(0)
        return None

    monkeypatch.setattr(supervisor, "_call", call)
    assert not supervisor.stop("shop_1.0_80")
    assert states == ["STOPPED"]


def test_supervisord_stops_by_the_signal_and_in_the_time_of_the_unit(supervisor, tmp_path):
    """…and says so where somebody had to be killed."""
    program, said = tmp_path / "program", tmp_path / "said"
    program.write_text(
        f"#!/bin/sh\ntrap 'echo INT > {said}' INT\ntrap '' TERM\n: > {tmp_path}/up\nwhile :; do sleep 0.1; done\n"
    )
    program.chmod(0o755)
    unit = Unit("shop_1.0_80", program, tmp_path, tmp_path / "log", stop=Stop("INT", 1.0))
    supervisor.start(unit)
    until((tmp_path / "up").exists, 20, "it to run")
    assert supervisor.stop_of(unit.id) == unit.stop
    assert supervisor.stop(unit.id) is True
    assert said.read_text() == "INT\n"
    assert stat.S_IMODE(unit.log.stat().st_mode) == 0o640


def test_what_is_started_again_later_does_not_run(supervisor, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    supervisor.start(Unit("shop_1.0_80", program, tmp_path, tmp_path / "log"))
    until(lambda: supervisor.states()["shop_1.0_80"].detail.startswith("backoff"), 20, "it to have ended")
    state = supervisor.states()["shop_1.0_80"]
    assert state.failed and not state.running


def test_of_a_log_only_its_end_is_read(tmp_path):
    unit = Unit("shop_1.0_80", Path("/start"), tmp_path, tmp_path / "log")
    unit.log.write_text("x" * 9_000_000 + "\nthe end\n")
    told = Supervisord("/nowhere", "/nowhere").logs(unit, 50, most=1000)
    assert told.endswith("\nthe end") and len(told) < 4000


@pytest.mark.parametrize(
    "text, found",
    [
        ("stopsignal=INT\nstopwaitsecs=20\n", Stop("INT", 20.0)),
        ("stopwaitsecs=10\n", Stop("TERM", 10.0)),
        ("", Stop()),
    ],
)
def test_a_stop_is_the_one_that_the_unit_was_written_with(tmp_path, text, found):
    (tmp_path / "app-shop_1.0_80.conf").write_text(f"[program:x]\n{text}")
    assert Supervisord("/nowhere", tmp_path).stop_of("shop_1.0_80") == found
    assert Supervisord("/nowhere", tmp_path).stop_of("shop_1.0_81") == Stop()


def test_what_a_killed_supervisord_has_left_is_ended_through_the_next_one(tmp_path):
    """…with what it has started in a session of its own, and in its own time."""
    app = App("shop", Source("pip", "shop"), f"sh {tmp_path}/app", user="root", stop=Stop("TERM", 12.0))
    host, done = Host("web1", tmp_path / "srv"), tmp_path / "done"
    work = f"trap 'sleep 0.5; echo done >> {done}; exit' TERM; setsid sleep 300 & echo up >> {tmp_path}/up; wait"
    (tmp_path / "app").write_text(work)
    instance = host.instances.allocate(app, "1.0", "127.0.0.1", "d1")
    host.releases.path("shop", "1.0").mkdir(parents=True)
    launch = Launch(app, instance, host, "site")
    launch.write({})
    with supervisord(tmp_path) as (process, supervisor):
        supervisor.start(launch.unit)
        until((tmp_path / "up").exists, 20, "it to run")
        process.kill()
    orphans = processes.of(launch.folder)
    assert len(orphans) >= 2
    with supervisord(tmp_path) as (_, supervisor):
        until(lambda: (tmp_path / "up").read_text() == "up\nup\n", 20, "the next one to start it, too")
        ending = Ending(host, supervisor)
        assert not ending.stop(instance.id, "127.0.0.1", None)
        assert done.read_text() == "done\ndone\n" and processes.of(launch.folder) == []
        ending.forget(instance.id)
        assert supervisor.states() == {} and not launch.folder.exists()
    assert not any(orphan.alive for orphan in orphans)


def test_a_log_whose_folder_is_lost_keeps_no_other_program_from_starting(supervisor, tmp_path):
    folders = [tmp_path / f"lost%{number}" for number in (1, 2)]
    for number, folder in enumerate(folders):
        folder.mkdir()
        start = folder / "start"
        start.write_text("#!/bin/sh\nexec sleep 60\n")
        start.chmod(0o755)
        supervisor.start(Unit(f"shop_1.0_{number}", start, tmp_path, folder / "log"))
        if not number:
            until((folder / "log").exists, 10, "supervisord to make the log")
            shutil.rmtree(folder)
    assert set(supervisor.states()) == {"shop_1.0_0", "shop_1.0_1"}
    for number in (0, 1):
        supervisor.stop(f"shop_1.0_{number}")
        supervisor.forget(f"shop_1.0_{number}")
    assert supervisor.states() == {}


def test_supervisord_is_chosen_by_the_configuration_of_the_minion(tmp_path):
    config = {"socket": str(tmp_path / "sock"), "include": str(tmp_path)}
    found = runtime.choose({"runtime": "supervisord", "supervisord": config})
    assert (found.name, found.include) == ("supervisord", tmp_path)
    with pytest.raises(Failed, match=f"supervisord does not answer on {tmp_path}/sock: .* Start it."):
        found.states()


def test_a_runtime_that_does_not_exist_is_refused():
    with pytest.raises(Refused, match="saltdeploy:runtime: found 'docker', allowed is systemd or supervisord"):
        runtime.choose({"runtime": "docker"})
