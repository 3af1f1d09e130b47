"""Instances that a state sees to: it is applied again and again, so of what fails nothing may stay."""

from __future__ import annotations


def start(lifecycle, name, version, count, deployment, **options):
    """Start candidates as ``lifecycle.start`` does, then stop those of ``deployment`` that have not passed their tests.

    Those too that an earlier call has left, because it was killed.

    :returns: what ``lifecycle.start`` does, without the instances that were stopped.
    """
    try:
        result = lifecycle.start(name, version, count, deployment, **options)
    finally:
        failed = [i.id for i in lifecycle.host.instances(name) if _failed(i, version, deployment)]
        if failed:
            lifecycle.stop(name, failed, drain=0)
    return {**result, "instances": [i for i in result["instances"] if i["id"] not in failed]}


def _failed(instance, version, deployment):
    return (instance.version, instance.deployment) == (version, deployment) and not instance.tested
