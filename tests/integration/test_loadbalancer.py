"""Clients of HAProxy, as highstate sets it up, before apps that a real Consul or CoreDNS knows."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from saltdeploy.core.model import Probe
from saltdeploy.discovery import Service, connect

from tests.support import balancer
from tests.support.site import NETWORK, NODES, until

# A proxy in front of HAProxy, and the ports of three frontends: one trusts that proxy, one has the default timeout.
PROXY, PORT, TRUSTING, PATIENT = f"{NETWORK}.77", 24180, 24181, 24182
# The port of the app that is deployed.
DEPLOYED = 24183
# The instance that is behind the last one and is not killed.
LASTING = (NODES["web1"], 24199)
# As RFC 6455 has it.
HANDSHAKE = (
    b"GET /socket HTTP/1.1\r\nHost: balanced\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
# Seconds: the apps' `frontend:timeout`.
TIMEOUT = 3
# Seconds: longer than most clients, and HAProxy's own examples, wait.
LONG = 70


class Site:
    """HAProxy, and instances that are published, one of them by IPv6."""

    def __init__(self, folder, agents):
        self.folder, self.agents = folder, agents
        addresses = [NODES["web1"], NODES["web2"], *(["::1"] if socket.has_dualstack_ipv6() else [])]
        self.instances = {address: 24190 + number for number, address in enumerate(addresses)}
        self.processes = {}
        self.haproxy = balancer.HAProxy(folder)
        (folder / "serve.py").write_text(balancer.SERVER)

    def configure(self):
        """Write HAProxy's configuration."""
        balanced = {"source": {"pip": "balanced"}, "run": "./bin/balanced {host} {port}", "ports": "24190-24199"}
        frontends = {
            "balanced": {"port": PORT, "timeout": f"{TIMEOUT}s"},
            "trusting": {"port": TRUSTING, "trusted_proxies": [PROXY]},
            "patient": {"port": PATIENT},
        }
        apps = {name: {"instances": 3, "frontend": frontend} for name, frontend in frontends.items()}
        site = {"nodes": {"lb1": {"address": NODES["web3"], "roles": ["loadbalancer"]}}, "apps": apps}
        pillar = {"apps": dict.fromkeys(apps, balanced), "environments": {"site": site}}
        self.haproxy.configure(pillar, "lb1")

    def start(self):
        """Start what does not run, and wait until HAProxy sends requests to all of it."""
        for address, port in (*self.instances.items(), LASTING):
            if port not in self.processes or self.processes[port].poll() is not None:
                command = [sys.executable, self.folder / "serve.py", address, str(port), self.log(port)]
                self.processes[port] = subprocess.Popen(command)
                until(functools.partial(listens, address, port), 20, f"the instance at {address}, {port} to listen")
        if not self.haproxy.process:
            with connect({"consul": {"agent": self.agents.url("web1")}}, NODES["web1"]) as consul:
                everywhere = [(n, *place) for n in ("balanced", "trusting") for place in self.instances.items()]
                for name, address, port in (*everywhere, ("patient", *LASTING)):
                    check = (Probe("tcp", "", interval=1.0),)
                    consul.publish(Service(f"{name}_1_{port}", name, address, port, checks=check, weight=25600))
            self.haproxy.start()
        known = {"balanced": len(self.instances), "patient": 1}
        until(lambda: {n: len(self.haproxy.usable(n)) for n in known} == known, 20, "HAProxy to know all instances")

    def stop(self):
        self.haproxy.stop()
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(20)
        with connect({"consul": {"agent": self.agents.url("web1")}}, NODES["web1"]) as consul:
            for service in consul.registered().values():
                if service.name in ("balanced", "trusting", "patient"):
                    consul.withdraw(service.id)

    def log(self, port):
        return self.folder / f"requests-{port}"

    def asked(self, request):
        """Return how often the instances together were sent ``request``, a method and a path."""
        logs = [self.log(port) for port in (*self.instances.values(), LASTING[1])]
        return sum(log.read_text().splitlines().count(request) for log in logs if log.exists())


@pytest.fixture(scope="module")
def running(tmp_path_factory, agents):
    """The site. All the time a request is under way that takes long: ``site.long`` is its answer, a Future."""
    balancer.required()
    site = Site(tmp_path_factory.mktemp("lb"), agents)
    site.configure()
    try:
        site.start()
        with ThreadPoolExecutor(1) as pool:
            site.long = pool.submit(ask, "POST", f"/sleep/{LONG}", PATIENT, timeout=LONG + 20)
            yield site
    finally:
        site.stop()


@pytest.fixture
def site(running):
    """The site with all instances up."""
    running.start()
    return running


def listens(address, port):
    socket.create_connection((address, port), timeout=5).close()
    return True


def ask(method, path, port=PORT, address="127.0.0.1", source=None, timeout=20, **headers):
    """Return the status and the body of an answer."""
    connection = http.client.HTTPConnection(address, port, timeout=timeout, source_address=source and (source, 0))
    with contextlib.closing(connection):
        connection.request(method, path, body=b"x" if method == "POST" else None, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()


def test_a_post_is_not_sent_again_where_its_instance_dies(site):
    for method in ("POST", "DELETE", "PUT"):
        site.start()
        assert ask(method, "/die")[0] == 502
        assert site.asked(f"{method} /die") == 1
    # Reading does no harm: another instance answers.
    site.start()
    assert ask("GET", "/die/once")[0] == 200
    assert site.asked("GET /die/once") == 2
    assert (site.folder / "died").exists()


@pytest.mark.thorough
def test_slow_requests_and_silent_websockets(site):
    """Beside one another: each takes some seconds."""
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(ask, "POST", f"/sleep/{TIMEOUT - 1}")
        late = {method: pool.submit(ask, method, f"/sleep/{TIMEOUT + 2}") for method in ("POST", "GET")}
        silent = pool.submit(_websocket, TIMEOUT + 2)
        assert slow.result()[0] == 200
        for method, answer in late.items():
            assert answer.result()[0] == 504
            assert site.asked(f"{method} /sleep/{TIMEOUT + 2}") == 1
        assert silent.result() == b"still there"


def _websocket(seconds):
    """Return what is echoed by a websocket that was silent for so long."""
    with socket.create_connection(("127.0.0.1", PORT), timeout=20) as connection:
        connection.sendall(HANDSHAKE)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = connection.recv(1000)
            assert piece, head
            head += piece
        assert head.startswith(b"HTTP/1.1 101 ")
        time.sleep(seconds)
        connection.sendall(b"still there")
        return connection.recv(100)


def headers(*args, **kwargs):
    status, body = ask("GET", "/headers", *args, **kwargs)
    assert status == 200
    return json.loads(body)["headers"]


def test_an_app_is_told_of_its_client_by_a_proxy_that_is_trusted_only(site):
    forged = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https", "Forwarded": "for=6.6.6.6"}
    found = headers(**forged)
    assert (found["X-Forwarded-For"], found["X-Forwarded-Proto"]) == (["127.0.0.1"], ["http"])
    assert "Forwarded" not in found
    found = headers(port=TRUSTING, **forged)
    assert (found["X-Forwarded-For"], found["X-Forwarded-Proto"]) == (["127.0.0.1"], ["http"])
    found = headers(port=TRUSTING, source=PROXY, **forged)
    assert (found["X-Forwarded-For"], found["X-Forwarded-Proto"]) == (["6.6.6.6", PROXY], ["https"])


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_clients_and_instances_by_ipv6(site):
    assert headers(address="::1")["X-Forwarded-For"] == ["::1"]
    answers = {json.loads(ask("GET", "/")[1])["address"] for _ in range(12)}
    assert answers == set(site.instances)


def test_there_are_slots_for_as_many_as_can_be_scaled_to(site):
    assert len([name for name in site.haproxy.servers("balanced") if name.startswith("balanced-")]) == 64


def test_a_reload_loses_no_request(site):
    """Though the new process knows no instance before Consul told it."""
    failed, asked, over = [], [], threading.Event()

    def client(keep):
        connection = None
        while not over.is_set():
            connection = connection or http.client.HTTPConnection("127.0.0.1", PORT, timeout=20)
            try:
                connection.request("POST", "/", b"x")
                response = connection.getresponse()
                response.read()
                asked.append(response.status)
                if not keep or response.headers["Connection"] == "close":
                    connection.close()
            except (OSError, http.client.HTTPException) as exc:
                failed.append(repr(exc))
                connection = None
            time.sleep(0.01)

    with ThreadPoolExecutor() as pool:
        silent = pool.submit(_websocket, 4)
        clients = [pool.submit(client, number % 2) for number in range(4)]
        try:
            for _ in range(2):
                time.sleep(0.7)
                site.haproxy.process.send_signal(signal.SIGUSR2)
            time.sleep(2)
        finally:
            over.set()
        for each in clients:
            each.result()
        assert silent.result() == b"still there"
    assert failed == [] and set(asked) == {200} and len(asked) > 50
    site.start()


def test_a_request_that_takes_long_is_answered(site):
    """It was under way during all the tests above, also while HAProxy was reloaded."""
    assert site.long.result()[0] == 200
    assert site.asked(f"POST /sleep/{LONG}") == 1


@pytest.fixture
def haproxy(target, agents, tmp_path):
    """HAProxy before the app that is deployed."""
    balancer.required()
    nodes = {node: {"address": address} for node, address in NODES.items()}
    nodes["lb1"] = {"address": PROXY, "roles": ["loadbalancer"]}
    app = {**target.app(), "frontend": {"port": DEPLOYED}}
    site = {"nodes": nodes, "discovery": agents.discovery, "apps": {target.name: {"instances": 3}}}
    found = balancer.HAProxy(tmp_path)
    found.configure({"apps": {target.name: app}, "environments": {"site": site}}, "lb1")
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.mark.skydns
def test_a_deployment_loses_no_request_and_a_candidate_gets_none(users, target, releases, haproxy):
    """With Consul and with SkyDNS. ``users`` are clients beside HAProxy's."""
    before, after = releases
    target.define(strategy={"deregister_delay": "3s", "drain": "5s"})
    until(lambda: haproxy.usable(target.name) == served(target), 30, "HAProxy to know all instances")
    with balancer.Clients(DEPLOYED, target.name) as clients:
        assert clients.wait_for(before, 10)
        target.deploy(after, "publish=False")
        candidates = {(address, port) for address, port in target.traces().listening} - served(target)
        seen = watched(haproxy, target, 3)
        assert len(candidates) == 3 and seen == served(target) and set(clients.answered) == {before}
        target.run("publish")
        assert clients.wait_for(after, 10)
        until(
            lambda: haproxy.usable(target.name) == served(target) == candidates, 30, "HAProxy to have the new release"
        )
        target.run("withdraw", "nodes=web1")
        # HAProxy asks once a second.
        until(lambda: haproxy.usable(target.name) == served(target), 30, "HAProxy to lose what was withdrawn")
        assert len(served(target)) == 2 and watched(haproxy, target, 2) == served(target)
        target.run("publish")
        until(lambda: haproxy.usable(target.name) == served(target) == candidates, 30, "HAProxy to have all again")
    assert clients.failures == [] and set(clients.answered) == {before, after}


def served(target):
    """Return the addresses and ports of the published instances."""
    return {(address, port) for address, port, _ in target.traces().published.values()}


def watched(haproxy, target, seconds):
    """Return all addresses and ports that get requests from HAProxy at any time within some seconds."""
    found, over = set(), time.monotonic() + seconds
    while time.monotonic() < over:
        found |= haproxy.usable(target.name)
        time.sleep(0.2)
    return found
