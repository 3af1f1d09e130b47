"""The addresses of required services in the settings of an app with ``follow``: ``{addresses:postgres}``.

They are filled in before anything else is done with the app. So they are a part of its settings like any other text,
and other addresses are other settings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core import addresses, placeholders

if TYPE_CHECKING:
    from ..core.model import App
    from ..discovery.backend import Backend


def resolved(app: App, environment: str, discovery: Callable[[], Backend]) -> App:
    """Return ``app`` with the addresses that discovery has now of the services that it follows.

    The placeholder of a service without a healthy instance stays.

    :param environment: the name of its environment. Services of another environment do not count.
    :param discovery: returns the node's own agent. It is not asked for an app that follows nothing.
    :raises DiscoveryUnavailable: the agent does not answer.
    """
    if not app.follow:
        return app
    found: dict[str, str] = {}

    def addresses_of(name: str) -> str:
        if name not in found:
            endpoints = discovery().instances(name, passing=True)
            ours = [addresses.join(e.address, e.port) for e in endpoints if e.belongs_to(environment)]
            # Without any, the placeholder stays. No instance can be started with it.
            found[name] = ",".join(sorted(ours)) or f"{{{placeholders.ADDRESSES}{name}}}"
        return found[name]

    env = {key: placeholders.fill_addresses(text, addresses_of) for key, text in app.env.items()}
    return replace(app, run=placeholders.fill_addresses(app.run, addresses_of), env=env)
