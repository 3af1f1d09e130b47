"""Arguments as the command line gives them, checked and made plain."""

from __future__ import annotations

from .errors import Refused
from .schema import nearest


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
