"""Instances that a state sees to: it is applied again and again, so of what fails nothing may stay."""

from __future__ import annotations


def start(lifecycle, name, version, count, deployment, **options):
    """Start candidates as ``lifecycle.start`` does, then stop those of ``deployment`` that failed: tests, or later.

    Those too that an earlier call has left, because it was killed.

    :returns: what ``lifecycle.start`` does, without the instances that were stopped.
    """
    try:
        result = lifecycle.start(name, version, count, deployment, **options)
    finally:
        running = {i for i, state in lifecycle.runtime.states().items() if state.running}
        mine = [
            i for i in lifecycle.host.instances.recorded(name) if (i.version, i.deployment) == (version, deployment)
        ]
        failed = [i.id for i in mine if not i.tested or i.id not in running]
        if failed:
            lifecycle.stop(name, failed, drain=0)
    return {**result, "instances": [i for i in result["instances"] if i["id"] not in failed]}
