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
    Return the state of this node: ``{"agent", "free", "size", "low", "instances", "releases", "undefined"}``. ``agent``
    is why its Consul agent is of no use, or empty. ``free`` and ``size`` are the bytes of the disk with releases and
    instances, and ``low`` says that nothing more is installed there. ``instances`` are the ids of all instances that
    the node keeps, and ``releases`` are the apps of which it keeps a release. ``undefined`` are apps that run here, and
    that the environment does not define.

    CLI Example:

    .. code-block:: bash

        salt web1 environment.machine
    """
    return machines.look(from_salt.lifecycle(__opts__, __pillar__, __salt__))


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
