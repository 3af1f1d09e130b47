"""Finds services under an app's name in discovery that are no instances of its environment. Pure: no I/O.

An instance belongs to an app in an environment if it has such an id, and a node of the environment registered it.
Every other service that clients find under the app's name is a Stranger.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from ..core import shapes
from ..core.errors import Refused
from ..core.versions import argument
from ..discovery import Endpoint
from ..discovery.registration import CANDIDATE


class Kind(str, enum.Enum):
    """The kinds of Strangers."""

    OUTSIDE = "outside"  # an instance of this environment, on a minion that is no node of it
    OTHER = "other"  # an instance in another environment that has the same Consul
    FOREIGN = "foreign"  # a service that saltdeploy did not register
    STALE = "stale"  # an entry of the catalog that the node's own agent does not have


@dataclass(frozen=True)
class Stranger:
    """A service under an app's name that is no instance of the app in its environment."""

    kind: Kind
    endpoint: Endpoint

    @property
    def serves(self):
        """Whether clients get it, now or when its check passes again, because its agent answers."""
        return self.endpoint.alive

    @property
    def environment(self):
        return self.endpoint.meta.get("environment", "")


def divide(endpoints, app, environment, known=frozenset()):
    """Return the Endpoints that belong to app ``app`` in ``environment``, and a Stranger for each other Endpoint.

    :param app: the app's name.
    :param known: ``(node, id)`` of instances that nodes of the environment say they have.
    """
    ours, strangers = [], []
    for found in endpoints:
        endpoint = _placed(found, environment)
        kind = _kind(endpoint, app, environment, known)
        if kind:
            strangers.append(Stranger(kind, endpoint))
        else:
            ours.append(endpoint)
    return ours, strangers


def of_environment(endpoints, environment):
    """Return the ``endpoints`` that clients in ``environment`` are meant to use, without other environments.

    :param environment: its name.
    """
    return [e for e in endpoints if e.meta.get("environment", environment) == environment]


def stale(ours, registered):
    """Return a Stranger for each of the Endpoints ``ours`` that its node's own agent does not have.

    :param registered: node -> ids that its agent has, without nodes that nobody asked.
    """
    lost = [e for e in ours if e.minion in registered and instance(e) not in registered[e.minion]]
    return [Stranger(Kind.STALE, e) for e in lost]


def instance(endpoint):
    """Return the id of the instance that ``endpoint`` is, candidate or not."""
    return endpoint.id.removesuffix(CANDIDATE)


def _placed(endpoint, environment):
    """Return ``endpoint`` with the minion that it is on, even if its registration does not name the minion."""
    if "minion" in endpoint.meta or endpoint.node in environment.nodes:
        return endpoint
    there = [node.name for node in environment.nodes.values() if node.address == endpoint.address]
    return replace(endpoint, meta={**endpoint.meta, "minion": there[0]}) if there else endpoint


def _kind(endpoint, app, environment, known):
    """Return the Kind of a stranger, None for an instance that belongs here."""
    # A renamed minion has registered the instance under its old name, at its address.
    places = {endpoint.minion, *(n.name for n in environment.nodes.values() if n.address == endpoint.address)}
    if any((place, instance(endpoint)) in known for place in places):
        return None
    if not shapes.is_of(instance(endpoint), app):
        return Kind.FOREIGN
    its = endpoint.meta.get("environment")
    if its not in (None, environment.name):
        return Kind.OTHER
    if endpoint.minion in environment.nodes:
        return None
    return Kind.OUTSIDE if its else Kind.FOREIGN


# -- in words ---------------------------------------------------------------------------------


def refuse(strangers, app, environment, tolerated=(), deployed=""):
    """Raise Refused, with advice, if clients of ``app`` get one of ``strangers``.

    :param app, environment: their names.
    :param deployed: the release that the record has. An advised deployment must not change it.
    :param tolerated: kinds that may stay.
    """
    wrong = {}
    for s in strangers:
        if s.serves and s.kind not in tolerated:
            wrong.setdefault((s.kind, s.environment), []).append(s.endpoint)
    if wrong:
        release = f" {argument(deployed)}" if deployed else ""
        deploy = f"salt-run deploy.app {app}{release} env={environment}"
        said = [ADVICE[kind](ends, app, environment, its, deploy) for (kind, its), ends in wrong.items()]
        raise Refused(" ".join(said))


def told(stranger, app, environment):
    """Return a description of ``stranger``, as a sentence."""
    endpoint = stranger.endpoint
    what = {
        Kind.OUTSIDE: f"{endpoint.minion} is no node of {environment}",
        Kind.OTHER: f"environment {stranger.environment} has it in the same Consul",
        Kind.FOREIGN: f"it is registered as `{app}`, and not by saltdeploy",
        Kind.STALE: f"the Consul agent of {endpoint.minion} does not have it",
    }
    return f"{where(endpoint)}: {what[stranger.kind]}"


def where(endpoint):
    """Return a service with its place, for a message."""
    return f"{endpoint.id} on {endpoint.minion}"


def _outside(endpoints, app, environment, _its, deploy):
    nodes = {e.minion: f"{e.minion}: {{address: {e.address}, roles: [leaving]}}" for e in endpoints}
    it, are = ("it", "is") if len(nodes) == 1 else ("them", "are")
    are = f"{', '.join(nodes)} {are}"
    return (
        f"Clients of {app} get {_list(endpoints)}, and {are} no node of {environment}. Add {it} to the nodes again,"
        f" with a role that no app asks for: `{'`, `'.join(nodes.values())}`. Then `{deploy}`"
        f" retires the instances there. After that, remove {it}."
    )


def _other(endpoints, app, environment, its, _deploy):
    return (
        f"Environment {its} has {app} in the same Consul: {_list(endpoints)}. Clients of {environment} get those, too."
        f" Give each environment a Consul datacenter of its own (environments:{environment}:discovery), or take {app}"
        f" away there: salt-run deploy.remove {app} env={its}."
    )


def _foreign(endpoints, app, _environment, _its, deploy):
    commands = ", ".join(f"`consul services deregister -id={e.id}` on {e.node}" for e in endpoints)
    it = "it" if len(endpoints) == 1 else "them"
    return (
        f"Clients of {app} get {_list(endpoints)}, which saltdeploy did not register. Run {commands} to take {it} out."
        f" To leave {it} there, run `{deploy} keep=True` once: later commands leave {it} there, too."
    )


def _stale(endpoints, app, _environment, _its, _deploy):
    requests = " and ".join(
        f'PUT /v1/catalog/deregister {{"Node": "{node}"}}' for node in sorted({e.node for e in endpoints})
    )
    return (
        f"Discovery shows {_list(endpoints)}, which the Consul agent there does not have: it lost its data, or cannot"
        f" join (its log says `reserved by node`). Start or repair it. If it lost its data, remove its entries from the"
        f" catalog: consul's API, {requests}. The agent registers again within two minutes."
    )


ADVICE = {Kind.OUTSIDE: _outside, Kind.OTHER: _other, Kind.FOREIGN: _foreign, Kind.STALE: _stale}


def _list(endpoints):
    return ", ".join(map(where, endpoints))
