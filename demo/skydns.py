"""The demo's SkyDNS: a member of etcd, a health agent and a CoreDNS on each node."""

from __future__ import annotations

import json
import time

from tooling import ToolError, agents, getcoredns, skydns
from tooling.skydns import CLIENTS, DNS, DOMAIN, HTTP, PEERS

from .places import ENVIRONMENT, NODES
from .processes import POLL

# Seconds until all is there, on a slow machine.
READY = 60


class SkyDNS:
    """Three members of etcd, health agents and CoreDNS servers: see consul.Consul.

    :param processes: the demo's Processes.
    """

    title, dns, domain = "SkyDNS", DNS, f"{ENVIRONMENT}.{DOMAIN}"
    definition = "skydns.sls"
    ports = (("etcd", CLIENTS), ("etcd", PEERS), ("health", HTTP), ("coredns", DNS))

    def __init__(self, processes):
        self.processes, self.places = processes, processes.places
        self._etcd = self._coredns = None

    def names(self):
        """Return the names of its daemons, in the order in which they are started."""
        return [f"{kind}-{n}" for kind in ("etcd", "coredns", "health") for n in NODES]

    def require(self):
        """Raise ToolError at once if etcd, or Go for CoreDNS, is missing here."""
        skydns.etcd_program()
        getcoredns.require(self.places.bin)

    def get(self, progress):
        """Get the programs, which may take long."""
        with progress.step("The etcd and CoreDNS programs") as step:
            self._etcd = skydns.etcd_program()
            step.say(f"{self._etcd}, version {skydns.etcd_version(self._etcd)}")
            self._coredns = getcoredns.get(self.places.bin, step.say, step.live)
            step.say(f"{self._coredns}")

    def start(self, progress):
        """Start all of it, and wait until etcd has a leader and knows all health agents."""
        with progress.step(f"etcd, CoreDNS and health agents on {', '.join(NODES)}") as step:
            self.processes.start([make(n) for make in (self._member, self._dns, self._health) for n in NODES])
            self._await_ready(step)

    def clients(self, app, path):
        """Return clients of an app: a RequestLoop."""
        return skydns.Clients(NODES.values(), app, path, ENVIRONMENT)

    def locked(self, app):
        """Return whether somebody holds the lock of an app."""
        return bool(skydns.values(NODES["web1"], f"/saltdeploy/{ENVIRONMENT}/locks/deploy/{ENVIRONMENT}/{app}/lock"))

    def _member(self, node):
        command = skydns.etcd_command(self._etcd, node, NODES, self.places.node(node) / "etcd")
        file = self.places.etc / f"etcd-{node}.json"
        return self.processes.daemon(f"etcd-{node}", command, file, json.dumps(list(map(str, command)), indent=1))

    def _dns(self, node):
        file = self.places.etc / f"Corefile-{node}"
        text = skydns.corefile(NODES[node], NODES.values())
        return self.processes.daemon(f"coredns-{node}", [self._coredns, "-conf", file], file, text)

    def _health(self, node):
        folder = self.places.node(node) / "health"
        folder.mkdir(parents=True, exist_ok=True)
        file = self.places.etc / f"health-{node}.json"
        settings = skydns.health_settings(node, NODES[node], NODES.values(), ENVIRONMENT, folder)
        command = skydns.health_command(self.places.venv / "bin/python", self.places.repository / "_utils", file)
        return self.processes.daemon(f"health-{node}", command, file, json.dumps(settings, indent=1))

    def _await_ready(self, step):
        deadline = time.monotonic() + READY
        while True:
            ready, trouble = self._state()
            if set(ready) == set(NODES) and not trouble:
                step.say(f"health agents that etcd knows: {', '.join(ready)}")
                return
            self.processes.check(self.names())
            step.live(f"health agents that etcd knows: {', '.join(ready) or 'none yet'} {trouble}")
            if time.monotonic() > deadline:
                missing = next((n for n in NODES if n not in ready), "web1")
                raise ToolError(
                    f"etcd does not know all health agents after {READY} s ({trouble or ', '.join(ready) or 'none'}).\n"
                    f"{self.processes.last_lines(f'etcd-{missing}')}\n"
                    f"{self.processes.last_lines(f'health-{missing}')}\n"
                    "If etcd cannot read its data: make demo-down, then remove it,"
                    f" {self.places.state}/nodes/*/etcd, and make demo DISCOVERY=skydns."
                )
            time.sleep(POLL)

    def _state(self):
        """Return the nodes whose health agents etcd knows, and what is in the way."""
        prefix = f"/saltdeploy/{ENVIRONMENT}/agents/"
        try:
            found = skydns.values(NODES["web1"], prefix, timeout=2)
            for address in NODES.values():
                agents.ask(address, "/v1/agent/services", timeout=2)
                agents.resolve(f"none.{self.domain}", agents.SRV, address, DNS, 2)
        except OSError as exc:
            return [], f"({exc})"
        return sorted(key.removeprefix(prefix) for key, text in found.items() if text == "ready"), ""
