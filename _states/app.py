"""
Apps on a node
==============

Highstate uses :py:func:`deployed`: it brings back what the record says this node runs, retires what it serves in
place of others, and changes nothing else, so that it never undoes a deployment.

.. code-block:: yaml

    shop:
      app.deployed
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError
from saltdeploy.core import names, words


def room(name, app, version):
    """
    Ensure that this node's disks have room for a release, unless it is installed. Changes nothing: for the beginning
    of what does.

    name
        What the state is called.
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
    Ensure a release is installed; what runs is not touched.

    name
        The app.
    version
        The release.
    digest
        The SHA-256 of the archive that it must be made of; without it what the definition says.
    deployment
        The deployment whose step this is; it fails once that has ended on this node.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        ret["comment"] = f"{names.app(name)} {names.version(version)} is installed"
        if __salt__["app.installed"](name, version, digest):
            return ret
        ret["changes"] = {"installed": version}
        if __opts__["test"]:
            return _would(ret, f"install {name} {version}")
        __salt__["app.install"](name, version, digest, deployment)
    except (CommandExecutionError, SaltInvocationError) as exc:
        return _failed(ret, exc)
    ret["comment"] = f"{name} {version} was installed"
    return ret


def running(name, version, instances=1):
    """
    Ensure that at least so many instances of a release run here, as candidates or published: start
    and test what is missing. For nodes without a runner; a deployment publishes too.

    What fails is stopped again, so that a state that fails each time leaves no more processes each time; the comment
    has the last lines that it printed.

    name
        The app.
    version
        The release, which must be installed.
    instances
        How many.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        _ = names.app(name), names.version(version), names.whole("instances", instances, 0, names.INSTANCES)
        observed = __salt__["app.observe"](name)["instances"]
        missing = instances - len([i for i in observed if i["version"] == version and i["running"] and i["tested"]])
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
    Ensure that this node runs and publishes what the record says it does. An instance that the record does not name is
    retired, if the record has the app elsewhere and clients find all of it: this node was away when those were
    deployed. Nothing is changed while a deployment of the app is under way; nothing is retired while one is paused.

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
    Name the apps that this node runs and that its environment does not define. Nothing is changed.

    name
        Only the state's name.
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
    Ensure that no instance of an app, or of one release of it, runs here, and that the release is gone.
    Published instances are retired as in a deployment: withdrawn, drained, stopped.

    name
        The app.
    version
        The release; all of them without it.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        ret["comment"] = (
            f"{names.app(name)} is absent" if version is None else f"{name} {names.version(version)} is absent"
        )
        ids = [i["id"] for i in __salt__["app.observe"](name)["instances"] if version in (None, i["version"])]
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


def _warn(ret, warnings):
    """Add ``warnings`` to a state's result. Salt counts an empty list as one."""
    if warnings:
        ret["warnings"] = warnings


def _with(comment, warnings):
    return words.joined([comment, *warnings])


def _would(ret, what):
    return {**ret, "result": None, "comment": f"Would {what}"}


def _failed(ret, exc):
    return {**ret, "changes": {}, "result": False, "comment": str(exc)}
