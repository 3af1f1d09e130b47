"""An instance as service discovery has it."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace

from ..core import analysis, editions, scriptchecks
from ..core.instanceids import slot_of
from ..core.model import DIGEST, OWN_META, App, Instance, Probe, Registration
from .backend import CheckFacts, Endpoint, Service

# The end of an instance's id in discovery while it is a candidate.
CANDIDATE = "_candidate"
# The end of its id under the other name that its app gives it.
NAMED = "_named"


# The end of the id of a ``ttl`` check.
TTL_CHECK = ":ttl"


def ttl_check(instance: str) -> str:
    """Return the id of the ``ttl`` check of an instance, to which the app reports.

    The candidate has the same check, and its publication takes the check over with its result.
    """
    return instance + TTL_CHECK


def instance_of(service: str) -> str:
    """Return the id of the instance that is registered under the id ``service``."""
    return service.removesuffix(CANDIDATE).removesuffix(NAMED)


# The parts of a registration that may differ from its definition.
PARTS = ("name", "tags", "meta", "checks")
# The kinds of checks whose results only discovery has.
REMOTE = ("grpc", "ttl")


def checks(app: App, instance: Instance) -> tuple[Probe, ...]:
    """Return the checks of an instance, by default that its port is listened on. Without a port, it must also run."""
    # Its watcher runs the scripts. An instance that was started before the app had any has none.
    own = (replace(c, port=instance.watch) if c.kind == "script" else c for c in app.checks)
    found = tuple(c for c in own if c.kind != "script" or c.port)
    if instance.port is None:
        return (*_running(instance), *found)
    return found or (Probe("tcp", ""),)


def _running(instance: Instance) -> tuple[Probe, ...]:
    """Return the checks of an instance without a port. An instance that an older version started has no checks."""
    return (Probe("http", "/running", port=instance.watch),) if instance.watch else ()


def first_result(app: App) -> float:
    """Return how long discovery may take until each check of ``app`` has had a result of its own, in seconds.

    Consul runs a new check for the first time at a random moment within its interval.
    """
    # A heartbeat comes when the app sends it, and the result of the registration before stays until then.
    found = [c for c in app.checks if c.kind != "ttl"] or [Probe("tcp", "")]
    slowest = max(c.interval + scriptchecks.answer_timeout(c) for c in found)
    return min(slowest, app.strategy.healthy_deadline)


def of(
    app: App, instance: Instance, environment: str, key: bytes, candidate: bool = False, expires: float | None = None
) -> Service:
    """Return the Service for ``instance`` under its app's own name, with its digest.

    A candidate has none of the tags and metadata of the definition. A program that reads tags in place of names, such
    as Traefik or Fabio, would send requests to it.

    :param environment: the environment's name.
    :param key: the node's key, see :func:`sealed`.
    :param candidate: whether it gets the name that clients do not look for.
    :param expires: seconds after which it leaves discovery by itself. None means never.
    """
    service = Service(
        id=instance.id + (CANDIDATE if candidate else ""),
        name=app.candidate if candidate else app.name,
        address=instance.address,
        port=instance.port,
        checks=checks(app, instance),
        expires=expires,
    )
    return _described(service, app, instance, environment, key, not candidate and not app.service.name)


def named(app: App, instance: Instance, environment: str, key: bytes) -> Service | None:
    """Return the Service for ``instance`` under the other name that its app gives it, or None if it gives none.

    It passes as long as the Service of :func:`of` passes. Parameters as for :func:`of`.
    """
    if not app.service.name:
        return None
    service = Service(
        id=instance.id + NAMED,
        name=app.service.name,
        address=instance.address,
        port=instance.port,
        checks=(Probe("alias", instance.id),),
    )
    return _described(service, app, instance, environment, key, True)


def all_of(app: App, instance: Instance, environment: str, key: bytes) -> list[Service]:
    """Return the Services under which clients find ``instance``, its app's own name first. Parameters as for `of`."""
    also = named(app, instance, environment, key)
    return [of(app, instance, environment, key), *([also] if also else [])]


def _described(
    service: Service, app: App, instance: Instance, environment: str, key: bytes, additions: bool
) -> Service:
    """Return ``service`` with its tags, metadata, digest and weight.

    :param additions: whether it has the tags and metadata of the definition.
    """
    release, added = editions.release(instance.version), app.service if additions else Registration()
    values = {
        "app": app.name,
        "version": release,
        "environment": environment,
        "node": instance.node,
        "address": instance.address,
        "port": instance.port,
    }
    known = {name: value for name, value in values.items() if value is not None}
    own = (app.name, release, environment, instance.deployment, instance.node)
    tags = (environment, release, *(analysis.fill(tag, known) for tag in added.tags))
    meta = {name: analysis.fill(text, known) for name, text in added.meta.items()}
    service = replace(service, tags=tags, meta={**meta, **dict(zip(OWN_META, own))})
    # Its weight is changed by itself, so it is not a part of the digest.
    return replace(sealed(service, key), weight=instance.weight)


def sealed(service: Service, key: bytes) -> Service:
    """Return ``service`` with its digest in its metadata, which tells later whether the registration differs.

    Consul does not tell the definition of a check. A check may hold a secret, so the digest needs the key of the node.

    :param key: a secret that does not leave the node.
    """
    text = json.dumps(asdict(service), sort_keys=True)
    digest = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:16]
    return replace(service, meta={**service.meta, DIGEST: digest})


def differences(
    wanted: Iterable[Service], registered: Mapping[str, Endpoint], counts: Mapping[str, int], instance: str
) -> list[str]:
    """Return the parts in which an instance's registration differs from ``wanted``, see :func:`all_of`.

    A part is ``name``, ``tags``, ``meta`` or ``checks``. A service that is missing, or too many, differs in its name.

    :param registered: id -> the services that the node's own agent has.
    :param counts: id -> how many checks the agent has for a service.
    :param instance: its id.
    """
    services = {service.id: service for service in wanted}
    found: list[str] = []
    for service in (instance, instance + NAMED):
        ours, theirs = services.get(service), registered.get(service)
        if ours and theirs:
            found += _differences(ours, theirs, counts.get(service, 0))
        elif ours or theirs:
            found.append("name")
    return list(dict.fromkeys(found))


def _differences(wanted: Service, seen: Endpoint, count: int) -> list[str]:
    found = _plain_differences(wanted, seen)
    # A part that somebody has changed by hand is not in the digest.
    if count != len(wanted.checks) or (seen.meta.get(DIGEST) != wanted.meta[DIGEST] and not found):
        found.append("checks")
    return found


def differences_in_catalog(app: App, endpoint: Endpoint, also: Endpoint | None, environment: str) -> list[str]:
    """Return the same of an instance of ``app`` in the catalog. The catalog does not have all facts on checks.

    :param endpoint: the instance under its app's own name.
    :param also: the instance under the other name that its app gives it. None if it is not found there.
    """
    meta, port = endpoint.meta, endpoint.port or None
    instance = Instance(
        id=endpoint.id,
        node=endpoint.minion,
        app=app.name,
        version=meta.get("version", ""),
        slot=slot_of(endpoint.id),
        address=endpoint.address,
        port=port,
        deployment=meta.get("deployment", ""),
    )
    found = _plain_differences(of(app, instance, environment, b""), endpoint)
    other = named(app, instance, environment, b"")
    if other:
        found += _plain_differences(other, also) if also else ["name"]
    # The port of a watcher is known to its node only.
    wanted = checks(app, replace(instance, watch=1))
    ours = check_facts((check_name(c), c.interval, scriptchecks.answer_timeout(c)) for c in wanted)
    if [name for name, _, _ in ours] != [name for name, _, _ in endpoint.checks]:
        # An older version of saltdeploy may have started it, without a watcher.
        found += ["checks"] if port or endpoint.checks else []
    elif any(theirs[1:] not in ((None, None), mine[1:]) for mine, theirs in zip(ours, endpoint.checks)):
        found.append("checks")
    return list(dict.fromkeys(found))


def check_facts(checks: Iterable[CheckFacts]) -> tuple[CheckFacts, ...]:
    """Return name, interval and timeout of each check, in an order that depends on nothing else.

    A time has the six digits that discovery gets.
    """
    rounded = ((name, _rounded(interval), _rounded(timeout)) for name, interval, timeout in checks)
    return tuple(sorted(rounded, key=lambda facts: (facts[0], facts[1] or 0.0, facts[2] or 0.0)))


def check_name(check: Probe) -> str:
    """Return the name of a check in discovery. Of a command it has the program only."""
    target = check.target.split()[0] if check.kind == "script" else check.target
    return f"{check.kind} {target}".strip()


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else float(f"{seconds:g}")


def _plain_differences(wanted: Service, seen: Endpoint) -> list[str]:
    theirs, ours = ({k: v for k, v in meta.items() if k != DIGEST} for meta in (seen.meta, wanted.meta))
    differs = {"name": seen.name != wanted.name, "tags": tuple(seen.tags) != wanted.tags, "meta": theirs != ours}
    return [part for part, is_so in differs.items() if is_so]
