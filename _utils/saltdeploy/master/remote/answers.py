"""Compares a node's answer with the question: its own instances, of this app and release, in the right number.

A node may be a copy of another node, have another version of saltdeploy, or lie. No answer decides anything before it
was compared here. Each function returns the problem of an answer, or an empty text. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from ...core import editions, names
from ...core.instanceids import instance_id
from ...core.model import Instance
from ...core.words import shown
from ...definition import stops
from ...discovery.registration import PARTS

if TYPE_CHECKING:
    from ...core.environment import Node
    from ...core.model import App
    from .fleet import Reply

if TYPE_CHECKING:
    Types = type[Any] | tuple[type[Any], ...]
    # The values that a job asks about, by node.
    Asked = Mapping[str, Collection[str]]
    # Returns the problem of the value that a node returned, or an empty text.
    Answer = Callable[[str, Any], str]

TYPES: dict[str, Types] = {"str": str, "int": int, "bool": bool, "int | None": (int, type(None))}
INSTANCE = {f.name: TYPES[str(f.type)] for f in fields(Instance)}
OBSERVATION: dict[str, Types] = {
    "saltdeploy": str,
    "environment": str,
    "applying_states": bool,
    "instances": list,
    "stop_timeouts": dict,
    "releases": list,
    "ports_taken": list,
    "data": str,
    "slots": (int, type(None)),
    "editions": dict,
    "prepared": bool,
}
CHANGED: dict[str, Types] = {"settings": dict, "registrations": dict, "restarts": dict}
MACHINE: dict[str, Types] = {
    "agent": str,
    "free": int,
    "size": int,
    "low": bool,
    "instances": list,
    "releases": list,
    "undefined": list,
    "services": list,
    "boot": str,
}
STARTED: dict[str, Types] = {"ok": bool, "instances": list, "failures": list}
TESTED: dict[str, Types] = {"test": str, "ok": bool, "detail": str}
HOOK: dict[str, Types] = {"node": str, "ran": list, "problem": str, "failed": (str, type(None)), "ended": bool}
ROOM: dict[str, Types] = {"installed": bool, "digest": str, "now": str, "packages": list}
COMMAND: dict[str, Types] = {"instance": str, "code": (int, type(None)), "output": str}


def observation(value: Any, app: App, node: Node) -> str:
    """Compare the value of ``app.observe``.

    :param app: a model.App.
    :param node: the environment.Node that answered.
    """
    return (
        _misshapen(value, OBSERVATION)
        or _not_all(value["releases"], names.is_version, "releases")
        or _not_all(value["ports_taken"], lambda port: _is(port, int), "ports_taken")
        or _first(_wrong_instance(i, app, node) for i in value["instances"])
        or _twice([i["id"] for i in value["instances"]])
        or _wrong_timeouts(value)
        or changes(value["editions"])
    )


def changes(value: Any) -> str:
    """Compare the settings that a node has kept: edition -> the keys that differ, each with names, or None."""
    right = isinstance(value, dict) and all(map(editions.is_edition, value))
    return "" if right and all(map(_are_changes, value.values())) else f"editions: found {shown(value)}"


def _are_changes(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, dict) and all(
        _is(key, str) and isinstance(some, list) and all(_is(name, str) for name in some) for key, some in value.items()
    )


def changed(value: Any) -> str:
    """Compare the value of ``app.changed``: app -> its settings that differ, and the restarts by its checks."""
    if not isinstance(value, dict) or not all(map(names.is_app, value)):
        return f"found {shown(value)}, a mapping of apps is expected"
    return _first(
        _misshapen(about, CHANGED)
        or changes(about["settings"])
        or _not_all([about["restarts"]], _are_restarts, "restarts")
        or _not_all([about["registrations"]], _are_parts, "registrations")
        for about in value.values()
    )


def _are_parts(value: Any) -> bool:
    """Return whether ``value`` has id -> parts of a registration."""
    return isinstance(value, dict) and all(
        names.is_instance(i) and isinstance(parts, list) and set(map(str, parts)) <= set(PARTS)
        for i, parts in value.items()
    )


def _are_restarts(value: Any) -> bool:
    """Return whether ``value`` has id -> number of restarts and the reason of the last."""
    return isinstance(value, dict) and all(
        names.is_instance(i) and isinstance(about, list) and [type(part) for part in about] == [int, str]
        for i, about in value.items()
    )


def machine(value: Any) -> str:
    """Compare the value of ``environment.machine``."""
    lists = ("instances", "releases", "undefined", "services")
    return _misshapen(value, MACHINE) or _first(_not_all(value[k], lambda name: _is(name, str), k) for k in lists)


def facts(value: Any) -> str:
    """Compare the value of ``environment.facts``: key -> text."""
    right = isinstance(value, dict) and all(_is(part, str) for pair in value.items() for part in pair)
    return "" if right else f"found {shown(value)}, a mapping of texts is expected"


def started(value: Any, app: App, node: Node, version: str, count: int, deployment: str) -> str:
    """Compare the value of ``app.start``: it has failures, or the right number of new instances of the release.

    :param deployment: the id of the deployment that they were started for.
    """
    problem = (
        _misshapen(value, STARTED)
        or _not_all(value["failures"], lambda text: _is(text, str), "failures")
        or _first(_wrong_instance(i, app, node) for i in value["instances"])
        or _twice([i["id"] for i in value["instances"]])
    )
    if problem or value["failures"]:
        return problem
    if len(value["instances"]) != count:
        return f"it was told to start {count}, and says that it started {len(value['instances'])}"
    for i in value["instances"]:
        if (i["version"], i["deployment"]) != (version, deployment) or not i["tested"]:
            return f"it was told to start {app.name} {version}, and says that it started {i['id']}, which is not that"
        if app.ports and i["port"] not in app.ports:
            return f"{i['id']} is said to have port {i['port']}, which is none of {app.ports}"
    return ""


def installed(node: str, value: Any) -> str:
    """Compare the value of ``app.install``: whether anything was done."""
    return "" if isinstance(value, bool) else f"found {shown(value)}, true or false is expected"


def exactly(asked: Asked) -> Answer:
    """Return ``answer(node, value)``, which compares the ids of a job with ``asked``, ids by node: all are needed."""
    return lambda node, value: _wrong_ids(value, lambda ids: set(ids) == set(asked[node]), asked[node])


def some_of(asked: Asked) -> Answer:
    """Return the same as :func:`exactly`, if only some of the ids needed the job."""
    return lambda node, value: _wrong_ids(value, lambda ids: set(ids) <= set(asked[node]), asked[node])


def crashed(value: Any, asked: Collection[str]) -> str:
    """Compare the answer of ``app.crashed``: the last lines of some of the ids ``asked``."""
    right = isinstance(value, dict) and set(value) <= set(asked) and all(isinstance(t, str) for t in value.values())
    return "" if right else f"found {shown(value)}, the last lines of some of {', '.join(asked)} are expected"


def of_app(name: str) -> Answer:
    """Return the same as :func:`exactly`, for a job on all instances of an app."""
    mine = f"instances of {name}"
    return lambda node, value: _wrong_ids(value, lambda ids: all(i.split("_", 1)[0] == name for i in ids), [mine])


def tests(expected: Mapping[str, Mapping[str, int]]) -> Answer:
    """Return ``answer(node, value)``, which compares the results of tests.

    :param expected: node -> instance -> number of tests.
    """

    def answer(node: str, value: Any) -> str:
        if not isinstance(value, dict) or not all(isinstance(results, list) for results in value.values()):
            return f"found {shown(value)}, a mapping of instance to results is expected"
        wrong = _first(_misshapen(result, TESTED) for results in value.values() for result in results)
        counts = {one: len(results) for one, results in value.items()}
        return wrong or ("" if counts == expected[node] else f"not all was tested: {shown(counts)}")

    return answer


def hook(value: Any, node: str, asked: Mapping[str, str]) -> str:
    """Compare the value of ``deploy.hook``: the node ran all of ``asked``, or names the failed hook.

    :param node: the name of the node that answered.
    :param asked: key -> command of the hooks, in their order.
    """
    problem = _misshapen(value, HOOK)
    if problem:
        return problem
    if value["node"] != node:
        return f"it is said to be of {shown(value['node'])}"
    commands, failed = list(asked.values()), value["failed"]
    if not value["problem"]:
        right = failed is None and value["ended"] and value["ran"] == commands
    elif failed in asked:
        right = value["ran"] == commands[: list(asked).index(failed)]
    else:
        # No hook is to blame, because it had no folder to run in.
        right = failed == "" and value["ran"] == commands[: len(value["ran"])]
    return "" if right else f"it was asked to run {', '.join(commands)}, and says {shown(value)}"


def room(value: Any) -> str:
    """Compare the value of ``app.room``."""
    return (
        _misshapen(value, ROOM)
        or _first(
            f"{key}: found {shown(value[key])}"
            for key in ("digest", "now")
            if value[key] and not names.CONTENT.fullmatch(value[key])
        )
        or _not_all(value["packages"], lambda text: _is(text, str), "packages")
    )


def preview(value: Any) -> str:
    """Compare the value of ``app.preview``: a list of texts."""
    return _not_all(value, lambda text: _is(text, str), "a change") if isinstance(value, list) else "found no list"


def newest(value: Any) -> str:
    """Compare the value of ``app.newest``."""
    problem = _misshapen(value, {"version": str, "stamp": str}, only=True)
    return problem or ("" if names.is_version(value["version"]) else f"version: found {shown(value['version'])}")


def files(value: Any) -> str:
    """Compare the value of ``app.files``: two lists of sentences."""
    keys = {"problems", "warnings"}
    if not isinstance(value, dict) or set(value) != keys or not all(isinstance(value[key], list) for key in keys):
        return f"found {shown(value)}, lists of problems and of warnings are expected"
    return _not_all([*value["problems"], *value["warnings"]], lambda text: _is(text, str), "a sentence")


def logs(value: Any, app: str) -> str:
    """Compare the value of ``app.logs`` for the app called ``app``."""
    right = isinstance(value, dict) and all(
        names.is_instance(i) and i.split("_", 1)[0] == app and _is(text, str) for i, text in value.items()
    )
    return "" if right else f"found {shown(value)}, the logs of instances of {app} are expected"


def command(value: Any, instance: str) -> str:
    """Compare the value of ``app.command``: the command ran as ``instance``."""
    problem = _misshapen(value, COMMAND, only=True)
    wrong = not problem and value["instance"] != instance
    return f"it was asked for {instance}, and says {shown(value['instance'])}" if wrong else problem


def removed(asked: Asked) -> Answer:
    """Return ``answer(node, value)``, which compares the versions that a node removed.

    :param asked: node -> versions. Some may have been gone before.
    """

    def answer(node: str, value: Any) -> str:
        right = isinstance(value, list) and all(version in asked[node] for version in value)
        return "" if right else f"it was asked to remove {', '.join(asked[node])}, and says {shown(value)}"

    return answer


def compared(replies: Mapping[str, Reply], wrong: Callable[[Any], str]) -> dict[str, Reply]:
    """Return ``{node: Reply}`` in which each wrong answer has become an error.

    :param wrong: ``wrong(value)`` returns the problem of an answer, or an empty text.
    """
    return {
        node: reply if reply.error else replace(reply, error=told(wrong(reply.value)))
        for node, reply in replies.items()
    }


def told(problem: str) -> str:
    """Return the message that an answer has ``problem`` and is of no use, or an empty text."""
    return (
        problem
        and f"its answer is not to be believed: {problem}. Look at that node, or run: salt '*' saltutil.sync_all"
    )


def _wrong_instance(raw: Any, app: App, node: Node) -> str:
    if problem := _misshapen(raw, INSTANCE, only=True):
        return problem
    one = raw["id"]
    if not names.is_instance(one) or one != instance_id(raw["app"], raw["version"], raw["slot"]):
        return f"{shown(one)} is said to be {shown(raw['app'])} {shown(raw['version'])} in slot {raw['slot']}"
    if raw["node"] != node.name:
        return f"{one} is said to be on {shown(raw['node'])}"
    if raw["app"] != app.name:
        return f"{one} is no instance of {app.name}"
    # An instance without a record may be left over from another time. It is only stopped, on the node itself.
    if raw["recorded"] and raw["port"] not in (None, raw["slot"]):
        return f"{one} is said to have port {raw['port']}"
    if raw["tested"] and (raw["address"] != node.address or not raw["recorded"]):
        return f"{one} is said to be at {shown(raw['address'])}, and {node.name} has {node.address}"
    return ""


def _wrong_timeouts(value: Mapping[str, Any]) -> str:
    found, ids = value["stop_timeouts"], {i["id"] for i in value["instances"]}
    right = all(_is(seconds, (int, float)) and 0 <= seconds <= stops.MOST for seconds in found.values())
    return "" if right and set(found) == ids else f"stop_timeouts: found {shown(found)}"


def _misshapen(value: object, types: Mapping[str, Types], only: bool = False) -> str:
    if not isinstance(value, dict) or not set(types) <= set(value) or (only and set(value) != set(types)):
        return f"found {shown(value)}, a mapping with {', '.join(types)} is expected"
    return _first(f"{key}: found {shown(value[key])}" for key, kind in types.items() if not _is(value[key], kind))


def _is(value: object, kind: Types) -> bool:
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _not_all(values: Iterable[object], right: Callable[[Any], object], key: str) -> str:
    return _first(f"{key}: found {shown(value)}" for value in values if not right(value))


def _twice(ids: Sequence[str]) -> str:
    return _first(f"{one} is there twice" for one in ids if ids.count(one) > 1)


def _wrong_ids(value: Any, right: Callable[[list[str]], bool], asked: Iterable[str]) -> str:
    # Jobs that end processes also return the instances that had to be killed.
    value = value.get("instances") if isinstance(value, dict) else value
    if not isinstance(value, list) or not all(map(names.is_instance, value)) or not right(value):
        return f"it was asked for {', '.join(asked)}, and says {shown(value)}"
    return ""


def _first(problems: Iterable[str]) -> str:
    return next(filter(None, problems), "")
