"""The only place that speaks to service discovery. Consul is the backend there is."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass, field

from ..core import addresses
from ..core.errors import DiscoveryUnavailable
from ..core.model import AGENT, Probe

# How long Consul's servers may take to elect a leader, in seconds: up to 13.5, measured on 1.8.7.
ELECTION = 15.0
# How long is waited between two tries meanwhile, in seconds.
PAUSE = 0.2


@dataclass(frozen=True)
class Service:
    """What is registered with a node's own agent.

    :param checks: what discovery runs for as long as the service is registered.
    :param expires: seconds after which it leaves discovery by itself; None: it stays.
    :param weight: its part of the requests, beside those of the others, 1 to 65535; None: the backend's default.
    """

    id: str
    name: str
    address: str
    port: int | None = None
    tags: tuple[str, ...] = ()
    meta: dict[str, str] = field(default_factory=dict)
    checks: tuple[Probe, ...] = ()
    expires: float | None = None
    weight: int | None = None

    @property
    def digest(self):
        """A digest of the whole registration, to tell whether it changed (checks read back empty)."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Endpoint:
    """A service as the catalog has it.

    :param status: passing, warning or critical: the worst of its checks.
    :param output: what a check said that has this status; empty while all pass.
    :param alive: whether the agent of its node answers.
    """

    id: str
    name: str
    node: str
    address: str
    port: int
    tags: tuple[str, ...] = ()
    meta: dict[str, str] = field(default_factory=dict)
    status: str = "passing"
    weight: int = 1
    output: str = ""
    alive: bool = True

    @property
    def minion(self):
        """The Salt minion that published it; the catalog's node name where we did not."""
        return self.meta.get("minion", self.node)

    @property
    def host(self):
        """The address as a URL has it."""
        return addresses.host(self.address)


def patiently(ask, seconds=ELECTION):
    """Return ``ask()``, tried again for so many ``seconds`` while discovery has no answer: an election is waited out.

    :raises DiscoveryUnavailable: it has none after that.
    """
    give_up = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except DiscoveryUnavailable:
            if time.monotonic() > give_up:
                raise
            time.sleep(PAUSE)


def connect(config, node_address=None):
    """Return the discovery backend an environment's ``discovery`` mapping describes.

    :param config: for example ``{"consul": {"agent": "http://{address}:8500"}}``.
    :param node_address: on a node, its address: its own agent is used. None on the master: the
        servers listed, tried in turn.
    """
    from .consul import Consul

    settings = config.get("consul") or {}
    if node_address is None:
        urls = settings.get("servers") or [AGENT]
    else:
        urls = [settings.get("agent", AGENT).format(address=addresses.host(node_address))]
    return Consul(urls, token=settings.get("token"), ca=settings.get("ca"), datacenter=settings.get("datacenter"))
