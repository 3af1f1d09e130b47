"""The tables of the reference: every key with its meaning, and every default of the code with its reason."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest
from saltdeploy import definition
from saltdeploy.core.httprequests import Request
from saltdeploy.core.model import Gate, Probe, Strategy
from saltdeploy.definition import probes, reference, schema
from saltdeploy.definition.schema.keys import Key, Section

ROOT = Path(__file__).resolve().parents[3]
KEYS = [(section, name, key) for section in schema.SECTIONS for name, key in section.keys.items()]


def shown(name):
    return {key.strip("`"): (kind, default) for key, kind, default, _ in reference.rows(name)}


def test_every_mapping_has_a_table_and_every_default_its_reason():
    assert reference.problems() == []


def test_a_key_without_a_meaning_and_a_mapping_without_a_table_are_noticed(monkeypatch):
    monkeypatch.setattr(schema.STRATEGY.keys["drain"], "meaning", "")
    monkeypatch.setitem(schema.ENVIRONMENT.schema["properties"], "dns", Section("", {"port": Key({}, "")}).schema)
    assert reference.problems() == ["no table has the keys ['port']", "strategy: drain has no meaning"]


@pytest.mark.parametrize(
    "section, name, attributes, problem",
    [
        ("strategy", "drain", {"default": ""}, "strategy: drain has the default 30s, and no reason for it"),
        ("strategy", "drain", {"reason": ""}, "strategy: drain has a default, and no reason for it"),
        (
            "strategy",
            "deregister_delay",
            {"default": "1s"},
            "strategy: deregister_delay has the default 2s, and its reason is for 1s",
        ),
        ("app", "tests", {"default": "a page"}, "app: tests has no default, and a reason for a page"),
        ("app", "tests", {"reason": "It is there."}, "app: tests has a reason, and no default"),
        ("app", "roles", {"reason": ""}, "app: roles has a default, and no reason for it"),
        (
            "strategy",
            "drain",
            {"default": "", "otherwise": "none"},
            "strategy: drain has the default 30s, and no reason for it",
        ),
    ],
)
def test_a_default_without_a_reason_and_a_reason_for_another_are_noticed(
    monkeypatch, section, name, attributes, problem
):
    key = next(key for found, other, key in KEYS if (found.name, other) == (section, name))
    for attribute, value in attributes.items():
        monkeypatch.setattr(key, attribute, value)
    assert reference.problems() == [problem]


def test_another_default_of_the_code_is_noticed(monkeypatch):
    monkeypatch.setattr(schema.STRATEGY, "defaults", vars(Strategy) | {"drain": 60.0})
    assert reference.problems() == ["strategy: drain has the default 1m, and its reason is for 30s"]


def test_types_and_defaults_are_those_of_the_code():
    assert shown("strategy")["waves"][1] == '``[1, "100%"]``'
    assert shown("strategy")["healthy_deadline"] == (":ref:`duration <durations>`", "``5m``")
    assert shown("app")["user"] == (schema.APP.keys["user"].schema["description"], "``app-<app>``")
    assert shown("app")["run"] == ("text", "*required*")
    assert shown("app")["instances"] == ("whole number, 1 to 1000", "``1``")
    assert [shown("hook")[key][1] for key in ("timeout", "once", "on_failure")] == ["``5m``", "``false``", "``revert``"]
    assert shown("hook")["command"] == ("text", "*required*")
    assert shown("test")["from"] == ("``node``, ``peer``, ``master``", "``node``")


def test_an_empty_definition_has_the_defaults_that_the_tables_show():
    """The tables have the defaults of dataclasses. No reader of a definition may have another."""
    own = {"source": {"pip": "shop"}, "run": "a", "ports": 20000, "hooks": {"before_start": "a"}}
    own.update(checks=[{"tcp": True}], tests=[{"http": "/"}], frontend={"port": 1})
    own["strategy"] = {"analysis": [{"name": "a", "command": "true"}]}
    app = definition.load(
        {"apps": {"shop": own}, "environments": {"e": {"nodes": {"n": {"address": "192.0.2.1"}}, "apps": {"shop": {}}}}}
    ).apps["shop"]
    assert app.user == "app-shop"
    test = asdict(app.tests[0])
    request = {**vars(Request), **asdict(Request()), "status": test["status"]}
    found = {
        "app": asdict(app),
        "source": asdict(app.source),
        "check": asdict(app.checks[0]),
        "test": {**test, "from": test["origin"]},
        "http": request,
        "hook": asdict(app.hooks["before_start"][0]),
        "stop": asdict(app.stop),
        "frontend": asdict(app.frontend),
        "strategy": asdict(app.strategy),
        "analysis": asdict(app.strategy.analysis[0]),
    }
    compared = {
        (section.name, name): (found[section.name][name], section.defaults[name])
        for section, name, key in KEYS
        if key.default and section.name in found
    }
    assert len(compared) > 30
    assert {at: pair for at, pair in compared.items() if pair[0] != pair[1]} == {}


def test_reasons_are_sentences_that_the_tables_show():
    # A gate has keys of a test.
    reasons = [reason for _, reason in {(name, key.reason) for _, name, key in KEYS if key.reason}]
    assert all(re.fullmatch(r"[A-Z].{30,280}\.", reason) for reason in reasons) and len(set(reasons)) == len(reasons)
    meanings = {key: meaning for key, *_, meaning in reference.rows("strategy")}
    assert "\n\nWhy ``2s``? HAProxy, as it is set up here" in meanings["``deregister_delay``"]


def test_what_is_done_by_default_is_in_the_column_for_it():
    """So that it has a reason."""
    assert [(section.name, name) for section, name, key in KEYS if "by default" in key.meaning.lower()] == []


def test_what_reasons_say_of_other_defaults_is_so():
    strategy, check = Strategy(), Probe("tcp", "")
    gate = Gate("", "")
    assert strategy.min_healthy_time == 5 * check.interval
    assert strategy.progress_deadline == 2 * strategy.healthy_deadline
    assert gate.count * gate.interval == 90 and gate.timeout == probes.TEST_TIMEOUT
    assert check.interval + check.timeout < strategy.min_healthy_time
    resolving = (ROOT / "salt/loadbalancer/files/haproxy.cfg.j2").read_text()
    assert "timeout resolve 1s" in resolving and strategy.deregister_delay > 1.1
