"""The Consul that highstate sets up for an environment: each node's configuration, and the access rights. Pure.

The configuration is for Consul 1.17 and newer: https://developer.hashicorp.com/consul/docs/agent/config
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from ..core import addresses, names
from ..core.errors import DefinitionError, Mistakes
from .inheritance import mapping

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    # The names and the addresses for the certificate of a node.
    Identity = tuple[tuple[str, str], tuple[str, str]]

SERVER = "consul-server"
# The key of the pillar with the data of :func:`node`.
PILLAR = "saltdeploy_consul"
# Its name for people, and the state that removes it.
TITLE, CLEAN = "Consul", "consul.clean"
DATACENTER = "dc1"
# The oldest Consul that takes the configuration of the states.
OLDEST = (1, 17, 0)
HTTPS = 8501
ETC, DATA = "/etc/consul.d", "/var/lib/consul"
# The namespace for the ids of tokens. These ids are no secrets, but must stay the same.
NAMESPACE = uuid.UUID("6f1d1b9e-5a1f-4a52-9f3c-3a4b6c0e7d21")


class Pair(TypedDict):
    """A certificate and its key, in PEM."""

    certificate: str
    key: str


class Tokens(TypedDict):
    """The tokens of an environment's Consul.

    :param agents: node -> the token of its agent.
    :param apps: app -> its token.
    """

    management: str
    deployer: str
    nodes: str
    dns: str
    agents: Mapping[str, str]
    apps: Mapping[str, str]


class Secrets(TypedDict):
    """The secrets of an environment's Consul.

    :param gossip: the key of the gossip between agents.
    :param certificates: node -> its certificate.
    """

    gossip: str
    ca: Pair
    certificates: Mapping[str, Pair]
    tokens: Tokens


class Token(TypedDict):
    """A token as Consul shall have it.

    :param rights: its roles or identities, in the words of Consul's API.
    """

    accessor: str
    secret: str
    description: str
    rights: dict[str, Any]


class Acl(TypedDict):
    """The access control of an environment's Consul.

    :param policies: name -> rules.
    :param roles: name -> the names of its policies.
    """

    policies: dict[str, str]
    roles: dict[str, list[str]]
    tokens: list[Token]


def wanted(environment: object) -> bool:
    """Return whether highstate sets up the Consul of this environment (a resolved mapping)."""
    return isinstance(environment, dict) and isinstance(environment.get("consul"), dict)


def datacenter(environment: Mapping[str, Any]) -> str:
    """Return the name of its datacenter."""
    return str(environment["consul"].get("datacenter", DATACENTER))


def servers(environment: Mapping[str, Any]) -> list[str]:
    """Return the names of the nodes that are Consul servers, in the order of the definition."""
    return [name for name, node in environment["nodes"].items() if SERVER in (node.get("roles") or ())]


def identities(name: str, environment: Mapping[str, Any]) -> dict[str, Identity]:
    """Return ``{node: (names, addresses)}`` for the certificate of each node.

    :raises DefinitionError: it has no server, or an address is no IP address. Or its Consul is too old.
    """
    leading, mistakes = set(servers(environment)), Mistakes()
    if not leading:
        mistakes.add(
            f"environments:{name}:nodes: `consul` is given, and no node has the role `{SERVER}`: give it to three."
        )
    why = "does not take the configuration of the states"
    mistakes.attempt(refuse_older, f"environments:{name}:consul:version", environment["consul"], OLDEST, why)
    mistakes.refuse()
    found = {}
    for node, about in environment["nodes"].items():
        own = addresses.of_node(about.get("address"), f"environments:{name}:nodes:{node}:address")
        kind = "server" if node in leading else "client"
        # Servers are known by a name that no other node's certificate has.
        found[node] = ((f"{kind}.{datacenter(environment)}.consul", "localhost"), (own, "127.0.0.1"))
    return found


def refuse_older(at: str, program: Mapping[str, Any], oldest: tuple[int, ...], why: str) -> None:
    """Raise DefinitionError if the version of a program is older than ``oldest``.

    :param program: the environment's definition of the program.
    :param why: the fault of an older version, for the message.
    """
    version = program["version"]
    if tuple(map(int, version.split("."))) < oldest:
        raise DefinitionError(f"{at}: {version} {why}. Write {'.'.join(map(str, oldest))} or newer.")


def discovery_of_master(environment: Mapping[str, Any], secrets: Secrets, ca: object) -> dict[str, Any]:
    """Return the ``discovery`` of the environment for the master: its servers, as deployer."""
    urls = [f"https://{addresses.join(_address(environment, n), HTTPS)}" for n in servers(environment)]
    return {"consul": {"servers": urls, "token": secrets["tokens"]["deployer"], "ca": str(ca)}}


def discovery_of_node(environment: Mapping[str, Any], minion: str, secrets: Secrets) -> dict[str, Any]:
    """Return the ``discovery`` of the environment for a node: its own agent."""
    return {"consul": {"token": secrets["tokens"]["nodes"]}}


def node(
    name: str, environment: Mapping[str, Any], minion: str, secrets: Secrets, apps: Iterable[str]
) -> dict[str, Any]:
    """Return all data that the node ``minion`` needs to be part of this environment's Consul, with its secrets.

    :param apps: the names of the apps that may run there.
    """
    settings = environment["consul"]
    tokens = secrets["tokens"]
    about = {
        "version": settings["version"],
        "source": settings.get("source", ""),
        "sha256": settings.get("sha256", ""),
        "config": _config(environment, minion, secrets),
        "ca": secrets["ca"]["certificate"],
        **secrets["certificates"][minion],
    }
    about["app_tokens"] = {app: tokens["apps"][app] for app in apps if app in tokens["apps"]}
    if minion == servers(environment)[0]:
        about["management"] = tokens["management"]
        about["acl"] = acl(name, environment, tokens)
    return about


def named(apps: Iterable[object]) -> list[str]:
    """Return the names in ``apps`` that can be an app's name. Only these apps have a token, and are in a policy."""
    return sorted(app for app in apps if isinstance(app, str) and names.NAME.fullmatch(app))


def _address(environment: Mapping[str, Any], minion: str) -> str:
    return addresses.canonical(environment["nodes"][minion]["address"])


def _config(environment: Mapping[str, Any], minion: str, secrets: Secrets) -> dict[str, Any]:
    """Return the agent's configuration as a mapping."""
    server, all_servers = minion in servers(environment), servers(environment)
    own = _address(environment, minion)
    tokens = secrets["tokens"]
    config: dict[str, Any] = {
        "node_name": minion,
        "datacenter": datacenter(environment),
        "data_dir": DATA,
        "bind_addr": own,
        "client_addr": "127.0.0.1",
        "retry_join": [addresses.host(_address(environment, s)) for s in all_servers if s != minion],
        "retry_interval": "2s",
        "encrypt": secrets["gossip"],
        "ports": {"http": 8500, "dns": 8600, "grpc": -1, "grpc_tls": -1, "serf_wan": -1},
        "tls": {
            "defaults": {
                "ca_file": f"{ETC}/tls/ca.pem",
                "cert_file": f"{ETC}/tls/node.pem",
                "key_file": f"{ETC}/tls/node.key",
                "verify_outgoing": True,
                "tls_min_version": "TLSv1_2",
            },
            # A server accepts only connections with one of our certificates, and only servers pass for servers.
            "internal_rpc": {"verify_incoming": True, "verify_server_hostname": True},
        },
        "acl": {
            "enabled": True,
            "default_policy": "deny",
            "down_policy": "extend-cache",
            "enable_token_persistence": True,
            "tokens": {"agent": tokens["agents"][minion], "dns": tokens["dns"]},
        },
        "dns_config": {"enable_truncate": True},
        "telemetry": {"prometheus_retention_time": "24h", "disable_hostname": True},
        "performance": {"raft_multiplier": 1},
        "disable_update_check": True,
    }
    if server:
        config.update(server=True, bootstrap_expect=len(all_servers))
        # The master speaks to the servers, with a token, and verifies them.
        config["ports"]["https"] = HTTPS
        config["addresses"] = {"https": own}
    return config


def acl(name: str, environment: Mapping[str, Any], tokens: Tokens) -> Acl:
    """Return the policies, roles and tokens of an environment.

    Each role has one policy and one token. Agents and apps have tokens with identities instead.
    """
    apps = named(mapping(environment, "apps"))
    extra = environment["consul"].get("services") or []
    ours = "".join(_rule("service", s, "write") for app in apps for s in (app, f"{app}-candidate"))
    catalog = _rule("node_prefix", "", "read") + _rule("service_prefix", "", "read")
    read = catalog + _rule("agent_prefix", "", "read")
    record = f"deploy/{name}/"
    rules: dict[Literal["deployer", "nodes", "dns"], str] = {
        # The deployer publishes nothing itself: nodes do. It locks, waits, and writes the record.
        "deployer": read
        + _rule("session_prefix", "", "write")
        + _rule("key", "deploy/", "read")
        + _rule("key_prefix", record, "write"),
        "nodes": read
        + ours
        + "".join(_rule("service", s, "write") for s in extra)
        + _rule("key", "deploy/", "read")
        + _rule("key_prefix", record, "read"),
        "dns": _rule("node_prefix", "", "read")
        + _rule("service_prefix", "", "read")
        + _rule("query_prefix", "", "read"),
    }
    made = [_token(f"saltdeploy-{r}", tokens[r], Roles=[{"Name": f"saltdeploy-{r}"}]) for r in rules]
    for agent, secret in tokens["agents"].items():
        identity = {"NodeName": agent, "Datacenter": datacenter(environment)}
        made.append(_token(f"saltdeploy-agent-{agent}", secret, NodeIdentities=[identity]))
    for app, secret in tokens["apps"].items():
        made.append(_token(f"saltdeploy-app-{app}", secret, ServiceIdentities=[{"ServiceName": app}]))
    return {
        "policies": {f"saltdeploy-{role}": text for role, text in rules.items()},
        "roles": {f"saltdeploy-{role}": [f"saltdeploy-{role}"] for role in rules},
        "tokens": made,
    }


def _token(description: str, secret: str, **rights: Any) -> Token:
    accessor = str(uuid.uuid5(NAMESPACE, secret))
    return {"accessor": accessor, "secret": secret, "description": description, "rights": rights}


def _rule(kind: str, name: str, policy: str) -> str:
    return f'{kind} "{name}" {{ policy = "{policy}" }}\n'
