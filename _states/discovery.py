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

import time

from salt.exceptions import CommandExecutionError, SaltInvocationError
from saltdeploy.core import names, words


def published(name, service_id=None, address=None, port=None, tags=None, meta=None, checks=None, weight=None):
    """
    Ensure a service is registered with this node's agent, as given.

    name
        The service, a DNS label.
    service_id
        Its id on this agent; the name by default.
    address
        The node's by default, or an external host's.
    port
        Its port.
    tags
        A list of tags.
    meta
        A mapping of further facts.
    checks
        A list of checks as in an app's definition; by default a TCP connection to the port.
    weight
        Its part of the requests beside those of the service's others, 1 to 65535; Consul's default is 1.
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
    Ensure a service is not registered with this node's agent.

    name
        The service.
    service_id
        Its id on this agent; the name by default.
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
    Wait until this node's agent knows a leader, and lets this node in.

    name
        Any.
    deadline
        Seconds to wait.
    passing
        Wait, too, until users find all that the agent has registered: an agent that was restarted takes
        nothing for healthy before it has checked it.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "Discovery answers"}
    try:
        names.deadline(deadline)
    except SaltInvocationError as exc:
        return {**ret, "result": False, "comment": str(exc)}
    until = time.monotonic() + deadline
    while True:
        problem = _unready(passing)
        if not problem:
            return ret
        if __opts__["test"]:
            return {**ret, "result": None, "comment": f"Would wait up to {deadline}s for discovery: {problem}"}
        if time.monotonic() > until:
            return {**ret, "result": False, "comment": f"not within {deadline}s: {problem}"}
        time.sleep(0.5)


def _unready(passing):
    """Return why discovery is not ready on this node; nothing if it is."""
    try:
        __salt__["discovery.leader"]()
        failing = __salt__["discovery.failing"]() if passing else []
    except (CommandExecutionError, SaltInvocationError) as exc:
        return str(exc)
    return f"not healthy: {', '.join(failing)}; see deploy.status" if failing else ""


def resolved(name, deadline=60):
    """
    Wait until this node resolves a name to an IPv4 or IPv6 address, as every program on it does.

    name
        A name, ``consul.service.consul`` for one.
    deadline
        Seconds to wait: Consul's DNS answers nothing before its token is known.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        names.host(name)
        names.deadline(deadline)
    except SaltInvocationError as exc:
        return {**ret, "result": False, "comment": str(exc)}
    if __opts__["test"]:
        return {**ret, "comment": f"Would resolve {name}"}
    until = time.monotonic() + deadline
    while True:
        # In a process of its own: this one has read resolv.conf when it began.
        found = __salt__["cmd.run_all"](["getent", "ahosts", name], python_shell=False, ignore_retcode=True)
        if found["retcode"] == 0:
            addresses = sorted({line.split()[0] for line in found["stdout"].splitlines()})
            return {**ret, "comment": f"{name} is {', '.join(addresses)}"}
        if time.monotonic() > until:
            return {**ret, "result": False, "comment": f"{name} cannot be resolved on this node, after {deadline}s"}
        time.sleep(0.5)
