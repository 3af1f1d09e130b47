"""A real app is deployed while clients ask for it all the time, through the load balancer."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
import time

import pytest

from lab import hosts
from tests.lab.environment.conftest import BALANCER, CLIENT, HTTPBIN, MASTER, WEBS

pytestmark = pytest.mark.skipif(bool(hosts.lacking()) and "CI" not in os.environ, reason=hosts.lacking())

APP, OLD, NEW = "httpbin", "0.10.1", "0.10.2"
# Two kinds of clients: some keep their connection, some make a new one for each request.
KINDS = {"keep-alive": (), "new connections": ("--header", "Connection: close")}
# Milliseconds between an answer and the next request: the deployment has the processors to itself for some of the time.
PACE = "function delay() return 40 end\n"


class Load:
    """wrk on the client's host, one for each of KINDS, for as long as the block lasts."""

    def __init__(self, environment):
        self.client, self.outputs = environment.host(CLIENT), {}
        self.url = f"http://{environment.host(BALANCER).address}:{HTTPBIN}/get"

    def __enter__(self):
        self.client.write("root/pace.lua", PACE)
        common = ("wrk", "--threads=1", "--connections=4", "--timeout=10s", "--duration=10m", "--script=/root/pace.lua")
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self._running = {kind: self.client.popen(*common, *more, self.url, **pipes) for kind, more in KINDS.items()}
        time.sleep(2)
        return self

    def __exit__(self, *exc):
        time.sleep(2)
        # It reports when it is interrupted.
        self.client.attempt("pkill", "-INT", "-x", "wrk")
        self.outputs = {kind: process.communicate(timeout=60)[0] for kind, process in self._running.items()}

    def failed(self):
        """Return what went wrong, as wrk says it; and see that it asked at all."""
        for kind, output in self.outputs.items():
            assert int(re.search(r"(\d+) requests in", output)[1]) > 200, f"{kind}: {output}"
        wrong = re.compile(r"(Socket errors: .*|Non-2xx or 3xx responses: .*)")
        return {kind: wrong.findall(output) for kind, output in self.outputs.items() if wrong.findall(output)}


@pytest.fixture
def httpbin(serving):
    serving.settle()
    serving.deploy(APP, OLD)
    serving.host(CLIENT).run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "wrk")
    yield serving
    serving.define()
    serving.deploy(APP, OLD)


@pytest.mark.thorough
def test_no_request_fails_where_nothing_is_done(httpbin):
    """What the others are measured by."""
    with Load(httpbin) as load:
        time.sleep(10)
    assert load.failed() == {}


def test_no_request_fails_while_it_is_upgraded_and_while_it_goes_back(httpbin):
    for version in (NEW, OLD):
        with Load(httpbin) as load:
            httpbin.deploy(APP, version)
        print(version, load.outputs)
        assert load.failed() == {}, version


@pytest.mark.thorough
def test_no_request_fails_when_the_new_release_fails_its_tests(httpbin):
    httpbin.define(httpbin={"tests": [{"http": {"path": "/get", "contains": "no such thing"}, "from": "peer"}]})
    with Load(httpbin) as load:
        output = httpbin.deploy(APP, NEW, code=1)
    assert "all is as before" in output
    assert load.failed() == {}
    assert httpbin.versions(APP) == [OLD] * 3


@contextlib.contextmanager
def boot_again(hosts):
    """Boot each of ``hosts`` that goes down, as firmware does: a systemd-nspawn that is no unit of its own ends."""
    done = threading.Event()

    def work():
        while not done.wait(0.2):
            for host in hosts:
                if not host.runs():
                    host.start()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_no_request_fails_while_machines_are_rebooted_in_turn(httpbin):
    """Two of three, which saves time. The third is not named, and stays as it is."""
    noted = "/root/noted"
    (httpbin.site.files / "noted.sls").write_text(
        f"note of the reboot:\n  file.append:\n    - name: {noted}\n    - text: now\n"
    )
    hosts, other = [httpbin.host(web) for web in WEBS[:2]], httpbin.host(WEBS[2])

    def started(host):
        return host.run("cut", "-d", " ", "-f", "22", "/proc/1/stat")

    before = {host.name: started(host) for host in (*hosts, other)}
    named = ", ".join(host.name for host in hosts)
    pillar = f"pillar={{environment: site, nodes: [{named}], reason: new kernel, apply: [noted]}}"
    with Load(httpbin) as load, boot_again(hosts):
        code, output = httpbin.cli.run("salt-run", "state.orchestrate", "saltdeploy.orch.reboot", pillar, timeout=900)
    assert code == 0, output
    print(load.outputs, output[-3000:])
    assert load.failed() == {}
    for host in hosts:
        assert started(host) != before[host.name]
        assert host.run("cat", noted) == "now\n"
    assert started(other) == before[other.name]
    # Nothing is out of use in the end.
    assert not [node for node in (MASTER, BALANCER, other.name) if f"reboots {node}" in output]
    code, output = httpbin.cli.run("salt-run", "environment.status", "site")
    assert "out of use" not in output
    assert [sorted(node for node, _ in httpbin.published(app)) for app in (APP, "shop")] == 2 * [list(WEBS)]
