"""Parts of an environment that are right by themselves, and cannot be together; and URLs that are none."""

from __future__ import annotations

from urllib.parse import urlsplit

from . import addresses, discovery, words
from .errors import DefinitionError


def check(where, environment, apps):
    """Raise DefinitionError if two nodes have one address, or two apps one port of the load balancer or one name.

    :param where: the key path of the environment.
    :param environment: its raw mapping, resolved and of the right shape.
    :param apps: the raw ``apps``.
    """
    nodes = environment["nodes"].items()
    twice = _twice((node, addresses.canonical(settings["address"])) for node, settings in nodes)
    if twice:
        node, other, same = twice
        raise DefinitionError(
            f"{where}:nodes:{words.name(node)}:address: {same} is the address of {words.name(other)}, too"
        )
    _urls(f"{where}:discovery:consul", (environment.get("discovery") or {}).get("consul") or {})
    for app in environment["apps"]:
        other = app.removesuffix("-candidate")
        if other != app and other in environment["apps"]:
            raise DefinitionError(
                f"{where}:apps:{app}: candidates of {other} have this name in discovery: give the app another one."
            )
    twice = _twice((app, _frontend(apps[app], settings)) for app, settings in environment["apps"].items())
    if twice:
        app, other, port = twice
        raise DefinitionError(f"apps:{app}:frontend:port: {port} is the port of the frontend of {other}, too")


def _urls(where, consul):
    urls = [(f"servers:{number}", url) for number, url in enumerate(consul.get("servers", ()))]
    for key, url in [*urls, ("agent", consul.get("agent", discovery.DEFAULT_URL))]:
        try:
            parts = urlsplit(url.format(address="192.0.2.1") if key == "agent" else url)
            usable = parts.hostname and parts.port != 0 and url.isascii() and " " not in url and "[{" not in url
        except (AttributeError, IndexError, KeyError, ValueError):  # a placeholder that is not there, too
            usable = False
        if not usable:
            raise DefinitionError(f"{where}:{key}: {words.shown(url)} is no URL: http://{{address}}:8500, for example")


def _frontend(app, settings):
    return ((settings or {}).get("frontend") or app.get("frontend") or {}).get("port")


def _twice(pairs):
    """Return the second name, the first name and the value, of two names with one value; None if there are none."""
    first = {}
    for name, value in pairs:
        if value is not None and first.setdefault(value, name) != name:
            return name, first[value], value
    return None
