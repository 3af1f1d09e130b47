"""Starts instances for a Salt state. States are applied repeatedly, so failed instances are stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from . import retirement

if TYPE_CHECKING:
    from .lifecycle import Lifecycle, StartResult


def start(
    lifecycle: Lifecycle,
    name: str,
    version: str,
    count: int,
    deployment: str,
    held: bool = False,
    slots: Sequence[int] | None = None,
    tests: bool = True,
    as_before: bool = False,
) -> StartResult:
    """Start candidates as ``lifecycle.start`` does, then stop the failed instances of ``deployment``.

    This includes instances that an earlier call left because it was killed.

    :returns: the result of ``lifecycle.start``, without the stopped instances.
    """
    try:
        result = lifecycle.start(name, version, count, deployment, held, slots, tests, as_before)
    finally:
        running = {i for i, state in lifecycle.runtime.states().items() if state.running}
        here = lifecycle.host.instances.recorded(name)
        mine = [i for i in here if (i.version, i.deployment) == (version, deployment)]
        failed = [i.id for i in mine if not i.tested or i.id not in running]
        if failed:
            retirement.stop(lifecycle, name, failed, drain=0)
    return replace(result, instances=[i for i in result.instances if i.id not in failed])
