"""
Deploy apps to environments, and operate them
=============================================

Every function ends ``salt-run`` with

====  =====================================================================================
0     done, or nothing to do
1     failed and reverted, the instances that served before serve again
2     failed and not completely reverted, or some nodes were left out, so look now
3     refused, nothing changed: bad input, somebody else deploys, a precondition is not met
====  =====================================================================================

These arguments mean the same in all functions:

name
    The app.
env
    The environment. You may leave it out if there is only one. Functions that change nothing choose the only
    environment that has the app.
version
    The release.
nodes
    Only these nodes (``nodes=web1,web2``).
test
    True is a dry run: it shows the plan and changes nothing.
reason
    The reason. The history keeps it, and everybody whom the lock stops sees it.
force
    True goes beyond the ``windows`` of the environment, with a reason.
"""

import functools

from saltdeploy import loader
from saltdeploy.master import verbs
from saltdeploy.master.verbs import guard
from saltdeploy.master.verbs.session import of_runner

__virtual__ = loader.virtual

__func_alias__ = {"exec_": "exec", "all_": "all", "return_": "return"}


def _verb(function):
    # Salt puts the bus and the user into the module that this function is in, so each runner has its own.
    @functools.wraps(function)
    def verb(*args, **kwargs):
        return guard.ended(function, args, kwargs, __context__)

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
    wait=0,
    from_env=None,
    allow_drift=False,
    force=False,
    skip_absent=False,
    forget=False,
    *extra,
    **kwargs,
):
    """
    Install a release beside the running instances, test it, publish it, and retire the instances that it replaces.
    A failure reverts the deployment: the instances that were published before stay published. Releases beyond
    ``keep_releases`` are removed in the end.

    Several names (``shop,blog``) deploy several apps in one run, as ``deploy.all`` does.

    version
        The release. By default the environment's definition names it.
    instances
        The number of instances. By default the definition has it.
    nodes
        Only these nodes. Instances on other nodes are left alone.
    publish
        False starts and tests candidates and leaves them for :py:func:`publish`.
    keep
        True leaves older releases published beside the new one, and services that saltdeploy did not register. Later
        commands leave the same services there without it.
    move
        True spreads the new instances over all zones and nodes. An app with ``data`` stays on the nodes that have its
        data, and True allows it to leave them: see :doc:`/howto/data`.
    wait
        How long to wait for another run of the same app to end, for example ``5m``. By default this run is refused at
        once. It deploys the definition that it began with.
    from_env
        Another environment. The release that runs and is healthy there is deployed, with the same content: see
        :doc:`/howto/promotion`. It is refused if the two environments are unlike.
    allow_drift
        True deploys although the environments are unlike. The history keeps the differences.
    skip_absent
        True leaves out nodes that do not answer: see :doc:`/howto/absent`.
    forget
        True has the record forget instances on nodes that the environment does not have any more.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.app shop version=1.4.3
    """
    wanted = {"version": version, "instances": instances, "publish": publish, "keep": keep}
    options = {"nodes": nodes, "move": move, "wait": wait, "from_env": from_env, "allow_drift": allow_drift}
    session = _session(force, reason, skip_absent, forget)
    return verbs.several.named(session, name, env, test=test, reason=reason, **wanted, **options)


@_verb
def all_(
    env=None,
    group=None,
    test=False,
    reason="",
    wait=0,
    parallel=None,
    from_env=None,
    allow_drift=False,
    force=False,
    skip_absent=False,
    forget=False,
    *extra,
    **kwargs,
):
    """
    Deploy all apps of an environment in one run, as it defines them: first the plan of each, then each app after the
    apps that it ``requires``, and side by side where they are free. If one fails, the apps that require it are not
    begun, and the others end: see :doc:`/howto/several`. It ends with 0 if all apps are done, with 1 if each app that
    is not done is as it was, with 2 if one needs a look, and with 3 if nothing was changed.

    group
        Only the apps of this group of the environment.
    wait
        How long to wait for another run in this environment to end, for example ``5m``, and for another run of each
        app.
    parallel
        How many apps to deploy at once. By default 4.
    from_env, allow_drift
        As for :py:func:`app`: each app in the release that the other environment has accepted.
    skip_absent, forget
        As for :py:func:`app`.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.all test
    """
    options = {"wait": wait, "parallel": parallel, "from_env": from_env, "allow_drift": allow_drift}
    session = _session(force, reason, skip_absent, forget)
    return verbs.several.all_apps(session, env, group, test=test, reason=reason, **options)


@_verb
def evacuate(node=None, env=None, move=False, test=False, reason="", parallel=None, force=False, *extra, **kwargs):
    """
    Move the instances of all apps on a node to other nodes, for maintenance of the node. Until ``deploy.return``, no
    app is placed there, and the node need not answer: see :doc:`/howto/maintenance`. A node that does not answer any
    more is evacuated, too.

    node
        The node, or several nodes: ``web1,web2``.
    move
        True lets apps leave their data on the node.
    parallel
        How many apps to move at once. By default 4.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.evacuate web2 env=production reason='new disk'
    """
    return verbs.evacuate.evacuate(_session(force, reason), node, env, move, test, reason, parallel)


@_verb
def return_(node=None, env=None, test=False, reason="", parallel=None, force=False, *extra, **kwargs):
    """
    Bring an evacuated node back into use, and spread the apps evenly over all nodes again. Apps that keep data stay
    where they are.

    node
        The node, or several nodes.
    parallel
        How many apps to move at once. By default 4.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.return web2 env=production
    """
    return verbs.evacuate.come_back(_session(force, reason), node, env, test, reason, parallel)


@_verb
def approve(name=None, version=None, env=None, reason="", *extra, **kwargs):
    """
    Approve a release for an environment that has ``approvals``. Only the people that it names can do so. The last
    approval of a person counts.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.approve shop version=1.4.3 env=production
    """
    return verbs.approve.run(_session(), name, version, env, reason)


@_verb
def request(tag=None, data=None, *extra, **kwargs):
    """
    Deploy as a signed event asks, for the reactor ``salt://saltdeploy/reactor/request.sls``: see :doc:`/howto/request`.

    tag
        ``deploy/request/<environment>/<app>``
    data
        The data of the event. ``request`` is a text in JSON. ``signature`` is its HMAC with SHA-256 and the key of the
        environment, in hexadecimal digits.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.request deploy/request/test/shop '{"request": "…", "signature": "…"}'
    """
    return verbs.request.run(_session(), tag, data)


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
    skip_absent=False,
    forget=False,
    *extra,
    **kwargs,
):
    """
    Show the plan of :py:func:`app` with the same arguments. With ``--out=json``, ``actions`` has the plan as data:
    ``from`` and ``to`` (releases), ``install`` (nodes) and ``waves``. Each wave has the number of instances that start
    on each node (``start``) and the ids of the instances that it retires (``retire``).

    CLI Example:

    .. code-block:: bash

        salt-run deploy.plan shop version=1.4.3
    """
    wanted = {"version": version, "instances": instances, "publish": publish, "keep": keep}
    options = {"nodes": nodes, "move": move, "wait": 0, "from_env": None, "allow_drift": False}
    session = _session(skip_absent=skip_absent, forget=forget)
    return verbs.several.named(session, name, env, test=True, reason="", **wanted, **options)


@_verb
def check(
    name=None,
    version=None,
    env=None,
    instances=None,
    nodes=None,
    move=False,
    skip_absent=False,
    forget=False,
    *extra,
    **kwargs,
):
    """
    Check whether :py:func:`app` with the same arguments could begin: the definition is valid, the
    nodes answer, service discovery has a leader, nobody else deploys, there is room. Ends with 0 or 3.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.check shop version=1.4.3
    """
    session = _session(skip_absent=skip_absent, forget=forget)
    return verbs.check.run(session, name, env, version, instances, nodes, move)


@_verb
def watch(name=None, env=None, every=None, test=False, reason="", force=False, skip_absent=False, *extra, **kwargs):
    """
    Look whether the app's source has a newer version than the deployed one, and deploy it as :py:func:`app` would. For
    a folder (``path``), that is other content. For ``pip``, it is the newest version that the index offers. For an
    archive, it is the version in the file that ``latest`` names. A version that failed, or that somebody left with a
    rollback, is not tried again until another version came: see :doc:`/howto/watch`. An app with ``follow`` is deployed
    again if the services that it follows have other addresses.

    every
        Go on until Ctrl-C, and look again after this time, for example ``2s``. A failure does not end it. By default it
        looks once, for Salt's scheduler and for cron.
    skip_absent
        As for :py:func:`app`.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.watch shop env=test
    """
    return verbs.watch.run(_session(force, reason, skip_absent), name, env, every, test, reason)


@_verb
def publish(
    name=None,
    version=None,
    env=None,
    instances=None,
    nodes=None,
    test=False,
    keep=False,
    reason="",
    move=False,
    force=False,
    skip_absent=False,
    *extra,
    **kwargs,
):
    """
    Test the candidates that ``deploy.app … publish=False`` left once more, publish them, and retire the instances
    that they replace.

    version
        The release, if candidates of several wait.
    instances
        The number of instances that are published in the end. By default the definition has it.
    keep
        True leaves older releases published beside the new one.
    move
        True lets an app with ``data`` leave nodes that have its data.
    skip_absent
        As for :py:func:`app`.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.publish shop
    """
    session = _session(force, reason, skip_absent)
    return verbs.publish.run(session, name, env, version, instances, nodes, test, keep, reason, move)


@_verb
def promote(name=None, env=None, test=False, reason="", force=False, *extra, **kwargs):
    """
    Continue a deployment that is paused after its first wave (``strategy: {pause: …}``). The other waves follow,
    and the old instances are retired.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.promote shop
    """
    return verbs.promote.run(_session(force, reason), name, env, test, reason)


@_verb
def abort(name=None, env=None, test=False, reason="", skip_absent=False, *extra, **kwargs):
    """
    Revert a paused deployment: its instances are retired, and the release before it serves as it did. If none is
    paused, stop the candidates that ``publish=False`` left.

    skip_absent
        As for :py:func:`app`.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.abort shop reason='too slow'
    """
    return verbs.abort.run(_session(skip_absent=skip_absent), name, env, test, reason)


@_verb
def rollback(
    name=None,
    version=None,
    env=None,
    nodes=None,
    skip_tests=False,
    test=False,
    reason="",
    move=False,
    settings=None,
    skip_absent=False,
    *extra,
    **kwargs,
):
    """
    Deploy the last good release before the current one with the settings that it had, as :py:func:`app` would: with
    tests, in waves, reverted if it fails. The number of instances is the definition's, or the present number if that is
    larger.

    The last good release is the newest other release that the history has as published. The same release with other
    settings counts as another. A release that a rollback left is not good until it is deployed again. If the last
    deployment failed and was reverted, the release before it serves. The rollback then goes to a release before the
    serving release, and a warning says so.

    Nodes that still have the release come first. Instances that a blue-green deployment keeps warm are published
    without a start.

    version
        Go back to this release instead, with the last settings that it had. It must still be installed.
    settings
        Go back to the settings with this number, which :py:func:`history` shows. ``version=1.4.2 settings=0`` are the
        settings that 1.4.2 was first deployed with. A node that has not kept them starts with the settings of now, and
        the plan says so.
    nodes
        Only these nodes. Instances on other nodes are left alone.
    skip_tests
        True skips the acceptance tests only.
    move, skip_absent
        As for :py:func:`app`.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.rollback shop reason='checkout is broken'
    """
    session = _session(skip_absent=skip_absent)
    return verbs.rollback.run(session, name, env, version, nodes, skip_tests, test, reason, move, settings)


@_verb
def scale(
    name=None,
    instances=None,
    env=None,
    test=False,
    reason="",
    move=False,
    force=False,
    skip_absent=False,
    forget=False,
    *extra,
    **kwargs,
):
    """
    Run another number of instances of the deployed release. The next :py:func:`app` without ``instances=`` takes
    the definition's number again.

    instances
        The number of instances.
    move, skip_absent, forget
        As for :py:func:`app`.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.scale shop instances=5
    """
    session = _session(force, reason, skip_absent, forget)
    return verbs.scale.run(session, name, env, instances, test, reason, move)


@_verb
def restart(name=None, env=None, confirm=False, test=False, reason="", force=False, *extra, **kwargs):
    """
    Restart the published instances, wave by wave, and one after the other on a node: withdraw, drain, restart, test,
    publish, then wait until they are healthy in discovery. At most half of the serving instances are out at once.
    The first failure stops the run, and the failed instance stays withdrawn.

    confirm
        Must be True if there is only one instance, because clients have none while it restarts.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.restart shop
    """
    return verbs.restart.run(_session(force, reason), name, env, confirm, test, reason)


@_verb
def reload(name=None, env=None, test=False, reason="", force=False, *extra, **kwargs):
    """
    Have the published instances read their files again, as the app's ``reload`` says, for example after a certificate
    was renewed. It goes wave by wave, and one instance after the other on a node. Clients use them meanwhile. Each
    instance must then pass its checks and the tests from the node. The first failure stops the run.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.reload shop
    """
    return verbs.reload.run(_session(force, reason), name, env, test, reason)


@_verb
def withdraw(
    name=None, version=None, env=None, nodes=None, confirm=False, test=False, reason="", force=False, *extra, **kwargs
):
    """
    Deregister instances. They run on as candidates, and :py:func:`publish` brings them back.

    version
        Only instances of this release.
    confirm
        Must be True if no instance would be left.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.withdraw shop nodes=web1
    """
    return verbs.withdraw.run(_session(force, reason), name, env, version, nodes, confirm, test, reason)


@_verb
def remove(name=None, env=None, confirm=False, test=False, reason="", force=False, *extra, **kwargs):
    """
    Remove an app from an environment: withdraw, drain and stop all its instances, remove its releases and its
    record. Its history and its data stay. The environment need not define it any more.

    confirm
        Must be True. Otherwise the command is refused and lists the instances and releases that it would remove.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.remove shop confirm=True
    """
    return verbs.remove.run(_session(force, reason), name, env, confirm, test, reason)


@_verb
def prune(name=None, env=None, test=False, reason="", force=False, *extra, **kwargs):
    """
    Remove installed releases beyond ``keep_releases``, the oldest first, from each node that answers. The deployed
    release, the last good release before it, and releases of instances stay. Instances that a blue-green deployment
    keeps warm are retired if their time is over.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.prune shop
    """
    return verbs.prune.run(_session(force, reason), name, env, test, reason)


@_verb
def test(name=None, version=None, env=None, nodes=None, skip_absent=False, *extra, **kwargs):
    """
    Run the app's tests from node, peer and master on its candidates, or on its published instances if there are no
    candidates.

    skip_absent
        As for :py:func:`app`.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.test shop
    """
    return verbs.test.run(_session(skip_absent=skip_absent), name, env, version, nodes)


@_verb
def status(name=None, env=None, *extra, **kwargs):
    """
    Show the instances that clients find, with release, address and health. Also show candidates, other services under
    the app's name, and recorded instances that discovery does not have. Also show differences from the definition, and
    a deployment that runs now. This asks discovery only, and no node.

    name
        The app. By default all apps, including apps that run without a definition.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.status
    """
    return verbs.status.run(_session(), name, env)


@_verb
def history(name=None, env=None, limit=None, *extra, **kwargs):
    """
    Show the last runs of an app: the time, the operator, the reason, the outcome, and the duration of each phase.

    limit
        The number of runs, the newest first. 10 by default, and 50 are kept.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.history shop limit=3
    """
    return verbs.history.run(_session(), name, env, limit)


@_verb
def logs(name=None, env=None, nodes=None, instance=None, lines=50, since=None, *extra, **kwargs):
    """
    Show the last lines that instances printed. Ends with 1 if a node could not be asked.

    instance
        Only the instance with this id.
    lines
        The number of lines of each instance.
    since
        Only lines of the last ``10m``, ``1h`` and so on, or since a time
        (``since='2026-11-24 10:30'``, the master's time zone). Needs systemd on the nodes.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.logs shop nodes=web1 since=10m
    """
    return verbs.logs.run(_session(), name, env, nodes, instance, lines, since)


@_verb
def exec_(name=None, command=None, env=None, instance=None, node=None, timeout=60, *extra, **kwargs):
    """
    ``deploy.exec``: run a command once, on one node, in the release's folder of a running instance. The user and
    the environment variables come from the current definition. Ends with 0 if the command does, else with 1.

    command
        The command. It is split into words as a shell would, but no shell runs it. It stays in Salt's job cache, so do
        not write secrets in it.
    instance
        The id of the instance. By default the first published instance.
    node
        The node. By default the node of the instance.
    timeout
        How long the command may take, in seconds or as ``5m``. Then it is killed.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.exec shop './bin/shop --version'
    """
    return verbs.execute.run(_session(), name, command, env, instance, node, timeout)


@_verb
def hooks(name=None, version=None, env=None, settle=None, *extra, **kwargs):
    """
    Show which one-time hooks have run, for which release, where and when. A deployment refuses to begin if such a
    hook was started and no run saw its end. Check its effects, and settle it here.

    version
        Only hooks of this release.
    settle
        ``done`` counts a hook without a known end as done. ``again`` lets the next deployment run it.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.hooks shop version=1.4.3 settle=done
    """
    return verbs.hooks.run(_session(), name, env, version, settle)


@_verb
def unlock(name=None, env=None, force=False, *extra, **kwargs):
    """
    Show the holder of an app's deployment lock. ``force=True`` takes the lock away. A run that lost its lock
    stops and writes nothing more. The lock of a dead run expires by itself.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.unlock shop force=True
    """
    return verbs.unlock.run(_session(), name, env, force)


def _session(force=False, reason="", skip_absent=False, forget=False):
    return of_runner(__opts__, globals(), force, reason, skip_absent, forget)
