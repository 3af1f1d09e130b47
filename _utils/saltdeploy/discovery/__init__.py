"""The only place that speaks to service discovery: Consul, or SkyDNS."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..core import addresses
from ..core.errors import DiscoveryUnavailable, Refused
from ..core.model import AGENT
from .backend import ELECTION, PAUSE, Endpoint, Service

if TYPE_CHECKING:
    from .backend import Backend

Answer = TypeVar("Answer")

__all__ = ["ELECTION", "Endpoint", "Service", "connect", "patiently"]


def patiently(ask: Callable[[], Answer], seconds: float = ELECTION) -> Answer:
    """Return ``ask()``, tried again for ``seconds`` while discovery has no answer, to wait for an election's end.

    :raises DiscoveryUnavailable: discovery has no answer after that.
    """
    give_up = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except DiscoveryUnavailable:
            if time.monotonic() > give_up:
                raise
            time.sleep(PAUSE)


def connect(config: Mapping[str, Any], node_address: str | None = None) -> Backend:
    """Return the discovery backend that an environment's ``discovery`` mapping describes.

    :param config: for example ``{"consul": {"agent": "http://{address}:8500"}}``.
    :param node_address: the address of a node, which uses its own agent. None on the master, which tries the listed
        servers in turn.
    :raises Refused: python-consul is not installed.
    """
    try:
        return _skydns(config["skydns"], node_address) if "skydns" in config else _consul(config, node_address)
    except ModuleNotFoundError as exc:
        package = {"consul": "python-consul"}.get((exc.name or "").partition(".")[0], exc.name)
        raise Refused(f"{package} is not installed here, in Salt's Python: `salt-pip install {package}`.") from None


def _consul(config: Mapping[str, Any], node_address: str | None) -> Backend:
    from .consul import Consul  # it takes time to load

    settings = config.get("consul") or {}
    urls = (settings.get("servers") or [AGENT]) if node_address is None else [_agent(settings, node_address)]
    return Consul(urls, token=settings.get("token"), ca=settings.get("ca"), datacenter=settings.get("datacenter"))


def _skydns(settings: Mapping[str, Any], node_address: str | None) -> Backend:
    from . import skydnsrecords  # they take time to load
    from .agent import HealthAgent
    from .etcd import Etcd, Login
    from .skydns import SkyDNS

    login = Login(**{key: settings[key] for key in ("user", "password", "ca", "cert", "key") if settings.get(key)})
    agent = HealthAgent([_agent(settings, node_address)], token=settings.get("token")) if node_address else None
    return SkyDNS(Etcd(settings["etcd"], login), skydnsrecords.place(settings), agent)


def _agent(settings: Mapping[str, Any], node_address: str) -> str:
    url: str = settings.get("agent", AGENT)
    return url.format(address=addresses.host(node_address))
