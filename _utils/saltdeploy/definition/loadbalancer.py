"""The data on the apps of an environment that a load balancer needs. Pure.

HAProxy's configuration is rendered from it. This module also refuses a run that publishes more instances than HAProxy
has room for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypedDict

from ..core import traffic
from ..core.errors import DefinitionError, Refused
from ..core.words import joined

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..core.environment import Environment
    from ..core.model import App

# Where highstate writes HAProxy's configuration.
HAPROXY = "/etc/haproxy/haproxy.cfg"
ROLE = "loadbalancer"
# A small app can be scaled to so many instances without a change of its definition. A slot that is free costs HAProxy
# some kilobytes.
LEAST = 32


class HaproxyFrontend(TypedDict):
    """A frontend of HAProxy, as plain data.

    :param record: the name of its SRV records.
    :param weighted: whether the weights of these records say how many requests each instance gets. CoreDNS gives
        shares of 100, and HAProxy makes the same weight of all of them.
    :param timeout: in milliseconds.
    :param slots: the number of HAProxy's slots for instances of the app.
    """

    app: str
    record: str
    weighted: bool
    port: int
    mode: str
    timeout: int
    trusted_proxies: list[str]
    slots: int


def room(app: App) -> int:
    """Return how many instances of a release of ``app`` a load balancer sends requests to."""
    return max(LEAST, 2 * app.instances)


def slots(app: App) -> int:
    """Return the number of HAProxy's slots for ``app``: the old and the new release are there side by side."""
    return 2 * room(app)


def frontends(environment: Environment) -> list[HaproxyFrontend]:
    """Return HAProxy's frontends for the apps of ``environment``, in the order of the apps' names.

    :raises DefinitionError: the definition of an app is wrong, or two apps cannot be beside one another. HAProxy keeps
        its configuration until the mistake is fixed. Without its frontend, a serving app would be lost to its clients.
    """
    wrong = {**environment.broken, **environment.clashing}
    if wrong:
        why = joined(why for _, why in sorted(wrong.items()))
        raise DefinitionError(f"HAProxy keeps the configuration that it has until this is put right: {why}")
    return [
        {
            "app": app.name,
            "record": f"_{app.name}._tcp.{environment.domain}",
            "weighted": "skydns" not in environment.discovery,
            "port": app.frontend.port,
            "mode": app.frontend.mode,
            "timeout": max(1, round(app.frontend.timeout * 1000)),  # To HAProxy, 0 means for ever.
            "trusted_proxies": list(app.frontend.trusted_proxies),
            "slots": slots(app),
        }
        for app in sorted(environment.apps.values(), key=lambda app: app.name)
        if app.frontend
    ]


def slots_in(configuration: str, app: str) -> int:
    """Return the number of slots for the app named ``app`` in HAProxy's ``configuration``, a text, or 0."""
    found = re.search(rf"^\s*server-template {re.escape(app)}- ([0-9]+) ", configuration, re.MULTILINE)
    return int(found[1]) if found else 0


def lacking(app: App, count: int, found: Mapping[str, int]) -> list[str]:
    """Return a sentence with a command for each load balancer that has no room yet for ``count`` instances.

    :param found: node -> the number of slots for ``app`` that HAProxy has there.
    """
    needed = 2 * count
    return [
        f"{node} has {number or 'no'} slots for {app.name}, and two releases of {count} instances need {needed}: some"
        f" instances may get no request. Run `salt {node} state.apply loadbalancer`."
        for node, number in sorted(found.items())
        if app.frontend and number < needed
    ]


def balancers(environment: Environment) -> list[str]:
    """Return the nodes of ``environment`` that have the role of a load balancer."""
    return [node.name for node in environment.nodes.values() if ROLE in node.roles]


def refuse_share(environment: Environment, app: App) -> None:
    """Raise DefinitionError if a canary of ``app`` gets a share by weights that load balancers do not see."""
    asked, found = app.strategy.canary_weight, balancers(environment)
    if "skydns" in environment.discovery and app.frontend and found and asked not in (traffic.FULL, traffic.NONE):
        raise DefinitionError(
            f"apps:{app.name}:strategy:canary_weight: {asked} cannot be given by the load balancers"
            f" ({', '.join(found)}) with SkyDNS, because HAProxy makes the same weight of all weights that CoreDNS"
            f" has. Write `canary_weight: {traffic.FULL}`, which gives each instance as much as any other, or"
            f" `{traffic.NONE}`. The wave and the number of instances say how much the new release gets."
        )


def refuse_beyond(environment: Environment, app: App, count: int) -> None:
    """Raise Refused if ``count`` instances of ``app`` are more than the load balancers of ``environment`` take."""
    if not app.frontend or count <= room(app):
        return
    found = balancers(environment)
    if not found:
        return
    raise Refused(
        f"{count} instances of {app.name} are too many for its load balancers ({', '.join(found)}): they take"
        f" {room(app)}, and the others would get no request. Set `instances` to {-(-count // 2)} or more in"
        f" environments:{environment.name}:apps:{app.name}, run"
        f" `salt -L {','.join(found)} state.apply loadbalancer`, then run this again."
    )
