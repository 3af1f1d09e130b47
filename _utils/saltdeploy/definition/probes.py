"""The checks and tests of an app become Probes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core import durations, httprequests
from ..core.errors import DefinitionError, Mistakes
from ..core.httprequests import Request
from ..core.model import Probe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..core.model import App

# The timeout of a test, in seconds, if its definition has none.
TEST_TIMEOUT = 10.0
# The kinds of checks, and of tests.
CHECKS, TESTS = ("http", "https", "tcp", "grpc", "script", "ttl"), ("http", "https", "tcp", "command")
# The kinds that ask the instance at its port.
ASKING = ("http", "https", "tcp", "grpc")
# The keys of a check that have no meaning if the app itself reports.
OF_RUNS = ("interval", "timeout", "success_before_passing", "failures_before_critical")
HTTP = ("http", "https")
# The keys of an HTTP request without which it is a path alone, for the registration of a check.
PLAIN = {"path", "status", "contains"}
# The keys of an HTTP request that only a test can have -> why, and what to do.
OF_TESTS = {
    "status": "Consul accepts each status of 2xx in a check, and no other. Leave it out, or write a test with it.",
    "contains": "Consul does not look for text in a check. Leave it out, or write a test with it.",
    "ca": "Consul verifies by the certificates of its node. Add the CA to them, write `insecure: true`, or write a"
    " test with it.",
}


def refuse_grpc(app: App) -> None:
    """Raise DefinitionError if ``app`` has a ``grpc`` check. The health agent of SkyDNS has no library for it."""
    mistakes = Mistakes()
    for number, check in enumerate(app.checks):
        if check.kind == "grpc":
            mistakes.add(
                f"apps:{app.name}:checks:{number}:grpc: only Consul's agents ask by gRPC. With SkyDNS, write `tcp`,"
                " `http`, or a `script` that calls grpc_health_probe."
            )
    mistakes.refuse()


def parse(raw: Mapping[str, Any], at: str, timeout: float = Probe.timeout, allowed: tuple[str, ...] = CHECKS) -> Probe:
    """Return the Probe that a check or a test describes.

    :param at: its key path, for messages.
    :param timeout: its timeout in seconds, if the definition has none.
    :param allowed: the kinds that it may have.
    :raises DefinitionError: it is wrong. The message has the key path.
    """
    kinds = [k for k in dict.fromkeys((*CHECKS, *TESTS)) if k in raw]
    if len(kinds) != 1 or kinds[0] not in allowed:
        wanted = f"{', '.join(allowed[:-1])} and {allowed[-1]}"
        raise DefinitionError(f"{at}: needs exactly one of {wanted}, found {' and '.join(kinds) or 'none'}.")
    kind = kinds[0]
    if kind == "command" and raw.get("from", "node") != "node":
        raise DefinitionError(f"{at}:from: a command runs where the release is installed. Write `node`.")
    if kind == "ttl":
        return _ttl(raw, at)
    defaults = (("interval", Probe.interval), ("timeout", timeout))
    interval, wait = (durations.positive(raw.get(key, default), f"{at}:{key}") for key, default in defaults)
    if kind == "grpc":
        about = raw[kind] if isinstance(raw[kind], dict) else {}
        times = {key: raw.get(key, getattr(Probe, key)) for key in OF_RUNS[2:]}
        return Probe(
            kind, about.get("service", ""), interval=interval, timeout=wait, request=_tls(about, f"{at}:grpc"), **times
        )
    http = raw[kind] if kind in HTTP and isinstance(raw[kind], dict) else {}
    if http:
        _check_request(http, kind, f"{at}:{kind}", allowed)
    request = None
    if kind == "https" or set(http) - PLAIN:
        request = httprequests.request(http, f"{at}:{kind}")
    return Probe(
        kind=kind,
        target=http.get("path") or ("" if raw[kind] is True else raw[kind]),
        origin=raw.get("from", Probe.origin),
        status=httprequests.statuses(http.get("status", Probe.status)) if "command" in allowed else Probe.status,
        contains=http.get("contains", ""),
        interval=interval,
        timeout=wait,
        request=request,
        success_before_passing=raw.get("success_before_passing", Probe.success_before_passing),
        failures_before_critical=raw.get("failures_before_critical", Probe.failures_before_critical),
    )


def _ttl(raw: Mapping[str, Any], at: str) -> Probe:
    """Return the Probe of a ``ttl`` check. Raise DefinitionError if it has keys of a check that somebody runs."""
    mistakes = Mistakes()
    for key in OF_RUNS:
        if key in raw:
            mistakes.add(f"{at}:{key}: has no meaning with `ttl`, because the app itself reports. Remove it.")
    longest = mistakes.attempt(durations.positive, raw["ttl"], f"{at}:ttl", default=1.0)
    mistakes.refuse()
    return Probe("ttl", "", interval=longest, timeout=0.0)


def _tls(raw: Mapping[str, Any], at: str) -> Request | None:
    """Return the TLS of a ``grpc`` check, None without TLS. Raise DefinitionError if it has keys of TLS without it."""
    mistakes = Mistakes()
    for key in ("host", "insecure"):
        if key in raw and not raw.get("tls"):
            mistakes.add(f"{at}:{key}: has no meaning without TLS. Write `tls: true`, or remove it.")
    mistakes.refuse()
    return Request(host=raw.get("host", ""), insecure=raw.get("insecure", False)) if raw.get("tls") else None


def _check_request(http: Mapping[str, Any], kind: str, at: str, allowed: tuple[str, ...]) -> None:
    """Raise DefinitionError if the request of an HTTP check or test has keys that cannot be used together, or there.

    :param allowed: the kinds that may be there, which tell a check from a test.
    """
    mistakes = Mistakes()
    for key, why in OF_TESTS.items() if "command" not in allowed else ():
        if key in http and http[key] != "2xx":
            mistakes.add(f"{at}:{key}: {why}")
    secure, remedy = kind == "https", "Write `https` in place of `http`"
    mistakes.attempt(httprequests.check, http, at, secure, ["contains"], remedy)
    mistakes.refuse()


def check_kinds(app: App, at: str) -> None:
    """Raise DefinitionError if ``app`` has several ``ttl`` checks, or none that ``check_restart`` could run."""
    mistakes, kinds = Mistakes(), [check.kind for check in app.checks]
    for number, kind in enumerate(kinds):
        if kind == "ttl" and "ttl" in kinds[:number]:
            mistakes.add(f"{at}:checks:{number}: an app has one `ttl` check at most. Report the worst of all in it.")
    # By default, a port is checked, and of an app without ports only whether it runs.
    runs = (set(kinds) - {"grpc", "ttl"}) or (app.ports and not kinds)
    if app.check_restart and not runs:
        mistakes.add(
            f"{at}:check_restart: needs a check that the node can run itself: http, https, tcp or script. Only Consul"
            " knows the result of a grpc or ttl check."
        )
    mistakes.refuse()
