"""Discovery on a node: its agent, its load balancer and resolver, and services that are not apps."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .. import definition, discovery
from ..core import addresses, advice, arguments, bounds, forms, names
from ..core.errors import DefinitionError, Refused
from ..core.model import AGENT, Probe
from ..core.words import name as said
from ..core.words import nearest, odd, shown, without_value
from ..definition import loadbalancer, probes
from ..definition.schema.keys import HEADER, Key
from ..definition.schema.probes import GRPC as GRPC_KEYS
from ..definition.schema.probes import HTTP, MOST_RESULTS

if TYPE_CHECKING:
    from ..discovery.backend import Backend
ARGUMENTS = ("service_id", "address", "port", "tags", "meta", "checks", "weight")
HEAVIEST = 65535
# The kinds of checks. Nobody runs the script of a service that is no app.
KINDS = tuple(kind for kind in probes.CHECKS if kind != "script")
IDENTIFIER = r"[A-Za-z0-9_~+=:.@-]{1,255}"
# The files with a host's own name servers. The first is used once a resolver of saltdeploy stands before them, the
# second until then.
RESOLV_CONF = ("/etc/resolv.conf.before-saltdeploy", "/etc/resolv.conf")
# The folder of the health agent of a node with SkyDNS.
HEALTH = "/var/lib/saltdeploy-health"
# The first line of a resolv.conf that a state wrote.
OURS = "# Written by saltdeploy"
# The addresses of systemd-resolved itself. It knows the servers of its links.
STUBS = ("127.0.0.53", "127.0.0.54")
# The file with its servers for the whole host. They may have a port and, behind #, a name for TLS.
RESOLVED_CONF = "/etc/systemd/resolved.conf"


def agent(minion: str, pillar: Mapping[str, Any]) -> Backend:
    """Return the discovery backend of ``minion``'s own agent.

    :raises Refused: the minion is a node of no environment.
    """
    environment = definition.load_own(minion, pillar)
    return discovery.connect(environment.discovery, environment.nodes[minion].address)


def health_agent(minion: str, pillar: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of ``minion``'s health agent without its secrets, {} if its environment has no SkyDNS.

    :raises Refused: the minion is a node of no environment.
    """
    environment = definition.load_own(minion, pillar)
    skydns = environment.discovery.get("skydns")
    if not skydns:
        return {}
    address = environment.nodes[minion].address
    listens = urlsplit(skydns.get("agent", AGENT).format(address=addresses.host(address)))
    keys = ("etcd", "domain", "environment", "ttl", "user", "ca", "cert", "key")
    found = {key: skydns[key] for key in keys if key in skydns}
    return {**found, "node": minion, "address": listens.hostname, "port": listens.port or 80, "folder": HEALTH}


def service(minion: str, pillar: Mapping[str, Any], name: str, **given: Any) -> discovery.Service:
    """Return the Service that ``discovery.register`` would register.

    :raises Refused: an argument is unknown or cannot be used.
    """
    unknown = sorted(set(given) - set(ARGUMENTS))
    if unknown:
        raise Refused(f"unknown argument {said(unknown[0])}: allowed are {', '.join(ARGUMENTS)}")
    if not isinstance(name, str) or not re.fullmatch(forms.NAME, name):
        raise Refused(f"service name: {advice.wrong(forms.A_NAME, name)}")
    _refuse_misshapen(name, given)
    environment = definition.load_own(minion, pillar)
    port = given.get("port")
    if port is not None and (not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65535):
        raise Refused(f"port {shown(port)} of service {name} is not a number from 1 to 65535")
    checks = [_check(check, f"service {name}: check {n}") for n, check in enumerate(given.get("checks") or ())]
    if "checks" not in given and port is not None:
        checks = [Probe("tcp", "")]
    return discovery.Service(
        id=given.get("service_id") or name,
        name=name,
        address=given.get("address") or environment.nodes[minion].address,
        port=port,
        tags=tuple(given.get("tags") or ()),
        meta={"minion": minion, **{k: str(v) for k, v in (given.get("meta") or {}).items()}},
        checks=tuple(checks),
        weight=check_weight(name, given.get("weight")),
    )


def frontends(minion: str, pillar: Mapping[str, Any]) -> list[loadbalancer.HaproxyFrontend]:
    """Return the frontends of a load balancer on ``minion``, see loadbalancer.frontends.

    :raises Refused: the minion is a node of no environment.
    """
    return loadbalancer.frontends(definition.load_own(minion, pillar))


def domain(minion: str, pillar: Mapping[str, Any]) -> str:
    """Return the domain in DNS of ``minion``'s service discovery.

    :raises Refused: the minion is a node of no environment.
    """
    skydns = definition.load_own(minion, pillar).discovery.get("skydns")
    return str(skydns["domain"]) if skydns else "consul"


def upstream(minion: str, pillar: Mapping[str, Any], mark: str) -> list[str]:
    """Return the name servers that the resolver on ``minion`` asks, as its configuration has them.

    :param mark: the character between address and port: ``#`` (dnsmasq) or ``@`` (unbound).
    :raises Refused: the minion is a node of no environment.
    """
    found = definition.load_own(minion, pillar).upstream
    return [address if port is None else f"{address}{mark}{port}" for address, port in found]


def recursors(minion: str, pillar: Mapping[str, Any]) -> list[str]:
    """Return the name servers that Consul, or CoreDNS, on ``minion`` asks for names that are not its own.

    They are the servers of ``dns:upstream``. Without it, they are the servers that the host itself asked before.

    :raises Refused: the minion is a node of no environment.
    """
    found = definition.load_own(minion, pillar).upstream
    return [addresses.join(address, port or 53) for address, port in found or _servers_of_host()]


def _servers_of_host() -> list[tuple[str, int | None]]:
    text = next((Path(file).read_text(errors="replace") for file in RESOLV_CONF if os.path.exists(file)), "")
    if OURS in text:
        return []
    servers = re.findall(r"^[ \t]*nameserver[ \t]+([0-9A-Fa-f.:]+(?:%[\w.-]+)?)[ \t]*$", text, re.MULTILINE)
    if servers and set(servers) <= set(STUBS):
        return _servers_of_resolved()
    return [(server, None) for server in servers if server not in STUBS]


def _servers_of_resolved() -> list[tuple[str, int | None]]:
    """Return the servers that systemd-resolved asked for the whole host. The state's own file replaces them there."""
    text = Path(RESOLVED_CONF).read_text(errors="replace") if os.path.exists(RESOLVED_CONF) else ""
    found: list[str] = []
    for line in re.findall(r"^[ \t]*DNS[ \t]*=(.*)$", text, re.MULTILINE):
        found = [*found, *line.split()] if line.strip() else []  # an empty line resets the list
    servers: list[tuple[str, int | None]] = []
    for server in found:
        with contextlib.suppress(DefinitionError):
            servers.append(addresses.server(server.partition("#")[0], RESOLVED_CONF))
    return servers


def check_weight(name: str, weight: Any) -> int | None:
    """Return the ``weight`` of the service ``name``, a number or None. Raise Refused for any other weight."""
    return None if weight is None else _weight(name, weight)


def _weight(name: str, weight: Any) -> int:
    if type(weight) is not int or not 1 <= weight <= HEAVIEST:
        raise Refused(f"weight {shown(weight)} of {said(name)} is not a whole number from 1 to {HEAVIEST}")
    return weight


def check_weights(minion: str, weights: Any) -> dict[str, int]:
    """Return id -> weight for ``minion``.

    :param weights: id -> weight, or minion -> id -> weight.
    :raises Refused: ``weights`` is neither.
    """
    mine = weights.get(minion, weights) if isinstance(weights, dict) else None
    if not isinstance(mine, dict) or None in mine.values():
        raise Refused(f"weights={shown(weights)}: a mapping of id to weight is allowed")
    return {names.instance(i): _weight(i, weight) for i, weight in mine.items()}


def identifier(value: Any) -> str:
    """Return ``value``, the id or the name of a service. It becomes a part of a URL.

    :raises Refused: it has a character that a URL would change, or it is too long.
    """
    if not isinstance(value, str) or not re.fullmatch(IDENTIFIER, value):
        raise Refused(
            f"{shown(value)} cannot be an id or a name of a service. Write at most 255 letters, digits and"
            f" . _ ~ + = : @ -{odd(value)}"
        )
    return value


def _refuse_misshapen(name: str, given: Mapping[str, Any]) -> None:
    """Raise Refused on arguments with another shape than :func:`service` needs."""
    try:
        bounds.check(given)
    except DefinitionError as exc:
        raise Refused(f"service {name}: {exc}") from exc
    if given.get("service_id") is not None:
        identifier(given["service_id"])
    address, tags, meta = (given.get(key) for key in ("address", "tags", "meta"))
    if address is not None and not (isinstance(address, str) and re.fullmatch(forms.ADDRESS, address)):
        raise Refused(f"address {shown(address)} of service {name} is not an address. Write an IP address.")
    if tags is not None and not (isinstance(tags, (list, tuple)) and all(isinstance(tag, str) for tag in tags)):
        raise Refused(f"tags {shown(tags)} of service {name} are not a list of texts")
    if meta is not None and not (isinstance(meta, dict) and all(isinstance(key, str) for key in meta)):
        raise Refused(f"meta {shown(meta)} of service {name} is not a mapping of text to text")
    if not isinstance(given.get("checks"), (list, tuple, type(None))):
        raise Refused(f"checks {shown(given['checks'])} of service {name} are not a list of checks")


def _check(raw: Any, at: str) -> Probe:
    """Return the Probe that ``raw`` describes. Raise Refused for anything that is not a check."""
    if isinstance(raw, dict):
        _refuse_unknown_keys(raw, [*CHECK], at)
        for kind, keys in (*((kind, REQUEST) for kind in probes.HTTP), ("grpc", GRPC)):
            if isinstance(raw.get(kind), dict):
                _refuse_unknown_keys(raw[kind], [*keys], f"{at}:{kind}")
    # If it has no kind, or two, the message of a definition says so.
    single = isinstance(raw, dict) and len({*KINDS} & set(raw)) == 1
    if not isinstance(raw, dict) or (single and not all(fits(raw[key]) for key, fits in CHECK.items() if key in raw)):
        raise Refused(
            f"{at}: {shown(_without_requests(raw))} is not a check. Write a check as in the definition of an app."
        )
    for kind in probes.HTTP:
        if kind in raw:
            _refuse_other_forms(raw[kind] if isinstance(raw[kind], dict) else {"path": raw[kind]}, f"{at}:{kind}")
    if isinstance(raw.get("grpc"), dict):
        _refuse_other_texts(raw["grpc"], GRPC_KEYS.keys, f"{at}:grpc")
    return probes.parse(raw, at, allowed=KINDS)


def _refuse_unknown_keys(raw: Mapping[Any, Any], known: list[str], at: str) -> None:
    for key in raw:
        if key not in known:
            allowed = ", ".join(k for k in known if k not in probes.OF_TESTS)
            stray = said(without_value(key))
            raise Refused(f"{at}: unknown key {stray}{nearest(key, known)}. Allowed: {allowed}.")


def _refuse_other_forms(request: Mapping[str, Any], at: str) -> None:
    """Raise Refused on a value of ``request`` that the schema of definitions does not allow."""
    _refuse_other_texts(request, HTTP.keys, at)
    for name in request.get("headers", ()):
        if not _matches(HEADER, name):
            raise Refused(f"{at}:headers: {advice.wrong(HEADER, name)}")


def _refuse_other_texts(request: Mapping[str, Any], keys: Mapping[str, Key], at: str) -> None:
    for key in ("path", "host", "method", "service"):
        if key in request and not _matches(keys[key].schema, request[key]):
            raise Refused(f"{at}:{key}: {advice.wrong(keys[key].schema, request[key])}")


def _matches(form: forms.Schema, value: str) -> bool:
    if "enum" in form:
        return value in form["enum"]
    return bool(re.search(form["pattern"].replace("$", r"\Z"), value))


def _is_duration(value: Any) -> bool:
    return isinstance(value, (int, float)) or (isinstance(value, str) and bool(arguments.DURATION.fullmatch(value)))


def _without_requests(raw: Any) -> Any:
    """Return a check without the mappings in it: there may be secrets."""
    return {key: value for key, value in raw.items() if not isinstance(value, dict)} if isinstance(raw, dict) else raw


def _is_request(value: Any) -> bool:
    if not isinstance(value, dict):
        return isinstance(value, str)
    return "path" in value and all(key in REQUEST and REQUEST[key](part) for key, part in value.items())


def _is_grpc(value: Any) -> bool:
    return isinstance(value, dict) and all(key in GRPC and GRPC[key](part) for key, part in value.items())


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MOST_RESULTS


# Key of the request of a check -> whether its value can be used.
REQUEST: dict[str, Callable[[Any], bool]] = {
    "path": _is_text,
    "status": lambda value: isinstance(value, (int, str, list)),
    "contains": _is_text,
    "host": _is_text,
    "method": _is_text,
    "headers": lambda value: isinstance(value, dict) and all(map(_is_text, [*value, *value.values()])),
    "body": _is_text,
    "redirects": _is_flag,
    "ca": _is_text,
    "insecure": _is_flag,
}
# Key of a gRPC check -> whether its value can be used.
GRPC: dict[str, Callable[[Any], bool]] = {
    "service": _is_text,
    "tls": _is_flag,
    "host": _is_text,
    "insecure": _is_flag,
}
# Key of a check -> whether its value can be used.
CHECK: dict[str, Callable[[Any], bool]] = {
    "http": _is_request,
    "https": _is_request,
    "success_before_passing": _is_number,
    "failures_before_critical": _is_number,
    "tcp": lambda value: value is True,
    "grpc": lambda value: value is True or _is_grpc(value),
    "ttl": _is_duration,
    "interval": _is_duration,
    "timeout": _is_duration,
}
