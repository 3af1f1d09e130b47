"""The demo's Consul: a server on each node."""

from __future__ import annotations

import json
import time

from tooling import ToolError, agents, getconsul
from tooling.config import CONSUL_DNS, CONSUL_HTTP, consul_config
from tooling.requestloop import RequestLoop

from .places import ENVIRONMENT, NODES
from .processes import POLL

# Seconds until there is one, on a slow machine.
LEADER = 60


class Consul:
    """Three Consul servers.

    :param processes: the demo's Processes.

    ``ports`` are pairs of the beginning of a daemon's name and a port that it has on each node. ``domain`` is where the
    services are in DNS, ``dns`` the port of that. ``definition`` is the file with its part of the environment.
    """

    title, dns, domain = "Consul", CONSUL_DNS, "service.consul"
    definition = "pillar/environments/demo.sls"
    # Serf and the servers' own are Consul's defaults.
    ports = tuple(("consul", port) for port in (CONSUL_HTTP, CONSUL_DNS, 8300, 8301))

    def __init__(self, processes):
        self.processes, self.places = processes, processes.places
        self._program = None

    def names(self):
        """Return the names of its daemons, in the order in which they are started."""
        return [f"consul-{n}" for n in NODES]

    def require(self):
        """Raise ToolError if something is missing. Only :meth:`get` finds it out, because there are many sources."""

    def get(self, progress):
        """Get the program, which may take long."""
        with progress.step("The Consul program") as step:
            self._program = getconsul.get(self.places.bin, say=step.say, live=step.live)
            step.say(f"{self._program}")
            warning = getconsul.warning(getconsul.version_of(self._program))
            if warning:
                step.say(warning)

    def start(self, progress):
        """Start the servers, and wait until they have a leader."""
        with progress.step(f"Consul servers {', '.join(NODES)}") as step:
            self.processes.start([self._daemon(n) for n in NODES])
            self._await_leader(step)

    def clients(self, app, path):
        """Return clients of an app: a RequestLoop."""
        return RequestLoop(NODES.values(), app, path)

    def locked(self, app):
        """Return whether somebody holds the lock of an app."""
        status, body = agents.get(NODES["web1"], CONSUL_HTTP, f"/v1/kv/deploy/{ENVIRONMENT}/{app}/lock?consistent")
        return status == 200 and b'"Session"' in body

    def _daemon(self, node):
        version = getconsul.version_of(self._program)
        folder = self.places.node(node) / f"consul-{version}"
        config = consul_config(node, NODES[node], list(NODES.values()), folder)
        file = self.places.etc / f"consul-{node}.json"
        command = [self._program, "agent", f"-config-file={file}"]
        return self.processes.daemon(f"consul-{node}", command, file, json.dumps(config, indent=1))

    def _await_leader(self, step):
        deadline = time.monotonic() + LEADER
        while True:
            healthy, leader, trouble = self._state()
            if leader and len(healthy) == len(NODES):
                step.say(f"leader {leader}, healthy: {', '.join(healthy)}")
                return
            self.processes.check(self.names())
            step.live(f"leader: {leader or 'none yet'}, healthy: {', '.join(healthy) or 'none yet'} {trouble}")
            if time.monotonic() > deadline:
                raise ToolError(
                    f"Consul has no leader with three healthy servers after {LEADER} s ({trouble or healthy}).\n"
                    f"{self.processes.last_lines('consul-web1')}\n"
                    "If it cannot read its data: make demo-down, then remove it,"
                    f" {self.places.state}/nodes/*/consul-*, and make demo."
                )
            time.sleep(POLL)

    def _state(self):
        """Return the healthy nodes, the leader as all servers see it, and what is in the way."""
        try:
            leaders = {agents.ask(address, "/v1/status/leader", timeout=2) for address in NODES.values()}
            alive = agents.ask(NODES["web1"], "/v1/health/state/passing", timeout=2)
        except OSError as exc:
            return [], "", f"({exc})"
        healthy = sorted({check["Node"] for check in alive if check["CheckID"] == "serfHealth"} & set(NODES))
        return healthy, leaders.pop() if len(leaders) == 1 else "", ""
