"""The only place that speaks to service discovery. Consul is the only backend."""

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
        from .consul import Consul  # it takes time to load
    except ModuleNotFoundError as exc:
        package = {"consul": "python-consul"}.get((exc.name or "").partition(".")[0], exc.name)
        raise Refused(f"{package} is not installed here, in Salt's Python: `salt-pip install {package}`.") from None

    settings = config.get("consul") or {}
    if node_address is None:
        urls = settings.get("servers") or [AGENT]
    else:
        urls = [settings.get("agent", AGENT).format(address=addresses.host(node_address))]
    return Consul(urls, token=settings.get("token"), ca=settings.get("ca"), datacenter=settings.get("datacenter"))
