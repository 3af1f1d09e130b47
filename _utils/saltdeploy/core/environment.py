"""An environment and its nodes as plain data. The only behaviour is to answer questions on this data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .conditions import Conditions
from .model import CONSUL_DOMAIN

if TYPE_CHECKING:
    from .model import App


@dataclass(frozen=True)
class Node:
    """A Salt minion of an environment, and the address that its instances listen on.

    :param zone: a place that it shares with other nodes and may fail with: a room, a rack, a host of virtual machines.
    """

    name: str
    address: str
    roles: tuple[str, ...] = ()
    zone: str = ""


@dataclass(frozen=True)
class Group:
    """Apps of an environment that belong together.

    :param together: whether a failure of one takes all of them back, if they are deployed in the same run.
    """

    apps: tuple[str, ...]
    together: bool = False


@dataclass(frozen=True)
class Webhook:
    """The place that events are sent to. Its ``repr`` leaves out the parts that may be secret.

    :param token_file: a file on the master with a token, sent as ``Authorization: Bearer``. Empty means no file.
    :param events: the last parts of the tags of the events that are sent.
    """

    url: str = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    token_file: str = ""
    events: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Scheme, host and port of the URL: its only parts that messages may show."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


@dataclass(frozen=True)
class Environment:
    """A named place: nodes, apps with their settings, and its service discovery.

    :param away: nodes that are out of use for a time, and why. Only a connection to its discovery tells.
    :param upstream: address and port of the name servers for all names that are not Consul's.
    :param broken: apps whose own definition is wrong, and their mistakes. They are not in ``apps``.
    :param clashing: apps that cannot be beside another app, and why. They are in ``apps``.
    :param unread: files that definitions could not be read from, and why.
    """

    name: str
    nodes: dict[str, Node]
    apps: dict[str, App]
    discovery: dict[str, dict[str, Any]] = field(default_factory=dict)
    webhook: Webhook | None = None
    upstream: tuple[tuple[str, int | None], ...] = ()
    broken: dict[str, str] = field(default_factory=dict)
    clashing: dict[str, str] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    conditions: Conditions = field(default_factory=Conditions)
    away: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The names of all its apps, also of apps whose definition is wrong."""
        return sorted({*self.apps, *self.broken})

    @property
    def domain(self) -> str:
        """The domain in DNS of the services of its apps."""
        skydns = self.discovery.get("skydns")
        return f"{self.name}.{skydns['domain']}" if skydns else CONSUL_DOMAIN

    @property
    def zones(self) -> dict[str, str]:
        """The zone of each node."""
        return {node.name: node.zone for node in self.nodes.values()}

    def eligible(self, app: App) -> list[str]:
        """Return the names of the nodes that may run ``app``, in the order of the definition."""
        barred = self.barred(app)
        return [name for name in self.nodes if name not in barred]

    def barred(self, app: App) -> dict[str, str]:
        """Return why nodes may not run ``app``: name -> a sentence, with the role that they need for it."""
        wanted = app.roles or ("app",)
        needed = " or ".join(wanted)
        return self.away | {
            n.name: f"{n.name} has {_roles(n.roles)} and not {needed}: to run {app.name} there, add {wanted[0]} to its"
            " roles"
            for n in self.nodes.values()
            if not may_run(app.roles, n.roles)
        }


def _roles(roles: tuple[str, ...]) -> str:
    return f"the role{'s' * (len(roles) > 1)} {', '.join(roles)}" if roles else "no roles"


def may_run(app: Iterable[str], node: Iterable[str]) -> bool:
    """Return whether an app with the roles ``app`` may run on a node with the roles ``node``."""
    return bool(set(app or ("app",)) & set(node or ())) or not (app or node)
