"""
Service discovery from this node
================================

Publish and withdraw instances of apps, register services that are not our apps (a database, an
external host), and find any of them. The node's own agent is asked: pillar
``environments:<name>:discovery``.
"""

from saltdeploy.core import arguments, names
from saltdeploy.node import from_salt, localservices, reweigh


def _lifecycle():
    return from_salt.lifecycle(__opts__, __pillar__, __salt__)


def _agent():
    return localservices.agent(__opts__["id"], __pillar__)


def _ids(value):
    return names.instances(from_salt.mine(__opts__, value))


def publish(name, instances=None, weight=None, deployment=None, after=None):
    """
    Put instances of an app that passed their tests into discovery. Returns their ids.

    name
        The app.
    instances
        Ids; or a mapping of minion id to ids; all of the app's on this node by default.
    weight
        The weight of each, 1 to 65535; by default the one it had.
    deployment
        The deployment whose step this is; an error once its way back has begun on this node.
    after
        The deployment whose steps this undoes: nothing is done for it on this node any more.

    CLI Example:

    .. code-block:: bash

        salt web1 discovery.publish shop
    """
    lifecycle, checked = _lifecycle(), localservices.check_weight(name, weight)
    ids, step = _ids(instances), arguments.step(deployment, after)
    with lifecycle.alone(name, *step):
        return lifecycle.publish(name, ids, checked)


def weigh(name, weights, deployment=None, after=None):
    """
    Give published instances of an app other weights, where they have others. Returns the ids of those.

    name
        The app.
    weights
        A mapping of id to weight, 1 to 65535; or a mapping of minion id to such mappings.
    deployment
        The deployment whose step this is; an error once its way back has begun on this node.
    after
        The deployment whose steps this undoes: nothing is done for it on this node any more.

    CLI Example:

    .. code-block:: bash

        salt web1 discovery.weigh shop '{shop_1.4.2_20000: 25600}'
    """
    checked, step = localservices.check_weights(__opts__["id"], weights), arguments.step(deployment, after)
    return reweigh.weigh(_lifecycle(), name, checked, *step)


def withdraw(name, instances=None, held=True, deployment=None, after=None):
    """
    Take instances of an app out of discovery; they run on, as candidates. Returns their ids, once the
    catalog is without them.

    name
        The app.
    instances
        Ids; or a mapping of minion id to ids; all of the app's on this node by default.
    held
        Whether they wait for ``deploy.publish``. If not, the next deployment stops them, unless the
        record has them as warm.
    deployment
        The deployment whose step this is; an error once its way back has begun on this node.
    after
        The deployment whose steps this undoes: nothing is done for it on this node any more.

    CLI Example:

    .. code-block:: bash

        salt web1 discovery.withdraw shop
    """
    lifecycle, ids, step = _lifecycle(), _ids(instances), arguments.step(deployment, after)
    with lifecycle.alone(name, *step):
        return lifecycle.withdraw(name, ids, held)


def leader():
    """
    Return the address of the leader that this node's agent knows, once it lets this node in. An error if
    there is none.

    CLI Example:

    .. code-block:: bash

        salt web1 discovery.leader
    """
    with _agent() as agent:
        return agent.leader()


def failing():
    """
    Return the ids of what this node's agent has registered and users do not find: a check of it does not
    pass, or has not run yet.

    CLI Example:

    .. code-block:: bash

        salt web1 discovery.failing
    """
    with _agent() as agent:
        return agent.failing()


def find(name, passing=True):
    """
    Return the endpoints of a service: a list of ``{"address", "host", "port", "id", "node", "tags", "meta",
    "status", "weight"}``, ``[]`` if there is none. ``host`` is the address as a URL has it: IPv6 in brackets.

    name
        The service.
    passing
        Only those whose checks pass.

    .. code-block:: jinja

        {% for db in salt['discovery.find']('postgres') %}{{ db.host }}:{{ db.port }} {% endfor %}

    CLI Example:

    .. code-block:: bash

        salt web1 discovery.find postgres
    """
    with _agent() as agent:
        keys = ("address", "host", "port", "id", "node", "meta", "status", "weight")
        found = agent.instances(localservices.identifier(name), passing=passing)
        return [{k: getattr(e, k) for k in keys} | {"tags": list(e.tags)} for e in found]


def frontends():
    """
    Return what a load balancer on this node listens on: a list of ``{"app", "port", "mode", "timeout",
    "trusted_proxies", "slots"}``. ``timeout`` is in milliseconds. ``slots`` is how many instances it has
    room for, of the old and the new release together.

    CLI Example:

    .. code-block:: bash

        salt lb1 discovery.frontends
    """
    return localservices.frontends(__opts__["id"], __pillar__)


def upstream(mark):
    """
    Return the name servers that this node's resolver asks for names that are not Consul's (``dns:upstream``).

    mark
        The character between address and port: ``#`` for dnsmasq, ``@`` for unbound.

    CLI Example:

    .. code-block:: bash

        salt web1 discovery.upstream '#'
    """
    return localservices.upstream(__opts__["id"], __pillar__, mark)


def recursors():
    """
    Return the name servers that Consul on this node asks for names that are not its own.

    They are those of ``dns:upstream``. Without it, they are the servers that the node itself asked before a resolver of
    saltdeploy was set up.

    CLI Example:

    .. code-block:: bash

        salt web1 discovery.recursors
    """
    return localservices.recursors(__opts__["id"], __pillar__)


def registered(service_id):
    """
    Return the digest of what this node's agent has registered under an id, None if nothing is.

    service_id
        The service's id.

    CLI Example:

    .. code-block:: bash

        salt db1 discovery.registered postgres
    """
    with _agent() as agent:
        found = agent.registered().get(localservices.identifier(service_id))
    return None if found is None else found.meta.get("digest", "")


def digest(name, **service):
    """
    Return the digest that :py:func:`register` with these arguments would leave.

    CLI Example:

    .. code-block:: bash

        salt db1 discovery.digest postgres port=5432
    """
    return localservices.service(__opts__["id"], __pillar__, name, **_public(service)).digest


def register(name, **service):
    """
    Register a service that is not one of our apps with this node's agent. Returns its id.

    name
        The service's name, a DNS label.
    service_id
        Its id on this agent; the name by default.
    address
        Its address: the node's by default, or an external host's.
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

    CLI Example:

    .. code-block:: bash

        salt db1 discovery.register postgres port=5432 checks='[{tcp: true}]'
    """
    registration = localservices.service(__opts__["id"], __pillar__, name, **_public(service))
    with _agent() as agent:
        agent.publish(registration)
    return registration.id


def deregister(service_id):
    """
    Take what :py:func:`register` registered out of discovery. An unknown id is no error.

    service_id
        The service's id.

    CLI Example:

    .. code-block:: bash

        salt db1 discovery.deregister postgres
    """
    with _agent() as agent:
        agent.withdraw(localservices.identifier(service_id))
    return service_id


def _public(kwargs):
    return {k: v for k, v in kwargs.items() if not k.startswith("__")}
