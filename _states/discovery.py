"""
Services in discovery that are not our apps
===========================================

.. code-block:: yaml

    postgres:
      discovery.published:
        - port: 5432
        - checks:
          - tcp: true
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError
from saltdeploy import loader
from saltdeploy.core import names, words
from saltdeploy.node import statewaiting

__virtual__ = loader.virtual


def published(name, service_id=None, address=None, port=None, tags=None, meta=None, checks=None, weight=None):
    """
    Ensure that a service is registered with this node's agent, with these arguments.

    name
        The service's name, a DNS label.
    service_id
        Its id on this agent. By default the name.
    address
        Its address, for example of an external host. By default the node's address.
    port
        Its port.
    tags
        A list of tags.
    meta
        A mapping of further facts.
    checks
        A list of checks as in an app's definition. By default a TCP connection to the port.
    weight
        Its share of the requests, relative to the other instances of the service, 1 to 65535. Consul's default is 1.
    """
    given = {"service_id": service_id, "address": address, "port": port, "tags": tags, "meta": meta, "checks": checks}
    given["weight"] = weight
    service = {key: value for key, value in given.items() if value is not None}
    ret = {"name": name, "changes": {}, "result": True, "comment": f"{words.name(name)} is published"}
    try:
        wanted = __salt__["discovery.digest"](name, **service)
        found = __salt__["discovery.registered"](service_id or name)
        if found == wanted:
            return ret
        ret["changes"] = {"published" if found is None else "changed": service_id or name}
        if __opts__["test"]:
            return {**ret, "result": None, "comment": f"Would publish {name}"}
        __salt__["discovery.register"](name, **service)
    except (CommandExecutionError, SaltInvocationError) as exc:
        return {**ret, "changes": {}, "result": False, "comment": str(exc)}
    ret["comment"] = f"{name} was published"
    return ret


def withdrawn(name, service_id=None):
    """
    Ensure that a service is not registered with this node's agent.

    name
        The service's name.
    service_id
        Its id on this agent. By default the name.
    """
    target = service_id or name
    ret = {"name": name, "changes": {}, "result": True, "comment": f"{words.name(target)} is not published"}
    try:
        if __salt__["discovery.registered"](target) is None:
            return ret
        ret["changes"] = {"withdrawn": target}
        if __opts__["test"]:
            return {**ret, "result": None, "comment": f"Would withdraw {target}"}
        __salt__["discovery.deregister"](target)
    except (CommandExecutionError, SaltInvocationError) as exc:
        return {**ret, "changes": {}, "result": False, "comment": str(exc)}
    ret["comment"] = f"{target} was withdrawn"
    return ret


def ready(name, deadline=120, passing=False):
    """
    Wait until this node's agent knows a leader and lets this node in.

    name
        The name of the state.
    deadline
        Seconds to wait.
    passing
        True also waits until clients find all services that the agent has registered. A restarted agent takes no
        service for healthy before it has checked it.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "Discovery answers"}
    try:
        return statewaiting.wait(ret, "discovery", lambda: _unready(passing), deadline, __opts__["test"])
    except SaltInvocationError as exc:
        return {**ret, "result": False, "comment": str(exc)}


def _unready(passing):
    """Return why discovery is not ready on this node, or an empty text if it is."""
    try:
        __salt__["discovery.leader"]()
        failing = __salt__["discovery.failing"]() if passing else []
    except (CommandExecutionError, SaltInvocationError) as exc:
        return str(exc)
    return f"not healthy: {', '.join(failing)}. See deploy.status" if failing else ""


def left(name):
    """
    Ensure that this node's Consul agent has left its cluster, if saltdeploy set it up. The state fails if the agent is
    needed, and the comment says by which part. See :py:func:`discovery.leave <saltdeploy_modules.discovery.leave>`.

    name
        The name of the state.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "no agent of saltdeploy runs here"}
    try:
        if not __salt__["discovery.leave"](test=__opts__["test"]):
            return ret
    except (CommandExecutionError, SaltInvocationError) as exc:
        return {**ret, "result": False, "comment": str(exc)}
    if __opts__["test"]:
        return {**ret, "result": None, "changes": {"left": name}, "comment": "Would leave the cluster"}
    return {**ret, "changes": {"left": name}, "comment": "the agent has left the cluster"}


def resolved(name, deadline=60):
    """
    Wait until this node resolves a name to an IPv4 or IPv6 address, as all programs on the node do.

    name
        The name to resolve, for example ``consul.service.consul``.
    deadline
        Seconds to wait. Consul's DNS answers nothing before Consul knows its token.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}

    def problem():
        # In a process of its own, because this process read resolv.conf when it began.
        found = __salt__["cmd.run_all"](["getent", "ahosts", name], python_shell=False, ignore_retcode=True)
        addresses = sorted({line.split()[0] for line in found["stdout"].splitlines()})
        ret["comment"] = f"{name} is {', '.join(addresses)}"
        return f"{name} cannot be resolved on this node" if found["retcode"] else ""

    try:
        names.host(name)
        if __opts__["test"]:
            names.deadline(deadline)
            return {**ret, "comment": f"Would resolve {name}"}
        return statewaiting.wait(ret, name, problem, deadline, test=False)
    except SaltInvocationError as exc:
        return {**ret, "result": False, "comment": str(exc)}
