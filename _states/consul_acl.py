"""
Consul's access control: bootstrap, policies, roles and tokens
==============================================================

The state tree uses these states on one server of an environment, with the secrets that the master keeps for it.

.. code-block:: yaml

    http://127.0.0.1:8500:
      consul_acl.bootstrapped:
        - secret: {{ pillar['saltdeploy_consul']['management'] }}

    operators:
      consul_acl.policy:
        - rules: 'operator = "read"'
        - management: {{ pillar['saltdeploy_consul']['management'] }}

No state returns a secret.
"""

from salt.exceptions import SaltException
from saltdeploy import loader
from saltdeploy.core import names, tracebacks, words
from saltdeploy.discovery import accessarguments

__virtual__ = loader.virtual

URL = "http://127.0.0.1:8500"


def bootstrapped(name, secret, deadline=120):
    """
    Ensure that access control was bootstrapped, with ``secret`` as the first management token.

    name
        The URL of a server.
    secret
        The token, a UUID.
    deadline
        Seconds to wait for the servers to elect a leader.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "Access control is bootstrapped"}
    if __opts__["test"]:
        return {**ret, "comment": "Would bootstrap access control if nobody did", "result": None}
    try:
        accessarguments.check(url=name, secret=secret)
        with _acl().Acl([name], token=secret) as acl:
            done = acl.bootstrap(secret, names.deadline(deadline))
    except SaltException as exc:
        return {**ret, "result": False, "comment": _problem(exc)}
    if done:
        ret.update(changes={"bootstrapped": name}, comment="Access control was bootstrapped")
    return ret


def policy(name, rules, management, url=URL):
    """
    Ensure that a policy exists with these rules.

    name
        The name of the policy.
    rules
        Its rules, in HCL.
    management
        A token that may manage access control.
    url
        The URL of a server or of an agent.
    """
    return _ensure(name, management, url, lambda acl: acl.policy(name, rules), rules=rules)


def role(name, policies, management, url=URL):
    """
    Ensure that a role exists with these policies.

    name
        The name of the role.
    policies
        The names of its policies.
    management
        A token that may manage access control.
    url
        The URL of a server or of an agent.
    """
    return _ensure(name, management, url, lambda acl: acl.role(name, policies), policies=policies)


def token(name, accessor, secret, management, rights, url=URL):
    """
    Ensure that a token exists with these rights.

    name
        The description of the token.
    accessor
        Its id, a UUID that is no secret.
    secret
        The token itself, a UUID.
    management
        A token that may manage access control.
    rights
        A mapping with ``Policies`` or ``Roles`` (lists of ``{Name: …}``), ``ServiceIdentities``, ``NodeIdentities``.
    url
        The URL of a server or of an agent.
    """
    return _ensure(
        name,
        management,
        url,
        lambda acl: acl.token(accessor, secret, name, rights),
        accessor=accessor,
        secret=secret,
        rights=rights,
    )


def tokens_known(name, accessors, management, url=URL):
    """
    Ensure that there are no unknown tokens of a kind. Unknown tokens are removed.

    name
        The beginning of the descriptions of this kind of token.
    accessors
        The ids of the known tokens, which stay.
    management
        A token that may manage access control.
    url
        The URL of a server or of an agent.
    """

    def ensure(acl):
        stale = {a: d for a, d in acl.tokens(name).items() if a not in accessors}
        for accessor in () if __opts__["test"] else stale:
            acl.remove_token(accessor)
        return {"removed": sorted(stale.values())} if stale else {}

    return _ensure(name, management, url, ensure, accessors=accessors)


def _acl():
    from saltdeploy.discovery import acl  # it needs the library of Consul, whose absence __virtual__ tells

    return acl


def _ensure(name, management, url, ensure, **given):
    ret = {"name": name, "changes": {}, "result": True, "comment": f"{words.name(name)} is as wanted"}
    try:
        accessarguments.check(name=name, management=management, url=url, **given)
        with _acl().Acl([url], token=management) as acl:
            acl.dry = __opts__["test"]
            ret["changes"] = ensure(acl)
    except SaltException as exc:
        return {**ret, "changes": {}, "result": False, "comment": _problem(exc)}
    if ret["changes"]:
        done = (None, f"Would change {name}") if __opts__["test"] else (True, f"{name} was changed")
        ret["result"], ret["comment"] = done
    return ret


def _problem(exc):
    return words.message(tracebacks.told(exc))
