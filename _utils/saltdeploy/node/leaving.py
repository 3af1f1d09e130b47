"""The agent of Consul on this node leaves its cluster, if saltdeploy set it up and nobody needs it."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import DiscoveryUnavailable, Failed, Refused
from ..definition import cluster
from ..discovery.consul import ALIVE, Consul
from ..system.files import explained, write_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MARK = "Written by saltdeploy"
UNIT = Path("/etc/systemd/system/consul.service")
ETC = Path(cluster.ETC)
URL = "http://127.0.0.1:8500"
SERVICE = "consul"
# The files of parts that ask this agent, and the state that removes each.
USERS = {
    "/etc/haproxy/haproxy.cfg": "loadbalancer.clean",
    "/etc/dnsmasq.d/saltdeploy.conf": "dns.clean",
    "/etc/unbound/unbound.conf.d/saltdeploy.conf": "dns.clean",
    "/etc/systemd/resolved.conf.d/saltdeploy.conf": "dns.clean",
}
# Seconds: until the agent has read its new token, and until it has left and ended.
RELOADED, ENDED, POLL = 15.0, 60.0, 0.5


@dataclass
class Service:
    """The service of the agent, by Salt's functions.

    :param running: returns whether it runs.
    :param reload: has it read its configuration again.
    """

    running: Callable[[], bool]
    reload: Callable[[], object]


@dataclass
class Seen:
    """The cluster as this agent sees it.

    :param services: the ids of the agent's own services.
    :param peers: how many servers vote.
    :param others: the names of the other servers that are alive.
    """

    services: Sequence[str]
    peers: int
    others: Sequence[str]


class Agent(Consul):
    """The agent, asked with tokens from its own configuration, so that a node needs no definition any more."""

    def seen(self, own: str) -> Seen:
        """Return the Seen of the agent with the name ``own``."""
        members = self.get("/v1/agent/members")
        alive = [m["Name"] for m in members if m["Status"] == ALIVE and m["Tags"].get("role") == "consul"]
        services = sorted(i for i in self.registered() if i != SERVICE)
        return Seen(services, len(self.get("/v1/status/peers")), sorted(n for n in alive if n != own))

    def leave(self) -> bool:
        """Have the agent leave and end. Return False if it does not know the token yet."""
        try:
            response = self.call("put", "/v1/agent/leave")
        except DiscoveryUnavailable:  # it ends before it answers
            return True
        if response.code not in (200, 403):
            raise Failed(f"Consul does not leave: {response.code} {response.body.strip()[:200]}")
        return bool(response.code == 200)


def leave(minion: str, pillar: Mapping[str, Any], service: Service, test: bool = False) -> bool:
    """Have this node's agent leave its cluster. Return False if no agent of saltdeploy runs here.

    :param minion: the minion's id.
    :param pillar: its pillar.
    :param test: only look whether it may leave.
    :raises Refused: the agent is needed. Nothing was changed.
    :raises Failed: it did not leave.
    """
    if not (_ours(UNIT) and service.running()):
        return False
    with explained():
        config = json.loads((ETC / "consul.json").read_text())
    with Agent([URL], token=config["acl"]["tokens"]["dns"]) as agent:
        problem = needed(minion, pillar, bool(config.get("server")), agent.seen(config["node_name"]))
    problem = problem or _asked_by(minion)
    if problem:
        raise Refused(problem)
    if not test:
        _leave(minion, service)
    return True


def needed(minion: str, pillar: Mapping[str, Any], server: bool, seen: Seen) -> str:
    """Return why the agent of ``minion`` must stay, in a sentence and with the next step. Empty: it may leave.

    :param server: whether the agent is a server.
    """
    if seen.services:
        return (
            f"{minion} still has services in Consul: {', '.join(seen.services)}. Apply app.clean first. Deregister each"
            f" service that is no app: salt {minion} discovery.deregister ID"
        )
    server_in = _environments_with_server(minion, pillar)
    if server_in:
        return (
            f"{minion} has the role {cluster.SERVER} in environment {server_in[0]}. Remove the role there, and apply"
            " highstate to the other servers. Then they do not wait for this server any more."
        )
    if not server:
        return ""
    left = seen.peers - 1
    if left < 1:
        return (
            f"{minion} is the last server of its Consul. To end this Consul, stop it first:"
            f" salt {minion} service.stop {SERVICE}"
        )
    if len(seen.others) < left // 2 + 1:
        return (
            f"Without {minion}, Consul would have no quorum: of {left} other servers, {len(seen.others)} run"
            f" ({', '.join(seen.others) or 'none'}), and {left // 2 + 1} must. Bring back the others first."
        )
    return ""


def _environments_with_server(minion: str, pillar: Mapping[str, Any]) -> list[str]:
    """Return the environments whose Consul saltdeploy sets up, and that have ``minion`` as a server."""
    if not pillar.get("saltdeploy_consul"):
        return []
    own = {name: environment["nodes"].get(minion) or {} for name, environment in pillar["environments"].items()}
    return [name for name, node in own.items() if cluster.SERVER in (node.get("roles") or ())]


def _asked_by(minion: str) -> str:
    """Return a sentence on the first part on this node that asks the agent, or an empty text."""
    found = next((state for path, state in USERS.items() if _ours(Path(path))), "")
    return f"Other parts of {minion} still ask this Consul. Apply {found} first." if found else ""


def _leave(minion: str, service: Service) -> None:
    # No token of an agent may make it leave. A token for this moment may, and no other node knows it.
    secret, path = str(uuid.uuid4()), ETC / "leave.json"
    token = {"acl": {"tokens": {"agent_recovery": secret}}}
    try:
        with explained():
            write_file(path, json.dumps(token), 0o640, (0, ETC.stat().st_gid))
        service.reload()
        with Agent([URL], token=secret) as agent:
            if not _wait(agent.leave, RELOADED):
                raise Failed(f"Consul on {minion} does not accept its own token. See `journalctl -u consul` there.")
        if not _wait(lambda: not service.running(), ENDED):
            raise Failed(
                f"Consul on {minion} has left, and does not end within {ENDED:g}s. See `journalctl -u consul`."
            )
    finally:
        path.unlink(missing_ok=True)
        if service.running():
            service.reload()


def _wait(true: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(POLL)
    return True


def _ours(path: Path) -> bool:
    return path.is_file() and MARK in path.read_text(errors="replace")
