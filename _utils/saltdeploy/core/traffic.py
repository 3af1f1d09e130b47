"""The share of the traffic that a paused release gets, as weights in discovery. Pure: no I/O.

Some clients follow the weights of Consul's SRV records, as HAProxy does. They send each instance a part of all requests
in proportion to its weight.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypedDict

from .errors import DefinitionError, Refused
from .instanceids import version_of
from .model import NORMAL_WEIGHT

if TYPE_CHECKING:
    from .model import App, Instance, Strategy
    from .protocols import Desired, Endpoint
    from .records import Paused, Record

    # Ids of instances, by node.
    ById = Mapping[str, Sequence[str]]

FULL, NONE = "full", "none"
# HAProxy makes ceil(weight / 256) of the weight of an SRV record. So multiples of 256 keep their proportions there.
UNIT = 256
# The largest weight of an SRV record is 65535.
MOST = 65535 // UNIT
USUAL = NORMAL_WEIGHT // UNIT
# How far a share may be from the wanted share, and how near is not worth a change of the old instances.
TOLERANCE, CLOSE = 0.01, 0.005


@dataclass(frozen=True)
class Canary:
    """The traffic of a paused release, with the weight of each instance.

    :param asked: the traffic as the definition says it.
    :param old: the weight of instances that serve already.
    :param new: the weight of the paused release's instances.
    """

    asked: str
    old: int = NORMAL_WEIGHT
    new: int = NORMAL_WEIGHT

    @property
    def hidden(self) -> bool:
        """Whether clients of the app do not get it at all."""
        return self.asked == NONE

    def weight(self, instance: Instance, version: str) -> int:
        """Return the weight that ``instance`` is to have while the release ``version`` is paused."""
        return self.new if instance.version == version else self.old

    def describe(self, app: str, version: str) -> str:
        """Return a sentence on the traffic of ``version``."""
        if self.hidden:
            return f"{version} is found as {app}-candidate only, users of {app} do not get it"
        each = f"{self.new} for each new instance, {self.old} for each old one"
        return f"{version} gets {self.asked} of the traffic, by weights: {each}"


def check(strategy: Strategy, at: str) -> None:
    """Raise DefinitionError if ``strategy``, with the key path ``at``, has a canary that can never work."""
    if strategy.canary_weight == FULL:
        return
    key = f"{at}:strategy:canary_weight: found '{strategy.canary_weight}'"
    if not strategy.pause:
        raise DefinitionError(
            f"{key}, and no pause, after which it would end: say for how long (strategy: {{pause: 10m}}, or manual)."
        )
    if strategy.type == "recreate":
        raise DefinitionError(
            f"{key}, and the strategy is `type: recreate`: there the canary has the place of an old instance,"
            f" and its share. Allowed is {FULL}, or say `type: rolling`."
        )


def canary(desired: Desired, serving: Collection[Instance], starting: int) -> Canary | None:
    """Return the Canary of a release that will be paused, or None if all instances get equal shares.

    :param serving: the instances that serve by now.
    :param starting: how many more instances of the release will serve during the pause.
    :raises Refused: no weights give it the wanted share.
    """
    app, asked = desired.app, desired.app.strategy.canary_weight
    old = sum(i.version != desired.version for i in serving)
    new = len(serving) - old + starting
    if asked == FULL or not old:
        return None
    if asked == NONE:
        return Canary(asked)
    found = balanced(int(asked[:-1]) / 100, old, new)
    if not found:
        raise Refused(
            f"apps:{app.name}:strategy:canary_weight: {asked} of the traffic cannot go to {new} new beside {old} old:"
            f" weights reach from {_reached(1, MOST, old, new):.2%} to {_reached(MOST, 1, old, new):.2%} there. Ask for"
            " a share between, or for another size of the first wave (waves)."
        )
    return Canary(asked, *found)


def balanced(wanted: float, old: int, new: int) -> tuple[int, int] | None:
    """Return the weights of each old and each new instance for a share, or None if no weights give it.

    :param wanted: the share of all new instances together, more than 0 and less than 1.
    :param old: how many instances serve already, at least 1.
    :param new: how many instances are new, at least 1.
    """
    ratio = wanted * old / ((1 - wanted) * new)
    pairs = [(units, min(MOST, max(1, round(units * ratio)))) for units in range(1, MOST + 1)]

    def off(pair: tuple[int, int]) -> float:
        return abs(_reached(pair[1], pair[0], old, new) - wanted)

    # If the share is close enough, the old instances keep their weight, or nearly.
    best = min(pairs, key=lambda pair: (max(off(pair), CLOSE), abs(pair[0] - USUAL)))
    return (best[0] * UNIT, best[1] * UNIT) if off(best) <= TOLERANCE else None


def _reached(of_new: int, of_old: int, old: int, new: int) -> float:
    return new * of_new / (new * of_new + old * of_old)


def share(endpoints: Iterable[Endpoint], version: str) -> float | None:
    """Return the part of the traffic, 0 to 1, that passing instances of ``version`` get, or None if no instance passes.

    :param endpoints: the published instances.
    """
    passing = [e for e in endpoints if e.status == "passing"]
    total = sum(e.weight for e in passing)
    return sum(e.weight for e in passing if version_of(e.id) == version) / total if total else None


def refuse_unseen(app: App, endpoints: Iterable[Endpoint], observed: Iterable[str]) -> None:
    """Raise Refused if ``app`` asks for a share, and an instance serves on a node that was not ``observed``."""
    unseen = sorted({e.minion for e in endpoints} - set(observed))
    if unseen and app.strategy.canary_weight not in (FULL, NONE):
        raise Refused(
            f"apps:{app.name}:strategy:canary_weight: {app.strategy.canary_weight} is a share of all that serves,"
            f" and instances on {', '.join(unseen)} cannot be weighed: start the minion there, leave nodes= out, or say"
            " `canary_weight: full`."
        )


def weights(instances: Iterable[Instance]) -> dict[str, dict[str, int]]:
    """Return node -> id -> weight."""
    by_node: dict[str, dict[str, int]] = {}
    for i in instances:
        by_node.setdefault(i.node, {})[i.id] = i.weight
    return by_node


def changed(instances: Iterable[Instance], version: str, found: Canary | None) -> dict[str, dict[str, int]]:
    """Return node -> id -> weight to have, for the ``instances`` that serve with another weight.

    :param version: the release that is deployed.
    :param found: its Canary. None means that all instances weigh the same.
    """
    wanted = found or Canary(FULL)
    ordered = sorted((i for i in instances if i.good), key=lambda i: (i.node, i.slot))
    weighed = {i: replace(i, weight=wanted.weight(i, version)) for i in ordered}
    return weights(to_be for is_now, to_be in weighed.items() if is_now != to_be)


def listed(by_node: Mapping[str, Mapping[str, int]]) -> str:
    """Return node -> id -> weight as text."""
    return ", ".join(f"{w} for {i} on {node}" for node, ids in by_node.items() for i, w in ids.items())


def unusual(by_node: Mapping[str, Mapping[str, int]]) -> bool:
    """Return whether any of node -> id -> weight is not the normal one."""
    return any(weight != NORMAL_WEIGHT for ids in by_node.values() for weight in ids.values())


# -- the record -------------------------------------------------------------------------------


class Recorded(TypedDict, total=False):
    """The keys of a Canary in the record."""

    canary: str
    weights: dict[str, int]
    candidates: dict[str, list[str]]


def recorded(found: Canary | None, version: str, published: ById, candidates: ById) -> Recorded:
    """Return the record's data on a Canary during the pause.

    :param published: node -> ids of the published instances.
    :param candidates: node -> ids of the instances that are not published.
    """
    if not found:
        return {}
    if found.hidden:
        return {"canary": found.asked, "candidates": {node: list(ids) for node, ids in candidates.items()}}
    versions = {version_of(i) for ids in published.values() for i in ids}
    return {"canary": found.asked, "weights": {v: found.new if v == version else found.old for v in versions}}


def weight_of(record: Record | None, instance: str) -> int:
    """Return the weight that ``record`` wants for the instance with this id."""
    return in_force(record).get(version_of(instance), NORMAL_WEIGHT)


def in_force(record: Record | None) -> dict[str, int]:
    """Return version -> weight, if ``record`` wants other weights than the normal weight."""
    unfinished = (record.get("frozen") or record.get("paused")) if record else None
    return unfinished.get("weights", {}) if unfinished else {}


def told(paused: Paused) -> str:
    """Return the traffic of a paused release, as words to put behind "is paused"."""
    asked = paused.get("canary", FULL)
    if asked == NONE:
        return ", as a candidate that no user gets"
    return "" if asked == FULL else f", with {asked} of the traffic"


def watched(app: App, record: Record) -> tuple[str, set[tuple[str, str]]]:
    """Return the service of the paused release, and the new instances: ``(name, {(node, id), …})``."""
    paused = record["paused"]
    if paused.get("canary") == NONE:
        return app.candidate, {(n, i) for n, ids in paused["candidates"].items() for i in ids}
    new = {(n, i) for n, ids in record["nodes"].items() for i in ids if version_of(i) == record["version"]}
    return app.name, new
