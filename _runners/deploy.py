"""
Deploy apps to environments
===========================

Every function takes ``env=``, the environment, which may be left out where there is only one, and
ends ``salt-run`` with

====  =====================================================================================
0     done, or nothing to do
1     failed, and all is as before
2     failed, and not wholly reverted: look now
3     refused (bad input, somebody else deploys, a precondition is not met): nothing changed
====  =====================================================================================
"""

import contextlib
import functools
import inspect
import signal
import sys
import threading

from salt.exceptions import CommandExecutionError, SaltInvocationError
from saltdeploy import arguments, control
from saltdeploy.errors import INTERRUPTS


def _checked(function):
    """Refuse arguments that do not fit: salt-run would print the documentation, and exit 0."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checked(*args, **kwargs):
        try:
            signature.bind(*args, **kwargs)
        except TypeError as exc:
            return _result({"verdict": f"refused, nothing was changed: {exc}", "retcode": control.REFUSED})
        return function(*args, **kwargs)

    return checked


@_checked
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
    *extra,
    **kwargs,
):
    """
    Install a release beside what runs, test it, publish it, retire what it replaces. A failure
    reverts: the instances that were published before stay so.

    name
        The app.
    version
        The release; by default the one in the environment's definition.
    env
        The environment.
    instances
        How many are to run; by default as many as the definition says.
    nodes
        Only these (``nodes=web1,web2``); what others run is left alone.
    publish
        False starts and tests candidates and leaves them for :py:func:`publish`.
    test
        True shows the plan and does nothing.
    keep
        True leaves older releases published beside the new one.
    reason
        Why; kept in the history and shown to whom the lock stops.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.app shop version=1.4.3
    """
    known = ("version", "env", "instances", "nodes", "publish", "test", "keep", "reason")
    flags = {"publish": publish, "test": test, "keep": keep}
    return _run("app", extra, kwargs, known, flags, name, env, version, instances, nodes, publish, test, keep, reason)


@_checked
def plan(name=None, version=None, env=None, instances=None, nodes=None, publish=True, keep=False, *extra, **kwargs):
    """
    Show what :py:func:`app` with the same arguments would do.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.plan shop version=1.4.3
    """
    known = ("version", "env", "instances", "nodes", "publish", "keep")
    flags = {"publish": publish, "keep": keep}
    return _run("app", extra, kwargs, known, flags, name, env, version, instances, nodes, publish, True, keep, "")


@_checked
def publish(
    name=None, version=None, env=None, instances=None, nodes=None, test=False, keep=False, reason="", *extra, **kwargs
):
    """
    Test the candidates that ``deploy.app … publish=False`` left once more, publish them, retire what
    they replace.

    name
        The app.
    version
        The release, where candidates of several wait.
    env
        The environment.
    instances
        How many must be published in the end, to replace the old; by default as many as the definition says.
    nodes
        Only these.
    test
        True shows the plan and does nothing.
    keep
        True leaves older releases published beside the new one.
    reason
        Why.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.publish shop
    """
    known = ("version", "env", "instances", "nodes", "test", "keep", "reason")
    flags = {"test": test, "keep": keep}
    return _run("publish", extra, kwargs, known, flags, name, env, version, instances, nodes, test, keep, reason)


@_checked
def test(name=None, version=None, env=None, nodes=None, *extra, **kwargs):
    """
    Run the app's tests from node, peer and master on its candidates; on what is published if there
    are none.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.test shop
    """
    return _run("test", extra, kwargs, ("version", "env", "nodes"), {}, name, env, version, nodes)


@_checked
def withdraw(name=None, version=None, env=None, nodes=None, confirm=False, test=False, reason="", *extra, **kwargs):
    """
    Take instances out of discovery. They run on, as candidates: :py:func:`publish` brings them back.

    name
        The app.
    version
        Only instances of this release.
    env
        The environment.
    nodes
        Only on these nodes.
    confirm
        Must be True where no instance would be left.
    test
        True shows the plan and does nothing.
    reason
        Why.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.withdraw shop nodes=web1
    """
    known = ("version", "env", "nodes", "confirm", "test", "reason")
    flags = {"confirm": confirm, "test": test}
    return _run("withdraw", extra, kwargs, known, flags, name, env, version, nodes, confirm, test, reason)


@_checked
def status(name=None, env=None, *extra, **kwargs):
    """
    Show what users find: each instance with its release, address and health, the candidates, what the
    record has and discovery has not, and who deploys just now. Asks discovery only, no node.

    name
        The app; all apps without it.
    env
        The environment.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.status
    """
    return _run("status", extra, kwargs, ("name", "env"), {}, name, env)


@_checked
def history(name=None, env=None, limit=None, *extra, **kwargs):
    """
    Show the last deployments of an app: when, who, why, what came of it, how long each phase took.

    name
        The app.
    env
        The environment.
    limit
        How many, the newest first; 10 by default.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.history shop limit=3
    """
    return _run("history", extra, kwargs, ("env", "limit"), {}, name, env, limit)


@_checked
def unlock(name=None, env=None, force=False, *extra, **kwargs):
    """
    Show who holds an app's deployment lock; with ``force=True`` take it away. A run that lost its lock
    stops and writes nothing more. The lock of a dead run expires by itself.

    CLI Example:

    .. code-block:: bash

        salt-run deploy.unlock shop force=True
    """
    return _run("unlock", extra, kwargs, ("env", "force"), {"force": force}, name, env, force)


def _run(function, extra, kwargs, known, flags, *args):
    """Return what the control function does; an error becomes a result: salt-run exits 0 on exceptions."""
    _hang_up_like_ctrl_c()
    try:
        arguments.unknown(extra, kwargs, known)
        for name, value in flags.items():
            arguments.flag(name, value)
        result = getattr(control.Control(__opts__, _emit), function)(*args)
    except (SaltInvocationError, CommandExecutionError) as exc:
        result = {"verdict": f"refused, nothing was changed: {exc}", "retcode": control.REFUSED}
    except INTERRUPTS:  # control reverts and returns once there is something to revert
        result = {"verdict": "interrupted, nothing was changed", "retcode": control.REFUSED}
    return _result(result)


def _result(result):
    __context__["retcode"] = result["retcode"]
    return {"data": result, "outputter": "deploy"}


def _hang_up_like_ctrl_c():
    """Make SIGHUP (the terminal is gone) an interrupt: it reverts, too. One that is ignored (nohup) stays so."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda number, frame: sys.exit(128 + number))


def _emit(event):
    bus = globals().get("__jid_event__")
    if bus:
        # That nobody reads any more must not stop a deployment half way.
        with contextlib.suppress(OSError):
            bus.fire_event({"message": event, "outputter": "deploy"}, "progress")
            sys.stdout.flush()
