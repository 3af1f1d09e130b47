"""The etcd and CoreDNS that highstate sets up for an environment with SkyDNS: the needs of each node. Pure.

The configuration is for etcd 3.4 and newer: https://etcd.io/docs/v3.4/op-guide/configuration/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core import addresses
from ..core.errors import Mistakes
from . import cluster

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .cluster import Identity, Secrets

SERVER = "etcd-server"
# The key of the pillar with the data of :func:`node`.
PILLAR = "saltdeploy_skydns"
# Its name for people, and the state that removes it.
TITLE, CLEAN = "SkyDNS", "saltdeploy.skydns.clean"
CLIENTS, PEERS = 2379, 2380
# The oldest CoreDNS that takes the time of a record from the record: CVE-2025-58063.
OLDEST = (1, 12, 4)
ETC, DATA = "/etc/etcd", "/var/lib/etcd/saltdeploy"
# The CA certificate on each node. Everybody may read it.
CA = "/etc/saltdeploy/etcd-ca.pem"
# The keys of discovery:skydns that may be beside `skydns`. We compute the others.
OWN = {"domain", "ttl", "agent", "token"}
# The users at etcd. The user of a node has its name behind NODE.
DEPLOYER, DNS, NODE = "saltdeploy-deployer", "saltdeploy-dns", "saltdeploy-node-"


def wanted(environment: object) -> bool:
    """Return whether highstate sets up the SkyDNS of this environment (a resolved mapping)."""
    return isinstance(environment, dict) and isinstance(environment.get("skydns"), dict)


def members(environment: Mapping[str, Any]) -> list[str]:
    """Return the names of the nodes that are members of etcd, in the order of the definition."""
    return [name for name, node in environment["nodes"].items() if SERVER in (node.get("roles") or ())]


def identities(name: str, environment: Mapping[str, Any]) -> dict[str, Identity]:
    """Return ``{node: (names, addresses)}`` for the certificate of each node. Only members get theirs.

    :raises DefinitionError: it has no member, or an address is no IP address. Or its CoreDNS is too old.
    """
    mistakes = Mistakes()
    if not members(environment):
        mistakes.add(
            f"environments:{name}:nodes: `skydns` is given, and no node has the role `{SERVER}`: give it to three."
        )
    why = "lets clients keep old answers (CVE-2025-58063)"
    mistakes.attempt(cluster.refuse_older, f"environments:{name}:skydns:version", environment["skydns"], OLDEST, why)
    if foreign := _foreign(environment):
        mistakes.add(
            f"environments:{name}:discovery:skydns: {', '.join(foreign)} cannot be beside `skydns`, with which"
            " highstate sets up etcd and its users. Remove them, or remove `skydns` and use an etcd of your own."
        )
    mistakes.refuse()
    found = {}
    for node, about in environment["nodes"].items():
        own = addresses.of_node(about.get("address"), f"environments:{name}:nodes:{node}:address")
        found[node] = (("etcd.saltdeploy", "localhost"), (own, "127.0.0.1"))
    return found


def _foreign(environment: Mapping[str, Any]) -> list[str]:
    """Return the keys of ``discovery:skydns`` that mean another etcd. The values that we have computed do not."""
    stated = (environment.get("discovery") or {}).get("skydns") or {}
    user = str(stated.get("user", ""))
    if user == DEPLOYER or user.startswith(NODE):
        urls = [_url(environment, member, CLIENTS) for member in members(environment)]
        return sorted({"cert", "key"} & set(stated)) + ([] if stated.get("etcd") == urls else ["etcd"])
    return sorted(set(stated) - OWN)


def discovery_of_master(environment: Mapping[str, Any], secrets: Secrets, ca: object) -> dict[str, Any]:
    """Return the ``discovery`` of the environment for the master: the members, as deployer."""
    return _discovery(environment, DEPLOYER, secrets["tokens"]["deployer"], ca)


def discovery_of_node(environment: Mapping[str, Any], minion: str, secrets: Secrets) -> dict[str, Any]:
    """Return the ``discovery`` of the environment for a node: the members, as its own user."""
    return _discovery(environment, f"{NODE}{minion}", secrets["tokens"]["agents"][minion], CA)


def _discovery(environment: Mapping[str, Any], user: str, password: str, ca: object) -> dict[str, Any]:
    urls = [_url(environment, member, CLIENTS) for member in members(environment)]
    return {"skydns": {"etcd": urls, "user": user, "password": password, "ca": str(ca)}}


def node(
    name: str, environment: Mapping[str, Any], minion: str, secrets: Secrets, apps: Iterable[str]
) -> dict[str, Any]:
    """Return all data that the node ``minion`` needs to be part of this environment's SkyDNS, with its secrets.

    :param apps: the names of the apps that may run there. They have no secrets at etcd.
    """
    settings, tokens = environment["skydns"], secrets["tokens"]
    about = {
        "version": settings["version"],
        "source": settings.get("source", ""),
        "sha256": settings.get("sha256", ""),
        "ca": secrets["ca"]["certificate"],
        "dns": {"user": DNS, "password": tokens["dns"]},
    }
    if minion in members(environment):
        about.update(config=_config(name, environment, minion), **secrets["certificates"][minion])
    if minion == members(environment)[0]:
        of_nodes = {f"{NODE}{node}": token for node, token in tokens["agents"].items()}
        about["root"] = tokens["management"]
        about["passwords"] = {DEPLOYER: tokens["deployer"], DNS: tokens["dns"], **of_nodes}
    return about


def _url(environment: Mapping[str, Any], minion: str, port: int) -> str:
    return f"https://{addresses.join(addresses.canonical(environment['nodes'][minion]['address']), port)}"


def _config(name: str, environment: Mapping[str, Any], minion: str) -> dict[str, Any]:
    """Return the configuration of a member."""
    client, peer = (_url(environment, minion, port) for port in (CLIENTS, PEERS))
    pair = {"cert-file": f"{ETC}/tls/node.pem", "key-file": f"{ETC}/tls/node.key"}
    return {
        "name": minion,
        "data-dir": DATA,
        "listen-client-urls": f"{client},https://127.0.0.1:{CLIENTS}",
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": ",".join(f"{m}={_url(environment, m, PEERS)}" for m in members(environment)),
        "initial-cluster-token": f"saltdeploy-{name}",
        "initial-cluster-state": "new",
        "client-transport-security": pair,
        # A member accepts only connections with a certificate of our authority.
        "peer-transport-security": {**pair, "client-cert-auth": True, "trusted-ca-file": CA},
        # We speak to it. It is on by default, but not if etcd 3.4 reads a file: https://github.com/etcd-io/etcd/issues/12093
        "enable-grpc-gateway": True,
        # Each change of a check's status is a revision. Without this, etcd would keep all of them.
        "auto-compaction-mode": "periodic",
        "auto-compaction-retention": "1h",
    }
