"""
Consul's access control: bootstrap, policies, roles and tokens
==============================================================

The state tree uses these on one server of an environment, with what the master keeps of it.

.. code-block:: yaml

    http://127.0.0.1:8500:
      consul_acl.bootstrapped:
        - secret: {{ pillar['saltdeploy_consul']['management'] }}

    operators:
      consul_acl.policy:
        - rules: 'operator = "read"'
        - management: {{ pillar['saltdeploy_consul']['management'] }}

No secret is in what a state returns.
"""

from salt.exceptions import SaltException
from saltdeploy.core import bounds, names, tracebacks, words
from saltdeploy.discovery.acl import Acl

URL = "http://127.0.0.1:8500"


def bootstrapped(name, secret, deadline=120):
    """
    Ensure that access control was bootstrapped, with ``secret`` as the first management token.

    name
        URL of a server.
    secret
        The token, a UUID.
    deadline
        Seconds to wait for the servers to elect a leader.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "Access control is bootstrapped"}
    if __opts__["test"]:
        return {**ret, "comment": "Would bootstrap access control if nobody did", "result": None}
    try:
        bounds.check([name, secret])
        with Acl([name], token=secret) as acl:
            done = acl.bootstrap(secret, names.deadline(deadline))
    except (SaltException, *bounds.WRONG_SHAPE) as exc:
        return {**ret, "result": False, "comment": _problem(exc)}
    if done:
        ret.update(changes={"bootstrapped": name}, comment="Access control was bootstrapped")
    return ret


def policy(name, rules, management, url=URL):
    """
    Ensure a policy.

    name
        Its name.
    rules
        Its rules, in HCL.
    management
        A token that may manage access control.
    url
        A server, or an agent.
    """
    return _ensure(name, management, url, lambda acl: acl.policy(name, rules), rules)


def role(name, policies, management, url=URL):
    """
    Ensure a role.

    name
        Its name.
    policies
        The names of its policies.
    management
        A token that may manage access control.
    url
        A server, or an agent.
    """
    return _ensure(name, management, url, lambda acl: acl.role(name, policies), policies)


def token(name, accessor, secret, management, rights, url=URL):
    """
    Ensure a token.

    name
        Its description.
    accessor
        Its id, a UUID that is no secret.
    secret
        The token itself, a UUID.
    management
        A token that may manage access control.
    rights
        A mapping with ``Policies`` or ``Roles`` (lists of ``{Name: …}``), ``ServiceIdentities``, ``NodeIdentities``.
    url
        A server, or an agent.
    """
    return _ensure(
        name, management, url, lambda acl: acl.token(accessor, secret, name, rights), accessor, secret, rights
    )


def tokens_known(name, accessors, management, url=URL):
    """
    Ensure that there are no tokens of a kind but those that are known: remove the others.

    name
        What the descriptions of this kind of token begin with.
    accessors
        The ids of those that stay.
    management
        A token that may manage access control.
    url
        A server, or an agent.
    """

    def ensure(acl):
        stale = {a: d for a, d in acl.tokens(name).items() if a not in accessors}
        for accessor in () if __opts__["test"] else stale:
            acl.remove_token(accessor)
        return {"removed": sorted(stale.values())} if stale else {}

    return _ensure(name, management, url, ensure, accessors)


def _ensure(name, management, url, ensure, *given):
    ret = {"name": name, "changes": {}, "result": True, "comment": f"{words.name(name)} is as wanted"}
    try:
        bounds.check([name, management, url, *given])
        with Acl([url], token=management) as acl:
            acl.dry = __opts__["test"]
            ret["changes"] = ensure(acl)
    except (SaltException, *bounds.WRONG_SHAPE) as exc:
        return {**ret, "changes": {}, "result": False, "comment": _problem(exc)}
    if ret["changes"]:
        done = (None, f"Would change {name}") if __opts__["test"] else (True, f"{name} was changed")
        ret["result"], ret["comment"] = done
    return ret


def _problem(exc):
    """Return what is said of ``exc``; of what is no error of ours, an argument of a wrong shape is the cause."""
    said = tracebacks.told(exc) if isinstance(exc, SaltException) else f"wrong arguments: {tracebacks.told(exc)}"
    return words.message(said)
