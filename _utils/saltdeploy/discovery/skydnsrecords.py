"""The keys in etcd for SkyDNS, the DNS records, and the entries of services. Pure.

A record is a message of SkyDNS, which CoreDNS's plugin etcd serves: https://coredns.io/plugins/etcd/
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.errors import Refused
from .backend import Endpoint
from .registration import check_facts

# The beginning of all keys of records, as SkyDNS and CoreDNS expect it.
PATH = "/skydns"
# The beginning of all other keys.
OWN = "/saltdeploy"
# The value of an agent's key until it has brought etcd its services, and then.
BEGINNING, READY = "beginning", "ready"
# How much of the output of a check is in an entry, in characters.
OUTPUT = 300
# SkyDNS's own default.
PRIORITY = 10
# The longest label of a DNS name, in bytes.
LABEL = 63
WORST_FIRST = ("critical", "warning", "passing")


@dataclass(frozen=True)
class Place:
    """The place of an environment in etcd and in DNS.

    :param domain: the domain that CoreDNS answers for.
    :param environment: its name, which is a part of all names and keys. So several environments share an etcd.
    :param ttl: how long a client may keep an answer of DNS, in seconds.
    """

    domain: str
    environment: str
    ttl: int = 10

    @property
    def agents(self) -> str:
        """The beginning of the keys of the health agents. Such a key is there for as long as its agent keeps it."""
        return f"{OWN}/{self.environment}/agents/"

    @property
    def locks(self) -> str:
        """The beginning of the keys that tell the holders of locks."""
        return f"{OWN}/{self.environment}/locks/"

    @property
    def rights(self) -> str:
        """The key that lists the services that nodes have rights to. Only highstate writes it."""
        return f"{OWN}/{self.environment}/rights"

    @property
    def services(self) -> str:
        """The beginning of the keys of all services."""
        return f"{OWN}/{self.environment}/services/"

    @property
    def values(self) -> str:
        """The beginning of the keys of everything that is no service."""
        return f"{OWN}/{self.environment}/values/"

    @property
    def apex(self) -> str:
        """The key of the domain itself."""
        return "/".join((PATH, *reversed(self.domain.strip(".").lower().split("."))))

    @property
    def records(self) -> str:
        """The beginning of the keys of all DNS records."""
        return f"{self.apex}/{self.environment}/"

    def entry(self, service: str, node: str, ident: str) -> str:
        """Return the key of a service.

        :param service: its name; ``ident``: its id.
        """
        return f"{self.entries_of(service, node)}{ident}"

    def record(self, service: str, node: str, ident: str) -> str:
        """Return the key of its DNS record. The node is a part of it, so that each node can have rights to its own."""
        return f"{self.records_of(service, node)}{unique_label(ident)}"

    def entries_of(self, service: str, node: str) -> str:
        """Return the beginning of the keys of a service's entries from a node."""
        return f"{self.services}{service}/{node}/"

    def records_of(self, service: str, node: str) -> str:
        """Return the beginning of the keys of its DNS records from a node."""
        return f"{self.records}{service.lower()}/{label(node)}/"


def label(text: str) -> str:
    """Return ``text`` as a DNS label, unchanged if it is one."""
    found = re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")
    return found if found == text and len(found) <= LABEL else unique_label(text)


def unique_label(text: str) -> str:
    """Return a DNS label that no other text has."""
    found = re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{found[: LABEL - len(digest) - 1].rstrip('-')}-{digest}".lstrip("-")


def message(place: Place, seen: Endpoint) -> str:
    """Return the DNS record of a service. One without a port has an address only."""
    found: dict[str, Any] = {"host": seen.address, "priority": PRIORITY, "weight": seen.weight, "ttl": place.ttl}
    if seen.port:
        found["port"] = seen.port
    return json.dumps({**found, "text": seen.id}, sort_keys=True)


def worst(statuses: list[str]) -> str:
    """Return the worst of some statuses, passing if there are none."""
    return min(statuses, key=WORST_FIRST.index, default="passing")


def entry(seen: Endpoint, checks: list[dict[str, Any]]) -> str:
    """Return the entry of a service in etcd.

    :param checks: name, status, output, interval and timeout of each of its checks.
    """
    own = {"id": seen.id, "name": seen.name, "node": seen.node, "address": seen.address, "port": seen.port}
    more = {"tags": list(seen.tags), "meta": seen.meta, "weight": seen.weight, "checks": checks}
    return json.dumps({**own, **more}, sort_keys=True)


def granted(text: str) -> set[str] | None:
    """Return the services in the value of the key ``rights``, or None if it is not ours."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return {str(name) for name in found} if isinstance(found, list) else None


def endpoint(text: str, alive: bool) -> Endpoint | None:
    """Return the Endpoint of the entry of a service in etcd, or None if it is not ours.

    :param alive: whether the health agent of its node answers.
    """
    try:
        found = json.loads(text)
        checks = found["checks"]
        status = worst([check["status"] for check in checks])
        output = next((c["output"] for c in checks if c["status"] == status), "") if status != "passing" else ""
        return Endpoint(
            id=found["id"],
            name=found["name"],
            node=found["node"],
            address=found["address"],
            port=int(found["port"]),
            tags=tuple(found["tags"]),
            meta=dict(found["meta"]),
            status=status if alive else "critical",
            weight=int(found["weight"]),
            output=output if alive else f"the health agent of {found['node']} does not answer",
            alive=alive,
            checks=check_facts((c["name"], c["interval"], c["timeout"]) for c in checks),
        )
    except Refused:  # It is a TypeError, too.
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def place(settings: Mapping[str, Any]) -> Place:
    """Return the Place that ``discovery:skydns`` describes."""
    return Place(settings["domain"], settings["environment"], settings.get("ttl", Place.ttl))
