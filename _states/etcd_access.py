"""
The access control of etcd
==========================

The state tree uses these states on the nodes of an environment with ``skydns``, with the secrets that the master keeps
for it.

No state returns a secret.
"""

import os

from salt.exceptions import SaltException
from saltdeploy import loader
from saltdeploy.core import names, tracebacks, words
from saltdeploy.core.errors import DiscoveryUnavailable
from saltdeploy.discovery import accessarguments, skydnsrecords
from saltdeploy.node import statewaiting

__virtual__ = loader.virtual


def present(name, password, roles, passwords, ca, environment, domain, deadline=300):
    """
    Ensure that access control is on, with these roles, and a user of the same name for each. Other users and roles
    stay, unless their names begin with ``saltdeploy-``. A role keeps its rights to a service that its node still has in
    etcd.

    name
        The URL of a member.
    password
        The password of the user ``root``.
    roles
        A mapping of name to rights. A right is a list of a key and ``READ`` or ``READWRITE``. A key that ends in ``/``
        stands for all keys that begin with it.
    passwords
        A mapping of the name of a role to the password of its user.
    ca
        The path of the CA certificate to verify etcd by.
    environment
        The name of the environment, which is a part of all its keys.
    domain
        The domain of its DNS names.
    deadline
        Seconds to wait until the members have elected a leader.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "Access control is as wanted"}
    try:
        accessarguments.check(
            name=name,
            password=password,
            roles=roles,
            passwords=passwords,
            ca=ca,
            environment=environment,
            domain=domain,
        )
        if __opts__["test"] and not os.path.exists(ca):
            raise DiscoveryUnavailable(f"{ca} is not there")
        found = _access().rights(roles)
        with _access().Access([name], password, ca, dry=__opts__["test"]) as access:
            place = skydnsrecords.Place(domain, environment)
            ret["changes"] = access.bring(found, passwords, names.deadline(deadline), place)
    except DiscoveryUnavailable as exc:
        if __opts__["test"]:
            return {**ret, "result": None, "comment": f"Would set up access control: {_problem(exc)}"}
        return {**ret, "result": False, "comment": _problem(exc)}
    except SaltException as exc:
        return {**ret, "result": False, "comment": _problem(exc)}
    if ret["changes"]:
        done = (None, "Would change access control") if __opts__["test"] else (True, "Access control was changed")
        ret["result"], ret["comment"] = done
    return ret


def startable(name, config):
    """
    Ensure that a member of etcd may start. It may not if it has no data yet, and the other members run without it: it
    would form a second cluster.

    name
        The member.
    config
        Its configuration.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": f"{words.name(name)} may start"}
    try:
        accessarguments.check(name=name, config=config)
        from saltdeploy.discovery import etcdpeers  # as in _access

        etcdpeers.refuse_second_cluster(config)
    except SaltException as exc:
        return {**ret, "result": False, "comment": _problem(exc)}
    return ret


def ready(name, urls, password, ca, key, deadline=300):
    """
    Wait until etcd lets a user in, and has a leader.

    name
        The user.
    urls
        The URLs of the members.
    password
        The password of the user.
    ca
        The path of the CA certificate to verify etcd by.
    key
        A key that the user may read.
    deadline
        Seconds to wait.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": f"etcd lets {words.name(name)} in"}
    try:
        accessarguments.check(name=name, urls=urls, password=password, ca=ca, key=key)

        def problem():
            exc = _access().refusal(urls, name, password, ca, key)
            return _problem(exc) if exc else ""

        return statewaiting.wait(ret, "etcd", problem, deadline, __opts__["test"])
    except SaltException as exc:
        return {**ret, "result": False, "comment": _problem(exc)}


def _access():
    from saltdeploy.discovery import etcdaccess  # it needs requests, whose absence __virtual__ tells

    return etcdaccess


def _problem(exc):
    return words.message(tracebacks.told(exc))
