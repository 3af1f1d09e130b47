"""The service discovery that highstate sets up for an environment: Consul, or SkyDNS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from . import cluster, etcdcluster
from .cluster import Secrets, named

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..core.environment import Environment
    from .cluster import Identity

__all__ = ["Secrets", "kind", "named", "of", "servers", "services"]


class Platform(Protocol):
    """A module with this content: ``cluster`` for Consul, ``etcdcluster`` for SkyDNS. Its functions tell more."""

    PILLAR: str
    TITLE: str
    CLEAN: str

    def identities(self, name: str, environment: Mapping[str, Any]) -> dict[str, Identity]:
        """Return ``{node: (names, addresses)}`` for the certificate of each node."""
        ...

    def discovery_of_master(self, environment: Mapping[str, Any], secrets: Secrets, ca: object) -> dict[str, Any]:
        """Return the ``discovery`` of the environment for the master."""
        ...

    def discovery_of_node(self, environment: Mapping[str, Any], minion: str, secrets: Secrets) -> dict[str, Any]:
        """Return the ``discovery`` of the environment for a node."""
        ...

    def node(
        self, name: str, environment: Mapping[str, Any], minion: str, secrets: Secrets, apps: Iterable[str]
    ) -> dict[str, Any]:
        """Return all data that a node needs for its part, with its secrets."""
        ...


def of(environment: object) -> Platform | None:
    """Return the platform that highstate sets up for an environment (a resolved mapping), or None."""
    if cluster.wanted(environment):
        return cluster
    return etcdcluster if etcdcluster.wanted(environment) else None


def services(environment: Mapping[str, Any]) -> list[str] | None:
    """Return the services, beside apps, that nodes may register. None means any, because nothing is known of rights."""
    for key, kind in (("consul", cluster), ("skydns", etcdcluster)):
        if kind.wanted(environment):
            return environment[key].get("services") or []
    return None


def servers(environment: Environment) -> list[str]:
    """Return the nodes that are servers of discovery: Consul servers, or members of etcd."""
    role = etcdcluster.SERVER if "skydns" in environment.discovery else cluster.SERVER
    return [node.name for node in environment.nodes.values() if role in node.roles]


def kind(environment: Environment) -> str:
    """Return the words for these nodes together."""
    return "members of etcd" if "skydns" in environment.discovery else "Consul servers"
