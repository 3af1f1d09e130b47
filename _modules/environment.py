"""
The node as a part of its environment
=====================================
"""

from saltdeploy import loader
from saltdeploy.core import names
from saltdeploy.node import from_salt, machines

__virtual__ = loader.virtual


def machine():
    """
    Return the state of this node, a mapping with these keys.

    agent
        Why its Consul agent is of no use, or an empty text.
    free, size
        The free bytes and all bytes of the disk with releases and instances.
    low
        Whether so little is free that nothing more is installed.
    instances, releases
        The ids of all instances that the node keeps, and the apps of which it keeps a release.
    undefined
        Apps that run here and that the environment does not define.
    services
        The names of the services that its agent has registered and that are no apps.
    boot
        A text that changes with each boot.

    CLI Example:

    .. code-block:: bash

        salt web1 environment.machine
    """
    return machines.look(from_salt.lifecycle(__opts__, __pillar__, __salt__))


def reboot():
    """
    Reboot this machine in a second. ``salt-run environment.reboot`` looks first whether the node is out of use.

    CLI Example:

    .. code-block:: bash

        salt web1 environment.reboot
    """
    machines.reboot()
    return True


def facts(packages=None):
    """
    Return the facts in which this node may be unlike a node of another environment: ``{"os", "kernel", "python",
    "salt"}``, and ``packages:<name>`` with the version of each installed package.

    packages
        A list of names of packages.

    CLI Example:

    .. code-block:: bash

        salt web1 environment.facts '[python3-venv]'
    """
    return machines.facts(__grains__, from_salt.packages(__salt__, names.keys("packages", packages or [])))
