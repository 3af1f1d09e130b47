"""The conditions of an environment: read, refused with all mistakes, not inherited, and unknown to nodes."""

from __future__ import annotations

import pytest
from saltdeploy import definition
from saltdeploy.core.conditions import Approvals, Conditions, Window
from saltdeploy.core.errors import DefinitionError
from saltdeploy.definition import conditions, inheritance

NODES = {"web1": {"address": "10.0.0.1"}}
OPEN = {"from": "09:00", "to": "16:30"}


def load(name="e", **environment):
    made = {"nodes": NODES, **environment}
    base = {"based_on": "e", "nodes": {"web2": {"address": "10.0.0.2"}}}
    return definition.load({"apps": {}, "environments": {"e": made, "copy": base}}, name)


def test_conditions_are_read():
    found = load(
        approvals={"by": ["ann", "bob", "ann"], "count": 2},
        windows=[{**OPEN, "days": ["fri", "mon"], "timezone": "Europe/Berlin"}, {"from": "00:00", "to": "24:00"}],
        accept_within="72h",
        request_key_file="/etc/salt/key",
    ).conditions
    week = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    windows = (Window(540, 990, ("mon", "fri"), "Europe/Berlin"), Window(0, 1440, week, "UTC"))
    assert found == Conditions(Approvals(("ann", "bob"), 2), windows, 72 * 3600.0, "/etc/salt/key")
    assert load().conditions == Conditions()


@pytest.mark.parametrize(
    "environment, said",
    [
        ({"approvals": {"by": ["ann"], "count": 2}}, "approvals:count: 2 people must approve, and `by` names 1."),
        ({"approvals": {"by": []}}, "approvals:by"),
        ({"approvals": {"count": 1}}, "approvals:by: is missing."),
        ({"approvals": {"by": ["a b"]}}, "approvals:by:0"),
        ({"windows": []}, "windows"),
        ({"windows": [{**OPEN, "to": "09:00"}]}, "windows:0:to: is not after `from`. Write two windows"),
        ({"windows": [{**OPEN, "from": "9:00"}]}, "windows:0:from"),
        ({"windows": [{**OPEN, "from": "24:00"}]}, "windows:0:from"),
        ({"windows": [{**OPEN, "days": ["monday"]}]}, "windows:0:days:0"),
        ({"windows": [{**OPEN, "timezone": "Europe/Berlim"}]}, "timezone: 'Europe/Berlim' is unknown on this machine"),
        ({"windows": [{**OPEN, "timezone": "/etc/passwd"}]}, "timezone: '/etc/passwd' is unknown"),
        ({"windows": [{**OPEN, "timezone": "Europe"}]}, "timezone: 'Europe' is unknown"),
        ({"request_key_file": "key"}, "request_key_file"),
        ({"operators": []}, "operators"),
        ({"operators": None}, "operators"),
        ({"operators": "ann"}, "operators"),
        ({"operators": {"ann": None}}, "operators"),
        ({"operators": ["ann", 5]}, "operators:1"),
        ({"operators": ["ann bob"]}, "operators:0"),
        ({"accept_within": "0s"}, "accept_within: '0s' is too short."),
        ({"accept_within": "1000h"}, "accept_within: '1000h' is too long."),
    ],
)
def test_a_wrong_condition_is_refused(environment, said):
    with pytest.raises(DefinitionError) as refused:
        load(**environment)
    assert "environments:e:" in str(refused.value) and said in str(refused.value), str(refused.value)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(DefinitionError) as refused:
        load(approvals={"by": ["ann"], "count": 2}, windows=[{**OPEN, "to": "08:00"}], accept_within="0s")
    assert len(str(refused.value).splitlines()) == 3


def test_a_copy_does_not_inherit_them_and_is_not_wrong_with_its_base():
    given = {"approvals": {"by": ["ann"]}, "windows": [OPEN], "accept_within": "1h"}
    assert load("copy", **given).conditions == Conditions()
    assert load("copy", approvals={"by": ["ann"], "count": 9}).conditions == Conditions()
    assert load("copy", windows="never").conditions == Conditions()


def test_operators_are_of_an_environment_alone():
    raw = {"e": {"operators": ["ann", "ci"], "nodes": NODES}, "copy": {"based_on": "e", "nodes": {}}}
    resolved = {name: inheritance.resolve(raw, name) for name in raw}
    assert conditions.operators(resolved["e"]) == ["ann", "ci"]
    assert conditions.operators(raw["copy"]) is conditions.operators(resolved["copy"]) is None
    assert conditions.operators("no mapping") is None


def test_nodes_do_not_know_them():
    given = {
        "approvals": {"by": ["ann"]},
        "windows": [OPEN],
        "accept_within": "1h",
        "operators": ["ann"],
        "request_key_file": "/k",
    }
    own = inheritance.own_environment({"e": {"nodes": NODES, **given}}, "web1")["environments"]["e"]
    assert set(own) & set(conditions.KEYS) == set() and "web1" in own["nodes"]


@pytest.mark.parametrize(
    "environment, names",
    [({}, None), ("x", None), ({"operators": ["ann", 1]}, ["ann"])]
    + [({"operators": wrong}, []) for wrong in ("ann", None, {"ann": 1}, [])],
)
def test_operators_in_a_wrong_form_let_nobody_in(environment, names):
    assert conditions.operators(environment) == names
