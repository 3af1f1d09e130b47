"""
Apps on a node
==============

Highstate uses :py:func:`deployed`. It restores the instances that the record has on this node, and retires instances
that a deployment has replaced elsewhere. It changes nothing else, so it never undoes a deployment.

.. code-block:: yaml

    shop:
      app.deployed
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError
from saltdeploy import loader
from saltdeploy.core import editions, names, words

__virtual__ = loader.virtual


def room(name, app, version):
    """
    Ensure that this node's disks have room for a release, unless it is installed. Nothing is changed. Use it before
    the states that install the release.

    name
        The name of the state.
    app
        The app.
    version
        The release.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        __salt__["app.room"](app, version)
    except (CommandExecutionError, SaltInvocationError) as exc:
        return _failed(ret, exc)
    return {**ret, "comment": f"there is room for {app} {version}"}


def installed(name, version, digest="", deployment=None):
    """
    Ensure that a release is installed. Running instances are not touched.

    name
        The app.
    version
        The release.
    digest
        The SHA-256 of the archive, or the commit, that it must be made of. By default the definition has it.
    deployment
        The deployment whose step this is. The state fails if that deployment has ended on this node.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        ret["comment"] = f"{names.app(name)} {names.version(version)} is installed"
        if __salt__["app.installed"](name, version, digest):
            return ret
        ret["changes"] = {"installed": version}
        if __opts__["test"]:
            try:
                ret["changes"]["playbook"] = __salt__["app.preview"](name, version)
            except (CommandExecutionError, SaltInvocationError) as exc:
                _warn(ret, [f"in check mode: {exc}"])
            ret["changes"] = {key: value for key, value in ret["changes"].items() if value}
            return _would(ret, f"install {name} {version}")
        __salt__["app.install"](name, version, digest, deployment)
    except (CommandExecutionError, SaltInvocationError) as exc:
        return _failed(ret, exc)
    ret["comment"] = f"{name} {version} was installed"
    return ret


def running(name, version, instances=1):
    """
    Ensure that at least this number of instances of a release run here, as candidates or published. Missing instances
    are started and tested, but not published. This state is for nodes without a runner. A deployment also publishes.

    Failed instances are stopped again, so that a state that fails repeatedly leaves no processes. The comment has the
    last lines that they printed.

    name
        The app.
    version
        The release, which must be installed.
    instances
        The number of instances.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        _ = names.app(name), names.version(version), names.whole("instances", instances, 0, names.INSTANCES)
        observed = __salt__["app.observe"](name)["instances"]
        there = [i for i in observed if editions.release(i["version"]) == version and i["running"] and i["tested"]]
        missing = instances - len(there)
        if missing <= 0:
            ret["comment"] = f"{instances} of {name} {version} run"
            return ret
        ret["changes"] = {"started": missing}
        if __opts__["test"]:
            return _would(ret, f"start {missing} of {name} {version}")
        started = __salt__["app.start"](name, version, missing, deployment="state", leave=False)
    except (CommandExecutionError, SaltInvocationError) as exc:
        return _failed(ret, exc)
    ids = [i["id"] for i in started["instances"]]
    ret["changes"] = {"started": ids} if ids else {}
    ret["result"] = started["ok"]
    _warn(ret, started["warnings"])
    ret["comment"] = words.joined(started["failures"]) or f"{missing} of {name} {version} started"
    return ret


def deployed(name):
    """
    Ensure that this node runs and publishes the instances that the record has here. An instance that the record does
    not name is retired if the record has the app elsewhere, and clients find all recorded instances. Such an instance
    was replaced while this node was away. Nothing is changed while a deployment of the app runs. Nothing is retired
    while a deployment of the app is paused.

    name
        The app.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        found = __salt__["app.missing"](names.app(name))
        missing, old = found["instances"], found["superseded"]
        if not missing and not old:
            ret["comment"] = _with(found["reason"] or f"{name} runs here as the record says", found["warnings"])
            return ret
        ret["changes"] = {k: v for k, v in (("restored", missing), ("retired", old)) if v}
        if __opts__["test"]:
            would = [f"{what} {', '.join(ids)}" for what, ids in (("restore", missing), ("retire", old)) if ids]
            return _would(ret, _with(" and ".join(would), found["warnings"]))
        done = __salt__["app.restore"](name, missing) if missing else {"instances": [], "warnings": []}
        restored = done["instances"]
        gone = __salt__["app.retire"](name) if old else {"instances": [], "warnings": []}
        retired = gone["instances"]
        _warn(ret, [*done["warnings"], *gone["warnings"]])
    except (CommandExecutionError, SaltInvocationError) as exc:
        return _failed(ret, exc)
    ret["changes"] = {k: v for k, v in (("restored", restored), ("retired", retired)) if v}
    done = [f"{', '.join(ids)} {what}" for what, ids in ret["changes"].items()]
    ret["comment"] = _with(words.joined(done) or f"{name} runs here as the record says", found["warnings"])
    return ret


def defined(name):
    """
    Warn of apps that this node runs and that its environment does not define. Nothing is changed.

    name
        The name of the state.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "all apps that run here are defined"}
    try:
        found = __salt__["app.undefined"]()
    except (CommandExecutionError, SaltInvocationError) as exc:
        return _failed(ret, exc)
    if found:
        ret["comment"] = f"not defined: {', '.join(found)}"
        ret["warnings"] = [
            f"{app} runs here and is not defined: add it, or remove it with deploy.remove" for app in found
        ]
    return ret


def absent(name, version=None):
    """
    Ensure that no instance of an app runs here, and that its releases are gone. With ``version``, this is only about
    that release. Published instances are retired as in a deployment: withdrawn, drained and stopped.

    name
        The app.
    version
        The release. By default all releases.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        ret["comment"] = (
            f"{names.app(name)} is absent" if version is None else f"{name} {names.version(version)} is absent"
        )
        ids = [
            i["id"]
            for i in __salt__["app.observe"](name)["instances"]
            if version in (None, editions.release(i["version"]))
        ]
        releases = [r for r in __salt__["app.releases"](name) if version in (None, r)]
        if not ids and not releases:
            return ret
        ret["changes"] = {k: v for k, v in (("stopped", ids), ("removed", releases)) if v}
        if __opts__["test"]:
            return _would(ret, f"stop and remove {', '.join([*ids, *releases])}")
        if ids:
            _warn(ret, __salt__["app.stop"](name, ids)["warnings"])
        for release in releases:
            __salt__["app.remove"](name, release)
    except (CommandExecutionError, SaltInvocationError) as exc:
        return _failed(ret, exc)
    return ret


def cleaned(name):
    """
    Ensure that no instance of any app runs here, and that no release is installed. Instances are retired as in a
    deployment. Data folders stay, and the comment has their paths.

    The state fails if a deployment is not finished, or if its record has instances on this node. Highstate would bring
    such instances back. The comment has the command that moves them.

    name
        The name of the state.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "no app is here"}
    try:
        found = __salt__["app.clean"](test=__opts__["test"])
    except (CommandExecutionError, SaltInvocationError) as exc:
        return _failed(ret, exc)
    parts = (("stopped", found["instances"]), ("removed", found["releases"]), ("folders", found["folders"]))
    ret["changes"] = {k: v for k, v in parts if v}
    stays = [f"data stay in {', '.join(found['data'])}"] if found["data"] else []
    if ret["changes"] and __opts__["test"]:
        return _would(ret, words.joined(["remove all apps", *stays]))
    _warn(ret, found["warnings"])
    ret["comment"] = words.joined(["all apps were removed" if ret["changes"] else ret["comment"], *stays])
    return ret


def _warn(ret, warnings):
    """Add ``warnings`` to a state's result, unless they are empty: Salt counts an empty list as a warning."""
    if warnings:
        ret["warnings"] = warnings


def _with(comment, warnings):
    return words.joined([comment, *warnings])


def _would(ret, what):
    return {**ret, "result": None, "comment": f"Would {what}"}


def _failed(ret, exc):
    return {**ret, "changes": {}, "result": False, "comment": str(exc)}
