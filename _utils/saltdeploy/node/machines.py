"""The state of a node apart from its apps: its Consul agent, and the disk with its releases and instances."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from ..core import shapes
from ..core.errors import DiscoveryUnavailable
from ..discovery.registration import instance_of
from ..system import disk, processes
from .cleaning import homes

if TYPE_CHECKING:
    from ..discovery import Endpoint
    from .lifecycle import Lifecycle


class State(TypedDict):
    """The state of a node.

    :param agent: why its agent is of no use, empty if it is.
    :param free: how many bytes are free for releases and instances.
    :param size: the size of that file system in bytes.
    :param low: whether so little is free that nothing more is installed.
    :param instances: the ids of all instances that it keeps, also if its agent is of no use.
    :param releases: the apps of which it keeps a release.
    :param undefined: apps that this node runs or registers, and that its environment does not define.
    :param services: the names of the services that its agent has registered and that are no apps.
    :param boot: a text that changes with each boot.
    """

    agent: str
    free: int
    size: int
    low: bool
    instances: list[str]
    releases: list[str]
    undefined: list[str]
    services: list[str]
    boot: str


def look(lifecycle: Lifecycle) -> State:
    """Return the state of this node."""
    space, agent, undefined = disk.space(lifecycle.host.root), "", []
    services: set[str] = set()
    apps = sorted(home.name for home in homes(lifecycle.host))
    try:
        backend = lifecycle.inventory.discovery
        backend.leader()
        undefined = lifecycle.inventory.find_undefined()
        services = {e.name for e in backend.registered().values() if not _is_instance(e)}
    except DiscoveryUnavailable as exc:
        agent = str(exc)
    return {
        "agent": agent,
        "free": space.free,
        "size": space.total,
        "low": bool(space.lacks(0)),
        "instances": sorted(instance.id for instance in lifecycle.host.instances.recorded()),
        "releases": [app for app in apps if lifecycle.host.releases.versions(app)],
        "undefined": undefined,
        "services": sorted(services - {"consul"}),
        "boot": processes.boot(),
    }


def _is_instance(endpoint: Endpoint) -> bool:
    """Return whether a service is an instance of an app, published or not. Anybody may write such metadata."""
    return shapes.is_of(instance_of(endpoint.id), endpoint.meta.get("app", ""))


def reboot() -> None:
    """Reboot this machine in a second, so that the job that asks for it can answer."""
    subprocess.Popen(["sh", "-c", "sleep 1; exec reboot"], start_new_session=True, stdin=subprocess.DEVNULL)


def facts(grains: Mapping[str, Any], packages: Mapping[str, str]) -> dict[str, str]:
    """Return the facts in which a node may be unlike another: ``os``, ``kernel``, ``python``, ``salt`` and packages.

    :param grains: the grains of this minion.
    :param packages: package -> its version, empty if it is not installed.
    """
    python = ".".join(map(str, (grains.get("pythonversion") or ())[:2]))
    found = {
        "os": f"{grains.get('os', '')} {grains.get('osrelease', '')}".strip(),
        "kernel": str(grains.get("kernelrelease", "")),
        "python": python,
        "salt": str(grains.get("saltversion", "")),
        **{f"packages:{name}": version for name, version in packages.items()},
    }
    return {key: value for key, value in found.items() if value}
