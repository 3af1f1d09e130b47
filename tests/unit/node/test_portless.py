"""The watcher of an app without ports: it says whether the process runs, and the process does not notice it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from dataclasses import replace

import psutil
import pytest
from saltdeploy.core.errors import Failed
from saltdeploy.core.model import App, Source
from saltdeploy.node import portless
from saltdeploy.node.host import Host
from saltdeploy.node.launch import Launch

from tests.support.site import until

# Tells what it sees of itself, then waits for its children, of which it has none, and for a signal.
APP = """\
import json, os, pathlib, signal, sys, time
try:
    child = os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    child = None
about = {"env": dict(os.environ), "cwd": os.getcwd(), "pid": os.getpid(), "parent": os.getppid(), "child": child}
about.update(group=os.getpgid(0), files=sorted(os.listdir("/proc/self/fd")), stdin=sys.stdin.read())
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), sys.exit(7)))
pathlib.Path(sys.argv[1]).write_text(json.dumps(about))
while True:
    time.sleep(1)
"""


@pytest.fixture
def settle(monkeypatch):
    monkeypatch.setattr(portless, "SETTLE", 0.5)


def launched(tmp_path, name, watched=True):
    """Start an instance as a supervisor would, by its start script; return its process, its port and what it saw."""
    program, seen = tmp_path / "app.py", tmp_path / f"{name}.json"
    program.write_text(APP)
    host = Host("a", tmp_path / name)
    app = App("shop", Source("pip", "shop"), f"python3 {program} {seen}", env={"SECRET": "a'b"}, user="root")
    made = host.instances.allocate(app, "1.0", "127.0.0.1", "d")
    if not watched:
        made = replace(made, watch=None)
    Launch(app, made, host, "e").write({})
    process = subprocess.Popen(
        [host.instances.folder(made.id) / "start"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={"PATH": os.environ["PATH"], "GIVEN": "1"},
    )
    process.stdin.write(b"input")
    process.stdin.close()
    until(lambda: seen.exists() and seen.read_text(), 10, "the app to start")
    return process, made.watch, json.loads(seen.read_text())


def asked(port):
    """Return status and text of the watcher's answer; None if nothing listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/running")
        response = connection.getresponse()
        return response.status, response.read().decode()
    except OSError:
        return None
    finally:
        connection.close()


def watchers(port):
    return [p for p in psutil.process_iter(["cmdline"]) if str(port) in (p.info["cmdline"] or ())]


def test_the_process_sees_nothing_of_its_watcher(tmp_path, settle):
    process, port, seen = launched(tmp_path, "one")
    plain, none, usual = launched(tmp_path, "two", watched=False)
    try:
        assert port in portless.PORTS and none is None
        for about, own in ((seen, process), (usual, plain)):
            assert (about.pop("pid"), about.pop("group")) == (own.pid, own.pid)
        instances = [about["env"].pop("SALTDEPLOY_INSTANCE") for about in (seen, usual)]
        assert instances[0] != instances[1]
        assert seen == usual and seen["child"] is None and seen["stdin"] == "input" and seen["env"]["SECRET"] == "a'b"
        until(lambda: (asked(port) or (0,))[0] == 200, 10, "the watcher to say that it runs")
    finally:
        process.kill()
        plain.kill()
    # Its output ends with it: the watcher does not hold the pipe.
    assert process.stdout.read() == b""
    process.wait()
    plain.wait()


def test_it_is_unhealthy_at_first_and_ends_with_the_process(tmp_path, settle):
    process, port, _ = launched(tmp_path, "one")
    until(lambda: asked(port), 10, "the watcher to answer")
    assert asked(port)[0] in (503, 200)
    until(lambda: asked(port)[0] == 200, 10, "the watcher to be healthy")
    # As supervisord stops it: the whole group. What takes its time to end is running meanwhile, and ends as it likes.
    os.killpg(process.pid, signal.SIGTERM)
    time.sleep(0.3)
    assert asked(port)[0] == 200
    assert process.wait(10) == 7
    until(lambda: asked(port) is None and not watchers(port), 5, "the watcher to end")


def test_a_process_that_is_killed_is_unhealthy_at_once(tmp_path, settle):
    process, port, _ = launched(tmp_path, "one")
    until(lambda: asked(port) and asked(port)[0] == 200, 10, "the watcher to be healthy")
    process.kill()
    # Nobody has taken note of its end yet.
    until(lambda: asked(port) is None and not watchers(port), 5, "the watcher to end")
    assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
    process.wait()


def test_the_watcher_of_the_next_process_waits_for_the_port(tmp_path, settle):
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", portless.PORTS[0]))
        script = tmp_path / "watcher.py"
        script.write_text(portless.source())
        with subprocess.Popen(["sleep", "60"]) as process:
            command = [*portless.python(), script, str(process.pid), "127.0.0.1", str(portless.PORTS[0]), "0"]
            with subprocess.Popen(command) as watcher:
                time.sleep(0.5)
                other.close()
                until(lambda: (asked(portless.PORTS[0]) or (0,))[0] == 200, 10, "the watcher to get the port")
                process.kill()
                process.wait()
                assert watcher.wait(5) == 0


def test_each_has_a_port_of_its_own_that_is_free(tmp_path):
    host = Host("a", tmp_path)
    app = App("shop", Source("pip", "shop"), "run")
    made = [host.instances.allocate(app, "1.0", "127.0.0.1", "d") for _ in range(3)]
    assert len({i.watch for i in made}) == 3 and all(i.port is None for i in made)
    assert {i.watch for i in made} <= host.instances.ports_taken("127.0.0.1")
    with pytest.raises(Failed, match="no port from 32000 to 32767 is free for the check of an app without ports"):
        portless.port(set(portless.PORTS), lambda port: True)
