"""The names and the commands of each service discovery, for messages. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from .backend import Endpoint


class Wording(Protocol):
    """The words for a service discovery.

    :ivar name: the service discovery.
    :ivar store: the place of records and locks, which needs a leader.
    :ivar agent: the daemon on each node.
    :ivar log: the command that shows the log of the agent, on its node.
    """

    name: str
    store: str
    agent: str
    log: str

    def removal(self, endpoint: Endpoint) -> str:
        """Return the command that deregisters a service, with its place."""

    def separation(self, environment: str, its: str, app: str, endpoints: Sequence[Endpoint]) -> str:
        """Return advice for services of ``app`` in environment ``its`` that clients of ``environment`` find."""

    def repair(self, environment: str, app: str, endpoints: Sequence[Endpoint]) -> str:
        """Return advice for entries of the catalog that the agents of their nodes do not have."""


class ConsulWording:
    """The words for Consul."""

    name = store = "Consul"
    agent, log = "Consul agent", "consul monitor"

    def removal(self, endpoint: Endpoint) -> str:
        """See Wording. The node may be no minion."""
        return f"`consul services deregister -id={endpoint.id}` on {endpoint.node}"

    def separation(self, environment: str, its: str, app: str, endpoints: Sequence[Endpoint]) -> str:
        """See Wording."""
        return (
            f"Give each environment a Consul datacenter of its own (environments:{environment}:discovery), or take"
            f" {app} away there: salt-run deploy.remove {app} env={its}."
        )

    def repair(self, environment: str, app: str, endpoints: Sequence[Endpoint]) -> str:
        """See Wording."""
        requests = _for_nodes('PUT /v1/catalog/deregister {{"Node": "{node}"}}', endpoints)
        return (
            "It lost its data, or cannot join (its log says `reserved by node`). Start or repair it. If it lost its"
            f" data, remove its entries from the catalog: consul's API, {requests}. The agent registers again within"
            " two minutes."
        )


class SkyDNSWording:
    """The words for SkyDNS."""

    name, store = "SkyDNS", "etcd"
    agent, log = "health agent", "journalctl -u saltdeploy-health"

    def removal(self, endpoint: Endpoint) -> str:
        """See Wording. Only the health agent of a minion registers services."""
        return f"`salt {endpoint.node} discovery.deregister {endpoint.id}`"

    def separation(self, environment: str, its: str, app: str, endpoints: Sequence[Endpoint]) -> str:
        """See Wording. The environment is a part of all names, so somebody registered them in the wrong place."""
        return f"Environments share no names in SkyDNS, so take these out: {', '.join(map(self.removal, endpoints))}."

    def repair(self, environment: str, app: str, endpoints: Sequence[Endpoint]) -> str:
        """See Wording."""
        prefix = f"/saltdeploy/{environment}/services/{app}"
        commands = _for_nodes(f"`etcdctl del --prefix {prefix}/{{node}}/`", endpoints)
        return (
            "The agent removes such entries within a minute after it starts. If they stay, see its log on the node:"
            f" `{self.log}`. If the node is gone for good, remove its entries: {commands}."
        )


def _for_nodes(form: str, endpoints: Sequence[Endpoint]) -> str:
    """Return ``form`` for each node of the endpoints."""
    return " and ".join(form.format(node=node) for node in sorted({e.node for e in endpoints}))


CONSUL, SKYDNS = ConsulWording(), SkyDNSWording()


def of(config: Mapping[str, Any]) -> Wording:
    """Return the words for the backend that an environment's ``discovery`` mapping describes."""
    return SKYDNS if "skydns" in config else CONSUL
