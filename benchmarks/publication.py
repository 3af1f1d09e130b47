"""From ``publish`` until users find the instance in DNS, against one bare register call: ``make bench-publication``.

On a real Consul, whose DNS is asked without a pause from before the call until it answers. Publishing is what
``discovery.publish`` does on a node: it reads the node's definitions, sees that the instance has passed its tests and
runs, registers it with its checks, takes its candidate out, and keeps what it did. Bare is one PUT of the same address
and port with a check, of a service of another name. Each as those have it who use it, as a Salt job of the master's
(``discovery.publish`` and ``http.query``); and without the job, in one process on the node. By turns; only the ratios
of the medians mean anything.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import random
import shutil
import socket
import statistics
import struct
import tempfile
import time
from pathlib import Path

import requests
import salt.client
from saltdeploy.core.instanceids import slot_of
from saltdeploy.node.lifecycle import Lifecycle

from benchmarks.deploy import site
from tests.support import apps
from tests.support.site import NETWORK, Agents
from tooling.config import CONSUL_DNS

NODE, RELEASE, APP, BARE = "web1", "1.0", "web", "bare"
MOST = 1.2
# What a name must have appeared, or be gone, within; in seconds.
PATIENCE = 20.0


class Dns:
    """Consul's DNS, asked over UDP as a resolver would."""

    def __init__(self, address):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(5)
        self._socket.connect((address, CONSUL_DNS))

    def close(self):
        self._socket.close()

    def answers(self, service):
        """Return how many addresses ``service`` has."""
        number = random.getrandbits(16)
        labels = b"".join(bytes([len(part)]) + part.encode() for part in f"{service}.service.consul".split("."))
        # Recursion desired; one question: type A, class IN.
        self._socket.send(struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1))
        while True:
            found, _, _, count = struct.unpack(">4H", self._socket.recv(4096)[:8])
            if found == number:
                return count

    def await_count(self, service, wanted):
        """Ask until ``service`` has ``wanted`` addresses; return the time."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.answers(service) == wanted:
                return time.monotonic()
        raise AssertionError(f"{service} has not {wanted} addresses in DNS after {PATIENCE:g} s")


class Node:
    """One node with Consul, supervisord and one instance, that is a candidate."""

    def __init__(self, folder, agents):
        archives = apps.Archives(folder / "artifacts")
        archives.make(RELEASE)
        app = archives.app(tests=[{"http": "/selftest"}])
        self.pillar = {"apps": {APP: app}, "environments": {"site": apps.environment(agents)}}
        self.settings, self.url = agents.settings(NODE), agents.url(NODE)
        node = self.lifecycle()
        node.install(APP, RELEASE)
        started = node.start(APP, RELEASE, 1, "bench", held=True)
        assert started.ok, started
        [self.instance] = started.instances

    def lifecycle(self):
        return Lifecycle(NODE, self.pillar, self.settings, None, None)

    def publish(self):
        self.lifecycle().publish(APP, [self.instance.id])

    def withdraw(self):
        self.lifecycle().withdraw(APP, [self.instance.id])

    def register(self):
        body = bare(self.instance.address, self.instance.port)
        requests.put(f"{self.url}/v1/agent/service/register", json=body, timeout=10).raise_for_status()

    def deregister(self):
        requests.put(f"{self.url}/v1/agent/service/deregister/{BARE}", timeout=10).raise_for_status()


class Master:
    """The same as Salt jobs."""

    def __init__(self, cli, agents):
        self._client = salt.client.LocalClient(f"{cli.config_dir}/master")
        [self._id], self._url = self._job("app.instances", APP), agents.url(NODE)
        self._address = agents.nodes[NODE]

    def _job(self, function, *args, **kwargs):
        reply = self._client.cmd(NODE, function, args, kwarg=kwargs, full_return=True)[NODE]
        assert reply["retcode"] == 0 and "error" not in reply["ret"], reply
        return reply["ret"]

    def publish(self):
        self._job("discovery.publish", APP, [self._id])

    def withdraw(self):
        self._job("discovery.withdraw", APP, [self._id])

    def register(self):
        body = json.dumps(bare(self._address, slot_of(self._id)))
        self._job("http.query", f"{self._url}/v1/agent/service/register", method="PUT", data=body)

    def deregister(self):
        self._job("http.query", f"{self._url}/v1/agent/service/deregister/{BARE}", method="PUT")


def bare(address, port):
    """Return the registration of a bare service."""
    check = {"HTTP": f"http://{address}:{port}/health", "Interval": "1s", "Timeout": "10s", "Status": "passing"}
    return {"ID": BARE, "Name": BARE, "Address": address, "Port": port, "Checks": [check]}


class Watcher:
    """Asks DNS from a process of its own: in this one it would have the interpreter when publishing wants it."""

    def __init__(self, address):
        self._pipe, other = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=_watch, args=(address, other), daemon=True)
        self._process.start()

    def close(self):
        self._process.terminate()
        self._process.join()

    def timed(self, service, enter, leave):
        """Return the seconds from the call of ``enter`` until DNS has the service; it is gone again afterwards."""
        self._pipe.send((service, 1))
        self._pipe.recv()
        began = time.monotonic()
        enter()
        seen = self._pipe.recv()
        self._pipe.send((service, 0))
        self._pipe.recv()
        leave()
        self._pipe.recv()
        return seen - began


def _watch(address, pipe):
    """Answer each ``(service, count)`` with an "asking", and with the time at which DNS has so many."""
    with contextlib.closing(Dns(address)) as dns:
        while True:
            service, wanted = pipe.recv()
            dns.answers(service)
            pipe.send("asking")
            # The same clock for all processes (clock_gettime(2), CLOCK_MONOTONIC).
            pipe.send(dns.await_count(service, wanted))


def main():
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--consul", required=True, help="path of a Consul")
    parser.add_argument("--rounds", type=int, default=50, help="of each, after five that do not count")
    options = parser.parse_args()
    with site(options.consul, definitions, {NODE: f"{NETWORK}.11"}) as (cli, agents):
        measure("as Salt jobs", Master(cli, agents), agents, options.rounds)
    folder = Path(tempfile.mkdtemp(prefix="sd-", dir="/tmp"))
    try:
        with Agents(folder / "n", options.consul, {NODE: f"{NETWORK}.11"}).running() as agents:
            measure("without the job", Node(folder, agents), agents, options.rounds)
    finally:
        shutil.rmtree(folder)


def definitions(archives, agents):
    """Return the definitions: an app with one instance."""
    counts = {APP: {"version": RELEASE, "instances": 1}}
    return {APP: archives.app(tests=[{"http": "/selftest"}])}, {"site": apps.environment(agents, apps=counts)}


def measure(how, node, agents, rounds):
    """Measure one way of doing it, and print."""
    times = {"publish": [], "bare": []}
    node.withdraw()
    with contextlib.closing(Watcher(agents.nodes[NODE])) as watcher:
        for number in range(rounds + 5):
            engine = watcher.timed(APP, node.publish, node.withdraw)
            register = watcher.timed(BARE, node.register, node.deregister)
            if number >= 5:
                times["publish"].append(engine * 1000)
                times["bare"].append(register * 1000)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        low, _, high = statistics.quantiles(values, n=4)
        print(f"{name} {how}: median {medians[name]:.1f} ms, half of them within {low:.1f} to {high:.1f} ms")
    print(f"ratio {how}: {medians['publish'] / medians['bare']:.2f} (at most {MOST})", flush=True)


if __name__ == "__main__":
    main()
