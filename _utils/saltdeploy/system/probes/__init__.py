"""Tests and readiness: the answers that an instance must give before it is published."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from ...core.environment import Environment
from ...core.model import App, Probe
from ...core.redaction import hidden
from ..commands import until_its_end
from .base import Kind, ProbeFailed
from .commandprobe import Command
from .httpprobe import Http
from .scriptprobe import Script
from .tcpprobe import Tcp

__all__ = ["KINDS", "Kind", "ProbeFailed", "Result", "ask", "run", "run_from", "until_its_end"]

# Each kind of check and test that a node can run, by the name that it has in definitions.
KINDS: dict[str, Kind] = {
    "http": Http("http"),
    "https": Http("https"),
    "tcp": Tcp(),
    "script": Script(),
    "command": Command(),
}


class Result(TypedDict):
    """The result of one test."""

    test: str
    ok: bool
    detail: str
    seconds: float


def run(probe: Probe, values: Mapping[str, Any], env: Mapping[str, str] | None = None, user: str = "") -> Result:
    """Run one test against an instance and return its result, see :meth:`base.Kind.ask`.

    A failed test raises nothing.
    """
    began = time.monotonic()
    probe = KINDS[probe.kind].filled(probe, values)
    try:
        ok, detail = True, ask(probe, values, env, user)
    except ProbeFailed as exc:
        ok, detail = False, str(exc)
    return {"test": probe.describe(), "ok": ok, "detail": detail, "seconds": round(time.monotonic() - began, 3)}


def ask(probe: Probe, values: Mapping[str, Any], env: Mapping[str, str] | None = None, user: str = "") -> str:
    """Run one check or test as :func:`run` does, and return the detail of its result.

    :raises ProbeFailed: it did not pass.
    """
    return KINDS[probe.kind].ask(probe, values, env, user)


def run_from(
    origin: str, environment: Environment, app: App, targets: Iterable[Mapping[str, Any]]
) -> dict[str, list[Result]]:
    """Run an app's tests that are from ``origin`` (peer, master) on instances elsewhere.

    :param targets: instances as plain data.
    :returns: ``{"id@node": [result, …]}``
    """
    results = {}
    for target in targets:
        values = {k: target.get(k) for k in ("address", "port", "version", "node")}
        values.update(app=app.name, environment=environment.name)
        found = [run(t, values) for t in app.tests if t.origin == origin]
        for result in found:
            result["detail"] = hidden(result["detail"], app.env)
        results[f"{target['id']}@{target['node']}"] = found
    return results
