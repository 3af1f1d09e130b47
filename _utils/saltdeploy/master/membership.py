"""Finds services under an app's name in discovery that are no instances of its environment. Pure: no I/O.

An instance belongs to an app in an environment if it has such an id, and a node of the environment registered it.
Every other service that clients find under the app's name is a Stranger.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..core import editions, redaction, shapes
from ..core.errors import Refused
from ..core.versions import argument
from ..discovery import Endpoint, wording
from ..discovery.registration import instance_of

if TYPE_CHECKING:
    from ..core.environment import Environment
    from ..core.model import App


# How much of a check's output is shown, in characters. The output may be a complete page.
SHOWN = 200


class Kind(str, enum.Enum):
    """The kinds of Strangers."""

    OUTSIDE = "outside"  # an instance of this environment, on a minion that is no node of it
    OTHER = "other"  # an instance in another environment that has the same service discovery
    FOREIGN = "foreign"  # a service that saltdeploy did not register
    STALE = "stale"  # an entry of the catalog that the node's own agent does not have


@dataclass(frozen=True)
class Stranger:
    """A service under an app's name that is no instance of the app in its environment."""

    kind: Kind
    endpoint: Endpoint

    @property
    def serves(self) -> bool:
        """Whether clients get it, now or when its check passes again, because its agent answers."""
        return self.endpoint.alive

    @property
    def environment(self) -> str:
        """The environment that it is registered for, empty if it has none."""
        return self.endpoint.meta.get("environment", "")


def divide(
    endpoints: Iterable[Endpoint], app: str, environment: Environment, known: Collection[tuple[str, str]] = frozenset()
) -> tuple[list[Endpoint], list[Stranger]]:
    """Return the Endpoints that belong to app ``app`` in ``environment``, and a Stranger for each other Endpoint.

    :param app: the app's name.
    :param known: ``(node, id)`` of instances that nodes of the environment say they have.
    """
    ours: list[Endpoint] = []
    strangers: list[Stranger] = []
    for found in endpoints:
        endpoint = _placed(found, environment)
        kind = _kind(endpoint, app, environment, known)
        if kind:
            strangers.append(Stranger(kind, endpoint))
        else:
            ours.append(endpoint)
    return ours, strangers


def stale(ours: Iterable[Endpoint], registered: Mapping[str, Collection[str]]) -> list[Stranger]:
    """Return a Stranger for each of the Endpoints ``ours`` that its node's own agent does not have.

    :param registered: node -> ids that its agent has, without nodes that nobody asked.
    """
    lost = [e for e in ours if e.minion in registered and instance(e) not in registered[e.minion]]
    return [Stranger(Kind.STALE, e) for e in lost]


def instance(endpoint: Endpoint) -> str:
    """Return the id of the instance that ``endpoint`` is, candidate or not."""
    return instance_of(endpoint.id)


def check_output(endpoint: Endpoint, app: App) -> str:
    """Return the beginning of the output of a check that does not pass.

    It is without the values of the app's ``env``, and without the headers and bodies of its checks.
    """
    requests = [check.request for check in app.checks if check.request]
    secrets = [*app.env.values(), *(secret for request in requests for secret in redaction.of_request(request))]
    return " ".join(redaction.without(endpoint.output, secrets).split()).removeprefix("HTTP ")[:SHOWN]


def without_answer(output: str) -> str:
    """Return the output of a check without the answer of the app.

    An app may repeat its secrets, and an instance may have others than those of the definition.
    """
    return output.partition(" Output: ")[0]


def _placed(endpoint: Endpoint, environment: Environment) -> Endpoint:
    """Return ``endpoint`` with the minion that it is on, even if its registration does not name the minion."""
    if "minion" in endpoint.meta or endpoint.node in environment.nodes:
        return endpoint
    there = [node.name for node in environment.nodes.values() if node.address == endpoint.address]
    return replace(endpoint, meta={**endpoint.meta, "minion": there[0]}) if there else endpoint


def _kind(endpoint: Endpoint, app: str, environment: Environment, known: Collection[tuple[str, str]]) -> Kind | None:
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


def refuse(
    strangers: Iterable[Stranger],
    app: str,
    environment: Environment,
    tolerated: Collection[Kind] = (),
    deployed: str = "",
) -> None:
    """Raise Refused, with advice, if clients of ``app`` get one of ``strangers``.

    :param app: its name.
    :param deployed: the edition that the record has. An advised deployment must not change its release.
    :param tolerated: kinds that may stay.
    """
    wrong: dict[tuple[Kind, str], list[Endpoint]] = {}
    for s in strangers:
        if s.serves and s.kind not in tolerated:
            wrong.setdefault((s.kind, s.environment), []).append(s.endpoint)
    if wrong:
        release = f" {argument(editions.release(deployed))}" if deployed else ""
        deploy = f"salt-run deploy.app {app}{release} env={environment.name}"
        said = [ADVICE[kind](ends, app, environment, its, deploy) for (kind, its), ends in wrong.items()]
        raise Refused(" ".join(said))


def refuse_gone(gone: Mapping[str, Collection[str]], app: str, environment: str, deployed: str) -> None:
    """Raise Refused, with advice, if the record has instances of ``app`` on nodes that ``environment`` has no more.

    :param gone: node -> ids, none if the node only had data of the app.
    :param app, environment: their names.
    :param deployed: as for :func:`refuse`.
    """
    if not gone:
        return
    what = "; ".join(f"{', '.join(ids) or 'data'} on {node}" for node, ids in gone.items())
    there, are = [node for node, ids in gone.items() if ids], "is" if len(gone) == 1 else "are"
    it = "it" if len(there) == 1 else "them"
    evacuate = f"`salt-run deploy.evacuate {','.join(there)} env={environment}`"
    move = f" Add {it} to the nodes again and run {evacuate} before you remove {it}." if there else ""
    release = f" {argument(editions.release(deployed))}" if deployed else ""
    raise Refused(
        f"{', '.join(gone)} {are} no node of {environment} any more, and the record of {app} has {what}.{move} If"
        f" nothing is left there to stop or to keep, have the record forget it: `salt-run deploy.app {app}{release}"
        f" env={environment} forget=True`."
    )


def told(stranger: Stranger, app: str, environment: Environment) -> str:
    """Return a description of ``stranger``, as a sentence."""
    endpoint, words = stranger.endpoint, wording.of(environment.discovery)
    what = {
        Kind.OUTSIDE: f"{endpoint.minion} is no node of {environment.name}",
        Kind.OTHER: f"environment {stranger.environment} has it in the same {words.name}",
        Kind.FOREIGN: f"it is registered as `{app}`, and not by saltdeploy",
        Kind.STALE: f"the {words.agent} of {endpoint.minion} does not have it",
    }
    return f"{where(endpoint)}: {what[stranger.kind]}"


def where(endpoint: Endpoint) -> str:
    """Return a service with its place, for a message."""
    return f"{endpoint.id} on {endpoint.minion}"


def _outside(endpoints: Sequence[Endpoint], app: str, environment: Environment, _its: str, deploy: str) -> str:
    nodes = {e.minion: f"{e.minion}: {{address: {e.address}, roles: [leaving]}}" for e in endpoints}
    it, are = ("it", "is") if len(nodes) == 1 else ("them", "are")
    are = f"{', '.join(nodes)} {are}"
    return (
        f"Clients of {app} get {_list(endpoints)}, and {are} no node of {environment.name}. Add {it} to the nodes"
        f" again, with a role that no app asks for: `{'`, `'.join(nodes.values())}`. Then `{deploy}`"
        f" retires the instances there. After that, remove {it}."
    )


def _other(endpoints: Sequence[Endpoint], app: str, environment: Environment, its: str, _deploy: str) -> str:
    words = wording.of(environment.discovery)
    return (
        f"Environment {its} has {app} in the same {words.name}: {_list(endpoints)}. Clients of {environment.name} get"
        f" those, too. {words.separation(environment.name, its, app, endpoints)}"
    )


def _foreign(endpoints: Sequence[Endpoint], app: str, environment: Environment, _its: str, deploy: str) -> str:
    commands = ", ".join(map(wording.of(environment.discovery).removal, endpoints))
    it = "it" if len(endpoints) == 1 else "them"
    return (
        f"Clients of {app} get {_list(endpoints)}, which saltdeploy did not register. Run {commands} to take {it} out."
        f" To leave {it} there, run `{deploy} keep=True` once: later commands leave {it} there, too."
    )


def _stale(endpoints: Sequence[Endpoint], app: str, environment: Environment, _its: str, _deploy: str) -> str:
    words = wording.of(environment.discovery)
    return (
        f"Discovery shows {_list(endpoints)}, which the {words.agent} there does not have."
        f" {words.repair(environment.name, app, endpoints)}"
    )


ADVICE: dict[Kind, Callable[[Sequence[Endpoint], str, Environment, str, str], str]] = {
    Kind.OUTSIDE: _outside,
    Kind.OTHER: _other,
    Kind.FOREIGN: _foreign,
    Kind.STALE: _stale,
}


def _list(endpoints: Iterable[Endpoint]) -> str:
    return ", ".join(map(where, endpoints))
