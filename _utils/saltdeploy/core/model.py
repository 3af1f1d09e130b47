"""The words of the product as plain data. Its only behaviour is to answer questions on this data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Union
from urllib.parse import urlsplit

from .conditions import Conditions
from .httprequests import Request, Statuses

# The weight of an instance in discovery. All serving instances have weights of this size, never Consul's default of 1.
# Otherwise the instances whose weight changes first would have all the traffic until the others follow.
NORMAL_WEIGHT = 25600
# The keys of the metadata in discovery that each instance has. A definition adds others.
OWN_META = ("app", "version", "environment", "deployment", "minion")
# The key of the metadata with the digest of the registration.
DIGEST = "digest"
# The URL of a node's own Consul agent, if the environment names no other.
AGENT = "http://127.0.0.1:8500"
# A number of nodes, or a percentage of them as text: ``50%``.
Size = Union[int, str]


@dataclass(frozen=True)
class PortRange:
    """Inclusive range of TCP ports that instances of an app may listen on."""

    first: int
    last: int

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last + 1))

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True)
class Source:
    """The place that a release comes from.

    :param kind: ``archive`` or ``pip``.
    :param location: a URL or a project name.
    :param sha256: a digest, a place that has it, or version -> digest.
    :param index: the package index of ``pip``. Empty means the index that the node's pip knows.
    :param headers: headers for the archive's server. Secret.
    :param token_file: a file on the node with a token, sent as ``Authorization: Bearer``. Empty means no file.
    :param netrc: a file on the node with logins, as curl and pip read it. Empty means no file.
    """

    kind: str
    location: str
    sha256: str | dict[str, str] | None = None
    strip: int = 0
    requirements: tuple[str, ...] = ()
    python: str = ""
    index: str = ""
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    token_file: str = ""
    netrc: str = ""


@dataclass(frozen=True)
class Probe:
    """A check, which Consul runs during publication, or a test, which must pass before it. Times in seconds.

    :param kind: ``http``, ``https``, ``tcp``, a check also ``grpc``, ``script`` or ``ttl``, and a test ``command``.
    :param target: the path, the gRPC service or the command.
    :param interval: the time between two runs of a check. Within this time, a heartbeat must come to a ``ttl`` check.
    :param status: the accepted HTTP statuses. A check accepts any of 2xx, as Consul does.
    :param port: the TCP port to ask. None means the instance's own port.
    :param request: the request of an HTTP probe. None means a GET request for the target. A ``grpc`` check has one if
        it uses TLS.
    :param success_before_passing: how many good results in a row make a critical check pass.
    :param failures_before_critical: how many bad results in a row make a passing check critical.
    """

    kind: str
    target: str
    origin: str = "node"
    status: Statuses = 200
    contains: str = ""
    interval: float = 2.0
    timeout: float = 5.0
    port: int | None = None
    request: Request | None = None
    success_before_passing: int = 1
    failures_before_critical: int = 1

    def describe(self) -> str:
        """Return the probe in a few words, for messages."""
        return f"{self.kind} {self.target}".rstrip() + (f" from {self.origin}" if self.origin != "node" else "")


@dataclass(frozen=True)
class Hook:
    """A command that a deployment runs at one of the PHASES.

    :param timeout: seconds after which it is killed, and has failed.
    :param once: True runs it on one node, and not again for the same release. False runs it on each node of the wave.
    :param on_failure: ``revert`` the deployment, or ``freeze`` it as it is.
    """

    command: str
    timeout: float = 300.0
    once: bool = False
    on_failure: Literal["revert", "freeze"] = "revert"


@dataclass(frozen=True)
class Gate:
    """A measurement while a wave serves clients beside the instances that it replaces. Times in seconds.

    :param kind: ``http``, ``prometheus`` or ``command``.
    :param url: the URL to ask.
    :param request: the rest of the request.
    :param status: the accepted HTTP statuses.
    :param pointer: the place of the number in a JSON answer.
    :param query: the query in PromQL.
    :param minimum: the least that a number may be. A command without ``minimum`` and ``maximum`` must end with 0.
    :param maximum: the most that a number may be.
    :param interval: the time between two measurements, and before the first.
    :param count: how many measurements are taken.
    :param failure_limit: how many measurements may be bad, or inconclusive.
    """

    name: str
    kind: str
    url: str = ""
    request: Request = field(default_factory=Request)
    status: Statuses = None
    pointer: str = ""
    query: str = ""
    command: str = ""
    minimum: float | None = None
    maximum: float | None = None
    interval: float = 30.0
    count: int = 3
    failure_limit: int = 0
    timeout: float = 10.0

    @property
    def by_exit_code(self) -> bool:
        """Whether the only measurement is the exit code of a command, which must be 0."""
        return self.minimum is None and self.maximum is None


@dataclass(frozen=True)
class Reload:
    """The way in which a running instance reads its files again. It has a signal or a command.

    :param signal: the name of the signal that its main process gets, without SIG. Empty means none.
    :param command: a command at the instance. Empty means none.
    :param timeout: seconds after which the command is killed, and the reload has failed.
    :param files: the files of ``config`` that it takes in. A deployment that changes only these starts no instance.
    """

    signal: str = ""
    command: str = ""
    timeout: float = 30.0
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckRestart:
    """When a running instance is restarted because a check of it goes on failing. Times in seconds.

    :param after: how many bad results of a check in a row it takes.
    :param grace: the time after each start in which no result counts.
    :param most: how many such restarts an instance has in an hour, at most.
    """

    after: int = 3
    grace: float = 30.0
    most: int = 5


@dataclass(frozen=True)
class Stop:
    """The way in which an instance is stopped.

    :param signal: the name of the signal, without SIG.
    :param timeout: seconds until the instance is killed.
    """

    signal: str = "TERM"
    timeout: float = 10.0


@dataclass(frozen=True)
class Strategy:
    """The way in which a deployment proceeds. Times in seconds.

    :param type: ``rolling`` starts a new instance beside the old. ``recreate`` retires the old instance first.
        ``blue_green`` publishes the whole new set, then withdraws the old set.
    :param waves: cumulative node counts or percentages.
    :param keep_old: how long the set that ``blue_green`` withdrew runs on.
    :param pause: how long to wait after the first wave. Infinite means until the operator says how to go on.
    :param canary_weight: the traffic of the new release during a pause: ``full`` (as for any instance), ``<N>%``, or
        ``none``.
    :param when_paused: whether another deployment is refused during a pause, or replaces the paused deployment.
    :param first_deadline: how long the first deployment of an app waits for an instance that runs and answers its check
        wrongly all the time. It is ``healthy_deadline`` if the definition has that.
    :param max_failures: how many nodes, or which part of them, may fail to install or to start. They are left out.
    :param analysis: the gates that each wave must pass before the instances that it replaces are retired.
    """

    type: Literal["rolling", "recreate", "blue_green"] = "rolling"
    waves: tuple[Size, ...] = (1, "100%")
    min_healthy_time: float = 10.0
    healthy_deadline: float = 300.0
    first_deadline: float = 60.0
    progress_deadline: float = 600.0
    drain: float = 30.0
    deregister_delay: float = 2.0
    auto_revert: bool = True
    max_failures: Size = 0
    keep_old: float = 600.0
    pause: float = 0.0
    canary_weight: str = "full"
    when_paused: Literal["refuse", "supersede"] = "refuse"
    keep_releases: int = 5
    analysis: tuple[Gate, ...] = ()


@dataclass(frozen=True)
class Frontend:
    """The way in which load balancers take requests for an app.

    :param port: the port that they listen on.
    :param mode: ``http`` or ``tcp``.
    :param timeout: seconds without a byte of an answer after which a request has failed.
    :param trusted_proxies: addresses and networks whose ``X-Forwarded-*`` headers are believed.
    """

    port: int
    mode: Literal["http", "tcp"] = "http"
    timeout: float = 300.0
    trusted_proxies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Registration:
    """The additions of a definition to the registration of an instance. Placeholders are filled in for each instance.

    :param tags: further tags.
    :param meta: further metadata.
    :param name: a second service that each instance is found as. It has the tags and the metadata then. Empty means
        that there is none.
    """

    tags: tuple[str, ...] = ()
    meta: dict[str, str] = field(default_factory=dict)
    name: str = ""


@dataclass(frozen=True)
class App:
    """An app as one environment wants it: its definition merged with the environment's settings.

    :param data: the absolute path of the folder for the app's data, or True for a folder below the node's root.
    """

    name: str
    source: Source
    run: str
    version: str = ""
    instances: int = 1
    user: str = ""
    data: bool | str = False
    packages: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    config: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    ports: PortRange | None = None
    requires: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    checks: tuple[Probe, ...] = ()
    tests: tuple[Probe, ...] = ()
    hooks: dict[str, tuple[Hook, ...]] = field(default_factory=dict)
    strategy: Strategy = Strategy()
    memory: str = ""
    cpu: str = ""
    frontend: Frontend | None = None
    stop: Stop = Stop()
    reload: Reload | None = None
    check_restart: CheckRestart | None = None
    service: Registration = field(default_factory=Registration)

    @property
    def recreate(self) -> bool:
        """Whether a new instance takes the port of the old instance, which is retired first."""
        return self.strategy.type == "recreate"

    @property
    def blue_green(self) -> bool:
        """Whether the whole new set is published before any instance of the old set is withdrawn."""
        return self.strategy.type == "blue_green"

    @property
    def is_watched(self) -> bool:
        """Whether a watcher runs beside each instance."""
        scripts = any(check.kind == "script" for check in self.checks)
        return self.ports is None or self.check_restart is not None or scripts

    @property
    def candidate(self) -> str:
        """The service name of candidates, which is never the app's own name."""
        return f"{self.name}-candidate"


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


@dataclass(frozen=True)
class Instance:
    """A process of a release on a node, as observed.

    :param version: its edition: the release, and the number of its settings if they have one.
    :param slot: its port, or an index if the app has no ports.
    :param weight: its weight in discovery, while it is published.
    :param watch: the port on which its watcher answers whether it runs, if the app has no ports. None means no watcher.
    :param recorded: whether its node has a file of its own about it. Without it, the file is lost or this is a copy.
    :param healthy: whether discovery has it as passing, while it is published. Only the master can tell.
    :param outdated: the parts of its registration that differ from its definition, as text: ``tags, checks``. Empty if
        none differs, or if it is not published.
    :param stale: the files of ``config`` that have another text now, and that it takes in by a reload, as text.
    """

    id: str
    node: str
    app: str
    version: str
    slot: int
    address: str = ""
    port: int | None = None
    deployment: str = ""
    running: bool = False
    tested: bool = False
    held: bool = False
    published: bool = False
    weight: int = NORMAL_WEIGHT
    watch: int | None = None
    recorded: bool = True
    healthy: bool = True
    outdated: str = ""
    stale: str = ""

    @property
    def good(self) -> bool:
        """Whether it serves clients as it should: it runs, is tested, is published, and is healthy in discovery."""
        return self.running and self.tested and self.published and self.healthy


def undefined(name: str) -> App:
    """Return an App called ``name`` without a definition: it can be stopped and removed, and not started."""
    return App(name, Source("", ""), "")


def may_run(app: Iterable[str], node: Iterable[str]) -> bool:
    """Return whether an app with the roles ``app`` may run on a node with the roles ``node``."""
    return bool(set(app or ("app",)) & set(node or ())) or not (app or node)
