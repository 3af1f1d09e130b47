"""SkyDNS in place of Consul on this machine: members of etcd, health agents and CoreDNS, all real."""

from __future__ import annotations

import json
import sys

from saltdeploy.core.errors import DiscoveryUnavailable

from tooling import getcoredns, skydns

from .site import NODES, REPOSITORY, Agents, Users, until

ENVIRONMENT = "site"


class SkyDNS(Agents):
    """A health agent and a supervisord for each node, and a member of etcd for the first three.

    :param login: keys of ``discovery:skydns`` beside its addresses.
    """

    domain, speaks = f"{ENVIRONMENT}.{skydns.DOMAIN}", "The health agent"

    def __init__(self, folder, nodes=NODES, **login):
        super().__init__(folder, None, nodes)
        self.coredns = getcoredns.get(REPOSITORY / ".demo/bin")
        self.login = login

    @property
    def members(self):
        """The URLs of etcd's members."""
        return skydns.members(self.servers.values())

    @property
    def discovery(self):
        place = {"etcd": self.members, "domain": skydns.DOMAIN, "ttl": 1}
        return {"skydns": {**place, "agent": f"http://{{address}}:{skydns.HTTP}", **self.login}}

    def start(self):
        for node in self.nodes:
            self.start_supervisord(node)
            self.start_member(node)
            self.start_coredns(node)
        for node in self.nodes:
            self.start_health(node)
        self.await_leader()

    def clients(self, service, path):
        clients = skydns.Clients(self.nodes.values(), service, path, ENVIRONMENT)
        clients.pause = Users.pause
        return clients

    def start_coredns(self, node):
        """Start the DNS server that the clients of a node ask."""
        file = self.folder / node / "Corefile"
        file.write_text(skydns.corefile(self.nodes[node], self.servers.values()))
        self._start(f"coredns-{node}", [self.coredns, "-conf", file])

    def start_agent(self, node):
        self.start_member(node)
        self.start_health(node)

    def start_member(self, node):
        """Start the node's member of etcd, if it has one."""
        if node not in self.servers:
            return
        command = skydns.etcd_command(skydns.etcd_program(), node, self.servers, self.folder / node / "etcd")
        self._start(f"etcd-{node}", command)

    def start_health(self, node):
        """Start the node's health agent."""
        folder = self.folder / node / "health"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "settings.json"
        found = skydns.health_settings(node, self.nodes[node], self.servers.values(), ENVIRONMENT, folder)
        path.write_text(json.dumps({**found, **self.login}))
        path.chmod(0o600)
        # As on a node: in the process of its own, from the files that Salt brings.
        self._start(f"health-{node}", skydns.health_command(sys.executable, REPOSITORY / "_utils", path))

    def stop_agent(self, *nodes):
        names = [f"{kind}-{node}" for node in nodes for kind in ("health", "etcd")]
        self.daemons.stop(lambda process: process.name in names)

    def stop_health(self, *nodes):
        """Stop health agents alone."""
        names = [f"health-{node}" for node in nodes]
        self.daemons.stop(lambda process: process.name in names)

    def await_leader(self):
        """Wait until each node's agent answers, and etcd knows of it."""

        def settled():
            try:
                with self.backend() as backend:
                    backend.leader()
                    alive = backend.nodes()
                for node in self.nodes:
                    with self.backend(node) as backend:
                        backend.registered()
            except DiscoveryUnavailable:
                return False
            return alive == set(self.nodes)

        until(settled, 60, "etcd to have a leader, and all health agents")
