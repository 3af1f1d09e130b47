"""The check of a whole pillar against the schema, and what its messages say."""

from __future__ import annotations

import sys

import pytest
from saltdeploy import definition
from saltdeploy.core.errors import Refused
from saltdeploy.core.model import PortRange
from saltdeploy.definition import schema, validation

from tests.support.definitions import SHOP, mistake, pillar


def test_jsonschema_is_needed_on_the_master_only(monkeypatch):
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(Refused, match="jsonschema is not installed on the master"):
        definition.load(pillar())
    assert definition.load_own("web1", pillar()).apps["shop"].ports == PortRange(20000, 20009)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"apps": [{"shop": SHOP}]}, "apps: found a list. Write a mapping of name to definition."),
        ({"apps": "shop"}, "apps: found text. Write a mapping of name to definition."),
        ({"apps": {8080: SHOP}}, "apps: the name 8080 is not text. Quote it."),
        ({"apps": {"shop": None}}, "apps:shop: found nothing. Write a mapping."),
        ({"environments": [{"test": {}}]}, "environments: found a list. Write a mapping of name to definition."),
        ({"environments": {"test": None}}, "environments:test: found nothing. Write a mapping."),
        ({"environments": {"test": {"apps": {}}}}, "environments:test:nodes: is missing"),
        ({"environments": {"test": {"nodes": {"w": {}}}}}, "environments:test:nodes:w:address: is missing"),
        ({"environments": {"test": {"nodes": ["w"]}}}, "environments:test:nodes: found a list. Write a mapping."),
        (
            {"environments": {"test": {"nodes": {}, "apps": ["shop"]}}},
            "environments:test:apps: found a list. Write a mapping.",
        ),
        (
            {"environments": {"test": {"nodes": {}, "apps": {"shop": "1.0"}}}},
            "environments:test:apps:shop: found text. Write a mapping.",
        ),
        (
            {"environments": {"test": {"nodes": {}, "apps": {"shpo": {}}}}},
            "environments:test:apps:shpo: there is no such app (did you mean `shop`?)",
        ),
        (
            {"environments": {"test": {"nodes": {}, "scale": 0}}},
            "environments:test:scale: 0 is too small. Write more than 0.",
        ),
        (
            {"environments": {"test": {"nodes": {}, "discovery": {"consul": {"servers": []}}}}},
            "environments:test:discovery:consul:servers: the list is empty. Write at least 1.",
        ),
    ],
)
def test_malformed_pillar(change, message):
    assert mistake({**pillar(), **change}).startswith(message)


def test_all_mistakes_are_told_each_on_its_line():
    """Whatever their kind; several unknown keys too."""
    message = mistake(pillar({"instances": 0, "user": "Root", "prots": 80, "evn": {}}))
    assert [line.partition(": ")[0] for line in message.splitlines()] == [
        "apps:shop:evn",
        "apps:shop:prots",
        "apps:shop:instances",
        "apps:shop:user",
    ]
    assert mistake(pillar({"env": {f"A{n:03}": [] for n in range(50)}})).endswith(
        "A011: found a list. Write text, a number, true or false.\n… and 38 more"
    )


@pytest.mark.parametrize("token", ["geheim\n", 4711])
def test_a_token_that_is_wrong_is_not_shown(token):
    message = mistake(pillar(discovery={"consul": {"token": token}}))
    assert message.startswith("environments:test:discovery:consul:token: found ")
    assert "geheim" not in message and "4711" not in message


def test_the_mistakes_of_an_app_are_no_other_apps_and_not_the_environments():
    wrong = pillar({"prots": 80}, {"instances": 0}, scale="big")
    wrong["apps"]["cart"] = SHOP
    wrong["environments"]["test"]["apps"]["cart"] = {}
    found = validation.problems(wrong)
    assert list(found) == ["", "shop"]
    assert [line.partition(": ")[0] for line in found[""]] == ["environments:test:scale"]
    assert [line.partition(": ")[0] for line in found["shop"]] == [
        "apps:shop:prots",
        "environments:test:apps:shop:instances",
    ]
    assert validation.problems(pillar()) == {}


def test_a_node_looks_for_mistakes_only_if_it_can(monkeypatch):
    part = {"apps": {"shop": {"ports": 80}}, "environments": {}}
    assert validation.problems_again(part) == {} and validation.problems(part)["shop"]
    monkeypatch.setattr(validation.importlib.util, "find_spec", lambda name: None)
    assert validation.problems_again(part) is None


@pytest.mark.parametrize("value", ["shop\n", 3.0, float("nan"), float("inf"), True])
def test_values_that_json_schema_would_take(value):
    """Python and YAML are lenient with a last newline, 3.0 as an integer, .nan and .inf."""
    key = "user" if isinstance(value, str) else "instances"
    assert mistake(pillar({key: value})).startswith(f"apps:shop:{key}: ")


def test_ciphertext_is_named_by_its_place():
    sealed = "-----BEGIN PGP MESSAGE-----\nabc"
    assert (
        mistake(pillar({"env": {"A": ["", sealed]}})).splitlines()[0].startswith("apps:shop:env:A:1: is gpg ciphertext")
    )


def test_a_list_of_mistakes_ends():
    assert validation.listed(["a", "b"]) == "a\nb"
    assert validation.listed(["a"] * 14).splitlines()[11:] == ["a", "… and 2 more"]
    assert validation.listed(["a"] * validation.MISTAKES).endswith("\n… and 88 or more")


def test_a_digest_is_of_the_definitions_and_the_schema(monkeypatch):
    first = validation.digest(pillar())
    assert first == validation.digest(pillar()) != validation.digest(pillar({"user": "x"}))
    validation._schema.cache_clear()
    monkeypatch.setitem(schema.STRATEGY.schema["properties"], "colour", {})
    assert validation.digest(pillar()) != first
    monkeypatch.undo()
    validation._schema.cache_clear()
    assert validation.digest(pillar()) == first
