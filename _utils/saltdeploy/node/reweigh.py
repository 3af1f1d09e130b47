"""The weights of this node's instances in discovery."""

from __future__ import annotations


def weigh(lifecycle, name, weights, deployment=None, after=None):
    """Give serving instances of app ``name`` the weights ``{id: weight}``. Return the ids of the changed instances.

    :param deployment: the deployment of this step.
    :param after: the deployment whose steps this step reverts.
    """
    with lifecycle.alone(name, deployment, after):
        changed = wrong(lifecycle, name, weights)
        for instance in changed:
            lifecycle.publish(name, [instance], weights[instance])
    return changed


def wrong(lifecycle, name, weights):
    """Return the ids of serving instances that do not have the weight in ``weights``."""
    serving = [i for i in lifecycle.inventory.instances(name) if i.published and i.running and i.tested]
    return [i.id for i in serving if i.weight != weights.get(i.id, i.weight)]
