"""
Deploy apps to environments, and operate them
=============================================

Every function ends ``salt-run`` with

====  =====================================================================================
0     done, or nothing to do
1     failed, and all is as before
2     failed, and not wholly reverted, or done but for nodes that may fail: look now
3     refused (bad input, somebody else deploys, a precondition is not met): nothing changed
====  =====================================================================================

These arguments mean the same wherever they are:

name
    The app.
env
    The environment; may be left out where there is only one.
version
    The release.
nodes
    Only these nodes (``nodes=web1,web2``).
test
    True shows what would be done and does nothing.
reason
    Why; kept in the history and shown to whom the lock stops.
"""

import contextlib
import functools
import sys

from saltdeploy import control, interrupts, verbs

__func_alias__ = {"exec_": "exec"}


def _verb(function):
    @functools.wraps(function)
    def verb(*args, **kwargs):
        result = verbs.result(function, args, kwargs)
        __context__["retcode"] = result["retcode"]
        return {"data": result, "outputter": "deploy"}

    return verb


@_verb
def app(
    name=None,
    version=None,
    env=None,
    instances=None,
    nodes=None,
    publish=True,
    test=False,
    keep=False,
    reason="",
    move=False,
    *extra,
    **kwargs,
):
    """
    Install a release beside what runs, test it, publish it, retire what it replaces. A failure
    reverts: the instances that were published before stay so. Releases beyond ``keep_releases`` are
    removed in the end.

    version
        The release; by default the one in the environment's definition.
    instances
        How many are to run; by default as many as the definition says.
    nodes
        Only these nodes; what others run is left alone.
    publish
        False starts and tests candidates and leaves them for :py:func:`publish`.
    keep
        True leaves older releases published beside the new one.
    move
        True lets an app with ``data`` leave the nodes that have its data: see :doc:`/howto/data`.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.app shop version=1.4.3
    """
    return _control().app(name, env, version, instances, nodes, publish, test, keep, reason, move)


@_verb
def plan(
    name=None,
    version=None,
    env=None,
    instances=None,
    nodes=None,
    publish=True,
    keep=False,
    move=False,
    *extra,
    **kwargs,
):
    """
    Show what :py:func:`app` with the same arguments would do.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.plan shop version=1.4.3
    """
    return _control().app(name, env, version, instances, nodes, publish, True, keep, "", move)


@_verb
def check(name=None, version=None, env=None, instances=None, nodes=None, move=False, *extra, **kwargs):
    """
    Find out whether :py:func:`app` with the same arguments could begin: the definition is valid, the
    nodes answer, Consul has a leader, nobody else deploys, there is room. Ends with 0 or 3.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.check shop version=1.4.3
    """
    return _control().check(name, env, version, instances, nodes, move)


@_verb
def publish(
    name=None, version=None, env=None, instances=None, nodes=None, test=False, keep=False, reason="", *extra, **kwargs
):
    """
    Test the candidates that ``deploy.app … publish=False`` left once more, publish them, retire what
    they replace.

    version
        The release, where candidates of several wait.
    instances
        How many must be published in the end, to replace the old; by default as many as the definition says.
    keep
        True leaves older releases published beside the new one.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.publish shop
    """
    return _control().publish(name, env, version, instances, nodes, test, keep, reason)


@_verb
def promote(name=None, env=None, test=False, reason="", *extra, **kwargs):
    """
    Go on with a deployment that is paused after its first wave (``strategy: {pause: …}``): the other
    waves follow, and the old instances are retired.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.promote shop
    """
    return _control().promote(name, env, test, reason)


@_verb
def abort(name=None, env=None, test=False, reason="", *extra, **kwargs):
    """
    Take back a deployment that is paused: what it started is retired, and the release before it serves
    as it did. If none is paused: stop the candidates that ``publish=False`` left.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.abort shop reason='too slow'
    """
    return _control().abort(name, env, test, reason)


@_verb
def rollback(name=None, version=None, env=None, skip_tests=False, test=False, reason="", move=False, *extra, **kwargs):
    """
    Deploy the last good release before the current one, as :py:func:`app` would: with tests, in waves,
    reverted if it fails. As many instances as the definition says, or as serve now if that is more.

    The last good release is the newest other one that the history has as published. One that was left
    by a rollback is not good, until it is deployed once more.

    What a blue-green deployment keeps warm is published as it is: none of it is started.

    version
        Go back to this release instead; it must be installed still.
    skip_tests
        True skips the acceptance tests, and nothing else.
    move
        As for :py:func:`app`.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.rollback shop reason='checkout is broken'
    """
    return _control().rollback(name, env, version, skip_tests, test, reason, move)


@_verb
def scale(name=None, instances=None, env=None, test=False, reason="", move=False, *extra, **kwargs):
    """
    Run another number of instances of the release that is deployed. The next :py:func:`app` without
    ``instances=`` goes by the definition's number again.

    instances
        How many are to run.
    move
        As for :py:func:`app`.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.scale shop instances=5
    """
    return _control().scale(name, env, instances, test, reason, move)


@_verb
def restart(name=None, env=None, confirm=False, test=False, reason="", *extra, **kwargs):
    """
    Restart what is published, wave by wave, and on a node one after the other: withdraw, drain,
    restart, test, publish; then wait until users find it healthy. The first failure stops it, and what
    failed stays withdrawn.

    confirm
        Must be True where there is one instance only: users have none while it restarts.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.restart shop
    """
    return _control().restart(name, env, confirm, test, reason)


@_verb
def withdraw(name=None, version=None, env=None, nodes=None, confirm=False, test=False, reason="", *extra, **kwargs):
    """
    Take instances out of discovery. They run on, as candidates: :py:func:`publish` brings them back.

    version
        Only instances of this release.
    confirm
        Must be True where no instance would be left.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.withdraw shop nodes=web1
    """
    return _control().withdraw(name, env, version, nodes, confirm, test, reason)


@_verb
def remove(name=None, env=None, confirm=False, test=False, reason="", *extra, **kwargs):
    """
    Take an app away from an environment: withdraw, drain and stop all its instances, remove its
    releases, forget what the record has. Its history stays.

    confirm
        Must be True; without it, this is refused and says what would be removed.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.remove shop confirm=True
    """
    return _control().remove(name, env, confirm, test, reason)


@_verb
def prune(name=None, env=None, test=False, reason="", *extra, **kwargs):
    """
    Remove installed releases beyond ``keep_releases``, the oldest first, from each node that answers.
    The one that is deployed, the last good one before it, and those that an instance has, stay.
    What was kept warm by a blue-green deployment is retired, if its time is over.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.prune shop
    """
    return _control().prune(name, env, test, reason)


@_verb
def test(name=None, version=None, env=None, nodes=None, *extra, **kwargs):
    """
    Run the app's tests from node, peer and master on its candidates; on what is published if there
    are none.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.test shop
    """
    return _control().test(name, env, version, nodes)


@_verb
def status(name=None, env=None, *extra, **kwargs):
    """
    Show what users find: each instance with its release, address and health, the candidates, what the
    record has and discovery has not, in what the definition differs, and who deploys just now. Asks
    discovery only, no node.

    name
        The app; all apps without it.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.status
    """
    return _control().status(name, env)


@_verb
def history(name=None, env=None, limit=None, *extra, **kwargs):
    """
    Show what was last done with an app: when, who, why, what came of it, how long each phase took.

    limit
        How many, the newest first; 10 by default, 50 are kept.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.history shop limit=3
    """
    return _control().history(name, env, limit)


@_verb
def logs(name=None, env=None, nodes=None, instance=None, lines=50, since=None, *extra, **kwargs):
    """
    Show the last lines that instances printed. Ends with 1 if a node could not be asked.

    instance
        Only the instance with this id.
    lines
        How many lines of each.
    since
        Only what was printed in the last ``10m``, ``1h`` and so on, or since a time
        (``since='2026-11-24 10:30'``, the master's time zone). Needs systemd on the nodes.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.logs shop nodes=web1 since=10m
    """
    return _control().logs(name, env, nodes, instance, lines, since)


@_verb
def exec_(name=None, command=None, env=None, instance=None, node=None, timeout=60, *extra, **kwargs):
    """
    ``deploy.exec``: run a command once, on one node, as a running instance would: in its release's
    folder, with its environment and its user. Ends with 0 if the command does, else with 1.

    command
        The command. It is split into words as a shell would, and no shell runs it. It stays in Salt's
        job cache: no secrets.
    instance
        The id of the instance; by default the first that is published.
    node
        The node; by default the instance's.
    timeout
        How long it may take, in seconds or as ``5m``; then it is killed.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.exec shop './bin/shop --version'
    """
    return _control().run(name, command, env, instance, node, timeout)


@_verb
def hooks(name=None, version=None, env=None, settle=None, *extra, **kwargs):
    """
    Show which hooks that run once have run, for which release, where and when. A deployment refuses to
    begin where one was started and no run saw its end: look at what it has done, and say so here.

    version
        Only hooks of this release.
    settle
        ``done``: what was started and not seen to end is done. ``again``: the next deployment runs it.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.hooks shop version=1.4.3 settle=done
    """
    return _control().hooks(name, env, version, settle)


@_verb
def unlock(name=None, env=None, force=False, *extra, **kwargs):
    """
    Show who holds an app's deployment lock; with ``force=True`` take it away. A run that lost its lock
    stops and writes nothing more. The lock of a dead run expires by itself.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.unlock shop force=True
    """
    return _control().unlock(name, env, force)


def _control():
    return control.Control(__opts__, _emit)


def _emit(event):
    bus = globals().get("__jid_event__")
    if bus:
        # That nobody reads any more must not stop a deployment half way.
        with contextlib.suppress(OSError), interrupts.held():
            bus.fire_event({"message": event, "outputter": "deploy"}, "progress")
            sys.stdout.flush()
