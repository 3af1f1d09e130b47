"""Services in the terms of Consul's HTTP API: the body of a registration, and the entries of the catalog."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..core import addresses, scriptchecks
from ..core.httprequests import Request
from ..core.model import DIGEST, Probe
from .backend import Endpoint, Service
from .registration import check_facts, check_name, instance_of, ttl_check

WORST_FIRST = ("critical", "warning", "passing")
# Consul's own check of each node: whether the node's agent answers the other agents.
AGENT_CHECK = "serfHealth"
# Seconds of each unit of a duration as Go writes it.
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "µs": 0.000001}
# The place that the agent asks, by the kind of the check.
TARGETS: dict[str, Callable[[str, Probe], dict[str, object]]] = {
    "http": lambda where, probe: _request(where, probe),
    "https": lambda where, probe: _request(where, probe),
    "tcp": lambda where, probe: {"TCP": where},
    "grpc": lambda where, probe: _grpc(where, probe),
    # The watcher of the instance runs it.
    "script": lambda where, probe: {"HTTP": f"http://{where}{scriptchecks.path(probe)}"},
    # The app reports, so there is nobody to ask.
    "ttl": lambda where, probe: {"TTL": f"{probe.interval:g}s"},
    # It takes over the state of another service of the same agent, and has no times.
    "alias": lambda where, probe: {"AliasService": probe.target},
}


# The kinds of checks that nobody runs at intervals.
TIMELESS = ("alias", "ttl")


def registration(service: Service, proved: bool = True) -> dict[str, Any]:
    """Return the body of the registration of ``service``.

    :param proved: whether its checks pass until they have results. Otherwise they are critical.
    """
    body: dict[str, Any] = {
        "ID": service.id,
        "Name": service.name,
        "Address": service.address,
        "Tags": list(service.tags),
        "Meta": service.meta,
        "Checks": [_check(service, number, probe, proved) for number, probe in enumerate(service.checks)],
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


def _check(service: Service, number: int, probe: Probe, proved: bool) -> dict[str, object]:
    # A check of the same id takes over the last result, also if it asks something else. So a changed one needs an own.
    own = {"CheckID": f"{service.id}:{service.meta[DIGEST]}:{number}"} if DIGEST in service.meta else {}
    times = {"Interval": f"{probe.interval:g}s", "Timeout": f"{scriptchecks.answer_timeout(probe):g}s"}
    if probe.kind == "ttl":
        own = {"CheckID": ttl_check(instance_of(service.id))}
    return {
        **own,
        **TARGETS[probe.kind](addresses.join(service.address, probe.port or service.port), probe),
        "Name": check_name(probe),
        **(times if probe.kind not in TIMELESS else {}),
        "Status": "passing" if proved else "critical",
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


def _grpc(where: str, probe: Probe) -> dict[str, object]:
    """Return the request of a gRPC check."""
    found: dict[str, object] = {"GRPC": f"{where}/{probe.target}".rstrip("/")}
    request = probe.request
    if request is None:
        return found
    given: dict[str, object] = {
        "GRPCUseTLS": True,
        "TLSSkipVerify": request.insecure,
        "TLSServerName": request.host.partition(":")[0],
    }
    return {**found, **{key: value for key, value in given.items() if value}}


def _thresholds(probe: Probe) -> dict[str, object]:
    given = {
        "SuccessBeforePassing": probe.success_before_passing,
        "FailuresBeforeCritical": probe.failures_before_critical,
    }
    return {key: value for key, value in given.items() if value > 1}


def own(ident: str, entry: Mapping[str, Any]) -> Endpoint:
    """Return the Endpoint that an agent has as one of its own services."""
    tags, meta = tuple(entry["Tags"] or ()), entry["Meta"] or {}
    return Endpoint(ident, entry["Service"], "", entry["Address"], entry["Port"], tags, meta, weight=_weight(entry))


def endpoint(entry: Mapping[str, Any]) -> Endpoint:
    """Return the Endpoint of an entry of the catalog, with its checks."""
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
