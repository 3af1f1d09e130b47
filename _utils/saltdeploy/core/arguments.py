"""Arguments as the command line gives them, checked and made plain."""

from __future__ import annotations

import datetime
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from . import advice, bounds, durations, forms, versions
from . import words as said
from .errors import Refused
from .words import nearest, shown

if TYPE_CHECKING:
    from typing import TypeGuard

    from .environment import Environment
    from .model import App

DURATION = re.compile(forms.DURATION["anyOf"][1]["pattern"])
# The most instances that a definition may have, and more lines than anybody reads.
INSTANCES, LINES = forms.INSTANCES["maximum"], 100_000
# A reason is kept with each of 50 entries of history and shown on a line.
REASON = 500
# Ten years, in seconds. Nobody asks for older lines.
LONG_AGO = 3650 * 86400.0
C = TypeVar("C")


def unknown(extra: Sequence[object], kwargs: Iterable[str], known: Sequence[str]) -> None:
    """Raise Refused for a surplus positional argument, or an unknown argument in ``kwargs`` that is not Salt's."""
    if extra:
        raise Refused(f"too many arguments, from {shown(extra[0])} on. By name there are: {', '.join(known)}")
    stray = sorted(k for k in kwargs if not k.startswith("__"))
    if stray:
        wanted = ". The name of the app comes first, without `app=`" if stray[0] == "app" else ""
        raise Refused(
            f"unknown argument {said.name(stray[0])}={nearest(stray[0], known)}. There are: {', '.join(known)}{wanted}"
        )


def word(value: object) -> object:
    """Return a name as text. The command line makes a number of a name like 2048."""
    number = isinstance(value, int) and not isinstance(value, bool) and abs(value) < said.HUGE
    return str(value) if number else value


def one_name(value: object) -> str | None:
    """Return the name of an app as text, or None. Raise Refused for anything else, like a list."""
    value = word(value)
    if value is not None and not isinstance(value, str):
        raise Refused(f"unknown app {shown(value)}: say the name of one app")
    return value


def names(what: str, value: object) -> list[str]:
    """Return the names in a text with commas or in a list, each once. It is empty for None.

    :param what: the word for the things with these names.
    :raises Refused: it is an empty list, or a name is no text.
    """
    value = word(value)
    parts = value.split(",") if isinstance(value, str) else value
    if parts is None:
        return []
    found = [word(part.strip() if isinstance(part, str) else part) for part in parts] if is_list(parts) else [parts]
    if not found or not all(isinstance(name, str) and name for name in found):
        raise Refused(f"unknown {what} {shown(value)}: say their names, separated by commas")
    return list(dict.fromkeys(map(str, found)))


def is_list(value: object) -> TypeGuard[Sequence[object]]:
    """Return whether ``value`` is a list, as YAML or Python makes it."""
    return isinstance(value, (list, tuple))


def text(name: str, value: object, most: int = bounds.TEXT) -> str | None:
    """Return ``value`` as text, or None for None. Raise Refused for a list, a mapping and a long text."""
    value = word(value)
    if isinstance(value, float):
        value = str(value)
    if value is not None and (not isinstance(value, str) or len(value) > most):
        raise Refused(f"{name}={shown(value)}: text is allowed, of at most {most} characters")
    return value


def step(deployment: object, after: object) -> tuple[str | None, str | None]:
    """Return both as texts. Each is the id of a deployment, or None. Raise Refused for anything else."""
    return text("deployment", deployment), text("after", after)


def release(app: App, value: object) -> str | None:
    """Return the version that ``value`` means, or None for None, which stands for any version.

    :raises Refused: it cannot be a version.
    """
    return None if value is None else versions.usable(app, value)


def flag(name: str, value: object) -> bool:
    """Return ``value``. Raise Refused for anything but true and false."""
    if not isinstance(value, bool):
        raise Refused(f"{name}={shown(value)}: True or False is allowed")
    return value


def count(name: str, value: object, default: C, most: int = INSTANCES) -> int | C:
    """Return ``value``, or ``default`` for None. Raise Refused unless it is a whole number from 1 to ``most``."""
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise Refused(f"{name}={shown(value)}: a whole number from 1 is allowed, at most {most}")
    return value


def seconds(name: str, value: object) -> float:
    """Return a duration in seconds. Raise Refused for anything else, and for 0."""
    if _is_duration(value):
        found = durations.seconds(value)
    else:
        found = value if advice.is_number(value) and value <= bounds.DURATION else 0.0
    if not found > 0:
        raise Refused(f"{name}={shown(value)}: {forms.DURATION['description']} is allowed")
    if found > bounds.DURATION:
        raise Refused(f"{name}={shown(value)}: at most {bounds.LONGEST} is allowed")
    return float(found)


def patience(wait: object) -> float:
    """Return how long to wait for another run, in seconds: 0 for None. Raise Refused as :func:`seconds` does."""
    return 0.0 if wait is None or (wait == 0 and wait is not False) else seconds("wait", wait)


def _is_duration(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and DURATION.fullmatch(value) is not None


def words(command: object) -> list[str]:
    """Return the words of ``command``, split as a shell would. Raise Refused for no word and for an open quote."""
    if not isinstance(command, str) or not command.strip():
        raise Refused("which command? Say it after the app's name, for example './bin/shop --version'")
    try:
        if len(command) > bounds.TEXT or "\0" in command:
            raise ValueError(f"at most {bounds.TEXT} characters are allowed, and no NUL")
        return shlex.split(command)
    except ValueError as exc:
        problem = str(exc)
    # No message shows the command: it may have a password in it.
    raise Refused(f"the command cannot be split into words: {problem}")


def since(value: object) -> str:
    """Return a duration or a time so that it means the same on every node. Raise Refused for anything else."""
    if _is_duration(value) and durations.seconds(value) <= LONG_AGO:
        return value
    try:
        if isinstance(value, str):
            return datetime.datetime.fromisoformat(value.replace("Z", "+00:00")).astimezone().isoformat()
    except (OverflowError, ValueError):
        pass
    raise Refused(f"since={shown(value)}: how long ago (30s, 10m, 1h), or a time ('2026-11-24 10:30') is allowed")


def moment(value: object, now: float) -> float | None:
    """Return a time in seconds since 1970, or None for None.

    :param value: a time, or a duration before ``now``.
    """
    if value is None:
        return None
    text = since(value)
    return now - durations.seconds(text) if text[-1].isalpha() else datetime.datetime.fromisoformat(text).timestamp()


def nodes(environment: Environment, app: App, value: object) -> tuple[str, ...]:
    """Return the names of the nodes that ``app`` is to run on, in the order of the definition.

    :param value: names, as a list or separated by commas. None means all nodes that may run it.
    """
    barred = {} if app.name in environment.broken else environment.barred(app)
    eligible = [name for name in environment.nodes if name not in barred]
    if not eligible:
        raise Refused(
            f"no node of {environment.name} may run {app.name}: give one a role of its roles"
            f" ({', '.join(app.roles or ('app',))}).{''.join(f' {why}.' for why in barred.values())}"
        )
    if value is None:
        return tuple(eligible)
    given = [n.strip() for n in value.split(",")] if isinstance(value, str) else value
    if not isinstance(given, (list, tuple)) or not given:
        raise Refused(f"nodes={shown(value)}: names separated by commas are allowed, or a list of names")
    for name in given:
        if isinstance(name, str) and set(name) & set("*?[") and name not in environment.nodes:
            there = ",".join(eligible[: said.LISTED])
            raise Refused(f"nodes={said.name(name)}: patterns are not allowed. Name the nodes: nodes={there}")
        if not isinstance(name, str) or name not in environment.nodes:
            about = f"{nearest(name, environment.nodes)}{said.odd(name)}"
            raise Refused(f"nodes: {environment.name} has no node {shown(name)}{about}.")
        if name in barred:
            raise Refused(f"nodes: {barred[name]}. Eligible by role are {said.listed(eligible)}")
    return tuple(n for n in eligible if n in given)
