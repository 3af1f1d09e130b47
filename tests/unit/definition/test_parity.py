"""The differences between two environments that their scale does not explain."""

from __future__ import annotations

import copy

import pytest
from saltdeploy.definition import parity

SECRET = "hunter2-hunter2"
PILLAR = {
    "apps": {"shop": {"source": {"pip": "shop"}, "run": "./serve", "env": {"LEVEL": "info"}}},
    "environments": {
        "production": {
            "nodes": {"p1": {"address": "10.0.0.1", "roles": ["app", "loadbalancer"]}, "p2": {"address": "10.0.0.2"}},
            "apps": {"shop": {"instances": 6, "version": "1.4.2"}},
            "strategy": {"drain": "30s"},
            "discovery": {"consul": {"token": SECRET}},
        },
        "test": {
            "based_on": "production",
            "scale": 0.34,
            "nodes": {"t1": {"address": "10.1.0.1", "roles": ["app", "loadbalancer"]}},
        },
    },
}


@pytest.fixture
def pillar():
    return copy.deepcopy(PILLAR)


def differences(pillar):
    return [tuple(d) for d in parity.differences(pillar, "production", "test")]


def test_what_scale_explains_is_no_difference(pillar):
    """Nor are nodes, addresses and the way to Consul: those are each environment's own."""
    assert differences(pillar) == []


@pytest.mark.parametrize(
    "change, found",
    [
        ({"apps": {"shop": {"version": "1.5.0"}}}, [("apps:shop:version", "1.4.2", "1.5.0")]),
        ({"apps": {"shop": {"instances": 3}}}, [("apps:shop:instances", 6, 3)]),
        ({"apps": {"shop": {"packages": ["curl"]}}}, [("apps:shop:packages", None, ["curl"])]),
        ({"strategy": {"drain": "1s"}}, [("strategy:drain", "30s", "1s")]),
        # Of variables, the names count. Each environment has its own values.
        ({"apps": {"shop": {"env": {"LEVEL": "debug"}}}}, []),
        ({"apps": {"shop": {"env": {"MORE": SECRET}}}}, [("apps:shop:env:MORE", None, True)]),
        # What may be secret differs, and is not shown.
        ({"apps": {"shop": {"run": f"./serve {SECRET}"}}}, [("apps:shop:run", "***", "***")]),
        ({"nodes": {"t1": {"address": "10.1.0.1", "roles": ["app"]}}}, [("roles:loadbalancer", True, None)]),
    ],
)
def test_each_other_difference_is_named(pillar, change, found):
    pillar["environments"]["test"].update(change)
    assert differences(pillar) == found and SECRET not in str(differences(pillar))


def test_an_app_that_one_of_them_has_not(pillar):
    pillar["apps"]["blog"] = {"source": {"pip": "blog"}, "run": "x"}
    pillar["environments"]["test"]["apps"] = {"blog": {"version": "2.0"}}
    assert differences(pillar) == [
        ("apps:blog:source:pip", None, "blog"),
        ("apps:blog:run", None, "***"),
        ("apps:blog:version", None, "2.0"),
    ]


def test_environments_that_are_not_based_on_each_other(pillar):
    del pillar["environments"]["test"]["based_on"]
    pillar["environments"]["test"]["apps"] = {"shop": {"instances": 6, "version": "1.4.2"}}
    assert differences(pillar) == [("strategy:drain", "30s", None)]


@pytest.mark.parametrize(
    "ignore, left",
    [
        (["apps:shop:version"], {"strategy:drain"}),
        (["apps:*:version"], {"strategy:drain"}),
        (["apps"], {"strategy:drain"}),
        (["strategy"], {"apps:shop:version"}),
        (["apps:blog:version", "apps:shop:vers"], {"apps:shop:version", "strategy:drain"}),
    ],
)
@pytest.mark.parametrize("where", ["production", "test"])
def test_what_either_of_them_ignores_is_left_out(pillar, ignore, left, where):
    pillar["environments"]["test"].update({"strategy": {"drain": "1s"}, "apps": {"shop": {"version": "1.5.0"}}})
    pillar["environments"][where]["ignore"] = ignore
    assert {key for key, _, _ in differences(pillar)} == left


@pytest.mark.parametrize(
    "env", [{"DB": {"password": SECRET}}, [f"PW={SECRET}"], f"PW={SECRET}", {"A": [{"B": SECRET}]}]
)
def test_no_value_of_a_variable_is_told_whatever_its_shape_is(pillar, env):
    pillar["environments"]["test"]["apps"] = {"shop": {"env": env}}
    found = differences(pillar)
    assert found and SECRET not in str(found)


def test_an_app_of_a_wrong_shape_is_left_out(pillar):
    pillar["apps"]["shop"] = ["odd"]
    assert differences(pillar) == []
