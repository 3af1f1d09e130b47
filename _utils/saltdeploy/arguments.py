"""Arguments as the command line gives them, checked and made plain."""

from __future__ import annotations

import datetime
import re
import shlex

from . import definition, schema
from .errors import Refused
from .schema import nearest

DURATION = schema.DURATION["anyOf"][1]["pattern"]


def unknown(extra, kwargs, known):
    """Raise Refused if there are positional arguments left over, or ``kwargs`` holds one that is not Salt's own."""
    if extra:
        raise Refused(f"too many arguments, from {extra[0]!r} on. By name there are: {', '.join(known)}")
    stray = sorted(k for k in kwargs if not k.startswith("__"))
    if stray:
        raise Refused(f"unknown argument {stray[0]}={nearest(stray[0], known)}. There are: {', '.join(known)}")


def flag(name, value):
    """Return ``value``; Refused if it is neither true nor false."""
    if not isinstance(value, bool):
        raise Refused(f"{name}={value!r}: True or False is allowed")
    return value


def count(name, value, default):
    """Return ``value`` (None: ``default``); Refused if it is not a whole number of at least one."""
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise Refused(f"{name}={value!r}: a whole number from 1 is allowed")
    return value


def seconds(name, value):
    """Return ``value``, a duration, in seconds; Refused if it is none, or nothing."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (number or re.search(DURATION, str(value))) or definition.duration(value) <= 0:
        raise Refused(f"{name}={value!r}: {schema.DURATION['description']} is allowed")
    return definition.duration(value)


def words(command):
    """Return the words of ``command``, split as a shell would; Refused if there is none, or a quote is open."""
    if not isinstance(command, str) or not command.strip():
        raise Refused(
            f"which command? Say it after the app's name, for example './bin/shop --version'; not {command!r}"
        )
    try:
        return shlex.split(command)
    except ValueError as exc:
        raise Refused(f"command {command!r}: {exc}") from exc


def since(value):
    """Return ``value``, a duration or a time, so that it means the same on every node; Refused if it is neither."""
    if re.search(DURATION, str(value)):
        return str(value)
    try:
        return datetime.datetime.fromisoformat(str(value).replace("Z", "+00:00")).astimezone().isoformat()
    except ValueError:
        raise Refused(
            f"since={value!r}: how long ago (30s, 10m, 1h), or a time ('2026-11-24 10:30') is allowed"
        ) from None


def moment(value, now):
    """Return ``value``, a duration before ``now`` or a time, in seconds since 1970; None stays None."""
    if value is None:
        return None
    text = since(value)
    return now - definition.duration(text) if text[-1].isalpha() else datetime.datetime.fromisoformat(text).timestamp()


def nodes(environment, app, value):
    """Return the names of the nodes that ``app`` is to run on, in the order of the definition.

    :param value: None: all that may run it; else a list, or names separated by commas.
    """
    eligible = environment.eligible(app)
    if not eligible:
        raise Refused(
            f"no node of {environment.name} may run {app.name}: give one a role of its roles"
            f" ({', '.join(app.roles or ('app',))})"
        )
    if value is None:
        return tuple(eligible)
    given = [n.strip() for n in value.split(",")] if isinstance(value, str) else list(value)
    for name in given:
        if name not in environment.nodes:
            raise Refused(f"nodes: {environment.name} has no node {name!r}{nearest(name, environment.nodes)}.")
        if name not in eligible:
            raise Refused(f"nodes: {name} may not run {app.name}: eligible by role are {', '.join(eligible)}")
    return tuple(n for n in eligible if n in given)
