"""The weights of this node's instances in discovery."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..discovery.registration import NAMED
from . import publication

if TYPE_CHECKING:
    from .lifecycle import Lifecycle


def weigh(
    lifecycle: Lifecycle,
    name: str,
    weights: Mapping[str, int],
    deployment: str | None = None,
    after: str | None = None,
) -> list[str]:
    """Give serving instances of app ``name`` the weights ``{id: weight}``. Return the ids of the changed instances.

    :param deployment: the deployment of this step.
    :param after: the deployment whose steps this step reverts.
    """
    with lifecycle.alone(name, deployment, after):
        changed = find_wrong(lifecycle, name, weights)
        for instance in changed:
            publication.publish(lifecycle, name, [instance], weights[instance], as_before=True)
    return changed


def find_wrong(lifecycle: Lifecycle, name: str, weights: Mapping[str, int]) -> list[str]:
    """Return the ids of serving instances that do not have the weight in ``weights``."""
    serving = [i for i in lifecycle.inventory.instances(name) if i.published and i.running and i.tested]
    registered = lifecycle.inventory.registered(name)
    # A run may have been killed between the two names of an instance.
    also = {i.id: registered[i.id + NAMED].weight for i in serving if i.id + NAMED in registered}
    return [i.id for i in serving if i.id in weights and {i.weight, also.get(i.id, i.weight)} != {weights[i.id]}]
