"""A node's way to discovery, for services that are not our apps."""

from __future__ import annotations

import re

from . import definition, discovery, schema
from .errors import Refused
from .model import Probe

ARGUMENTS = ("service_id", "address", "port", "tags", "meta", "checks", "weight")
HEAVIEST = 65535


def agent(minion, pillar):
    """Return the discovery backend of ``minion``'s own agent.

    :raises Refused: the minion is a node of no environment.
    """
    environment = definition.load_own(minion, pillar)
    return discovery.connect(environment.discovery, environment.nodes[minion].address)


def service(minion, pillar, name, **given):
    """Return the Service that ``discovery.register`` would register.

    :raises Refused: an argument is unknown or cannot be used.
    """
    unknown = sorted(set(given) - set(ARGUMENTS))
    if unknown:
        raise Refused(f"unknown argument {unknown[0]}: allowed are {', '.join(ARGUMENTS)}")
    if not re.fullmatch(schema.NAME, str(name)):
        raise Refused(f"service name {name!r} is not a DNS label: it must match {schema.NAME}")
    environment = definition.load_own(minion, pillar)
    port = given.get("port")
    if port is not None and (not isinstance(port, int) or not 1 <= port <= 65535):
        raise Refused(f"port {port!r} of service {name} is not a number from 1 to 65535")
    checks = [
        definition.probe(check, f"service {name}: check {n}") for n, check in enumerate(given.get("checks") or ())
    ]
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


def check_weight(name, weight):
    """Return ``weight``, None or a number; Refused if discovery cannot have it for ``name``."""
    if weight is not None and (type(weight) is not int or not 1 <= weight <= HEAVIEST):
        raise Refused(f"weight {weight!r} of {name} is not a whole number from 1 to {HEAVIEST}")
    return weight
