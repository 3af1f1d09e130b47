"""Consul as service discovery: services, keys, sessions and locks."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..core.errors import DiscoveryUnavailable
from . import consulservices, wording
from .agent import Agent
from .backend import ELECTION, PAUSE, Endpoint
from .consulhttp import Parameter, parsed
from .wording import Wording

# How long Consul holds a blocking query. It adds up to a sixteenth.
BLOCK = 5.0
# The most operations that Consul takes in a transaction.
OPERATIONS = 64
# The status of a member that is alive, in Serf's numbers.
ALIVE = 1

# An operation of a transaction.
Operation = dict[str, dict[str, Any]]


class Consul(Agent):
    """A Consul as service discovery: see backend.Backend."""

    wording: Wording = wording.CONSUL

    # -- services -----------------------------------------------------------------------------

    def failing(self) -> list[str]:
        """Return the ids of the agent's own services that clients do not find: a check does not pass, or not yet."""
        mine, checks = self.registered(), self.get("/v1/agent/checks").values()
        # After a restart the agent knows at once that nothing is checked yet, the catalog a moment later.
        failing = {c["ServiceID"] for c in checks if c["ServiceID"] and c["Status"] != "passing"}
        for name in {e.name for i, e in mine.items() if i not in failing}:
            found = [(e.id, e.meta) for e in self.instances(name, passing=True)]
            failing |= {i for i, e in mine.items() if e.name == name and (i, e.meta) not in found}
        return sorted(failing & set(mine))

    def instances(self, name: str, passing: bool = False) -> list[Endpoint]:
        """Return the Endpoints of service ``name``, read consistently, in a stable order."""
        return self._instances(name, passing=passing)[1]

    def wait(
        self, name: str, until: Callable[[list[Endpoint]], object], deadline: float, passing: bool = False
    ) -> bool:
        """Block on the catalog until ``until(endpoints)`` is true, and return whether it became so.

        :param deadline: the :func:`time.monotonic` time at which to give up. An election may still end after it.
        """
        index = 0
        while True:
            left = deadline - time.monotonic()
            try:
                seen, endpoints = self._instances(name, index, min(BLOCK, max(left, 0.05)), passing)
            except DiscoveryUnavailable:
                if left <= -ELECTION:
                    raise
                time.sleep(PAUSE)
                index = 0
                continue
            if until(endpoints):
                return True
            if left <= 0:
                return False
            index = seen if seen >= index else 0

    def _instances(
        self, name: str, index: int = 0, block: float = 0.0, passing: bool = False
    ) -> tuple[int, list[Endpoint]]:
        params: list[Parameter] = [("consistent", "1")]
        if index:
            params += [("index", index), ("wait", f"{int(block * 1000)}ms")]
        if passing:
            params += [("passing", "1")]
        response = self.call("get", f"/v1/health/service/{name}", params)
        if response.code != 200:
            raise self.failed(response, f"read service {name}")
        found = [consulservices.endpoint(e) for e in parsed(response, f"read service {name}")]
        return int(response.headers["X-Consul-Index"]), sorted(found, key=lambda e: (e.node, e.id))

    def services(self) -> dict[str, tuple[str, ...]]:
        """Return the names of all services, each with the sorted tags of its instances."""
        found = self.get("/v1/catalog/services", [("consistent", "1")])
        return {name: tuple(sorted(tags)) for name, tags in found.items()}

    def replaced(self) -> set[str]:
        """Return the names of the nodes whose entries in the catalog belong to an earlier agent of the same name.

        An agent that lost its data has another identity. Consul refuses it the name while the catalog has the old
        identity. It goes on showing the services of the old identity, as healthy as they were.
        """
        tags = {m["Name"]: m["Tags"] for m in self.get("/v1/agent/members") if m["Status"] == ALIVE}
        nodes = {n["Node"]: n["ID"] for n in self.get("/v1/catalog/nodes", [("consistent", "1")])}
        members = {n: t.get("id") for n, t in tags.items() if self.datacenter in (None, t.get("dc"))}
        return {name for name, known in nodes.items() if known and members.get(name) not in (None, known)}

    # -- state of the cluster -----------------------------------------------------------------

    def granted(self) -> set[str] | None:
        """Return None: Consul tells the policies of nodes to operators only."""
        return None

    def leader(self) -> str:
        """Return the leader's address, or raise DiscoveryUnavailable if there is no leader."""
        leader = self.get("/v1/status/leader")
        if not leader:
            raise DiscoveryUnavailable(
                f"Consul has no leader (asked {', '.join(self.urls)}): see `consul operator raft list-peers`."
                " More than half of its servers must run."
            )
        # An agent without its servers still knows the last leader. Only a read proves that the leader is there.
        self.read("deploy/")
        return leader

    # -- keys ---------------------------------------------------------------------------------

    def read(self, key: str) -> tuple[Any, int, str | None]:
        """Return ``(value, index, session)`` of ``key``, or ``(None, 0, None)`` if there is no such key."""
        response = self.call("get", f"/v1/kv/{key}", [("consistent", "1")])
        if response.code == 404:
            return None, 0, None
        if response.code != 200:
            raise self.failed(response, f"read key {key}")
        entry = parsed(response, f"read key {key}")[0]
        return _value(entry), entry["ModifyIndex"], entry.get("Session")

    def read_all(self, prefix: str) -> dict[str, Any]:
        """Return ``{key: value}`` of all keys under ``prefix``."""
        return dict(self.entries(prefix))

    def entries(self, prefix: str) -> list[tuple[str, Any]]:
        """Return ``(key, value)`` of all keys under ``prefix``, in the order in which they were created.

        The order is by Consul's own index: no clock is as sure.
        """
        response = self.call("get", f"/v1/kv/{prefix}", [("recurse", "1"), ("consistent", "1")])
        if response.code not in (200, 404):
            raise self.failed(response, f"read keys {prefix}")
        found = parsed(response, f"read keys {prefix}") if response.code == 200 else []
        ordered = sorted(found, key=lambda e: (e["CreateIndex"], e["Key"]))
        return [(e["Key"], _value(e)) for e in ordered]

    def keys(self, prefix: str) -> list[str]:
        """Return the keys under ``prefix``."""
        response = self.call("get", f"/v1/kv/{prefix}", [("keys", "1"), ("consistent", "1")])
        if response.code not in (200, 404):
            raise self.failed(response, f"read keys {prefix}")
        return parsed(response, f"read keys {prefix}") if response.code == 200 else []

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
        fence = [{"KV": {"Verb": "check-session", "Key": lock_key, "Session": session}}] if session else []
        verbs = [{"KV": {"Verb": "set", "Key": k, "Value": _encode(v)}} for k, v in entries.items()]
        verbs += [{"KV": {"Verb": "delete", "Key": key}} for key in delete]
        room = OPERATIONS - len(fence)
        return all(self._transact(fence + verbs[n : n + room]) for n in range(0, len(verbs), room))

    def _transact(self, verbs: Sequence[Operation]) -> bool:
        response = self.call("put", "/v1/txn", body=verbs)
        # A token without the right is a conflict here, too, and no lost lock.
        if response.code not in (200, 409) or "Permission denied" in response.body:
            raise self.failed(response, f"write {', '.join(verb['KV']['Key'] for verb in verbs)}")
        return response.code == 200

    # -- sessions and locks -------------------------------------------------------------------

    def create_session(self, name: str, ttl: float) -> str:
        """Create a session that lives ``ttl`` seconds unless it is renewed, and return its id.

        It is gone at once when Consul removes the node of the agent that was asked: a dead server, for example.
        """
        # Without "Checks", the health of the agent that is asked would be a check.
        body = {"Name": name, "TTL": f"{ttl}s", "LockDelay": "1s", "Behavior": "release", "Checks": []}
        created: str = self.put("/v1/session/create", body=body)["ID"]
        return created

    def renew_session(self, session: str) -> bool:
        """Renew ``session``, and return False if it has ended."""
        response = self.call("put", f"/v1/session/renew/{session}")
        if response.code not in (200, 404):
            raise self.failed(response, "renew the lock's session")
        return response.code == 200

    def destroy_session(self, session: str) -> None:
        """Destroy ``session``, whose locks are free after its lock delay."""
        self.put(f"/v1/session/destroy/{session}")

    def acquire(self, key: str, session: str, value: Any, index: int) -> bool:
        """Lock ``key`` for ``session``, without another try, and return whether it was done.

        :param index: the index of the key by :meth:`read`. It is locked only if nobody has changed it since.
        """
        lock = {"Verb": "lock", "Key": key, "Value": _encode(value), "Session": session}
        return self._transact([_unchanged(key, index), {"KV": lock}])

    def replace(self, key: str, value: Any, index: int) -> bool:
        """Write ``key`` if nobody has changed it since it was read with ``index``, and return whether it was done."""
        return self._transact([_unchanged(key, index), {"KV": {"Verb": "set", "Key": key, "Value": _encode(value)}}])

    def release(self, key: str, session: str) -> object:
        """Unlock ``key``, at once and without lock delay."""
        return self.put(f"/v1/kv/{key}", [("release", session)])


def _unchanged(key: str, index: int) -> Operation:
    """Return the verb that ends a transaction if ``key`` was changed since ``index`` (0: it was not there)."""
    return {
        "KV": {"Verb": "check-index", "Key": key, "Index": index} if index else {"Verb": "check-not-exists", "Key": key}
    }


def _encode(value: Any) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def _value(entry: Mapping[str, Any]) -> Any:
    """Return the value of a key, or its text as it is if it is no JSON, and so not ours."""
    raw = base64.b64decode(entry["Value"] or "")
    try:
        return json.loads(raw) if raw else None
    except (ValueError, RecursionError):
        return raw.decode(errors="replace")
