"""What is left of an instance after it was stopped: no process, whatever it does to outlive that."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from saltdeploy.core.errors import Failed
from saltdeploy.core.model import App, PortRange, Source, Stop
from saltdeploy.node.host import Host
from saltdeploy.node.launch import Launch
from saltdeploy.node.releases import Releases
from saltdeploy.node.termination import Ending
from saltdeploy.source import images
from saltdeploy.system import processes

from tests.support.site import until

ADDRESS = "127.0.0.1"
LISTEN = """
import os, socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
open(sys.argv[2], "w").write(str(os.getpid()))
time.sleep(300)
"""


class Runtime:
    """Stands for a supervisor that ends only what it has started itself, and knows nothing of the rest."""

    def __init__(self, stop):
        self.how, self.started = stop, {}

    def stop_of(self, instance):
        return self.how

    def processes(self, instance):
        return [self.started[instance].pid] if instance in self.started else []

    def stop(self, instance):
        if instance in self.started:
            self.started[instance].kill()
            self.started.pop(instance).wait()
        return False

    def forget(self, *instances):
        pass


@pytest.fixture
def node(tmp_path):
    """A node with one instance of an app, not started yet."""
    with socket.socket() as free:
        free.bind((ADDRESS, 0))
        port = free.getsockname()[1]
    app = App("shop", Source("pip", "shop"), "run", user="root", ports=PortRange(port, port), stop=Stop("TERM", 0.5))
    made = Node(Host("web1", tmp_path / "srv"), app)
    yield made
    made.runtime.stop(made.instance.id)
    for pid in made.pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Node:
    def __init__(self, host, app):
        self.host, self.app, self.runtime, self.pids = host, app, Runtime(app.stop), []
        self.ending = Ending(host, self.runtime)
        self.instance = host.instances.allocate(app, "1.0", ADDRESS, "d1")
        self.port = self.instance.port

    def start(self, script, supervised=True):
        """Start the instance by its start script; ``script`` is a shell's, with {pid}, where it says its pid."""
        path = self.host.root / "pid"
        path.unlink(missing_ok=True)
        (self.host.root / "listen.py").write_text(LISTEN)
        listen = f"{sys.executable} {self.host.root}/listen.py {self.port}"
        (self.host.root / "script").write_text(script.format(pid=path, listen=f"{listen} {path}"))
        launch = Launch(replace(self.app, run=f"sh {self.host.root}/script"), self.instance, self.host, "site")
        launch.write({})
        cwd = self.host.root / "shop"
        process = subprocess.Popen([launch.unit.command], cwd=cwd, start_new_session=True)
        until(lambda: path.exists() and path.read_text().strip(), 20, "it to run")
        self.pids.append(int(path.read_text()))
        if supervised:
            self.runtime.started[self.instance.id] = process
        return self.pids[-1]

    def stop(self):
        return self.ending.stop(self.instance.id, ADDRESS, self.port)


IN_A_SESSION_OF_ITS_OWN = "setsid sleep 300 & echo $! > {pid}; wait"
DAEMON = "setsid sleep 300 & echo $! > {pid}"
WITHOUT_A_MARK = "env -i setsid {listen} & exec sleep 300"
A_DAEMON_WITHOUT_A_MARK = "env -i setsid {listen} & :"


@pytest.mark.parametrize("script", [IN_A_SESSION_OF_ITS_OWN, DAEMON, WITHOUT_A_MARK, A_DAEMON_WITHOUT_A_MARK])
def test_after_a_stop_nothing_is_left(node, script):
    pid = node.start(script)
    assert not node.stop()
    assert processes.read(pid) is None


def test_what_a_dead_supervisor_has_left_is_ended_by_its_signal(node):
    node.runtime.how = Stop("INT", 5.0)
    said = node.host.root / "said"
    pid = node.start(f"trap 'echo INT > {said}; exit' INT; echo $$ > {{pid}}; while :; do sleep 0.05; done", False)
    assert not node.stop()
    assert processes.read(pid) is None and said.read_text() == "INT\n"


def test_what_does_not_end_in_time_is_killed_and_that_is_told(node):
    pid = node.start("trap '' TERM; echo $$ > {pid}; while :; do sleep 0.05; done", False)
    began = time.monotonic()
    assert node.stop() == (
        f"{node.instance.id} did not end within 0.5s after SIGTERM, and was killed. Its work in progress was cut off."
        " If it needs longer, raise apps:shop:stop:timeout."
    )
    assert processes.read(pid) is None and time.monotonic() - began >= 0.5


def test_somebody_else_on_its_port_is_named_and_left_alone(node):
    told = rf"{node.instance.id} is stopped, and process {os.getpid()} \(\S+\) listens on its port, {node.port} of"
    node.start("echo $$ > {pid}; exec sleep 300")
    with socket.create_server((ADDRESS, node.port)):
        with pytest.raises(Failed, match=told):
            node.stop()
        # It was dead already, so the port is somebody else's by now, and no reason to fail each time.
        assert re.match(told, node.stop())


def test_another_instance_with_its_port_is_left_alone(node):
    """As where a folder of two releases ago came back from a backup: ports alternate."""
    pid = node.start("exec {listen}")
    left = replace(node.instance, id=f"shop_0.9_{node.port}", version="0.9")
    node.host.instances.folder(left.id).mkdir(parents=True)
    node.host.instances.save(left)
    node.ending.stop(left.id, ADDRESS, node.port)
    assert processes.read(pid)


def test_the_instances_of_other_nodes_on_this_machine_are_left_alone(node, tmp_path):
    other = Node(Host("web2", tmp_path / "other"), replace(node.app, ports=None))
    pid = other.start("echo $$ > {pid}; exec sleep 300")
    try:
        node.start(DAEMON)
        node.stop()
        assert processes.read(pid)
    finally:
        other.runtime.stop(other.instance.id)


def test_its_start_script_takes_nothing_from_who_starts_it(node, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "root's")
    pid = node.start("echo $$ > {pid}; exec sleep 300")
    variables = dict(v.split("=", 1) for v in open(f"/proc/{pid}/environ").read().split("\0") if v)
    assert "AWS_SECRET_ACCESS_KEY" not in variables
    assert variables["SALTDEPLOY_INSTANCE"] == str(node.host.instances.folder(node.instance.id))
    assert (variables["PORT"], variables["USER"], variables["LANG"]) == (str(node.port), "root", "C.UTF-8")


@pytest.mark.parametrize("script", [DAEMON, A_DAEMON_WITHOUT_A_MARK])
def test_what_is_left_of_instances_that_are_gone_is_swept(node, script):
    pid = node.start(script)
    assert node.ending.sweep(node.app, ADDRESS, set()) == [] and processes.read(pid)
    node.host.instances.forget(node.instance.id)
    # Users may have it still: discovery says so.
    assert node.ending.sweep(node.app, ADDRESS, {node.instance.id}) == [] and processes.read(pid)
    told = node.ending.sweep(node.app, ADDRESS, set())
    assert len(told) == 1 and f"process {pid} " in told[0] and processes.read(pid) is None


def test_a_container_that_killed_podman_left_is_removed(node, monkeypatch):
    calls, answers = [], [(0, ""), (125, "Error: it is busy"), Failed("podman: No such file or directory")]

    def podman(words):
        calls.append(words)
        answer = answers.pop(0)
        if isinstance(answer, Failed):
            raise answer
        return answer

    monkeypatch.setattr(images, "podman", podman)
    assert node.stop() == "" and calls == []
    monkeypatch.setattr(Releases, "image", lambda *of: "f" * 64 if of[1:] == ("shop", "1.0") else "")
    assert node.stop() == ""
    assert calls == [["rm", "--force", "--ignore", "--time=0", f"app-shop_1.0_{node.port}"]]
    told = f"{node.instance.id} is stopped, but its container stays. "
    assert node.stop() == f"{told}podman rm app-shop_1.0_{node.port}: it is busy."
    assert node.stop() == f"{told}podman: No such file or directory."
