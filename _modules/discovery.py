"""
Service discovery from this node
================================

Publish and withdraw instances of apps. Register other services, for example a database or an external host. Find
instances and services. All functions use the node's own agent, which pillar ``environments:<name>:discovery``
configures.
"""

from saltdeploy import loader, node
from saltdeploy.core import arguments, names
from saltdeploy.core.model import DIGEST
from saltdeploy.discovery.registration import sealed
from saltdeploy.node import from_salt

__virtual__ = loader.virtual


def _lifecycle():
    return from_salt.lifecycle(__opts__, __pillar__, __salt__)


def _agent():
    return node.localservices.agent(__opts__["id"], __pillar__)


def _service(name, given):
    """Return the Service that :py:func:`register` registers, with its digest."""
    service = node.localservices.service(__opts__["id"], __pillar__, name, **_public(given))
    return sealed(service, from_salt.host(__opts__, __pillar__).key)


def _parse_ids(value):
    return names.instances(from_salt.part(__opts__, value))


def publish(name, instances=None, weight=None, deployment=None, after=None):
    """
    Publish instances of an app that passed their tests. Returns their ids.

    name
        The app.
    instances
        Ids, or a mapping of minion id to ids. By default all instances of the app on this node.
    weight
        The weight of each instance, 1 to 65535. By default each instance keeps its weight.
    deployment
        The deployment whose step this is. It is an error if its revert has begun on this node.
    after
        The deployment whose steps this undoes. This node refuses its later steps.

    CLI Example:

    .. code-block:: bash

        salt web1 discovery.publish shop
    """
    lifecycle, checked = _lifecycle(), node.localservices.check_weight(name, weight)
    ids, step = _parse_ids(instances), arguments.step(deployment, after)
    with lifecycle.alone(name, *step):
        return node.publication.publish(lifecycle, name, ids, checked, as_before=after is not None)


def weigh(name, weights, deployment=None, after=None):
    """
    Give published instances of an app these weights. Returns the ids of the instances whose weight changed.

    name
        The app.
    weights
        A mapping of id to weight, 1 to 65535, or a mapping of minion id to such mappings.
    deployment
        The deployment whose step this is. It is an error if its revert has begun on this node.
    after
        The deployment whose steps this undoes. This node refuses its later steps.

    CLI Example:

    .. code-block:: bash

        salt web1 discovery.weigh shop '{shop_1.4.2_20000: 25600}'
    """
    checked, step = node.localservices.check_weights(__opts__["id"], weights), arguments.step(deployment, after)
    return node.reweigh.weigh(_lifecycle(), name, checked, *step)


def register_again(name, instances=None, deployment=None, after=None, back=False, test=False):
    """
    Register published instances of an app as they are defined now. They run on, and clients find them all the time. It
    is an error if a check of the new registration does not pass. Then nothing is changed. Returns their ids.

    name
        The app.
    instances
        Ids, or a mapping of minion id to ids. By default all instances of the app on this node.
    deployment
        The deployment whose step this is. It is an error if its revert has begun on this node.
    after
        The deployment whose steps this undoes. This node refuses its later steps.
    back
        True registers them as they were before the deployment ``after``.
    test
        True only runs the checks of the new registration.

    CLI Example:

    .. code-block:: bash

        salt web1 discovery.register_again shop
    """
    ids, step = _parse_ids(instances), arguments.step(deployment, after)
    back, test = arguments.flag("back", back), arguments.flag("test", test)
    return node.registrations.register_again(_lifecycle(), name, ids, *step, back, test)


def withdraw(name, instances=None, held=True, deployment=None, after=None):
    """
    Take instances of an app out of discovery. They run on as candidates. Returns their ids once the
    catalog is without them.

    name
        The app.
    instances
        Ids, or a mapping of minion id to ids. By default all instances of the app on this node.
    held
        True lets them wait for ``deploy.publish``. False lets the next deployment stop them, unless the
        record has them as warm.
    deployment
        The deployment whose step this is. It is an error if its revert has begun on this node.
    after
        The deployment whose steps this undoes. This node refuses its later steps.

    CLI Example:

    .. code-block:: bash

        salt web1 discovery.withdraw shop
    """
    lifecycle, ids, step = _lifecycle(), _parse_ids(instances), arguments.step(deployment, after)
    with lifecycle.alone(name, *step):
        return node.publication.withdraw(lifecycle, name, ids, held)


def leader():
    """
    Return the address of the leader that this node's agent knows, once the agent lets this node in. It is an error if
    there is no leader.

    CLI Example:

    .. code-block:: bash

        salt web1 discovery.leader
    """
    with _agent() as agent:
        return agent.leader()


def failing():
    """
    Return the ids of the services that this node's agent has registered and that clients do not find. A check of such
    a service does not pass, or has not run yet.

    CLI Example:

    .. code-block:: bash

        salt web1 discovery.failing
    """
    with _agent() as agent:
        return agent.failing()


def find(name, passing=True):
    """
    Return the endpoints of a service: a list of ``{"address", "host", "port", "id", "node", "tags", "meta",
    "status", "weight"}``. It is empty if there is no endpoint. ``host`` is the address for use in a URL, with IPv6 in
    brackets.

    name
        The service.
    passing
        True returns only endpoints whose checks pass.

    .. code-block:: jinja

        {% for db in salt['discovery.find']('postgres') %}{{ db.host }}:{{ db.port }} {% endfor %}

    CLI Example:

    .. code-block:: bash

        salt web1 discovery.find postgres
    """
    with _agent() as agent:
        keys = ("address", "host", "port", "id", "node", "meta", "status", "weight")
        found = agent.instances(node.localservices.identifier(name), passing=passing)
        return [{k: getattr(e, k) for k in keys} | {"tags": list(e.tags)} for e in found]


def frontends():
    """
    Return the frontends of a load balancer on this node: a list of ``{"app", "record", "weighted", "port", "mode",
    "timeout", "trusted_proxies", "slots"}``. ``record`` is the name of the SRV records of its instances, and
    ``weighted`` says whether their weights count. ``timeout`` is in milliseconds. ``slots`` is the number of instances
    that it has room for, of the old and the new release together.

    CLI Example:

    .. code-block:: bash

        salt lb1 discovery.frontends
    """
    return node.localservices.frontends(__opts__["id"], __pillar__)


def health_agent():
    """
    Return the settings of this node's health agent, without its password and its token. The mapping is empty if the
    node's environment has no SkyDNS.

    CLI Example:

    .. code-block:: bash

        salt web1 discovery.health_agent
    """
    return node.localservices.health_agent(__opts__["id"], __pillar__)


def etcd_rights():
    """
    Return the rights of each user at the etcd that highstate sets up: user -> a list of a key and ``READ`` or
    ``READWRITE``. A key that ends in ``/`` stands for all keys that begin with it.

    CLI Example:

    .. code-block:: bash

        salt web1 discovery.etcd_rights
    """
    found = node.etcdrights.rights(__opts__["id"], __pillar__)
    return {user: [list(right) for right in some] for user, some in found.items()}


def domain():
    """
    Return the domain that this node's resolver asks service discovery for: ``consul``, or the domain of SkyDNS.

    CLI Example:

    .. code-block:: bash

        salt web1 discovery.domain
    """
    return node.localservices.domain(__opts__["id"], __pillar__)


def upstream(mark):
    """
    Return the name servers that this node's resolver asks for names outside of discovery (``dns:upstream``).

    mark
        The character between address and port: ``#`` for dnsmasq, ``@`` for unbound.

    CLI Example:

    .. code-block:: bash

        salt web1 discovery.upstream '#'
    """
    return node.localservices.upstream(__opts__["id"], __pillar__, mark)


def recursors():
    """
    Return the name servers that Consul, or CoreDNS, on this node asks for names that are not its own.

    They are the servers in ``dns:upstream``. Without it, they are the servers that the node itself asked before
    saltdeploy set up a resolver.

    CLI Example:

    .. code-block:: bash

        salt web1 discovery.recursors
    """
    return node.localservices.recursors(__opts__["id"], __pillar__)


def registered(service_id):
    """
    Return the digest of the service that this node's agent has registered under an id, None if there is none.

    service_id
        The service's id.

    CLI Example:

    .. code-block:: bash

        salt db1 discovery.registered postgres
    """
    with _agent() as agent:
        found = agent.registered().get(node.localservices.identifier(service_id))
    return None if found is None else found.meta.get(DIGEST, "")


def digest(name, **service):
    """
    Return the digest that a service has if :py:func:`register` registers it with these arguments.

    CLI Example:

    .. code-block:: bash

        salt db1 discovery.digest postgres port=5432
    """
    return _service(name, service).meta[DIGEST]


def register(name, **service):
    """
    Register a service that is no app of saltdeploy with this node's agent. Returns its id.

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

    CLI Example:

    .. code-block:: bash

        salt db1 discovery.register postgres port=5432 checks='[{tcp: true}]'
    """
    found = _service(name, service)
    with _agent() as agent:
        agent.publish(found)
    return found.id


def deregister(service_id):
    """
    Deregister a service that :py:func:`register` registered. An unknown id is no error.

    service_id
        The service's id.

    CLI Example:

    .. code-block:: bash

        salt db1 discovery.deregister postgres
    """
    with _agent() as agent:
        agent.withdraw(node.localservices.identifier(service_id))
    return service_id


def leave(test=False):
    """
    Have this node's Consul agent leave its cluster and end. Returns False if no agent that saltdeploy set up runs here.

    It is an error if the agent is needed. It has services then, or the resolver or the load balancer of this node asks
    it. Or it is a server, and the environment still has it as a server, or the others would have no quorum.

    test
        True changes nothing, and only looks whether the agent may leave.

    CLI Example:

    .. code-block:: bash

        salt web1 discovery.leave test=True
    """
    from saltdeploy.node import leaving  # it needs the library of Consul, whose absence __virtual__ tells

    service = leaving.Service(
        lambda: bool(__salt__["service.status"](leaving.SERVICE)), lambda: __salt__["service.reload"](leaving.SERVICE)
    )
    return leaving.leave(__opts__["id"], __pillar__, service, arguments.flag("test", test))


def _public(kwargs):
    return {k: v for k, v in kwargs.items() if not k.startswith("__")}
