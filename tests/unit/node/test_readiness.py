"""The readiness of an instance: the note meanwhile, the place where it listens instead, and the end of patience."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from saltdeploy.core.httprequests import Request
from saltdeploy.core.model import Probe
from saltdeploy.discovery import registration
from saltdeploy.node import listeners, readiness
from saltdeploy.node.host import Host
from saltdeploy.node.readiness import Readiness
from saltdeploy.runtime import State

from tests.support.fleet import instance, make_app
from tests.support.site import until

RUNS = State(running=True, failed=False, detail="running", pid=0)
LISTEN = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(60)"


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture
def server():
    """A server that answers with a status of one's choice."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(self.server.status)
            self.end_headers()

        def log_message(self, *args):
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def waiting(tmp_path, monkeypatch):
    """Return the Readiness of an instance; ``strategy`` are changes to that of its app."""
    monkeypatch.setattr(readiness, "NOTE", 0.05)

    def make(port, state=RUNS, checks=(Probe("http", "/health"),), first=lambda: True, **strategy):
        app = make_app()
        app = replace(app, checks=checks, strategy=replace(app.strategy, **strategy))
        one = replace(instance("a", slot=port), address="127.0.0.1")
        host = Host("a", tmp_path)
        host.instances.folder(one.id).mkdir(parents=True, exist_ok=True)
        host.instances.save(one)
        values = {"address": one.address, "port": port}
        return Readiness(app, one, host, lambda: {one.id: state} if state else {}, values, dict, first), host

    return make


def test_the_answer_of_a_check_is_told_without_the_values_of_env(waiting, server):
    ready, _ = waiting(server.server_port)
    ready.app = replace(ready.app, env={"PLACE": f"127.0.0.1:{server.server_port}"})
    server.status = 500
    assert "`http /health`: GET http://***/health: status 500" in ready.wait(time.monotonic() + 0.2)


@pytest.mark.parametrize(
    "check, found, problem",
    [
        (Probe("grpc", "a.b"), {}, "check `grpc a.b`: discovery has not run it yet"),
        (Probe("grpc", ""), {"grpc": ("critical", "")}, "check `grpc`: discovery has not run it yet"),
        (Probe("grpc", ""), {"grpc": ("critical", "is \n down")}, "check `grpc`: is down"),
        (Probe("grpc", ""), {"grpc": ("warning", "slow")}, "check `grpc`: slow"),
        (Probe("ttl", ""), {"ttl": ("critical", "")}, "check `ttl`: no report of the app has come"),
        (Probe("ttl", ""), {"ttl": ("critical", "TTL expired")}, "no report of the app has come (TTL expired)"),
    ],
)
def test_a_check_that_only_discovery_runs_is_waited_for(waiting, server, check, found, problem):
    server.status = 200
    ready, _ = waiting(server.server_port, checks=(check, Probe("http", "/health")))
    ready.results = lambda: found
    assert problem in wait(ready, 0.2)
    ready.results = lambda: {registration.check_name(check): ("passing", "")}
    assert wait(ready, 5) is None
    # A check that the node runs itself comes first.
    server.status = 500
    ready.results = lambda: pytest.fail("discovery was asked")
    assert "check `http /health`" in wait(ready, 0.2)


@pytest.fixture
def elsewhere():
    """The State of a process whose child listens on another port than it should, and that port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        other = free.getsockname()[1]
    with subprocess.Popen(["sh", "-c", f'"$0" -c "$1" {other}; true', sys.executable, LISTEN]) as process:
        try:
            until(lambda: listeners.of(process.pid), 10, "the process to listen")
            yield replace(RUNS, pid=process.pid), other
        finally:
            subprocess.run(["pkill", "-P", str(process.pid)], check=True)


def wait(ready, seconds):
    return ready.wait(time.monotonic() + seconds)


def test_what_passes_its_checks_is_ready(waiting, server):
    server.status = 204
    ready, host = waiting(server.server_port)
    assert wait(ready, 5) is None and readiness.notes(host, "shop") == {}


def test_a_check_is_asked_with_its_request(waiting, server):
    """Consul asks in the same way once the instance is published."""
    server.status = 200
    asked = Request(headers={"X-Token": "hunter2"}, host="shop.example.com")
    heard = []
    server.RequestHandlerClass.parse_request = lambda self: (
        BaseHTTPRequestHandler.parse_request(self) and heard.append(dict(self.headers)) is None
    )
    ready, _ = waiting(server.server_port, checks=(Probe("http", "/health", request=asked),))
    assert wait(ready, 5) is None
    assert (heard[0]["Host"], heard[0]["X-Token"]) == ("shop.example.com", "hunter2")
    ready, _ = waiting(server.server_port, checks=(Probe("https", "/health", request=asked),))
    told = wait(ready, 0.2)
    assert "check `https /health`: GET https://127.0.0.1:" in told and "hunter2" not in told


@pytest.mark.parametrize("state", [None, State(running=False, failed=True, detail="exited")])
def test_what_ends_is_not_waited_for(waiting, port, state):
    ready, _ = waiting(port, state)
    assert wait(ready, 60) == f"does not stay up: {'exited' if state else 'unknown to the supervisor'}"


def test_the_last_result_is_noted_while_it_is_waited_for(waiting, server):
    server.status = 503
    ready, host = waiting(server.server_port)
    found = []
    thread = threading.Thread(target=lambda: found.append(wait(ready, 20)))
    thread.start()
    until(lambda: readiness.notes(host, "shop"), 5, "a note")
    url = f"http://127.0.0.1:{server.server_port}/health"
    [(one, text)] = readiness.notes(host, "shop").items()
    assert one == f"shop_1.0_{server.server_port}"
    assert re.sub("[0-9]+s", "0s", text) == (
        f"is not ready after 0s: check `http /health`: GET {url}: status 503, expected 2xx"
    )
    assert (host.instances.folder(one) / ".waiting").stat().st_mode & 0o777 == 0o600
    server.status = 200
    thread.join(5)
    assert found == [None] and readiness.notes(host, "shop") == {}


def test_the_note_of_a_job_that_was_killed_is_nobody_s(waiting, port, monkeypatch):
    ready, host = waiting(port)
    ready._note.write_text("is not ready after 3s: …")
    assert readiness.notes(host, "shop")
    monkeypatch.setattr(readiness, "STALE", -1.0)
    assert readiness.notes(host, "shop") == {}


def test_where_it_listens_instead_is_told(waiting, port, elsewhere):
    state, other = elsewhere
    ready, _ = waiting(port, state, (Probe("tcp", ""),))
    assert wait(ready, 0.3) == (
        f"is not ready after 300s: check `tcp`: 127.0.0.1:{port}: Connection refused; the process listens on"
        f" 127.0.0.1:{other}, and {{port}} is {port}"
    )


def test_a_first_deployment_gives_up_on_what_is_steadily_wrong(waiting, server):
    server.status = 404
    ready, _ = waiting(server.server_port, first_deadline=0.3)
    problem = wait(ready, 30)
    assert re.match(r"is not ready after \d+s: check `http /health`: GET http://127\.0\.0\.1:", problem)
    assert problem.endswith(
        "status 404, expected 2xx. This lasted 0.3s, and shop was never deployed before. To wait longer, write"
        " `healthy_deadline` into its strategy"
    )


@pytest.mark.parametrize(
    "status, more",
    [
        (503, {"first_deadline": 0.2}),  # it is not ready yet
        (404, {"first_deadline": 0.2, "first": lambda: False}),
        (404, {"first_deadline": 300.0}),  # healthy_deadline is written
    ],
)
def test_else_it_is_waited_for(waiting, server, status, more):
    server.status = status
    ready, _ = waiting(server.server_port, **more)
    began = time.monotonic()
    assert wait(ready, 1.0).startswith("is not ready after 300s: ")
    assert time.monotonic() - began >= 1.0


def test_a_process_that_opens_another_port_first_is_waited_for(waiting, port, elsewhere):
    """Its own port may come later, for example after a long migration."""
    state, other = elsewhere
    ready, _ = waiting(port, state, (Probe("tcp", ""),), first_deadline=0.1)
    began = time.monotonic()
    assert f"the process listens on 127.0.0.1:{other}" in wait(ready, 1.5)
    assert time.monotonic() - began >= 1.5


def test_a_process_that_is_wrong_at_first_only_is_waited_for(waiting, server):
    server.status = 404
    ready, _ = waiting(server.server_port, first_deadline=0.5)
    threading.Timer(0.3, lambda: setattr(server, "status", 503)).start()
    threading.Timer(0.9, lambda: setattr(server, "status", 200)).start()
    assert wait(ready, 10) is None
