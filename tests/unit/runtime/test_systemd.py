"""The commands that systemd gets, and the units that are written for it."""

import dataclasses
import os
from pathlib import Path

import pytest
from saltdeploy.core.errors import Failed
from saltdeploy.core.model import Stop
from saltdeploy.runtime import Unit, systemd
from saltdeploy.system import baseenv

UNIT = Unit("shop_1.0_80", Path("/start"), Path("/"), Path("/nowhere/log"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root asks systemd")
@pytest.mark.parametrize("since, told", [(None, ""), (1795000000.4, " --since=@1795000000")])
def test_the_journal_is_asked_for_lines_since_a_time(tmp_path, monkeypatch, since, told):
    from saltdeploy.runtime.systemd import Systemd

    program = tmp_path / "journalctl"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")  # whoever asks it to sync
    monkeypatch.setattr(baseenv, "PATH", f"{tmp_path}:{baseenv.PATH}")
    assert (
        Systemd().logs(UNIT, 5, since)
        == f"--unit app-shop_1.0_80.service --lines 5{told} --output=cat --no-pager --quiet"
    )


@pytest.mark.parametrize(
    "active, sub, restarts, seen",
    [
        ("active", "running", 0, (True, False)),
        ("activating", "start", 0, (True, False)),
        ("activating", "auto-restart", 3, (False, True)),
        ("activating", "auto-restart-queued", 3, (False, True)),
        ("active", "running", 3, (True, True)),
        ("failed", "failed", 5, (False, True)),
        ("inactive", "dead", 0, (False, False)),
    ],
)
def test_a_unit_that_systemd_is_going_to_start_again_does_not_run(active, sub, restarts, seen):
    block = {"ActiveState": active, "SubState": sub, "NRestarts": str(restarts), "MainPID": "1"}
    state = systemd._state(block)
    assert (state.running, state.failed) == seen


@pytest.mark.skipif(os.geteuid() != 0, reason="only root asks systemd")
def test_systemctl_has_a_deadline(tmp_path, monkeypatch):
    from saltdeploy.runtime import systemd

    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(Failed, match="`systemctl daemon-reload` has not ended after 0.1s"):
        systemd._systemctl("daemon-reload", deadline=0.1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root asks systemd")
def test_a_service_is_written_with_the_stop_of_its_unit(tmp_path, monkeypatch):
    from saltdeploy.runtime import systemd

    (tmp_path / "systemctl").write_text("#!/bin/sh\necho Result=timeout\n")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(systemd, "UNITS", tmp_path)
    unit = Unit("shop_1.0_80", Path("/start"), Path("/"), Path("/log"), stop=Stop("QUIT", 20.5))
    systemd.Systemd().start(unit)
    lines = (tmp_path / "app-shop_1.0_80.service").read_text().splitlines()
    assert {"KillSignal=SIGQUIT", "TimeoutStopSec=21", "PrivateTmp=yes"} <= set(lines)
    assert not any(line.startswith("KillMode=") for line in lines)
    assert systemd.Systemd().stop_of(unit.id) == Stop("QUIT", 21.0)
    assert systemd.Systemd().stop(unit.id) is True
    systemd.Systemd().forget(unit.id)
    assert systemd.Systemd().stop(unit.id) is False
    # podman passes the signal on, and makes the sandbox.
    systemd.Systemd().start(dataclasses.replace(unit, container=True))
    lines = (tmp_path / "app-shop_1.0_80.service").read_text().splitlines()
    assert "KillMode=mixed" in lines and "PrivateTmp=yes" not in lines


@pytest.mark.skipif(os.geteuid() != 0, reason="only root asks systemd")
def test_systemd_reads_its_units_again_once_for_all_instances_of_a_job(tmp_path, monkeypatch):
    from saltdeploy.runtime import systemd

    (tmp_path / "systemctl").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(systemd, "UNITS", tmp_path)
    both, names = [UNIT, dataclasses.replace(UNIT, id="shop_1.0_81")], "app-shop_1.0_80.service app-shop_1.0_81.service"
    systemd.Systemd().start(*both)
    assert (tmp_path / "app-shop_1.0_81.service").exists()
    systemd.Systemd().forget(*(unit.id for unit in both), "shop_1.0_82")
    assert (tmp_path / "asked").read_text().splitlines() == [
        f"enable --quiet --no-reload {names}",
        "daemon-reload",
        f"start {names}",
        f"disable --quiet --no-reload {names}",
        "daemon-reload",
        f"reset-failed {names}",
    ]
    assert not list(tmp_path.glob("*.service"))
    systemd.Systemd().start()
    systemd.Systemd().forget("shop_1.0_80")
    assert len((tmp_path / "asked").read_text().splitlines()) == 6


def test_a_copy_of_a_packages_unit():
    own = "[Unit]\nDescription=%N\n[Service]\nPIDFile=/run/%p.pid\nExecStart=/x %n 5%%n %i\n"
    text = f"{own}[Install]\nWantedBy=multi-user.target\nAlias=other.service\n"
    dropin = "[Service]\nLimitNOFILE=10"
    assert systemd.adopt("shop.service", [text, dropin]) == (
        "[Unit]\nDescription=shop\n[Service]\nPIDFile=/run/shop.pid\nExecStart=/x shop.service 5%%n %i\n"
        "[Service]\nLimitNOFILE=10\n"
    )
