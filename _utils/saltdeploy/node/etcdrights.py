"""The rights in the etcd that highstate sets up: those of master, nodes and CoreDNS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .. import definition
from ..definition import etcdcluster, platforms
from ..discovery import skydnsrecords
from ..discovery.etcdaccess import READ, READWRITE, Right

if TYPE_CHECKING:
    from ..discovery.skydnsrecords import Place


def rights(minion: str, pillar: Mapping[str, Any]) -> dict[str, list[Right]]:
    """Return the rights of each user of ``minion``'s environment.

    A node reads all of its environment, and writes its own part only: the key of its agent, and the entries and records
    of its own instances. The name of a service comes first in DNS names, and so in keys. So a node has rights for each
    app and for each of the further services.

    :raises Refused: the minion is a node of no environment.
    """
    environment = definition.load_own(minion, pillar)
    place = skydnsrecords.place(environment.discovery["skydns"])
    others = platforms.services(pillar["environments"][environment.name]) or ()
    services = sorted({*others, *(s for app in platforms.named(environment.names) for s in (app, f"{app}-candidate"))})
    read = Right(_all(place), READ)
    found = {
        etcdcluster.DEPLOYER: [read, Right(place.values, READWRITE), Right(place.locks, READWRITE)],
        etcdcluster.DNS: [Right(place.apex, READ), Right(f"{place.apex}/", READ)],
    }
    for node in environment.nodes:
        own = [read, Right(place.records, READ), Right(f"{place.agents}{node}", READWRITE)]
        found[f"{etcdcluster.NODE}{node}"] = [*own, *_of_services(place, node, services)]
    return found


def _all(place: Place) -> str:
    return f"{skydnsrecords.OWN}/{place.environment}/"


def _of_services(place: Place, node: str, services: Iterable[str]) -> list[Right]:
    keys = [key for each in services for key in (place.entries_of(each, node), place.records_of(each, node))]
    return [Right(key, READWRITE) for key in keys]
