"""The shape of the record and of the history. Everybody with write access to Consul's keys can put anything there.

Pure. Wrong parts are named and left out. Good parts are used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from . import advice, editions, names
from .errors import DONE, REFUSED
from .instanceids import slot_of, version_of
from .words import name as said
from .words import shown

if TYPE_CHECKING:
    from typing import TypeGuard

    from .entries import Entry
    from .hooks import Mark
    from .records import Ids, Record

# Seconds since 1970 that a calendar can show: up to the year 5138.
LATEST = 1e11
# The largest weight that an SRV record can have.
HEAVIEST = 65535
Shape = Mapping[str, Callable[[object], bool]]


def _whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _text(value: object) -> bool:
    return isinstance(value, str)


def _count(value: object) -> bool:
    return _whole(value) and 0 <= value <= names.INSTANCES


def _time(value: object) -> bool:
    return advice.is_number(value) and 0 <= value <= LATEST


def _release(value: object) -> bool:
    """Return whether ``value`` is a release, or empty because there was no release before."""
    return value == "" or editions.is_edition(value)


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _mapping(value: object) -> TypeGuard[dict[Any, Any]]:
    return isinstance(value, dict)


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _digests(value: object) -> bool:
    return _mapping(value) and all(isinstance(d, str) and names.CONTENT.fullmatch(d) for d in value.values())


def _code(value: object) -> bool:
    return _whole(value) and DONE <= value < REFUSED


def _weight(value: object) -> bool:
    return _whole(value) and 1 <= value <= HEAVIEST


def _weights(value: object) -> bool:
    return _mapping(value) and all(map(_weight, value.values()))


# Key -> whether its value can be used. All these keys must be there, except the keys in OPTIONAL.
RECORD: Shape = {
    "version": editions.is_edition,
    "deployment": _text,
    "time": _time,
    "nodes": _mapping,
    "data": _texts,
    "tolerated": _texts,
    "digests": _digests,
    "absent": _texts,
}
PAUSED: Shape = {
    "from": _release,
    "before": _count,
    "instances": _count,
    "nodes": _texts,
    "by": _text,
    "reason": _text,
    "since": _time,
    "canary": _text,
    "weights": _weights,
    "candidates": _mapping,
    "move": _flag,
}
FROZEN: Shape = {
    "version": editions.is_edition,
    "why": _text,
    "by": _text,
    "reason": _text,
    "deployment": _text,
    "since": _time,
    "weights": _weights,
    "scale": _count,
}
WARM: Shape = {"until": _time, "nodes": _mapping}
ENTRY: Shape = {
    "version": _text,
    "retcode": _code,
    "owner": _text,
    "reason": _text,
    "began": _time,
    "seconds": _time,
    "why": _text,
    "verb": _text,
    "left": _text,
    "outcome": _text,
}
MARK: Shape = {
    "state": _text,
    "phase": _text,
    "command": _text,
    "node": _text,
    "deployment": _text,
    "owner": _text,
    "time": _time,
}
OPTIONAL = (
    *("canary", "weights", "candidates", "move", "verb", "left", "outcome", "data", "tolerated", "digests"),
    "absent",
    "scale",
)
PARTS = {"paused": PAUSED, "frozen": FROZEN, "warm": WARM}


def record(value: object, app: str) -> tuple[Record | None, list[str]]:
    """Return the usable part of a record of ``app``, None if there is none, and sentences on its mistakes."""
    if value is None:
        return None, []
    wrong = _misfit(value, RECORD)
    if wrong or not isinstance(value, dict):
        return None, [f"{wrong}. This key is left out: `deploy.app` writes it again."]
    nodes, problems = _places(value["nodes"], app)
    usable: dict[str, Any] = {**value, "nodes": nodes}
    for key, shape in PARTS.items():
        part = usable.pop(key, None)
        if part is None:
            continue
        wrong = _misfit(part, shape)
        if wrong:
            problems.append(f"{key}: {wrong}")
            continue
        usable[key] = dict(part)
        for inner in {"nodes", "candidates"} & {k for k, check in shape.items() if check is _mapping} & set(part):
            usable[key][inner], more = _places(part[inner], app)
            problems += [f"{key}: {problem}" for problem in more]
    return cast("Record", usable), [f"{problem}. It is left out." for problem in problems]


def entry(value: object, app: str) -> tuple[Entry | None, list[str]]:
    """Return an entry of the history of ``app``, None if it cannot be used, and sentences on its mistakes."""
    wrong = _misfit(value, ENTRY)
    if wrong or not isinstance(value, dict):
        return None, [f"{wrong}. This key is left out. Remove it in Consul's KV, or in etcd."]
    its, problems = record(value.get("record"), app)
    if value.get("record") is not None and its is None:
        return None, [f"record: {problem}" for problem in problems]
    return cast("Entry", {**value, "record": its}), [f"record: {problem}" for problem in problems]


def holder(value: object) -> dict[str, Any]:
    """Return the holder of a lock, as a mapping for any ``value`` of the key."""
    return value if isinstance(value, dict) else {}


def is_mark(value: object) -> TypeGuard[Mark]:
    """Return whether ``value`` can be the mark of a hook that runs once."""
    return not _misfit(value, MARK)


def _misfit(value: object, shape: Shape) -> str:
    """Return the first mistake in ``value``, or an empty text if there is none."""
    if not isinstance(value, dict):
        return f"found {shown(value)}, a mapping is allowed"
    missing = sorted(set(shape) - set(OPTIONAL) - set(value))
    if missing:
        return f"`{missing[0]}` is missing"
    wrong = [key for key, check in shape.items() if key in value and not check(value[key])]
    return f"`{wrong[0]}` cannot be {shown(value[wrong[0]])}" if wrong else ""


def _places(nodes: Mapping[str, object], app: str) -> tuple[Ids, list[str]]:
    """Return node -> ids without ids that cannot be an instance of ``app``, and sentences on the parts left out."""
    good: Ids = {}
    problems: list[str] = []
    for node, ids in nodes.items():
        if not isinstance(ids, list):
            problems.append(f"{said(node)} cannot have {shown(ids)}")
            continue
        fitting = [i for i in ids if is_of(i, app)]
        problems += [f"{said(node)} cannot have {shown(i)}" for i in ids if not is_of(i, app)]
        if fitting:
            good[node] = list(dict.fromkeys(fitting))
    return good, problems


def is_of(value: object, app: str) -> TypeGuard[str]:
    """Return whether ``value`` can be the id of an instance of ``app``."""
    if not names.is_instance(value) or not value.startswith(f"{app}_"):
        return False
    return slot_of(value) in names.SLOTS and editions.is_edition(version_of(value))
