"""An app, its instances and its parts as plain data. The only behaviour is to answer questions on this data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Union

from .httprequests import Request, Statuses

# The weight of an instance in discovery. All serving instances have weights of this size, never Consul's default of 1.
# Otherwise the instances whose weight changes first would have all the traffic until the others follow.
NORMAL_WEIGHT = 25600
# The keys of the metadata in discovery that each instance has. A definition adds others.
OWN_META = ("app", "version", "environment", "deployment", "minion")
# The key of the metadata with the digest of the registration.
DIGEST = "digest"
# The domain of all services in Consul's DNS, and the domain of SkyDNS by its own default.
CONSUL_DOMAIN, SKYDNS_DOMAIN = "service.consul", "skydns.local"
# The URL of a node's own agent, if the environment names no other.
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

    :param kind: one of those in :data:`saltdeploy.definition.sources.ONLY`.
    :param location: a URL, a project name, a folder of the node or the name of a package.
    :param sha256: a digest, a place that has it, or version -> digest.
    :param index: the package index of ``pip``. Empty means the index that the node's pip knows.
    :param headers: headers for the archive's server. Secret.
    :param token_file: a file on the node with a token, sent as ``Authorization: Bearer``. Empty means no file.
    :param netrc: a file on the node with logins, as curl and pip read it. Empty means no file.
    :param latest: the place of a file with the newest version of an archive. Empty means none.
    :param exclude: patterns of the files that a copy of a folder leaves out.
    :param lock: a file of requirements with hashes, in place of ``requirements``. Empty means none.
    :param sdists: whether ``pip`` may build packages from their source, or the projects that it builds so.
    :param wheelhouse: a folder of packages in place of the package index. Empty means the index.
    :param cert: a file on the node with the client certificate, and its key unless ``key`` names another file.
    :param ca: a file on the node with the CA certificates of the server. Empty means those of the node.
    :param signed_by: the public key of minisign or OpenPGP that signs the archive, or the place of its file.
    :param signature: the place of the signature. Empty means beside the archive.
    :param version: the version of a package, with ``{version}`` for the version of the release.
    :param playbook: the path of the playbook of ``ansible`` in its folder.
    :param vars: variables of the playbook. Secret.
    :param collections: collections for the playbook: ``namespace.name:version``, or a file in its folder.
    :param ref: a tag or a branch of a Git repository, with ``{version}`` in it if each version has its own.
    :param submodules: whether a release has the files of the submodules, too.
    :param key_file: a file on the node with an SSH key. Empty means none.
    :param known_hosts: a file on the node with the host keys of the SSH server, or its lines.
    :param build: a command that makes a release out of the files. Empty means none.
    :param build_timeout: the time for that command, in seconds.
    :param unpack: whether an archive is unpacked. Otherwise the file itself is the release.
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
    latest: str = ""
    exclude: tuple[str, ...] = ()
    lock: str = ""
    sdists: bool | tuple[str, ...] = False
    wheelhouse: str = ""
    cert: str = ""
    key: str = ""
    ca: str = ""
    signed_by: str = ""
    signature: str = ""
    version: str = "{version}"
    playbook: str = "site.yml"
    vars: dict[str, Any] = field(default_factory=dict, repr=False)
    collections: tuple[str, ...] = ()
    ref: str = "{version}"
    submodules: bool = False
    key_file: str = ""
    known_hosts: str = ""
    build: str = ""
    build_timeout: float = 600.0
    unpack: bool = True


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

    :param unit: the unit of its package that runs in place of ``run``. Empty means none.
    :param data: the absolute path of the folder for the app's data, or True for a folder below the node's root.
    :param domain: the domain in DNS of the services that it finds.
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
    follow: bool = False
    domain: str = CONSUL_DOMAIN
    unit: str = ""

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
