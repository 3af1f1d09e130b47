"""
Environments, as the master's pillar defines them
=================================================

Every function ends ``salt-run`` with 0 if all is well. ``status`` ends with 1 if something is not as defined, ``diff``
if there is a difference, and ``validate`` if there is a mistake. ``up`` and ``down`` end with 1 if each app that is not
done is as it was, and with 2 if something needs a look. Any function ends with 3 if it is refused.

Argument ``name`` is the environment. You may leave it out if there is only one, but not for ``diff``.
"""

import functools

from saltdeploy import loader
from saltdeploy.master.verbs import down as take_down
from saltdeploy.master.verbs import environments, guard
from saltdeploy.master.verbs import reboot as rebooting
from saltdeploy.master.verbs import up as bring_up
from saltdeploy.master.verbs.session import of_runner

__virtual__ = loader.virtual

__func_alias__ = {"list_": "list"}


def _verb(function):
    # Salt puts the bus and the user into the module that this function is in, so each runner has its own.
    @functools.wraps(function)
    def verb(*args, **kwargs):
        return guard.ended(function, args, kwargs, __context__)

    return verb


@_verb
def list_(*extra, **kwargs):
    """
    List the environments: the base, the scale, the nodes, the apps and the mistakes of each.

    CLI Example:

    .. code-block:: bash

        salt-run environment.list
    """
    return environments.listed(_session())


@_verb
def show(name=None, *extra, **kwargs):
    """
    Show an environment as it is resolved: each value of the environment and of its apps, and the file that it is from.
    A value that may be secret is ``***``.

    CLI Example:

    .. code-block:: bash

        salt-run environment.show test
    """
    return environments.show(_session(), name)


@_verb
def up(name=None, test=False, reason="", parallel=None, wait=0, force=False, skip_absent=False, *extra, **kwargs):
    """
    Take an environment from accepted minions to running apps. Highstate is applied to the Consul servers, then to the
    other nodes, then to the load balancers. Then all apps are deployed, as ``deploy.all`` does. After a failure or
    an interrupt, run it again. It does nothing twice.

    test
        True changes nothing. It shows how many states would change something, and the plan of each app.
    reason
        The reason. The history of each app keeps it.
    parallel
        How many apps to deploy at once. By default 4.
    wait
        How long the apps wait for another run in this environment to end, for example ``5m``.
    force
        True goes beyond the ``windows`` of the environment, with a reason.
    skip_absent
        True leaves out nodes that do not answer: see :doc:`/howto/absent`.

    CLI Example:

    .. code-block:: bash

        salt-run environment.up test
    """
    return bring_up.run(_session(force, reason, skip_absent), name, test, reason, parallel, wait)


@_verb
def down(
    name=None,
    confirm=False,
    platform=False,
    data=False,
    test=False,
    reason="",
    parallel=None,
    force=False,
    *extra,
    **kwargs,
):
    """
    Remove all apps of an environment, those first that require others. The data folders of apps stay.

    confirm
        True is required.
    platform
        True also removes the platform that highstate set up: HAProxy, names and Consul or SkyDNS.
    data
        True also removes the data of the Consul servers or of etcd's members. They have the record and the history of
        all deployments.
    test
        True changes nothing, and shows the plan.
    reason
        The reason. The history of each app keeps it.
    parallel
        How many apps to remove at once. By default 4.
    force
        True goes beyond the ``windows`` of the environment, with a reason.

    CLI Example:

    .. code-block:: bash

        salt-run environment.down test confirm=True
    """
    return take_down.run(_session(force, reason), name, confirm, platform, data, test, reason, parallel)


@_verb
def status(name=None, *extra, **kwargs):
    """
    Show the state of an environment: a line for each app and each node. It ends with 0 only if all of it is as it is
    defined, and with 1 otherwise. ``deploy.status`` shows the instances of an app.

    CLI Example:

    .. code-block:: bash

        salt-run environment.status production
    """
    return environments.status(_session(), name)


@_verb
def diff(name=None, other=None, machines=True, *extra, **kwargs):
    """
    Show the differences of two environments: apps, versions, settings, packages, sources, strategies and roles by their
    definitions, and the operating system, the kernel, Python, Salt and packages on their nodes. It ends with 0 only if
    they are alike. ``scale`` and ``ignore`` explain differences: see :doc:`/howto/parity`.

    other
        The environment that it is compared with.
    machines
        False compares the definitions only, and asks no node.

    CLI Example:

    .. code-block:: bash

        salt-run environment.diff production test
    """
    return environments.diff(_session(), name, other, machines)


@_verb
def zones(name=None, nodes=None, services=False, *extra, **kwargs):
    """
    Show which machines may be rebooted together, in turns: a zone, or a single node without a zone. Consul always keeps
    a majority of its servers. Machines that are out of use already come first. Left out are the Salt master, load
    balancers, machines with services that are no apps, and Consul servers without which there is no majority.

    nodes
        Only these nodes (``nodes=web1,web2``), load balancers, too.
    services
        True includes machines with services that are no apps.

    CLI Example:

    .. code-block:: bash

        salt-run environment.zones production
    """
    return rebooting.zones(_session(), name, nodes, services)


@_verb
def reboot(name=None, nodes=None, services=False, timeout=None, test=False, reason="", force=False, *extra, **kwargs):
    """
    Reboot machines that ``deploy.evacuate`` took out of use, all at the same time. It ends when they are back and their
    Consul agents know the leader. It is refused if an instance runs there, or if Consul would have no majority of its
    servers. It ends with 2 if a machine does not come back. See :doc:`/howto/rolling-reboot`.

    nodes
        The machines (``nodes=web1,web2``).
    services
        True allows it although clients miss services that are no apps, for example a database that a state publishes.
    timeout
        How long the machines may take, in seconds or as ``10m``, which is the default.
    test
        True reboots nothing. It only checks.
    force
        True goes beyond the ``windows`` of the environment, with a reason.

    CLI Example:

    .. code-block:: bash

        salt-run environment.reboot production nodes=web1
    """
    return rebooting.run(_session(force, reason), name, nodes, services, timeout, test, reason)


@_verb
def inventory(name=None, *extra, **kwargs):
    """
    Print the nodes of an environment as an inventory of Ansible, in JSON. There is a group for the environment, for
    each role (``role_app``) and for each zone (``zone_a``). See :doc:`/howto/ansible-inventory`.

    CLI Example:

    .. code-block:: bash

        salt-run environment.inventory production
    """
    return environments.inventory(_session(), name)


@_verb
def validate(root=None, *extra, **kwargs):
    """
    Find the mistakes in all environments and apps, with file, line and key path. It needs no master daemon, no minion
    and no Consul. See also ``python -m saltdeploy validate``.

    root
        A folder of pillar. By default the ``pillar_roots`` of this master.

    CLI Example:

    .. code-block:: bash

        salt-run environment.validate
        salt-run environment.validate root=/srv/pillar
    """
    return environments.validate(_session(), root)


def _session(force=False, reason="", skip_absent=False):
    return of_runner(__opts__, globals(), force, reason, skip_absent)
