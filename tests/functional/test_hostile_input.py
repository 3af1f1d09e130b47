"""Every function that Salt loads is given junk, for each of its arguments: it answers in the way Salt expects."""

from __future__ import annotations

import inspect
import time

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support.hostile import ALL, is_fit_to_be_shown

# What each argument is where another one is junk.
GOOD = {
    "name": "web",
    "version": "1.0",
    "targets": [],
    "versions": [],
    "command": "true",
    "instance": "web_1.0_80",
    "service_id": "db",
    "deadline": 0,
    "secret": "00000000-0000-0000-0000-000000000000",
    "rules": "",
    "management": "",
    "policies": [],
    "accessor": "00000000-0000-0000-0000-000000000000",
    "accessors": [],
    "rights": {},
}
# Seconds that one call may take: the agent that is nowhere is asked a few times.
SECONDS = 10


def arguments(function):
    return [n for n, p in inspect.signature(function).parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]


def calls(function, also=()):
    """Yield what ``function`` is called with: junk for one argument, and what is good for those that must be there."""
    parameters = inspect.signature(function).parameters
    needed = {n: GOOD[n] for n in arguments(function) if parameters[n].default is inspect.Parameter.empty}
    needed.update({n: GOOD[n] for n in ("deadline",) if n in parameters})
    for argument in [*arguments(function), *also]:
        for label, junk in ALL.items():
            yield f"{argument} is a {label}", {**needed, argument: junk}


def functions(loader, *names):
    return sorted(f for f in loader if f.partition(".")[0] in names)


def test_modules(modules):
    """What a function takes in spite of all is right, too: that it raises nothing else is what counts."""
    refused = 0
    for name in functions(modules, "app", "discovery"):
        also = (
            ("address", "port", "tags", "meta", "checks") if name in ("discovery.register", "discovery.digest") else ()
        )
        for what, kwargs in calls(modules[name], also):
            began = time.monotonic()
            try:
                modules[name](**kwargs)
            except (CommandExecutionError, SaltInvocationError) as exc:
                refused += 1
                assert is_fit_to_be_shown(str(exc)), f"{name}, {what}: {exc!s:.500}"
            except Exception as exc:
                pytest.fail(f"{name}, {what}: {type(exc).__name__}: {exc!s:.500}")
            assert time.monotonic() - began < SECONDS, f"{name}, {what}"
    assert refused > 1000


def test_states(states):
    for name in functions(states, "app", "discovery", "consul_acl"):
        for what, kwargs in calls(states[name]):
            try:
                ret = states[name](**kwargs)
            except Exception as exc:
                pytest.fail(f"{name}, {what}: {type(exc).__name__}: {exc!s:.500}")
            assert ret["result"] in (True, False), f"{name}, {what}"
            assert ret["result"] or (ret["changes"] == {} and is_fit_to_be_shown(ret["comment"])), f"{name}, {what}"
