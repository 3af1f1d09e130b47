"""
Hooks, peer tests and removal of releases on this node
======================================================
"""

from saltdeploy import loader, node
from saltdeploy.core import arguments, names
from saltdeploy.node import from_salt

__virtual__ = loader.virtual


def _lifecycle():
    return from_salt.lifecycle(__opts__, __pillar__, __salt__)


def hook(name, phase, version, hooks, instances=None, deployment=None):
    """
    Run hooks of an app on this node, one after the other, until a hook fails. They run in the folder of a release,
    with its environment and its user. Hooks before an installation run in the folder of the app's releases, as the
    minion's own user.

    Returns ``{"node", "ran", "problem", "failed", "ended"}``. ``ran`` are the commands that ended well. ``problem`` is
    empty if there is none. ``failed`` is the key of the hook that failed. ``ended`` says whether this node saw its end.

    name
        The app.
    phase
        The key of ``hooks`` in the app's definition, for example ``before_start``.
    version
        The release. If it is not installed here, the hooks run in the release of an instance.
    hooks
        The keys of the hooks to run: ``<phase>-<beginning of the SHA-256 of the command>``.
    instances
        A mapping of minion id to the ids of the instances that the hooks are about.
    deployment
        The deployment whose step this is. It is an error if that deployment has ended on this node.

    CLI Example:

    .. code-block:: bash

        salt web1 deploy.hook shop before_start 1.4.2 '[before_start-0a1b2c3d4e5f]'
    """
    chosen, mine = names.keys("hooks", hooks), names.instances(from_salt.part(__opts__, instances) or ())
    lifecycle = _lifecycle()
    lifecycle.host.turns.refuse_ended(names.app(name), arguments.text("deployment", deployment))
    return node.hookcommands.run(lifecycle, name, names.phase(phase), names.version(version), chosen, mine)


def test_peers(name, targets):
    """
    Run the app's tests from a peer against instances on other nodes.

    name
        The app.
    targets
        A list of instances (``id``, ``node``, ``address``, ``port``, ``version``), or a mapping of
        minion id to such lists.

    CLI Example:

    .. code-block:: bash

        salt web2 deploy.test_peers shop '[{id: shop_1_80, node: web1, address: 192.0.2.1, port: 80, version: "1"}]'
    """
    return _lifecycle().test_others(name, names.targets(from_salt.part(__opts__, targets)))


def prune(name, versions, deployment=None):
    """
    Remove releases from this node. Return the versions that were there. It is an error if an instance runs such a
    release.

    name
        The app.
    versions
        A list of versions, or a mapping of minion id to such lists.
    deployment
        The run whose step this is. It is an error if that run has ended on this node.

    CLI Example:

    .. code-block:: bash

        salt web1 deploy.prune shop '["1.1.0", "1.2.0"]'
    """
    host, mine = _lifecycle().host, from_salt.part(__opts__, versions)
    host.turns.refuse_ended(names.app(name), arguments.text("deployment", deployment))
    return [version for version in names.versions(mine) if host.releases.remove(name, version)]
