"""The schema: which keys and values it allows, and the messages on others."""

from __future__ import annotations

import jsonschema
import pytest
from saltdeploy import definition
from saltdeploy.core import words
from saltdeploy.core.phases import PHASES
from saltdeploy.definition import schema
from saltdeploy.definition.schema.keys import Key, Section, mapping, optional

from tests.support.definitions import complaint, mistake, pillar


def test_it_is_json_schema():
    jsonschema.Draft202012Validator.check_schema(schema.PILLAR)


def test_a_section_allows_its_keys_and_no_others():
    section = Section("door", {"colour": Key({"enum": ["red"]}, "Its colour.", required=True)}, writeOnly=True)
    assert section.schema == {
        "type": "object",
        "properties": {"colour": {"enum": ["red"]}},
        "required": ["colour"],
        "additionalProperties": False,
        "writeOnly": True,
    }
    assert optional(section) == {**section.schema, "required": []}
    assert mapping(section.schema) == {
        "type": "object",
        "additionalProperties": section.schema,
        "propertyNames": {"type": "string"},
    }


def test_each_phase_has_a_hook():
    assert tuple(schema.HOOKS.keys) == PHASES


def test_a_node_needs_no_whole_app():
    """Of an app that may not run there, it gets only some keys."""
    part = {"apps": {"shop": {"ports": 80}}, "environments": {}}
    validator = jsonschema.Draft202012Validator
    assert not validator(schema.PILLAR).is_valid(part) and validator(schema.OF_NODE).is_valid(part)


@pytest.mark.parametrize(
    "app, message",
    [
        ({"prots": 80}, "prots: unknown key (did you mean `ports`?). Allowed here: check_restart, checks, config,"),
        ({"checks": [{"http": "/", "intervall": 1}]}, "checks:0:intervall: unknown key (did you mean `interval`?)"),
        ({"run": 5}, "run: found a number. Write text: quote a number."),
        ({"run": ""}, "run: the text is empty. Write at least 1 character."),
        ({"instances": 0}, "instances: 0 is too small. Write at least 1."),
        ({"instances": "3"}, "instances: '3' is not a whole number. Write the number without quotes: 3."),
        ({"instances": 3.0}, "instances: 3.0 is not a whole number. Write a whole number: 3."),
        ({"version": 1.4}, "version: 1.4 was read as a number, and digits may be lost (3.10 becomes 3.1). Write the"),
        (
            {"version": "1.0\n"},
            "version: '1.0\\n' is not a version. Write a version: letters, digits and . _ + ~ -, at",
        ),
        ({"ports": "80"}, "ports: '80' is not a port or a range of ports. Write the port without quotes: 80."),
        (
            {"env": {"A B": "1"}},
            "env:key number 1: found text of another form. Write the name of a variable: letters, digits",
        ),
        (
            {"env": {1: "1"}},
            "env:key number 1: found a number. Write the name of a variable: letters, digits and _. Quote",
        ),
        ({"env": {"A": ["1"]}}, "env:A: found a list. Write text, a number, true or false."),
        (
            {"config": {"../x": "salt://x"}},
            "config: '../x' is not a path. Write a path below the instance's folder, without .., for",
        ),
        (
            {"config": {"etc/..": "salt://x"}},
            "config: 'etc/..' is not a path. Write a path below the instance's folder, without .., for",
        ),
        (
            {"config": {"/etc/x": "salt://x"}},
            "config: '/etc/x' is not a path. Write a path below the instance's folder, without .., for",
        ),
        ({"config": {"x": "/etc/x"}}, "config:x: found text of another form. Write a salt:// URL of a template."),
        ({"user": "Root"}, "user: 'Root' is not a user. Write a user of the system: a-z, 0-9, _ and -, at most 32"),
        ({"requires": "postgres"}, "requires: found text. Write a list."),
        (
            {"strategy": {"drain": "soon"}},
            "strategy:drain: 'soon' is not a duration. Write a number of seconds, or a number with a",
        ),
        ({"strategy": {"keep_releases": 0}}, "strategy:keep_releases: 0 is too small. Write at least 1."),
        ({"stop": {"signal": "KILL"}}, "stop:signal: 'KILL' is not allowed here. Write one of TERM, INT"),
        (
            {"strategy": {"keep_releases": "5"}},
            "strategy:keep_releases: '5' is not a whole number. Write the number without quotes: 5.",
        ),
        (
            {"strategy": {"drain": -1}},
            "strategy:drain: -1 is not a duration. Write a number of seconds, or a number with a unit:",
        ),
        (
            {"strategy": {"drain": float("inf")}},
            "strategy:drain: inf is not a duration. Write a number of seconds, or a number with a",
        ),
        (
            {"strategy": {"waves": ["0%"]}},
            "strategy:waves:0: '0%' is not a number of nodes or a percentage. Write a number of nodes,",
        ),
        ({"strategy": {"type": "in-place"}}, "strategy:type: 'in-place' is not allowed here. Write recreate."),
        ({"strategy": {"type": "beside"}}, "strategy:type: 'beside' is not allowed here. Write rolling."),
        (
            {"strategy": {"canary_weight": "candidate", "pause": 1}},
            "strategy:canary_weight: 'candidate' is not a canary's traffic. Write none.",
        ),
        ({"strategy": {"replace": "in_place"}}, "strategy:replace: unknown key. Write `type: recreate`."),
        ({"strategy": {"replace": "blue_green"}}, "strategy:replace: unknown key. Write `type`."),
        ({"strategy": {"canary": "candidate"}}, "strategy:canary: unknown key. Write `canary_weight: none`."),
        ({"strategy": {"canary": "5%"}}, "strategy:canary: unknown key. Write `canary_weight`."),
        ({"strategy": {"min_healthy": 5}}, "strategy:min_healthy: unknown key. Write `min_healthy_time`."),
        ({"strategy": {"grace": 5}}, "strategy:grace: unknown key. Write `deregister_delay`."),
        ({"strategy": {"warm": 5}}, "strategy:warm: unknown key. Write `keep_old`."),
        (
            {"strategy": {"auto_revert": "no"}},
            "strategy:auto_revert: 'no' is not true or false. Write true or false, without quotes.",
        ),
        ({"checks": [{"tcp": False}]}, "checks:0:tcp: found true or false. Write true."),
        (
            {"tests": [{"tcp": True, "from": "moon"}]},
            "tests:0:from: 'moon' is not allowed here. Write one of node, peer, master.",
        ),
        (
            {"source": {"archive": "ftp://a"}},
            "source:archive: found text of another form. Write a URL (https://, http://, salt://,",
        ),
        (
            {"source": {"pip": "a", "sha256": {"1": "short"}}},
            "source:sha256:1: found text of another form. Write a SHA-256: 64 hexadecimal digits.",
        ),
        (
            {"source": {"pip": "a", "sha256": {1.4: "a" * 64}}},
            "source:sha256: 1.4 was read as a number, and digits may be lost (3.10 becomes 3.1). Write",
        ),
        ({"ports": None}, "ports: None is not a port or a range of ports. Write a port, or a range first-last, for"),
    ],
)
def test_schema_mistakes(app, message):
    assert complaint(app).startswith(message)


@pytest.mark.parametrize("name", ["Shop", "my_shop", "-shop", "shop-", "shop\n", "s" * 54, "sh.op"])
def test_app_names_are_dns_labels(name):
    given = pillar()
    given["apps"][name] = given["apps"].pop("shop")
    given["environments"]["test"]["apps"] = {name: {}}
    assert mistake(given).startswith(f"apps: {words.shown(name)} is not a name. Write a name")


def test_the_longest_app_name_leaves_room_for_its_candidate():
    given = pillar({"user": "shop"})
    given["apps"]["s" * 53] = given["apps"].pop("shop")
    given["environments"]["test"]["apps"] = {"s" * 53: {}}
    (app,) = definition.load(given).apps.values()
    assert len(app.candidate) == 63
