"""Consul, through python-consul or its fork py-consul (both are ``import consul``).

Only their HTTP client is used. In python-consul 1.1.0, their higher layer leaves the token out of deregister, session
and txn calls, and drops ``Meta`` and several checks. In py-consul 1.8.0, it sends no token with ``txn.put``. It also
lets ``CONSUL_HTTP_*`` override the configuration.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import requests
from consul.std import HTTPClient
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError

from ..core import addresses
from ..core.errors import DiscoveryUnavailable, Failed
from ..core.model import DIGEST, Probe, Request
from .backend import ELECTION, PAUSE, Endpoint, Service
from .registration import check_facts, check_name

CONNECT_TIMEOUT = 2.0
# During leader loss an agent answers a registration after 7 to 14 seconds.
READ_TIMEOUT = 20.0
# How long Consul holds a blocking query. It adds up to a sixteenth.
BLOCK = 5.0
# The most operations that Consul takes in a transaction.
OPERATIONS = 64
# The answers of an agent that reaches no server with a leader.
LEADERLESS = ("No cluster leader", "Raft leader not found", "rpc error", "No known Consul servers")
WORST_FIRST = ("critical", "warning", "passing")
# Consul's own check of each node: whether the node's agent answers the other agents.
AGENT_CHECK = "serfHealth"
# The status of a member that is alive, in Serf's numbers.
ALIVE = 1

# A parameter of a request, and an operation of a transaction.
Parameter = tuple[str, object]
Operation = dict[str, dict[str, Any]]
Client = TypeVar("Client", bound="Consul")


class Response(Protocol):
    """An answer, as python-consul gives it."""

    code: int
    headers: Mapping[str, str]
    body: str


class _Adapter(HTTPAdapter):
    """An adapter that gives every call a timeout, and tries again only if a connection was refused."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs["timeout"] = (CONNECT_TIMEOUT, READ_TIMEOUT)
        # Not by urllib3's Retry, which logs each try: the log ends on the terminal.
        for pause in (0.1, 0.2):
            try:
                return super().send(request, *args, **kwargs)
            except requests.ConnectionError as exc:
                if not isinstance(getattr(exc.args[0], "reason", None), NewConnectionError):
                    raise
                time.sleep(pause)
        return super().send(request, *args, **kwargs)


class Consul:
    """A Consul, reached through the first of ``urls`` that answers.

    :param urls: agents or servers, ``scheme://host:port``.
    :param token: ACL token, sent as a header.
    :param ca: path of the CA certificate that the servers' certificates are verified against.
    :param datacenter: the datacenter whose catalog and keys are asked. None means the agent's own.
    """

    def __init__(
        self, urls: Iterable[str], token: str | None = None, ca: str | None = None, datacenter: str | None = None
    ) -> None:
        self.urls, self.datacenter = list(urls), datacenter
        self._clients = [self._client(url, token, ca) for url in self.urls]

    def __enter__(self: Client) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        for client in self._clients:
            client.session.close()

    @staticmethod
    def _client(url: str, token: str | None, ca: str | None) -> HTTPClient:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        client = HTTPClient(addresses.host(parts.hostname or ""), port, parts.scheme, verify=ca or True)
        client.session.trust_env = False
        adapter = _Adapter()
        client.session.mount("http://", adapter)
        client.session.mount("https://", adapter)
        if token:
            client.session.headers["X-Consul-Token"] = token
        return client

    # -- services -----------------------------------------------------------------------------

    def publish(self, service: Service) -> None:
        """Register ``service`` with the agent, as passing, because it was tested a moment ago."""
        # Otherwise a check that the registration before had, and this has not, would stay.
        self._put("/v1/agent/service/register", [("replace-existing-checks", "true")], _registration(service))

    def withdraw(self, service_id: str) -> None:
        """Deregister ``service_id`` from the agent. An unknown id is no error: it is withdrawn."""
        response = self._call("put", f"/v1/agent/service/deregister/{service_id}")
        unknown = response.code == 404 or "Unknown service" in response.body
        if response.code != 200 and not unknown:
            raise _failure(response, f"deregister {service_id}")

    def registered(self) -> dict[str, Endpoint]:
        """Return the agent's own services: id -> Endpoint."""
        services = self._get("/v1/agent/services")
        return {
            i: Endpoint(
                i, s["Service"], "", s["Address"], s["Port"], tuple(s["Tags"] or ()), s["Meta"] or {}, weight=_weight(s)
            )
            for i, s in services.items()
        }

    def check_counts(self) -> dict[str, int]:
        """Return how many checks each of the agent's own services has, by id."""
        return dict(Counter(c["ServiceID"] for c in self._get("/v1/agent/checks").values() if c["ServiceID"]))

    def unmeasured(self, ids: Iterable[str]) -> list[str]:
        """Return which of the agent's own services ``ids`` pass only because they were registered so.

        An agent has no output of a check that it has not run yet. The catalog is of no use for this: it gets the output
        of a check whose status stays the same minutes later (``check_update_interval``).
        """
        checks = self._get("/v1/agent/checks").values()
        believed = {c["ServiceID"] for c in checks if c["Status"] == "passing" and not c["Output"]}
        return sorted(believed & set(ids))

    def failing(self) -> list[str]:
        """Return the ids of the agent's own services that clients do not find: a check does not pass, or not yet."""
        mine, checks = self.registered(), self._get("/v1/agent/checks").values()
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
        response = self._call("get", f"/v1/health/service/{name}", params)
        if response.code != 200:
            raise _failure(response, f"read service {name}")
        found = [_endpoint(e) for e in parsed(response, f"read service {name}")]
        return int(response.headers["X-Consul-Index"]), sorted(found, key=lambda e: (e.node, e.id))

    def services(self) -> dict[str, tuple[str, ...]]:
        """Return the names of all services, each with the tags of its instances."""
        return {name: tuple(tags) for name, tags in self._get("/v1/catalog/services", [("consistent", "1")]).items()}

    def replaced(self) -> set[str]:
        """Return the names of the nodes whose entries in the catalog belong to an earlier agent of the same name.

        An agent that lost its data has another identity. Consul refuses it the name while the catalog has the old
        identity. It goes on showing the services of the old identity, as healthy as they were.
        """
        tags = {m["Name"]: m["Tags"] for m in self._get("/v1/agent/members") if m["Status"] == ALIVE}
        nodes = {n["Node"]: n["ID"] for n in self._get("/v1/catalog/nodes", [("consistent", "1")])}
        members = {n: t.get("id") for n, t in tags.items() if self.datacenter in (None, t.get("dc"))}
        return {name for name, known in nodes.items() if known and members.get(name) not in (None, known)}

    # -- state of the cluster -----------------------------------------------------------------

    def leader(self) -> str:
        """Return the leader's address, or raise DiscoveryUnavailable if there is no leader."""
        leader = self._get("/v1/status/leader")
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
        response = self._call("get", f"/v1/kv/{key}", [("consistent", "1")])
        if response.code == 404:
            return None, 0, None
        if response.code != 200:
            raise _failure(response, f"read key {key}")
        entry = parsed(response, f"read key {key}")[0]
        return _value(entry), entry["ModifyIndex"], entry.get("Session")

    def read_all(self, prefix: str) -> dict[str, Any]:
        """Return ``{key: value}`` of all keys under ``prefix``."""
        return dict(self.entries(prefix))

    def entries(self, prefix: str) -> list[tuple[str, Any]]:
        """Return ``(key, value)`` of all keys under ``prefix``, in the order in which they were created.

        The order is by Consul's own index: no clock is as sure.
        """
        response = self._call("get", f"/v1/kv/{prefix}", [("recurse", "1"), ("consistent", "1")])
        if response.code not in (200, 404):
            raise _failure(response, f"read keys {prefix}")
        found = parsed(response, f"read keys {prefix}") if response.code == 200 else []
        ordered = sorted(found, key=lambda e: (e["CreateIndex"], e["Key"]))
        return [(e["Key"], _value(e)) for e in ordered]

    def keys(self, prefix: str) -> list[str]:
        """Return the keys under ``prefix``."""
        response = self._call("get", f"/v1/kv/{prefix}", [("keys", "1"), ("consistent", "1")])
        if response.code not in (200, 404):
            raise _failure(response, f"read keys {prefix}")
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
        response = self._call("put", "/v1/txn", body=verbs)
        # A token without the right is a conflict here, too, and no lost lock.
        if response.code not in (200, 409) or "Permission denied" in response.body:
            raise _failure(response, f"write {', '.join(verb['KV']['Key'] for verb in verbs)}")
        return response.code == 200

    # -- sessions and locks -------------------------------------------------------------------

    def create_session(self, name: str, ttl: float) -> str:
        """Create a session that lives ``ttl`` seconds unless it is renewed, and return its id.

        It is gone at once when Consul removes the node of the agent that was asked: a dead server, for example.
        """
        # Without "Checks", the health of the agent that is asked would be a check.
        body = {"Name": name, "TTL": f"{ttl}s", "LockDelay": "1s", "Behavior": "release", "Checks": []}
        created: str = self._put("/v1/session/create", body=body)["ID"]
        return created

    def renew_session(self, session: str) -> bool:
        """Renew ``session``, and return False if it has ended."""
        response = self._call("put", f"/v1/session/renew/{session}")
        if response.code not in (200, 404):
            raise _failure(response, "renew the lock's session")
        return response.code == 200

    def destroy_session(self, session: str) -> None:
        """Destroy ``session``, whose locks are free after its lock delay."""
        self._put(f"/v1/session/destroy/{session}")

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
        return self._put(f"/v1/kv/{key}", [("release", session)])

    # -- transport ----------------------------------------------------------------------------

    def _get(self, path: str, params: Sequence[Parameter] | None = None) -> Any:
        response = self._call("get", path, params)
        if response.code != 200:
            raise _failure(response, path)
        return parsed(response, path)

    def _put(self, path: str, params: Sequence[Parameter] | None = None, body: Any = None) -> Any:
        response = self._call("put", path, params, body)
        if response.code != 200:
            raise _failure(response, path)
        return parsed(response, path) if response.body.strip() else None

    def _call(self, verb: str, path: str, params: Sequence[Parameter] | None = None, body: Any = None) -> Response:
        """Ask the clients in turn, the client that answered last first, and read from a client that can answer.

        :raises DiscoveryUnavailable: no client answers. A change that may have reached a server is not sent to another
            server: it may be done. A caller that wants it again must read first whether it is done.
        """
        if self.datacenter and not path.startswith("/v1/agent/"):
            params = [*(params or ()), ("dc", self.datacenter)]
        errors, failure = [], None
        for client in self._clients:
            try:
                kwargs = {"data": "" if body is None else json.dumps(body)} if verb == "put" else {}
                response = getattr(client, verb)(lambda r: r, path, params, **kwargs)
            except requests.RequestException as exc:
                errors.append(f"{client.base_uri}: {_reason(exc)}")
                if verb != "get" and _may_have_arrived(exc):
                    break
            else:
                if response.code >= 500 and verb == "get":
                    failure = failure or response
                    continue
                # In one assignment: the thread that renews the lock asks too.
                self._clients = [client, *(c for c in self._clients if c is not client)]
                return response
        if failure:
            return failure
        advice = "see `consul operator raft list-peers`" if "timed out" in errors[-1] else "start its agent there"
        raise DiscoveryUnavailable(f"Consul does not answer ({'; '.join(errors)}): {advice}.")


# Seconds of each unit of a duration as Go writes it.
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "µs": 0.000001}
# The place that the agent asks, by the kind of the check.
TARGETS: dict[str, Callable[[str, Probe], dict[str, object]]] = {
    "http": lambda where, probe: _request(where, probe),
    "https": lambda where, probe: _request(where, probe),
    "tcp": lambda where, probe: {"TCP": where},
}
# What an agent lacks if it refuses a field of a check -> what to do.
LACKS = {
    "DisableRedirects": "It follows the redirects of each check. Update it to 1.12, or write `redirects: true` into the"
    " check's request",
    "TLSServerName": "It cannot send `host` in an https check. Update it to 1.10, or write `http` or `tcp`",
}


def _registration(service: Service) -> dict[str, Any]:
    body: dict[str, Any] = {
        "ID": service.id,
        "Name": service.name,
        "Address": service.address,
        "Tags": list(service.tags),
        "Meta": service.meta,
        "Checks": [_check(service, number, probe) for number, probe in enumerate(service.checks)],
    }
    if service.port is not None:
        body["Port"] = service.port
    if service.weight is not None:
        # A warning does not lower the weight, as it does not without weights.
        body["Weights"] = {"Passing": service.weight, "Warning": service.weight}
    if service.expires is not None:
        # Consul removes a service after one critical minute at the earliest.
        body["Checks"].append(
            {
                "Name": "expires",
                "TTL": f"{int(service.expires) + 1}s",
                "Status": "passing",
                "DeregisterCriticalServiceAfter": "1m",
            }
        )
    return body


def _check(service: Service, number: int, probe: Probe) -> dict[str, object]:
    # A check of the same id takes over the last result, also if it asks something else. So a changed one needs an own.
    own = {"CheckID": f"{service.id}:{service.meta[DIGEST]}:{number}"} if DIGEST in service.meta else {}
    return {
        **own,
        **TARGETS[probe.kind](addresses.join(service.address, probe.port or service.port), probe),
        "Name": check_name(probe),
        "Interval": f"{probe.interval:g}s",
        "Timeout": f"{probe.timeout:g}s",
        "Status": "passing",
        **_thresholds(probe),
    }


def _request(where: str, probe: Probe) -> dict[str, object]:
    """Return the request of an HTTP check: the URL alone, if its definition has no more."""
    found: dict[str, object] = {"HTTP": f"{probe.kind}://{where}{probe.target}"}
    request = probe.request
    if request is None:
        return found
    headers = {**request.headers, **({"Host": request.host} if request.host else {})}
    given: dict[str, object] = {
        "Header": {name: [value] for name, value in headers.items()},
        "Method": request.method if request.method != Request.method else "",
        "Body": request.body,
        "DisableRedirects": not request.redirects,
        "TLSSkipVerify": request.insecure,
        "TLSServerName": request.host.partition(":")[0] if probe.kind == "https" else "",
    }
    return {**found, **{key: value for key, value in given.items() if value}}


def _thresholds(probe: Probe) -> dict[str, object]:
    given = {
        "SuccessBeforePassing": probe.success_before_passing,
        "FailuresBeforeCritical": probe.failures_before_critical,
    }
    return {key: value for key, value in given.items() if value > 1}


def _endpoint(entry: Mapping[str, Any]) -> Endpoint:
    service = entry["Service"]
    worst = min(entry["Checks"], key=lambda c: WORST_FIRST.index(c["Status"]), default={"Status": "passing"})
    return Endpoint(
        id=service["ID"],
        name=service["Service"],
        node=entry["Node"]["Node"],
        address=service["Address"] or entry["Node"]["Address"],
        # Newer versions of Consul leave the port out if there is none.
        port=service.get("Port", 0),
        tags=tuple(service["Tags"] or ()),
        meta=service["Meta"] or {},
        status=worst["Status"],
        weight=_weight(service),
        output=worst.get("Output", "") if worst["Status"] != "passing" else "",
        alive=all(c["Status"] != "critical" for c in entry["Checks"] if c.get("CheckID") == AGENT_CHECK),
        checks=check_facts(
            (c["Name"], _seconds(c.get("Interval")), _seconds(c.get("Timeout")))
            for c in entry["Checks"]
            if c.get("ServiceID") == service["ID"]
        ),
    )


def _seconds(text: str | None) -> float | None:
    """Return a duration as Go writes it (``1m30s``, ``500ms``) in seconds, None if there is none."""
    parts = re.findall(r"([0-9.]+)(h|ms|µs|m|s)", text or "")
    return sum(float(number) * UNITS[unit] for number, unit in parts) if parts else None


def _weight(service: Mapping[str, Any]) -> int:
    return (service.get("Weights") or {}).get("Passing", 1)


def _unchanged(key: str, index: int) -> Operation:
    """Return the verb that ends a transaction if ``key`` was changed since ``index`` (0: it was not there)."""
    return {
        "KV": {"Verb": "check-index", "Key": key, "Index": index} if index else {"Verb": "check-not-exists", "Key": key}
    }


def _may_have_arrived(exc: requests.RequestException) -> bool:
    """Return whether a request that ended with ``exc`` may have reached its server: there was a connection."""
    if isinstance(exc, (requests.ConnectTimeout, requests.exceptions.SSLError)):
        return False
    return not isinstance(getattr(exc.args[0] if exc.args else None, "reason", None), NewConnectionError)


def _encode(value: Any) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def _value(entry: Mapping[str, Any]) -> Any:
    """Return the value of a key, or its text as it is if it is no JSON, and so not ours."""
    raw = base64.b64decode(entry["Value"] or "")
    try:
        return json.loads(raw) if raw else None
    except (ValueError, RecursionError):
        return raw.decode(errors="replace")


def _reason(exc: Exception) -> str:
    text = str(getattr(exc, "args", [exc])[0])
    for known in ("Connection refused", "timed out", "Name or service not known", "certificate verify failed"):
        if known.lower() in text.lower():
            return known.lower()
    system = re.search(r"\[Errno -?\d+\] ([\w ]+)", text)
    return system[1].lower() if system else text[:200]


def parsed(response: Response, what: str) -> Any:
    """Return the JSON document in ``response``. Raises DiscoveryUnavailable if it is none, as from a proxy."""
    try:
        return json.loads(response.body)
    except ValueError:
        shown = " ".join(response.body.split())[:100]
        raise DiscoveryUnavailable(f"{what}: the answer is not Consul's ({shown}…): see discovery:consul.") from None


def _failure(response: Response, what: str) -> Failed:
    body = response.body.strip()[:300]
    if response.code == 403 or "Permission denied" in body:
        return Failed(f"Consul refuses to {what}: {body}. Its token may not: see discovery:consul:token.")
    if any(words in body for words in LEADERLESS):
        return DiscoveryUnavailable(
            f"Consul has no leader: it could not {what} ({body}). More than half of its servers must run."
        )
    unknown = re.search(r'unknown field "(\w+)"', body)
    if unknown and unknown[1] in LACKS:
        return Failed(f"Consul could not {what}, because its agent is too old: {body}. {LACKS[unknown[1]]}.")
    kind = DiscoveryUnavailable if response.code >= 500 else Failed
    return kind(f"Consul could not {what}: {response.code} {body}")
