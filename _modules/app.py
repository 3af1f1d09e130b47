"""
Instances of apps on this node
==============================

Pillar ``apps`` defines each app. Pillar ``environments`` has the settings of this node's environment. See the
reference of definitions.

The configuration of a minion may have:

.. code-block:: yaml

    saltdeploy:
      root: /srv/saltdeploy         # where releases and instances are
      runtime: systemd              # or supervisord, by default the node's init decides
      supervisord: {socket: /run/supervisor.sock, include: /etc/supervisor/conf.d}
"""

import dataclasses
import time

import saltdeploy
from saltdeploy import loader, node
from saltdeploy.core import arguments, names
from saltdeploy.node import from_salt

__virtual__ = loader.virtual


def _lifecycle(pillar=None):
    return from_salt.lifecycle(__opts__, __pillar__ if pillar is None else pillar, __salt__)


def _refreshed(wanted):
    """Return the pillar as the master has it now, if it is ``wanted``, and else None."""
    wanted = __opts__["id"] in wanted if isinstance(wanted, list) else arguments.flag("refresh", wanted)
    return from_salt.refresh(__opts__, __pillar__, __salt__) if wanted else None


def _parse_ids(value):
    return names.instances(from_salt.part(__opts__, value))


def _answer(lifecycle, ids):
    return {"instances": ids, "warnings": lifecycle.warnings}


def observe(name, refresh=False, deployment=None, compare=None):
    """
    Return the state of app ``name`` on this node for a deployment. It has the app's instances, the seconds that each
    instance has to stop, the installed releases, the data folder and the ports in use. It also has the faults of this
    node, and whether the node applies states now.

    ``editions`` has the releases whose settings are kept here, ``1.4.2`` or ``1.4.2@7`` with the number of the
    settings. Each has the settings that differ from the definition of now, or None if they were not compared:
    ``{"env": ["LOG_LEVEL"], "run": []}`` has the keys of the definition, and the names below them, without any value.

    ``prepared`` says whether an installation needs no states: the packages and the user of the app are here, and it has
    no further states. It is False without ``compare``.

    name
        The app.
    refresh
        True refreshes the pillar first, as does a list of minions on those that are in it. With ``pillar_cache``, the
        master sends the pillar that it has cached.
    deployment
        The run that has the app's lock. From now on, this node refuses jobs of earlier runs. With ``compare``,
        the settings of the definition stay as they are now for the whole run, also if it changes meanwhile.
    compare
        The release whose settings are compared with the definition, as are the settings of the instances here. By
        default nothing is compared.

    CLI Example:

    .. code-block:: bash

        salt web1 app.observe shop
    """
    compare = None if compare is None else names.version(compare)
    lifecycle, run = _lifecycle(_refreshed(refresh)), arguments.text("deployment", deployment)
    if run:
        lifecycle.begin(name, run, compare)
    return {
        **dataclasses.asdict(node.comparison.observe(lifecycle, name, compare)),
        "prepared": compare is not None and from_salt.prepared(lifecycle, name, __salt__),
        "saltdeploy": saltdeploy.__version__,
        "environment": lifecycle.environment.name,
        "applying_states": bool(__salt__["saltutil.is_running"]("state.*")),
    }


def changed(apps, refresh=False):
    """
    Return how the instances on this node have changed: ``{app: {"settings": …, "registrations": …, "restarts": …}}``.

    ``settings`` has the settings that differ from those that the instances would be started with now:
    ``{release: {key: [name]}}``. A release with numbered settings is ``1.4.2@7``. ``{"env": ["LOG_LEVEL"]}`` has the
    keys of the definition that differ, and the names below them, without any value. It is empty if nothing differs.
    ``registrations`` has the parts of a registration that differ from the definition: ``{id: ["tags", "checks"]}``.
    ``restarts`` has the instances that ``check_restart`` has restarted in the last hour: ``{id: [number, reason]}``.

    apps
        A list of their names.
    refresh
        True refreshes the pillar first.

    CLI Example:

    .. code-block:: bash

        salt web1 app.changed '[shop]'
    """
    lifecycle = _lifecycle(_refreshed(refresh))
    return {name: node.comparison.changed(lifecycle, name) for name in map(names.app, names.keys("apps", apps))}


def instances(name=None):
    """
    Return the instances on this node, each with its state according to the supervisor.

    name
        The app. By default all apps.

    CLI Example:

    .. code-block:: bash

        salt '*' app.instances shop
    """
    found = _lifecycle().inventory.describe(name)
    return {i: {**dataclasses.asdict(instance), "state": state} for i, (instance, state) in found.items()}


def releases(name):
    """
    Return the versions of an app that are installed on this node.

    name
        The app.

    CLI Example:

    .. code-block:: bash

        salt '*' app.releases shop
    """
    return _lifecycle().host.releases.versions(name)


def installed(name, version, digest=""):
    """
    Return whether a release is installed. It is an error if other content is installed under this version.

    name
        The app.
    version
        The release's version.
    digest
        The SHA-256 of the archive, or the commit, that it must be made of. By default the definition has it.

    CLI Example:

    .. code-block:: bash

        salt web1 app.installed shop 1.4.2
    """
    lifecycle = _lifecycle()
    return lifecycle.host.releases.installed(lifecycle.app(name), version, names.digest(digest))


def eligible():
    """
    Return the names of the apps that may run on this node.

    CLI Example:

    .. code-block:: bash

        salt web1 app.eligible
    """
    lifecycle = _lifecycle()
    environment, here = lifecycle.environment, lifecycle.node.name
    return [app.name for app in environment.apps.values() if here in environment.eligible(app)]


def needs(name):
    """
    Return the needs of an app's releases on this node: ``{"packages", "user", "states"}``. The user is empty if this
    minion may not make one, or if the app runs as root.

    name
        The app.

    CLI Example:

    .. code-block:: bash

        salt web1 app.needs shop
    """
    return from_salt.needs(_lifecycle().app(name))


def room(name, version):
    """
    Check that this node's disks have room for a release and that its artifact is available. Otherwise an error names
    the problem. Nothing is changed. The size of an archive is the only estimate, so :py:func:`install` checks again
    while it unpacks.

    Returns ``{"installed", "digest", "now", "packages", "warnings"}``. ``installed`` says whether the release is
    installed, and ``digest`` is the SHA-256 of its archive, or its commit. ``now`` is the SHA-256 that a file of
    digests has for it now, or the commit of its tag. ``packages`` are the packages that pip has installed. ``warnings``
    are sentences about a server that does not send the archive now.

    name
        The app.
    version
        The release's version.

    CLI Example:

    .. code-block:: bash

        salt web1 app.room shop 1.4.2
    """
    lifecycle = _lifecycle()
    return lifecycle.host.releases.room(lifecycle.app(name), version, lifecycle.fetch)


def newest(name, above="", known=None, refresh=False):
    """
    Return the newest version that the app's source has: ``{"version", "stamp"}``. For a folder (``path``), it is the
    version of its present content. For ``pip``, it is the newest version that the index offers. For an archive, it is
    the version in the file that ``latest`` names. Nothing is changed.

    name
        The app.
    above
        The deployed version. A package index is not asked for older versions.
    known
        Earlier answers, as ``{stamp: version}``. If nothing in a folder has changed since, its files are not read.
    refresh
        True refreshes the pillar first.

    CLI Example:

    .. code-block:: bash

        salt web1 app.newest shop
    """
    lifecycle = _lifecycle(_refreshed(refresh))
    above = "" if above in (None, "") else names.version(above)
    known = {} if known is None else names.answers("known", known)
    return lifecycle.host.releases.newest(lifecycle.app(name), lifecycle.fetch, above, known)


def files(name, version=None):
    """
    Look at each file that an app's definition names: the templates of ``config``, the SLS files of ``states``, and the
    login, token and Python interpreter of its ``source``. Templates and SLS files are rendered. Nothing is changed, and
    no rendered text is shown.

    Returns ``{"problems": […], "warnings": […]}``, both in sentences. A problem stops the deployment. A warning is
    about a file that only the next installation needs.

    name
        The app.
    version
        The release that is to be deployed. By default the version in the definition.

    CLI Example:

    .. code-block:: bash

        salt web1 app.files shop version=1.4.2
    """
    version = None if version is None else names.version(version)
    found = node.requiredfiles.look(_lifecycle(), names.app(name), __salt__, version)
    # state.show_low_sls has set the retcode for a mistake in an SLS. This job has an answer.
    __context__.pop("retcode", None)
    return found


def install(name, version, digest="", deployment=None, room=False):
    """
    Install a release beside the others. Return whether anything was done. The artifact is verified before it is
    unpacked. The release appears under its version when it is complete.

    The state ``app.release`` also sets up the packages, the user and further states of the app.

    name
        The app.
    version
        The release's version.
    digest
        The SHA-256 of the archive, or the commit, that it must be made of. By default the definition has it.
    deployment
        The deployment whose step this is. It is an error if that deployment has ended on this node.
    room
        True checks first that there is room for the release, as :py:func:`room` does.

    CLI Example:

    .. code-block:: bash

        salt web1 app.install shop 1.4.2
    """
    lifecycle, check = _lifecycle(), arguments.flag("room", room)
    lifecycle.host.turns.refuse_ended(names.app(name), arguments.text("deployment", deployment))
    if check:
        lifecycle.host.releases.room(lifecycle.app(name), names.version(version), lifecycle.fetch)
    return lifecycle.install(name, version, digest)


def preview(name, version):
    """
    Return the changes that the playbook of a release would make on this node (``ansible-playbook --check --diff``), as
    a list of texts. Nothing is changed. It is an error if the playbook fails in check mode. The list is empty if the
    release is installed, or if its source has no playbook.

    name
        The app.
    version
        The release's version.

    CLI Example:

    .. code-block:: bash

        salt web1 app.preview shop 1.4.2
    """
    lifecycle = _lifecycle()
    return lifecycle.host.releases.preview(lifecycle.app(name), version, lifecycle.fetch)


def start(name, version, count=1, deployment="manual", held=True, slots=None, tests=True, leave=True, as_before=False):
    """
    Start candidates of an installed release, wait until they are ready, and run the tests from the node.

    name
        The app.
    version
        The release's version.
    count
        The number of instances, or a mapping of minion id to a number.
    deployment
        The deployment whose step this is. It is an error if its revert has begun on this node.
    held
        True keeps them as candidates until they are published or stopped.
    slots
        The ports to take. By default any free ports of the app's range.
    tests
        False runs no tests, and ready instances may be published.
    leave
        True leaves failed instances as they are, so that you can look at them. False stops them. It also stops all
        other untested instances of the release that this deployment left. ``failures`` have the last lines of each
        instance's log.
    as_before
        True starts them with the settings that this node has kept of ``version``, which may have the number of its
        settings: ``1.4.2@7``. By default they get the settings of the definition.

    Returns ``{"ok", "instances", "failures", "warnings"}``.

    CLI Example:

    .. code-block:: bash

        salt web1 app.start shop 1.4.2
    """
    count = names.whole("count", from_salt.part(__opts__, count) or 0, 0, names.INSTANCES)
    slots, deployment = names.slots(slots), arguments.text("deployment", deployment)
    lifecycle, options = _lifecycle(), {"held": held, "slots": slots, "tests": tests}
    options["as_before"] = arguments.flag("as_before", as_before)
    if arguments.flag("leave", leave):
        result = lifecycle.start(name, version, count, deployment, **options)
    else:
        result = node.statestart.start(lifecycle, name, version, count, deployment, **options)
    return {**dataclasses.asdict(result), "warnings": lifecycle.warnings}


def waiting(name):
    """
    Return why starting instances of an app are not ready yet: ``{id: "is not ready after 20s: …"}``.

    name
        The app.

    CLI Example:

    .. code-block:: bash

        salt '*' app.waiting shop
    """
    return _lifecycle().waiting(name)


def stop(name, instances=None, deployment=None, drain=None, deregister_delay=None, after=None):
    """
    Retire instances: withdraw them from discovery, wait until the catalog is without them, drain and stop them. All
    processes of an instance are ended. It is an error if another process listens on its port afterwards.

    Returns ``{"instances", "warnings"}``: their ids, and a sentence on each instance that had to be killed.

    name
        The app.
    instances
        Ids, or a mapping of minion id to ids. By default all instances of the app.
    deployment
        The deployment whose step this is. It is an error if its revert has begun on this node. Without ``instances``,
        all instances of the deployment stop, and this node refuses its later steps. Deployments ``manual``, ``state``
        and ``restored`` never end, so their later steps are accepted.
    drain
        The maximum of seconds to wait for open connections. By default the strategy has it.
    deregister_delay
        The minimum of seconds that a published instance serves on after it left the catalog. By default the strategy
        has it.
    after
        The deployment whose steps this undoes. This node refuses its later steps.

    CLI Example:

    .. code-block:: bash

        salt web1 app.stop shop instances='[shop_1.4.2_20000]'
    """
    drain, deregister_delay = names.seconds("drain", drain), names.seconds("deregister_delay", deregister_delay)
    deployment, after = arguments.step(deployment, after)
    lifecycle = _lifecycle()
    ids = _parse_ids(instances)
    return _answer(lifecycle, node.retirement.stop(lifecycle, name, ids, deployment, drain, deregister_delay, after))


def restart(name, instances=None, deployment=None):
    """
    Restart instances one after the other: withdraw, drain, restart, test and publish each. Returns
    ``{"instances", "warnings"}``: their ids, and a sentence on each instance that had to be killed.

    name
        The app.
    instances
        Ids, or a mapping of minion id to ids. By default all instances of the app.
    deployment
        The run whose step this is. It is an error if that run has ended on this node.

    CLI Example:

    .. code-block:: bash

        salt web1 app.restart shop
    """
    lifecycle = _lifecycle()
    ids = _parse_ids(instances)
    return _answer(lifecycle, node.retirement.restart(lifecycle, name, ids, arguments.text("deployment", deployment)))


def reload(name, instances=None, deployment=None):
    """
    Have running instances read their files again, one after the other, as the app's ``reload`` says. Each must then
    pass its checks and the tests from the node. Return their ids. The arguments are those of :py:func:`restart`.

    CLI Example:

    .. code-block:: bash

        salt web1 app.reload shop
    """
    return node.reloading.reload(_lifecycle(), name, _parse_ids(instances), arguments.text("deployment", deployment))


def renew_config(name, instances=None, deployment=None, after=None, back=False):
    """
    Write the files of ``config`` that have another text now and that the app's ``reload`` takes in, and reload the
    instances, one after the other. An instance whose files have not changed is not reloaded. Return their ids.

    name
        The app.
    instances
        Ids, or a mapping of minion id to ids. By default all instances of the app.
    deployment
        The deployment whose step this is. It is an error if its revert has begun on this node.
    after
        The deployment whose steps this undoes. This node refuses its later steps.
    back
        True writes the files as they were before the deployment ``after``. An instance that cannot be reloaded then is
        restarted.

    CLI Example:

    .. code-block:: bash

        salt web1 app.renew_config shop
    """
    ids, step = _parse_ids(instances), arguments.step(deployment, after)
    lifecycle = _lifecycle()
    return _answer(lifecycle, node.configfiles.renew(lifecycle, name, ids, *step, arguments.flag("back", back)))


def crashed(name, instances=None):
    """
    Return the instances whose process has ended since their publication, each with the last lines that it printed:
    ``{id: text}``. A supervisor restarts a crashed process at once, so its checks may all pass.

    name
        The app.
    instances
        Ids, or a mapping of minion id to ids. By default all instances of the app.

    CLI Example:

    .. code-block:: bash

        salt web1 app.crashed shop
    """
    return _lifecycle().find_crashed(name, _parse_ids(instances))


def test(name, instances=None):
    """
    Run the app's tests from the node. Returns ``{id: [{"test", "ok", "detail", "seconds"}]}``.

    name
        The app.
    instances
        Ids, or a mapping of minion id to ids. By default all instances of the app.

    CLI Example:

    .. code-block:: bash

        salt web1 app.test shop
    """
    return _lifecycle().test(name, _parse_ids(instances))


def remove(name, version):
    """
    Remove a release from this node. Return whether it was there. It is an error if an instance runs the release.

    name
        The app.
    version
        The release's version.

    CLI Example:

    .. code-block:: bash

        salt web1 app.remove shop 1.3.0
    """
    return _lifecycle().host.releases.remove(name, version)


def logs(name, instances=None, lines=50, since=None, strict=True):
    """
    Return the last lines that instances printed: ``{id: text}``.

    name
        The app.
    instances
        Ids, or a mapping of minion id to ids. By default all instances of the app.
    lines
        The number of lines of each instance.
    since
        Only lines of the last ``10m``, ``1h`` and so on, or since a time
        (``2026-11-24 10:30``). Needs systemd: supervisord does not keep when a line was printed.
    strict
        False leaves out ids that are not on this node.

    CLI Example:

    .. code-block:: bash

        salt '*' app.logs shop lines=20
    """
    lines = arguments.count("lines", lines, 50, arguments.LINES)
    since = arguments.moment(since, time.time())
    return node.ondemand.logs(_lifecycle(), name, _parse_ids(instances), lines, since, strict)


def command(name, command, instance, timeout=60, placeholders=False):
    """
    Run a command once, as an instance of an app would: in its release's folder, with its environment
    and its user. The command is split into words as a shell would, but no shell runs it.

    Returns ``{"instance", "code", "output"}``. ``code`` is None if the command hung or could not be started.

    name
        The app.
    command
        The command.
    instance
        The id of an instance that runs here.
    timeout
        Seconds after which the command is killed.
    placeholders
        True fills in ``{address}``, ``{port}`` and so on, as in the command of a test.

    CLI Example:

    .. code-block:: bash

        salt web1 app.command shop './bin/shop --version' shop_1.4.2_20000
    """
    timeout = arguments.seconds("timeout", timeout)
    return node.ondemand.execute(_lifecycle(), name, command, names.instance(instance), timeout, placeholders)


def missing(name):
    """
    Return how this node differs from the record: ``{"instances", "reason", "superseded", "warnings"}``.

    ``instances`` are instances that should run here and do not, or that have another weight. ``reason`` says why there
    are none. ``superseded`` are instances that serve here, although clients find the recorded instances elsewhere.
    ``warnings`` name the unusable parts of the record.

    name
        The app.

    CLI Example:

    .. code-block:: bash

        salt web1 app.missing shop
    """
    lifecycle = _lifecycle()
    ids, reason = node.restoration.find_missing(lifecycle, name)
    warnings = node.restoration.find_warnings(lifecycle, name)
    old = node.superseded.find(lifecycle, name)
    return {"instances": ids, "reason": reason, "superseded": old, "warnings": warnings}


def retire(name):
    """
    Retire instances that were replaced while this node was away. Clients find the recorded instances elsewhere.
    Nothing is done while a deployment runs or is paused. Returns ``{"instances", "warnings"}``: their ids, and a
    sentence on each instance that had to be killed.

    name
        The app.

    CLI Example:

    .. code-block:: bash

        salt web1 app.retire shop
    """
    lifecycle = _lifecycle()
    return _answer(lifecycle, node.superseded.retire(lifecycle, names.app(name)))


def undefined():
    """
    Return the names of apps that this node runs or has registered without a definition in its environment.

    CLI Example:

    .. code-block:: bash

        salt '*' app.undefined
    """
    return _lifecycle().inventory.find_undefined()


def restore(name, instances=None, after=None):
    """
    Bring back instances that do not serve: install, start, test and publish them. Give all of them the recorded
    weight. Returns ``{"instances", "warnings"}``: their ids, and a sentence on each instance that had to be killed.

    name
        The app.
    instances
        Ids, or a mapping of minion id to ids. By default the missing instances.
    after
        The deployment whose steps this undoes. This node refuses its later steps.

    CLI Example:

    .. code-block:: bash

        salt web1 app.restore shop
    """
    lifecycle = _lifecycle()
    ids = node.restoration.find_missing(lifecycle, name)[0] if instances is None else _parse_ids(instances)
    return _answer(lifecycle, node.restoration.restore(lifecycle, name, ids, arguments.text("after", after)))


def clean(test=False):
    """
    Retire the instances of all apps on this node, and remove all releases. Data folders, users and packages stay. It is
    an error if a deployment is not finished, or if its record has instances on this node.

    Returns ``{"instances", "releases", "folders", "data", "warnings"}``. The first two are mappings of app to a list.
    ``folders`` are the paths that were removed, and ``data`` the paths that stay.

    test
        True changes nothing and returns what would be removed.

    CLI Example:

    .. code-block:: bash

        salt web1 app.clean test=True
    """
    host = from_salt.host(__opts__, __pillar__)
    return node.cleaning.clean(host, _lifecycle, arguments.flag("test", test))
