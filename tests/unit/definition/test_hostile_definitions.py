"""A definition with junk anywhere is a definition still, or refused with the key path: never anything else."""

from __future__ import annotations

import copy
import re
import sys
import time
import traceback
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from saltdeploy import definition
from saltdeploy.core import arguments, bounds, words
from saltdeploy.core.environment import Environment
from saltdeploy.core.errors import DefinitionError, Refused
from saltdeploy.definition import inheritance

from tests.support.hostile import ALL, DEEP, JUNK, is_fit_to_be_shown, itself, many, nested

SHOP = {
    "source": {"archive": "/shop-{version}.tar.gz", "sha256": {"1.0": "0" * 64}, "strip": 1},
    "run": "{release}/bin/shop --port {port}",
    "user": "shop",
    "ports": "20000-20009",
    "env": {"LOG": "info"},
    "config": {"etc/shop.ini": "salt://shop.ini"},
    "packages": ["libpq5"],
    "states": ["shop.extra"],
    "requires": ["db"],
    "roles": ["app"],
    "resources": {"memory": "1M", "cpu": "50%"},
    "frontend": {"port": 80, "mode": "http"},
    "checks": [
        {"http": "/health", "interval": "1s"},
        {"tcp": True},
        {"https": {"path": "/", "host": "a", "headers": {"X": "y"}, "body": "z"}, "failures_before_critical": 2},
    ],
    "tests": [{"http": {"path": "/", "status": 200, "contains": "x"}, "from": "peer", "timeout": 3}, {"command": "x"}],
    "strategy": {"waves": [1, "50%"], "pause": "manual", "drain": "5s", "auto_revert": False, "keep_releases": 2},
}
TEST = {
    "based_on": "base",
    "scale": 0.5,
    "nodes": {
        "web1": {"address": "10.0.0.1", "zone": "a"},
        "web2": {"address": "10.0.0.2", "roles": ["app", "consul-server"]},
    },
    "apps": {"shop": {"version": "1.0", "instances": 2}},
    "discovery": {"consul": {"agent": "http://{address}:8500", "servers": ["http://10.0.0.1:8500"], "token": "t"}},
    "consul": {"version": "1.22.3", "services": ["db"]},
    "dns": {"resolver": "unbound", "upstream": ["1.1.1.1"]},
    "strategy": {"min_healthy_time": "1s"},
}
BASE = {"nodes": {"b1": {"address": "10.0.0.9"}}, "apps": {"shop": {"instances": 3}}}
PILLAR = {"apps": {"shop": SHOP}, "environments": {"base": BASE, "test": TEST}}

# Things that are plain data, at least.
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4),
    max_leaves=8,
)


def paths(value, keys=()):
    """Yield the keys that lead to each value in ``value``."""
    yield keys
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from paths(value[key], (*keys, key))


PATHS = [keys for keys in paths(PILLAR) if keys]


def mutated(keys, junk, how):
    """Return the pillar with ``junk`` as the value at ``keys``, as a key in its place, or as a further key there."""
    changed = copy.deepcopy(PILLAR)
    within = changed
    for key in keys[:-1]:
        within = within[key]
    if how == "value" or isinstance(within, list):
        within[keys[-1]] = junk
    elif how == "key":
        within[junk] = within.pop(keys[-1])
    else:
        within[junk] = 1
    return changed


def is_definition_or_refused(pillar):
    """Whether it is loaded, or refused, everywhere that definitions are read. Return the message, if there is one."""
    try:
        environment = definition.load(pillar, "test")
        assert isinstance(environment, Environment)
        said = "\n".join(environment.broken.values())
        assert all(map(is_fit_to_be_shown, environment.broken.values())), ascii(said[:500])
    except Refused as exc:
        assert is_fit_to_be_shown(str(exc)), ascii(str(exc)[:500])
        said = str(exc)
    for read in (lambda: definition.load_own("web1", pillar), lambda: own(pillar)):
        try:
            read()
        except Refused as exc:
            assert is_fit_to_be_shown(str(exc)), ascii(str(exc)[:500])
    return said


def own(pillar):
    if isinstance(pillar.get("environments"), dict):
        inheritance.own_environment(pillar["environments"], "web1")


def test_without_junk_it_is_a_definition():
    assert is_definition_or_refused(PILLAR) == ""


@given(st.sampled_from(PATHS), PLAIN, st.sampled_from(["value", "further key"]))
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(("environments", "test", "scale"), 10**400, "value")
@example(("apps", "shop", "strategy", "drain"), "9" * 400 + "h", "value")
def test_anything_anywhere(keys, junk, how):
    if how == "value" or isinstance(junk, (str, int, type(None))):
        is_definition_or_refused(mutated(keys, junk, how))


# These are looked at by what handles them before ours does; here they cost seconds each.
SMALL = {label: junk for label, junk in ALL.items() if label not in ("many of the same", "many at little depth")}


@pytest.mark.parametrize("label", SMALL)
def test_junk_everywhere(label):
    junk = SMALL[label]
    for keys in PATHS[:: 7 if label in DEEP or label.startswith("long") else 1]:
        is_definition_or_refused(mutated(keys, junk, "value"))
        if not isinstance(junk, (list, dict, set)):
            is_definition_or_refused(mutated(keys, junk, "key"))


@pytest.mark.parametrize("junk", JUNK.values(), ids=list(JUNK))
def test_without_jsonschema_on_a_node(monkeypatch, junk):
    """The node reads what the master has checked; where it did not, that is said, without a key path."""
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    for keys in PATHS:
        pillar = mutated(keys, junk, "value")
        try:
            definition.load_own("web1", {**pillar, "environments": own_of(pillar)})
        except Refused as exc:
            assert is_fit_to_be_shown(str(exc))


def own_of(pillar):
    environments = pillar.get("environments")
    return {"test": environments["test"]} if isinstance(environments, dict) and "test" in environments else environments


# -- what is said -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keys, junk, how, message",
    [
        (
            ("apps", "shop"),
            "sh\u043ep",
            "key",
            "(did you mean `sh\u043ep`: character 3 is U+043E (CYRILLIC SMALL LETTER O)",
        ),
        (
            ("apps", "shop", "run"),
            "a\0b",
            "value",
            "apps:shop:run: found a text whose character 2, U+0000, is not allowed",
        ),
        (("apps", "shop", "run"), "x" * 30_001, "value", "apps:shop:run: found a text of 30001"),
        (("apps", "shop", "tests", 0, "timeout"), 10**30, "value", "a whole number has at most 63 bits"),
        (
            ("apps", "shop", "strategy", "drain"),
            "721h",
            "value",
            "apps:shop:strategy:drain: '721h' is too long. Write at most 30 days",
        ),
        (("environments", "test", "nodes", "web2", "address"), "10.0.0.1", "value", "is the address of web1, too"),
        (("environments", "test", "nodes", "web2"), nested(50), "value", "mappings and lists deep, at most 16"),
        (("apps", "shop", "states"), itself(), "value", "mappings and lists deep, at most 16"),
        (("apps", "shop", "ports"), "20010-20000", "value", "apps:shop:ports: `20010-20000` is not a range"),
        (
            ("apps", "shop", "packages"),
            {1},
            "value",
            "apps:shop:packages: found something else. Write a mapping, a list, text",
        ),
        (
            ("environments", "test", "apps", "shop", "version"),
            1.1,
            "value",
            "1.1 was read as a number, and digits may be lost",
        ),
        (
            ("environments", "test", "apps", "shop", "version"),
            True,
            "value",
            "YAML reads on, off, yes, no, true and false",
        ),
        (("environments", "test", "apps"), None, "key", "environments:test:None: unknown key"),
        (
            ("environments", "test", "discovery", "consul", "agent"),
            "http://{adress}:8500",
            "value",
            "environments:test:discovery:consul:agent: this is no URL. Write http://{address}:8500",
        ),
        (
            ("environments", "test", "discovery", "consul", "servers", 0),
            "http://[",
            "value",
            "servers:0: this is no URL",
        ),
    ],
)
def test_messages(keys, junk, how, message):
    assert message in is_definition_or_refused(mutated(keys, junk, how))


def test_a_look_alike_is_named():
    said = is_definition_or_refused(mutated(("apps", "shop"), "sh\u043ep", "key"))
    said += is_definition_or_refused(mutated(("environments", "test", "apps", "shop", "version"), "1.\u0660", "value"))
    assert "sh\u043ep" in said
    assert "character 3 is U+0660 (ARABIC-INDIC DIGIT ZERO), and only ASCII is allowed" in said
    with pytest.raises(Refused, match=r"unknown app 'sh.p'.*character 3 is U\+043E \(CYRILLIC SMALL LETTER O\)"):
        definition.find_app(definition.load(PILLAR, "test"), "sh\u043ep")
    with pytest.raises(Refused, match=r"unknown environment 't.st'.*U\+0435 \(CYRILLIC SMALL LETTER IE\)"):
        definition.load(PILLAR, "t\u0435st")


def test_a_long_chain_of_environments():
    chain = {f"e{n}": {"based_on": f"e{n + 1}", "nodes": {}} for n in range(bounds.BASES + 1)}
    with pytest.raises(DefinitionError, match="at most 16 may be based on one another"):
        definition.load({"environments": chain, "apps": {}}, "e0")


# -- size -------------------------------------------------------------------------------------


def of_nodes(count):
    nodes = {
        f"web{n}": {"address": f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", "roles": ["app", "consul-server"]}
        for n in range(count)
    }
    return {"apps": {"shop": SHOP}, "environments": {"test": {**TEST, "based_on": "", "nodes": nodes}}}


def test_ten_thousand_nodes_are_a_definition():
    pillar = of_nodes(10_000)
    del pillar["environments"]["test"]["based_on"]
    assert len(definition.load(pillar, "test").nodes) == 10_000


@pytest.mark.parametrize(
    "pillar, message",
    [
        (of_nodes(200_000), "one entry too many: an environment or an app may have 200000"),
        (mutated(("apps", "shop", "packages"), ["x" * 25_000] * 400, "value"), "may have 2000000 characters"),
        (mutated(("apps", "shop", "run"), "x" * 10_000_000, "value"), "of 10000000 characters, at most 30000"),
        (mutated(("apps", "shop", "env"), {f"A{n}": [n] for n in range(90_000)}, "value"), "… and 88 or more"),
        (mutated(("apps", "shop", "env"), many(), "value"), "is 16 mappings and lists deep"),
    ],
    ids=["nodes", "texts", "one text", "mistakes", "aliases"],
)
def test_ten_megabytes_are_refused_in_seconds(pillar, message):
    began = time.process_time()
    assert message in is_definition_or_refused(pillar)
    assert time.process_time() - began < 20


# -- how values are shown ---------------------------------------------------------------------


@given(PLAIN)
@example("\u202e\ud800\x1b")
@example(10**5000)
@example([{"a": "x" * 10**6}] * 5)
def test_values_are_shown_short_and_harmless(value):
    for text in (words.shown(value), words.name(value), words.path([value, value])):
        assert len(text) <= 1000
        assert is_fit_to_be_shown(text)


@pytest.mark.parametrize("label", ALL)
def test_all_junk_can_be_shown(label):
    assert is_fit_to_be_shown(words.shown(ALL[label]))
    assert words.nearest(ALL[label], ["shop"]) == "" or label == "look-alike"


def test_lists_of_names_are_cut():
    assert words.listed([]) == "none"
    assert words.listed(["b", "a"]) == "a, b"
    assert words.listed(f"{n:03}" for n in range(100)).endswith("018, 019 and 80 more")


def test_of_a_traceback_its_last_exception_is_told():
    try:
        try:
            int("x")
        except ValueError as exc:
            raise DefinitionError("a: is wrong\n  in line 2") from exc
    except DefinitionError:
        text = "Rendering failed:\n" + traceback.format_exc()
    said = words.without_traceback(text)
    assert said == "Rendering failed: saltdeploy.core.errors.DefinitionError: a: is wrong in line 2"
    assert words.without_traceback("no error") == "no error"


def test_the_limits_are_documented():
    page = (Path(__file__).resolve().parents[3] / "docs/reference/limits.rst").read_text()
    numbers = {bounds.FILE, bounds.DEPTH, bounds.ENTRIES, bounds.CHARACTERS, bounds.TEXT, bounds.ALIASES, bounds.BASES}
    numbers |= {bounds.MERGED, arguments.INSTANCES, arguments.LINES, arguments.REASON, words.VALUE}
    assert {n for n in numbers if not re.search(rf"\b{n}\b", page)} == set()
    assert bounds.LONGEST in page
