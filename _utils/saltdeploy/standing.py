"""Starts instances for a Salt state. States are applied repeatedly, so instances that failed are stopped."""

from __future__ import annotations


def start(lifecycle, name, version, count, deployment, **options):
    """Start candidates as ``lifecycle.start`` does, then stop the instances of ``deployment`` that failed.

    An instance failed if it did not pass its tests, or does not run any more. An earlier call that was killed may have
    left such instances. They are stopped, too.

    :returns: the result of ``lifecycle.start``, without the instances that were stopped.
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
