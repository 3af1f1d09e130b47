"""An instance as service discovery has it."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import asdict, replace

from ..core import analysis
from ..core.model import DIGEST, OWN_META, App, Instance, Probe
from .backend import Endpoint, Service

# The end of an instance's id in discovery while it is a candidate.
CANDIDATE = "_candidate"


def checks(app: App, instance: Instance) -> tuple[Probe, ...]:
    """Return the checks of an instance, by default that its port is listened on, or that it runs."""
    return app.checks or ((Probe("tcp", ""),) if instance.port else _running(instance))


def _running(instance: Instance) -> tuple[Probe, ...]:
    """Return the checks of an instance without a port. An instance that an older version started has no checks."""
    return (Probe("http", "/running", port=instance.watch),) if instance.watch else ()


def first_result(app: App) -> float:
    """Return how long discovery may take until each check of ``app`` has had a result of its own, in seconds.

    Consul runs a new check for the first time at a random moment within its interval.
    """
    slowest = max(c.interval + c.timeout for c in app.checks or (Probe("tcp", ""),))
    return min(slowest, app.strategy.healthy_deadline)


def of(
    app: App, instance: Instance, environment: str, key: bytes, candidate: bool = False, expires: float | None = None
) -> Service:
    """Return the Service for ``instance``, with its digest.

    :param environment: the environment's name.
    :param key: the node's key, see :func:`sealed`.
    :param candidate: whether it gets the name that clients do not look for.
    :param expires: seconds after which it leaves discovery by itself. None means never.
    """
    values = {
        "app": app.name,
        "version": instance.version,
        "environment": environment,
        "node": instance.node,
        "address": instance.address,
        "port": instance.port,
    }
    known = {name: value for name, value in values.items() if value is not None}
    own = (app.name, instance.version, environment, instance.deployment, instance.node)
    service = Service(
        id=instance.id + (CANDIDATE if candidate else ""),
        name=app.candidate if candidate else app.name,
        address=instance.address,
        port=instance.port,
        tags=(environment, instance.version, *(analysis.fill(tag, known) for tag in app.service.tags)),
        meta={
            **{name: analysis.fill(text, known) for name, text in app.service.meta.items()},
            **dict(zip(OWN_META, own)),
        },
        checks=checks(app, instance),
        expires=expires,
    )
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


def differences(wanted: Service, seen: Endpoint, count: int) -> list[str]:
    """Return the parts in which a registration differs from ``wanted``: ``name``, ``tags``, ``meta`` or ``checks``.

    :param seen: the registration as the agent has it.
    :param count: how many checks the agent has for it.
    """
    digest, meta = seen.meta.get(DIGEST), {k: v for k, v in seen.meta.items() if k != DIGEST}
    found = []
    if seen.name != wanted.name:
        found.append("name")
    if tuple(seen.tags) != wanted.tags:
        found.append("tags")
    if meta != {k: v for k, v in wanted.meta.items() if k != DIGEST}:
        found.append("meta")
    # A part that somebody has changed by hand is not in the digest.
    if count != len(wanted.checks) or (digest != wanted.meta[DIGEST] and not found):
        found.append("checks")
    return found
