"""What supervisors are asked, where that can be seen without one."""

import os
from pathlib import Path

import pytest
from saltdeploy.errors import Refused
from saltdeploy.runtime import Unit
from saltdeploy.runtime.supervisord import Supervisord

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
