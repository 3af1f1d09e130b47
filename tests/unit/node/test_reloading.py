"""A running instance reads its files again: by a signal that it knows, or by a command."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from saltdeploy.core.errors import Failed, Refused
from saltdeploy.core.model import Probe, Reload
from saltdeploy.node import launch, reloading

from tests.support.onenode import make_node, may_pass, serves
from tests.support.site import until

# Writes its file anew with each SIGHUP, and ends by any other signal.
PROGRAM = """
import pathlib, signal, sys, time
file = pathlib.Path(sys.argv[1])
signal.signal(signal.SIGHUP, lambda *_: file.write_text(file.read_text() + "again "))
file.write_text("once ")
while True:
    time.sleep(60)
"""


@pytest.fixture
def process(tmp_path):
    """A process, and the file in which it tells what it got."""
    told = tmp_path / "told"
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, told])
    until(told.exists, 10, "the process to be up")
    yield process, told
    process.kill()
    process.wait()


@pytest.fixture
def node(tmp_path, monkeypatch, process):
    """The Lifecycle of a node with an instance that has this process."""
    monkeypatch.setattr(reloading, "ENDS", 0.5)
    node = make_node(tmp_path, monkeypatch, env={"PASSWORD": "hunter2-hunter2"})
    serves(node)
    node.runtime.processes = lambda one: [process[0].pid] if process[0].poll() is None else []
    may_pass(node)
    return node


def reload(node, **way):
    app = node.environment.apps["web"]
    node.environment.apps["web"] = replace(app, reload=Reload(**way) if way else None)
    return reloading.reload(node, "web")


def test_by_a_signal(node, process):
    assert reload(node, signal="HUP") == ["web_1.0_0"]
    until(lambda: process[1].read_text() == "once again ", 5, "the process to get its signal")
    assert process[0].poll() is None and node.runtime.up == {"web_1.0_0"}


def test_by_a_command_that_has_the_environment_and_the_placeholders_of_the_instance(node, process):
    said = process[1].with_name("said")
    assert reload(node, command=f"sh -c 'echo {{version}} $PASSWORD > {said}'") == ["web_1.0_0"]
    assert said.read_text() == "1.0 hunter2-hunter2\n"


@pytest.mark.parametrize("kind", ["program", "image", "unit"])
def test_a_command_runs_as_the_user_of_the_app(node, monkeypatch, kind):
    """The unit of a container or of a package has no user of saltdeploy's, and would run it as root."""
    ran = []
    monkeypatch.setattr(reloading.commands, "execute", lambda *args: (ran.append(args), (0, ""))[1])
    monkeypatch.setattr(launch.os, "geteuid", lambda: 0)
    unit = "web.service" if kind == "unit" else ""
    node.environment.apps["web"] = replace(node.environment.apps["web"], user="joe", unit=unit)
    node.host.settings.forget("web", "1.0")
    monkeypatch.setattr(launch.Launch, "image", "f" * 64 if kind == "image" else "")
    reload(node, command="./ctl reload", timeout=7.0)
    words, _, _, user, timeout = ran[0]
    assert (words, user, timeout) == (["./ctl", "reload"], "joe", 7.0)


def test_an_instance_that_ends_by_it_is_no_success(node):
    with pytest.raises(Failed, match="web_1.0_0: its process ended by the reload\nits last lines:\nno database"):
        reload(node, signal="USR1")


def test_an_instance_that_does_not_run_is_not_reloaded(node, process):
    process[0].kill()
    process[0].wait()
    with pytest.raises(Failed, match="web_1.0_0 does not run, so it cannot be reloaded"):
        reload(node, signal="HUP")


@pytest.mark.parametrize(
    "command, told",
    [
        ("sh -c 'echo no $PASSWORD; exit 3'", "` ended with 3: no ***"),
        ("false", "`false` ended with 1"),
        ("./nowhere", "./nowhere: No such file or directory"),
        ("sleep 60", "0.2s"),
    ],
)
def test_a_command_that_fails_is_told_without_secrets(node, command, told):
    with pytest.raises(Failed, match="web_1.0_0: ") as caught:
        reload(node, command=command, timeout=0.2)
    assert told in str(caught.value) and "hunter2" not in str(caught.value)


def test_it_must_pass_its_tests_afterwards(node):
    reload(node, signal="HUP")  # the test passes once
    with pytest.raises(Failed, match="web_1.0_0 after its reload: test `command rmdir good` failed"):
        reload(node, signal="HUP")


def test_where_nobody_knows_how_nothing_is_done(node):
    with pytest.raises(Refused, match="apps:web:reload: is missing on a. Write `reload: {signal: HUP}`."):
        reload(node)


def test_a_process_that_ended_before_the_reload_is_no_fault_of_it(node, monkeypatch):
    """systemd still says so, for as long as the unit is there."""
    up = node.runtime.states
    monkeypatch.setattr(node.runtime, "states", lambda: {i: replace(s, failed=True) for i, s in up().items()})
    node.host.instances.folder("web_1.0_0").joinpath(".process").write_text("[[1, 1]]")
    assert list(node.find_crashed("web", None)) == ["web_1.0_0"]
    assert reload(node, signal="HUP") == ["web_1.0_0"] and node.find_crashed("web", None) == {}


def test_what_is_published_passes_the_checks_that_it_was_published_with(node):
    """A check that nobody has deployed yet is not run."""
    node.environment.apps["web"] = replace(node.environment.apps["web"], checks=(Probe("http", "/", port=9),))
    assert reload(node, signal="HUP") == ["web_1.0_0"]


def test_nobody_waits_for_an_instance_once_the_revert_has_begun(node, monkeypatch):
    def end(lifecycle, app, way, instance):
        node.host.turns.end("web", "d2")

    monkeypatch.setattr(reloading, "_command", end)
    node.environment.apps["web"] = replace(node.environment.apps["web"], reload=Reload(command="true"))
    with pytest.raises(Failed, match="Refused on a: deployment d2 of web has ended there"):
        reloading.reload(node, "web", None, "d2")


def test_a_process_that_ends_during_its_tests_is_no_success(node, process):
    def tests(app, instance):
        process[0].kill()
        process[0].wait()
        return []

    node.failed_tests = tests
    with pytest.raises(Failed, match="web_1.0_0 after its reload: its process ended"):
        reload(node, signal="HUP")
    assert list(node.find_crashed("web", None)) == ["web_1.0_0"]
