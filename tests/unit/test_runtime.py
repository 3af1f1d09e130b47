"""What supervisors are asked, and what a supervisord does."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from saltdeploy.errors import Refused
from saltdeploy.runtime import Unit
from saltdeploy.runtime.supervisord import Supervisord

from demo.config import supervisord_config
from tests.support.site import until

UNIT = Unit("shop_1.0_80", Path("/start"), Path("/"), Path("/nowhere/log"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root asks systemd")
@pytest.mark.parametrize("since, told", [(None, ""), (1795000000.4, " --since=@1795000000")])
def test_the_journal_is_asked_for_lines_since_a_time(tmp_path, monkeypatch, since, told):
    from saltdeploy.runtime.systemd import Systemd

    program = tmp_path / "journalctl"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert (
        Systemd().logs(UNIT, 5, since)
        == f"--unit app-shop_1.0_80.service --lines 5{told} --output=cat --no-pager --quiet"
    )


def test_supervisord_knows_no_times():
    supervisor = Supervisord("/nowhere", "/nowhere")
    assert supervisor.logs(UNIT, 5) == ""
    with pytest.raises(Refused, match="supervisord does not keep when a line was printed: say lines="):
        supervisor.logs(UNIT, 5, 1795000000.0)


@pytest.fixture
def supervisor(tmp_path):
    """A supervisord that runs."""
    programs, socket = tmp_path / "programs", tmp_path / "sock"
    programs.mkdir()
    config = tmp_path / "supervisord.conf"
    config.write_text(supervisord_config(tmp_path, socket, "root" if os.geteuid() == 0 else ""))
    command = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "-c", config]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        until(socket.exists, 20, "supervisord to listen")
        yield Supervisord(socket, programs)
        process.terminate()


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
    supervisor.restart(unit.id)
    until(runs, 20, "it to run again")
    second = int(pid.read_text())
    assert first != second and not psutil.pid_exists(first)
    supervisor.stop(unit.id)
    assert not psutil.pid_exists(second)
    assert supervisor.states() == {} and list(supervisor.include.iterdir()) == []
    supervisor.stop(unit.id)  # it is no error that it is not there


def test_a_log_whose_folder_is_lost_keeps_no_other_program_from_starting(supervisor, tmp_path):
    folders = [tmp_path / f"lost%{number}" for number in (1, 2)]
    for number, folder in enumerate(folders):
        folder.mkdir()
        start = folder / "start"
        start.write_text("#!/bin/sh\nexec sleep 60\n")
        start.chmod(0o755)
        supervisor.start(Unit(f"shop_1.0_{number}", start, tmp_path, folder / "log"))
        if not number:
            shutil.rmtree(folder)
    assert set(supervisor.states()) == {"shop_1.0_0", "shop_1.0_1"}
    for number in (0, 1):
        supervisor.stop(f"shop_1.0_{number}")
    assert supervisor.states() == {}
