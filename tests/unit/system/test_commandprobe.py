"""Command probes with real processes: good ones, wrong ones, and those that never end."""

import os
import time

import pytest
from saltdeploy.system import probes, processes

from tests.unit.system.probing import ADDRESS, alive, ok, probe, problem, wait_until


def run_command(path, command, timeout=10.0, **options):
    values = {"release": str(path), "address": ADDRESS, "port": 8080}
    return probes.run(probe("command", command, timeout), values, **options)


def test_command_runs_in_the_release(tmp_path):
    (tmp_path / "selftest").write_text("#!/bin/sh\necho tested $1 in $PWD\n")
    (tmp_path / "selftest").chmod(0o755)
    result = run_command(tmp_path, "./selftest http://{address}:{port}")
    assert ok(result) == f"tested http://127.0.0.1:8080 in {tmp_path.resolve()}"
    assert result["test"] == "command ./selftest http://{address}:{port}"


def test_command_is_no_shell_and_its_words_stay_words(tmp_path):
    values = {"release": str(tmp_path), "address": "a b; echo $HOME"}
    result = probes.run(probe("command", "printf '%s|' {address} x"), values)
    assert ok(result) == "a b; echo $HOME|x|"


def test_command_sees_the_instance_s_environment_and_nothing_of_the_minion_s(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "root's")
    seen = ok(run_command(tmp_path, "env", env={"OWN": "mine"})).splitlines()
    names = {line.partition("=")[0] for line in seen}
    assert names == {"OWN", "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG"} and "OWN=mine" in seen


def test_command_has_no_input(tmp_path):
    assert ok(run_command(tmp_path, "cat")) == ""


def test_command_that_fails_shows_its_last_output(tmp_path):
    detail = problem(run_command(tmp_path, "sh -c 'seq 1000; echo broken >&2; exit 3'"))
    assert detail.startswith("`sh -c 'seq 1000; echo broken >&2; exit 3'` ended with 3: ")
    assert detail.endswith("999\n1000\nbroken")
    assert len(detail) < 400


def test_command_that_is_killed(tmp_path):
    assert "ended with -9" in problem(run_command(tmp_path, "sh -c 'kill -9 $$'"))


def test_command_that_is_not_there(tmp_path):
    assert problem(run_command(tmp_path, "./selftest")) == "./selftest: No such file or directory"


def test_command_that_prints_no_text(tmp_path):
    assert "\ufffd" in ok(run_command(tmp_path, "printf '\\377'"))


def test_command_that_hangs_is_killed_with_its_children(tmp_path):
    detail = problem(run_command(tmp_path, "sh -c 'sleep 60 & echo $! > child; wait'", timeout=0.5), at_most=5)
    assert detail == "`sh -c 'sleep 60 & echo $! > child; wait'` hangs: killed after 0.5s"
    child = int((tmp_path / "child").read_text())
    assert wait_until(lambda: not alive(child))


def test_command_that_leaves_a_child_with_its_output_hangs_and_both_end(tmp_path):
    assert "hangs" in problem(run_command(tmp_path, "sh -c 'sleep 60 & echo $! > child'", timeout=0.5), at_most=5)
    child = int((tmp_path / "child").read_text())
    assert wait_until(lambda: not alive(child))


def test_command_whose_child_escapes_does_not_hang_the_probe(tmp_path):
    script = """sh -c 'setsid sh -c "echo \\$\\$ > child; exec sleep 60" & sleep 60'"""
    result = run_command(tmp_path, script, timeout=0.5)
    assert "hangs" in problem(result, at_most=5)
    child = int((tmp_path / "child").read_text())
    assert wait_until(lambda: not alive(child))


def test_command_that_prints_without_end_is_killed_with_its_children(tmp_path):
    detail = problem(run_command(tmp_path, "sh -c 'yes & echo $! > child; wait'", timeout=0.5), at_most=10)
    assert detail.endswith("hangs: killed after 0.5s")
    child = int((tmp_path / "child").read_text())
    assert wait_until(lambda: not alive(child))


def test_command_that_closes_its_output_and_goes_on_hangs(tmp_path):
    assert "hangs" in problem(run_command(tmp_path, "sh -c 'exec sleep 60 >&- 2>&-'", timeout=0.5), at_most=5)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_command_runs_as_the_app_s_user(tmp_path):
    tmp_path.chmod(0o755)
    assert ok(run_command("/", "id -un", user="nobody")) == "nobody"
    assert ok(run_command("/", "id -Gn", user="nobody")) == "nogroup"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_command_of_a_user_that_is_not_there():
    assert problem(run_command("/", "true", user="no-such-user")) == "there is no user no-such-user on this node"


def test_what_hangs_is_killed_with_children_that_made_a_session_of_their_own(tmp_path):
    command = f"sh -c 'setsid sleep 300 & echo $! > {tmp_path}/pid; sleep 300'"
    assert "hangs: killed after 0.5s" in run_command(tmp_path, command, timeout=0.5)["detail"]
    pid = int((tmp_path / "pid").read_text())
    give_up = time.monotonic() + 5
    while processes.read(pid) and time.monotonic() < give_up:
        time.sleep(0.02)
    assert processes.read(pid) is None
