"""An instance as service discovery has it."""

from __future__ import annotations

from ..core.model import App, Instance, Probe
from .backend import Service

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
    app: App, instance: Instance, environment: str, candidate: bool = False, expires: float | None = None
) -> Service:
    """Return the Service for ``instance``.

    :param environment: the environment's name.
    :param candidate: whether it gets the name that clients do not look for.
    :param expires: seconds after which it leaves discovery by itself. None means never.
    """
    return Service(
        id=instance.id + (CANDIDATE if candidate else ""),
        name=app.candidate if candidate else app.name,
        address=instance.address,
        port=instance.port,
        tags=(environment, instance.version),
        meta={
            "app": app.name,
            "version": instance.version,
            "environment": environment,
            "deployment": instance.deployment,
            "minion": instance.node,
        },
        checks=checks(app, instance),
        expires=expires,
        weight=instance.weight,
    )
