"""SkyDNS as service discovery: records in etcd, which CoreDNS serves, and which the health agents of the nodes keep."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..core.errors import DiscoveryUnavailable, Failed
from . import etcd, skydnsrecords, wording
from .agent import Agent
from .backend import ELECTION, PAUSE, Endpoint, Service
from .etcd import Etcd, Part, Value
from .wording import Wording

# How long a watch is kept open, in seconds.
BLOCK = 5.0


class SkyDNS:
    """An etcd as service discovery: see backend.Backend.

    :param place: the environment's place in it.
    :param agent: the health agent of this node. None on the master, which publishes nothing.
    """

    wording: Wording = wording.SKYDNS

    def __init__(self, client: Etcd, place: skydnsrecords.Place, agent: Agent | None = None) -> None:
        self._etcd, self._place, self._node_agent = client, place, agent

    def __enter__(self) -> SkyDNS:
        return self

    def __exit__(self, *exc: object) -> None:
        self._etcd.close()
        if self._node_agent:
            self._node_agent.__exit__()

    # -- the node's own services --------------------------------------------------------------

    @property
    def _agent(self) -> Agent:
        if self._node_agent is None:
            raise Failed("only a node has services of its own, and this is the master.")
        return self._node_agent

    def publish(self, service: Service, proved: bool = True) -> None:
        """Register ``service`` with the health agent, see backend.Backend."""
        self._agent.publish(service, proved)

    def withdraw(self, service_id: str) -> None:
        """Deregister ``service_id`` from the health agent. An unknown id is no error: it is withdrawn."""
        self._agent.withdraw(service_id)

    def registered(self) -> dict[str, Endpoint]:
        """Return the health agent's own services: id -> Endpoint."""
        return self._agent.registered()

    def check_counts(self) -> dict[str, int]:
        """Return how many checks each of the node's services has, by id."""
        return self._agent.check_counts()

    def unmeasured(self, ids: Iterable[str]) -> list[str]:
        """Return which of the node's services ``ids`` pass only because they were registered so."""
        return self._agent.unmeasured(ids)

    def results(self, ident: str) -> dict[str, tuple[str, str]]:
        """Return the results of the checks of the node's service ``ident``: name -> status and output."""
        return self._agent.results(ident)

    def failing(self) -> list[str]:
        """Return the ids of the node's services that clients do not find."""
        mine = self.registered()
        found = {name: self.instances(name, passing=True) for name in {e.name for e in mine.values()}}
        seen = {(e.id, e.address, e.port) for endpoints in found.values() for e in endpoints}
        return sorted(i for i, e in mine.items() if (i, e.address, e.port) not in seen)

    # -- the catalog --------------------------------------------------------------------------

    def instances(self, name: str, passing: bool = False) -> list[Endpoint]:
        """Return the Endpoints of service ``name``, read consistently, in a stable order."""
        return self._instances(name, passing)[1]

    def wait(
        self, name: str, until: Callable[[list[Endpoint]], object], deadline: float, passing: bool = False
    ) -> bool:
        """Block on etcd until ``until(endpoints)`` is true, and return whether it became so.

        :param deadline: the :func:`time.monotonic` time at which to give up. An election may still end after it.
        """
        while True:
            left = deadline - time.monotonic()
            try:
                revision, endpoints = self._instances(name, passing)
                if until(endpoints):
                    return True
                if left <= 0:
                    return False
                asked = etcd.between(self._place.agents, self._place.values)
                if not self._etcd.await_change(asked, revision, min(BLOCK, max(left, 0.05))) and left > PAUSE:
                    time.sleep(PAUSE)
            except DiscoveryUnavailable:
                if left <= -ELECTION:
                    raise
                time.sleep(PAUSE)

    def _instances(self, name: str, passing: bool) -> tuple[int, list[Endpoint]]:
        revision, (agents, services) = self._catalog(f"{self._place.services}{name}/")
        found = self._endpoints(agents, services)
        return revision, [e for e in found if e.status == "passing" or not passing]

    def _catalog(self, prefix: str) -> tuple[int, list[list[Value]]]:
        return self._etcd.ranges(etcd.under(self._place.agents), etcd.under(prefix))

    def _endpoints(self, agents: Iterable[Value], services: Iterable[Value]) -> list[Endpoint]:
        nodes = self._ready(agents)
        texts = ((value.key.split("/")[-2], value.text) for value in services)
        found = (skydnsrecords.endpoint(text, node in nodes) for node, text in texts)
        return sorted((e for e in found if e), key=lambda e: (e.node, e.id))

    def nodes(self) -> set[str]:
        """Return the names of the nodes whose health agents answer."""
        return self._ready(self._etcd.ranges(etcd.under(self._place.agents))[1][0])

    def _ready(self, agents: Iterable[Value]) -> set[str]:
        """Return the nodes of those agents that have brought etcd their services."""
        return {value.key.removeprefix(self._place.agents) for value in agents if value.text == skydnsrecords.READY}

    def services(self) -> dict[str, tuple[str, ...]]:
        """Return the names of all services, each with the sorted tags of its instances."""
        found: dict[str, set[str]] = {}
        for endpoint in self._endpoints(*self._catalog(self._place.services)[1]):
            found.setdefault(endpoint.name, set()).update(endpoint.tags)
        return {name: tuple(sorted(tags)) for name, tags in found.items()}

    def granted(self) -> set[str] | None:
        """Return the services that nodes have rights to, as highstate noted it. None if it never did."""
        found = self._etcd.get(self._place.rights)
        return skydnsrecords.granted(found.text) if found else None

    def replaced(self) -> set[str]:
        """Return no node: a health agent that lost its data removes entries that it does not know."""
        return set()

    def leader(self) -> str:
        """Return the leader's address, or raise DiscoveryUnavailable if there is no leader."""
        if self._node_agent:
            self._node_agent.registered()
        return self._etcd.leader(self._place.agents)

    # -- keys ---------------------------------------------------------------------------------

    def read(self, key: str) -> tuple[Any, int, str | None]:
        """Return ``(value, revision, session)`` of ``key``, or ``(None, 0, None)`` if there is no such key."""
        _, (values, locks) = self._etcd.ranges(etcd.one(self._place.values + key), etcd.one(self._place.locks + key))
        session = str(locks[0].lease) if locks else None
        return (_plain(values[0].text), values[0].changed, session) if values else (None, 0, session)

    def read_all(self, prefix: str) -> dict[str, Any]:
        """Return ``{key: value}`` of all keys under ``prefix``."""
        return dict(self.entries(prefix))

    def entries(self, prefix: str) -> list[tuple[str, Any]]:
        """Return ``(key, value)`` of all keys under ``prefix``, in the order in which they were created."""
        asked = etcd.under(self._place.values + prefix, sort_target="CREATE", sort_order="ASCEND")
        return [(self._own(value), _plain(value.text)) for value in self._etcd.ranges(asked)[1][0]]

    def keys(self, prefix: str) -> list[str]:
        """Return the keys under ``prefix``."""
        found = self._etcd.ranges(etcd.under(self._place.values + prefix, keys_only=True))[1][0]
        return [self._own(value) for value in found]

    def write(
        self,
        entries: Mapping[str, Any],
        lock_key: str | None = None,
        session: str | None = None,
        delete: Iterable[str] = (),
    ) -> bool:
        """Write ``{key: value}`` and remove the keys ``delete``, but only if ``session``, if given, holds ``lock_key``.

        It is a single transaction, done completely or not at all. If it has no room for all keys to remove, more
        transactions follow.

        :returns: whether it was written.
        """
        fence = [etcd.is_held(f"{self._place.locks}{lock_key}", int(session))] if session else []
        parts = [etcd.put(self._place.values + key, json.dumps(value)) for key, value in entries.items()]
        # etcd refuses a key that is there twice.
        removed = [key for key in dict.fromkeys(delete) if key not in entries]
        parts += [etcd.delete(etcd.one(self._place.values + key)) for key in removed]
        what = f"write {', '.join((*entries, *removed))}"
        pieces = [parts[n : n + etcd.OPERATIONS] for n in range(0, len(parts), etcd.OPERATIONS)]
        return all(self._etcd.transact(fence, piece, what) for piece in pieces)

    def replace(self, key: str, value: Any, index: int) -> bool:
        """Write ``key`` if nobody has changed it since it was read with ``index``, and return whether it was done."""
        where = self._place.values + key
        return self._etcd.transact(
            [etcd.is_unchanged(where, index)], [etcd.put(where, json.dumps(value))], f"write {key}"
        )

    def _own(self, value: Value) -> str:
        return value.key.removeprefix(self._place.values)

    # -- sessions and locks -------------------------------------------------------------------

    def create_session(self, name: str, ttl: float) -> str:
        """Create a lease that lives ``ttl`` seconds unless it is renewed, and return its id."""
        return str(self._etcd.grant(ttl))

    def renew_session(self, session: str) -> bool:
        """Renew ``session``, and return False if it has ended."""
        return self._etcd.keep_alive(int(session))

    def destroy_session(self, session: str) -> None:
        """End ``session``, whose locks are free at once."""
        self._etcd.revoke(int(session))

    def acquire(self, key: str, session: str, value: Any, index: int) -> bool:
        """Lock ``key`` for ``session``, without another try, and return whether it was done.

        :param index: the revision of the key by :meth:`read`. It is locked only if nobody has changed it since.
        """
        where, lock = self._place.values + key, self._place.locks + key
        free: list[Part] = [etcd.is_unchanged(where, index), etcd.is_unchanged(lock, 0)]
        taken = [etcd.put(where, json.dumps(value)), etcd.put(lock, session, int(session))]
        return self._etcd.transact(free, taken, f"lock {key}")

    def release(self, key: str, session: str) -> object:
        """Unlock ``key``."""
        lock = self._place.locks + key
        return self._etcd.transact([etcd.is_held(lock, int(session))], [etcd.delete(etcd.one(lock))], f"unlock {key}")


def _plain(text: str) -> Any:
    """Return the value of a key, or its text as it is if it is no JSON, and so not ours."""
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return text
