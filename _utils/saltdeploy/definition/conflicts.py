"""Parts of an environment that are right by themselves and cannot be together, and texts that are no URLs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from ..core import addresses, words
from ..core.errors import Mistakes
from ..core.model import AGENT
from .inheritance import mapping

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from ..core.model import App

Value = TypeVar("Value")
# The service of Consul's own servers.
CONSUL = "consul"
# The key of a platform -> the states that give its nodes their rights.
RIGHTS = {CONSUL: "consul.acl", "skydns": "saltdeploy.skydns"}


def check(where: str, environment: Mapping[str, Any]) -> None:
    """Raise DefinitionError, with all mistakes, if nodes have the same address or a text is no URL.

    :param where: the key path of the environment.
    :param environment: its raw mapping, resolved and of the right shape.
    """
    nodes, mistakes = environment["nodes"].items(), Mistakes()
    for node, (other, same) in _twice((n, addresses.canonical(settings["address"])) for n, settings in nodes).items():
        mistakes.add(
            f"{where}:nodes:{words.name(node)}:address: {same} is the address of {words.name(other)}, too."
            " Write an address of its own for each node."
        )
    for kind in RIGHTS:
        program = environment.get(kind) or {}
        # Salt takes no file from a web server without its digest.
        if program.get("source", "").startswith(("http://", "https://")) and not program.get("sha256"):
            mistakes.add(
                f"{where}:{kind}:sha256: is missing. Write the SHA-256 of the file at `source`, or the URL of a file"
                " with it."
            )
    discovery = environment.get("discovery") or {}
    for kind in ("consul", "skydns"):
        for key in _no_urls(discovery.get(kind) or {}):
            said = "this is no URL. Write http://{address}:8500, for example."
            mistakes.add(f"{where}:discovery:{kind}:{key}: {said}")
    if (discovery.get("skydns") or {}).get("agent", AGENT).startswith("https://"):
        mistakes.add(f"{where}:discovery:skydns:agent: the health agent has no TLS. Write http://, on the node itself.")
    if "skydns" in discovery and "consul" in discovery:
        mistakes.add(f"{where}:discovery: has `consul` and `skydns`. An environment has one service discovery.")
    elif "skydns" in discovery and environment.get("consul") is not None:
        mistakes.add(f"{where}:consul: has no meaning with `discovery: {{skydns: …}}`. Remove one of them.")
    elif environment.get("skydns") is not None and ("consul" in discovery or environment.get("consul") is not None):
        mistakes.add(f"{where}:skydns: has no meaning with Consul. Remove one of them.")
    elif "skydns" in discovery and environment.get("skydns") is None and not discovery["skydns"].get("etcd"):
        mistakes.add(
            f"{where}:discovery:skydns: `etcd` is missing. Write the addresses of its members. If highstate shall set"
            f" up etcd, write `skydns` in {where}."
        )
    mistakes.refuse()


def of_apps(
    where: str,
    apps: Mapping[str, Mapping[str, Any]],
    names: Collection[str],
    allowed: Collection[str] | None = None,
    kind: str = CONSUL,
) -> dict[str, str]:
    """Return the apps that cannot be beside another app: ``{app: why}``. Both apps of a pair are in it.

    Nobody knows which of the two is right. The older app may serve clients.

    :param where: the key path of the environment.
    :param apps: its apps, merged and of the right shape.
    :param names: the names of all its apps, also of those whose definition is wrong.
    :param allowed: the services beside apps that its nodes may register. None means any.
    :param kind: the key of the platform that has their rights, one of RIGHTS.
    """
    found: dict[str, list[str]] = {}
    ports = {app: mapping(settings, "frontend").get("port") for app, settings in apps.items()}
    for app, other, port in _pairs((a, p) for a, p in ports.items() if isinstance(p, int)):
        said = f"apps:{app}:frontend:port: {port} is the port of the frontend of {other}, too. Write another port."
        found.setdefault(app, []).append(said)
    for app in apps:
        other = app.removesuffix("-candidate")
        if other != app and other in names:
            said = f"{where}:apps:{app}: candidates of {other} have this name in discovery. Rename {app}."
            for name in {app, other} & set(apps):
                found.setdefault(name, []).append(said)
    for app, settings in apps.items():
        front = mapping(settings, "service").get("name")
        wrong = _wrong_name(where, app, front, names, allowed, kind) if isinstance(front, str) else ""
        if wrong:
            found.setdefault(app, []).append(wrong)
    for app, other, folder in _pairs((a, _data(s)) for a, s in apps.items()):
        said = f"apps:{app}:data: {folder} is the data folder of {other}, too. Name another folder."
        found.setdefault(app, []).append(said)
    for app, other, package in _pairs((a, mapping(s, "source").get("package")) for a, s in apps.items()):
        said = (
            f"apps:{app}:source:package: {package} is the package of {other}, too, and a node has one version of it."
            " Let one app deploy it."
        )
        found.setdefault(app, []).append(said)
    return {app: "\n".join(said) for app, said in found.items()}


def _wrong_name(
    where: str, app: str, name: str, names: Collection[str], allowed: Collection[str] | None, kind: str
) -> str:
    """Return why an app cannot have the second name ``name`` in discovery, or an empty text."""
    owner = "Consul" if name == CONSUL else name.removesuffix("-candidate")
    if name == CONSUL or owner in names:
        return f"apps:{app}:service:name: {name} is the name of {owner} itself in discovery. Write another name."
    if allowed is not None and name not in allowed:
        return (
            f"apps:{app}:service:name: the nodes of this environment may not register {name}. Add it to"
            f" {where}:{kind}:services, and apply {RIGHTS[kind]} on the first server."
        )
    return ""


def circle(name: str, required: Iterable[str], apps: Mapping[str, App]) -> list[str]:
    """Return the names of the apps that require one another, from ``name`` to ``name``, or [] if none do.

    :param required: the requirements of ``name`` to look at.
    :param apps: all apps by name, each with its ``requires``.
    """
    ways = [[name, other] for other in required]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        if way[-1] == name:
            return way
        if way[-1] not in seen:
            seen.add(way[-1])
            ways += [[*way, other] for other in getattr(apps.get(way[-1]), "requires", ())]
    return []


def in_a_circle(way: Sequence[str]) -> str:
    """Return the message on apps that require one another. ``way`` is as :func:`circle` returns it."""
    return (
        f"apps:{way[0]}:requires: goes round in a circle: {' > '.join(way)}. None of them can be the first to be"
        " deployed. Take one `requires` out."
    )


def _no_urls(discovery: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys of the URLs of ``consul`` or ``skydns`` whose values are no URLs."""
    listed = [(key, discovery.get(key, ())) for key in ("servers", "etcd")]
    urls = [(f"{key}:{number}", url) for key, some in listed for number, url in enumerate(some)]
    for key, url in [*urls, ("agent", discovery.get("agent", AGENT))]:
        if key == "agent":
            # There is no other placeholder, and an IPv6 address gets its brackets when it is filled in.
            url = url.replace("[{address}]", "{}").replace("{address}", "192.0.2.1")
        try:
            parts = urlsplit(url)
            usable = parts.hostname and parts.port != 0 and url.isascii() and not set(" {}") & set(url)
        except ValueError:
            usable = False
        if not usable:
            yield key


def _data(app: Mapping[str, Any]) -> str | None:
    folder = app.get("data")
    return folder.rstrip("/") if isinstance(folder, str) else None


def _pairs(values: Iterable[tuple[str, Value | None]]) -> Iterator[tuple[str, str, Value]]:
    """Yield ``(name, other, value)`` for each two names with the same value, in both orders.

    :param values: pairs of name and value. None is no value.
    """
    for name, (first, value) in _twice(values).items():
        yield name, first, value
        yield first, name, value


def _twice(pairs: Iterable[tuple[str, Value | None]]) -> dict[str, tuple[str, Value]]:
    """Return the names whose value an earlier name has, too: ``{name: (the first name with it, the value)}``."""
    first: dict[Value, str] = {}
    found: dict[str, tuple[str, Value]] = {}
    for name, value in pairs:
        if value is not None and first.setdefault(value, name) != name:
            found[name] = (first[value], value)
    return found
