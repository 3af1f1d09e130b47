"""Environments based on one another, and the part of them that a node gets."""

import pytest
from saltdeploy import definition
from saltdeploy.core.errors import DefinitionError
from saltdeploy.definition import inheritance

from tests.support.definitions import SHOP, mistake


def environments(**test):
    return {
        "production": {
            "nodes": {"p1": {"address": "10.1.0.1"}},
            "discovery": {"consul": {"datacenter": "dc1", "token": "t"}},
            "apps": {"shop": {"version": "1.0", "instances": 3, "env": {"LOG": "warning"}}, "cart": {}},
            "strategy": {"drain": "30s", "deregister_delay": "1s"},
        },
        "test": {"based_on": "production", "nodes": {"t1": {"address": "10.2.0.1"}}, **test},
    }


def test_based_on_takes_all_but_the_nodes():
    raw = inheritance.resolve(environments(apps={"shop": {"version": "1.1"}}, strategy={"drain": "1s"}), "test")
    assert raw == {
        "nodes": {"t1": {"address": "10.2.0.1"}},
        "discovery": {"consul": {"datacenter": "dc1", "token": "t"}},
        "apps": {"shop": {"version": "1.1", "instances": 3, "env": {"LOG": "warning"}}, "cart": {}},
        "strategy": {"drain": "1s", "deregister_delay": "1s"},
    }


@pytest.mark.parametrize(
    "scale, instances, scaled",
    [(0.5, 3, 2), (0.1, 3, 1), (1 / 3, 3, 1), (2, 3, 6), (0.07, 100, 7), (0.34, 3, 1)],
)
def test_scale_rounds_inherited_instances(scale, instances, scaled):
    given = environments(scale=scale)
    given["production"]["apps"]["shop"]["instances"] = instances
    assert inheritance.resolve(given, "test")["apps"]["shop"]["instances"] == scaled


def test_scale_leaves_instances_alone_that_the_environment_states_itself():
    given = environments(scale=0.1, apps={"shop": {"instances": 9}})
    assert inheritance.resolve(given, "test")["apps"]["shop"]["instances"] == 9


def test_scales_multiply_along_the_chain():
    given = environments(scale=2)
    given["laptop"] = {"based_on": "test", "scale": 0.5, "nodes": {}}
    assert inheritance.resolve(given, "laptop")["apps"]["shop"]["instances"] == 3


def test_based_on_in_a_circle():
    given = environments()
    given["production"]["based_on"] = "test"
    message = mistake({"apps": {}, "environments": given}, env="test")
    assert "based_on: goes round in a circle: test > production > test" in message


@pytest.mark.parametrize("base, hint", [("prodution", "did you mean `production`?"), (["production"], "Defined:")])
def test_based_on_something_unknown(base, hint):
    message = mistake({"apps": {}, "environments": environments(based_on=base)}, env="test")
    assert message.startswith(f"environments:test:based_on: there is no environment {base!r}")
    assert hint in message


def test_a_node_gets_its_own_environment_resolved_and_no_other():
    given = environments(scale=0.5, apps={"shop": {"env": {"LOG": "debug"}}})
    own = inheritance.own_environment(given, "t1")
    assert list(own["environments"]) == ["test"]
    assert "10.1.0.1" not in str(own)
    apps = {"shop": SHOP, "cart": {"source": {"pip": "cart"}, "run": "cart"}}
    assert definition.load({"apps": apps, **own}) == definition.load({"apps": apps, "environments": given}, "test")


def test_a_stranger_gets_no_environment():
    assert inheritance.own_environment(environments(), "stranger") == {"environments": {}}


def test_a_node_of_two_environments():
    given = environments()
    given["production"]["nodes"]["t1"] = {"address": "10.2.0.1"}
    with pytest.raises(DefinitionError, match="t1 is a node of both production and test: keep it in one"):
        inheritance.own_environment(given, "t1")


@pytest.mark.parametrize("instances", ["two", 2.5, None, True, [1], {}])
def test_a_number_of_instances_that_is_none_is_wrong_for_its_app_only(instances):
    given = environments(scale=0.5)
    given["production"]["apps"]["cart"] = {"instances": instances}
    own = inheritance.own_environment(given, "t1")
    assert own["environments"]["test"]["apps"]["shop"]["instances"] == 2
    for load in (
        lambda pillar: definition.load(pillar, "test"),
        lambda pillar: definition.load_own("t1", {**pillar, **own}),
    ):
        found = load({"apps": {"shop": SHOP, "cart": SHOP}, "environments": given})
        assert list(found.apps) == ["shop"] and "apps:cart:instances" in found.broken["cart"]


def test_a_source_of_another_kind_replaces_the_source():
    archive = {"source": {"archive": "/a", "sha256": "x", "strip": 1}, "env": {"source": "a", "path": "b"}}
    folder = {"source": {"path": "/srv/shop"}, "env": {"path": "c"}}
    assert inheritance.merge(archive, folder) == {"source": {"path": "/srv/shop"}, "env": {"source": "a", "path": "c"}}
    # The same kind, or a part of it, is merged as everything else.
    same = inheritance.merge(archive, {"source": {"archive": "/b"}})
    assert same["source"] == {"archive": "/b", "sha256": "x", "strip": 1}
    assert inheritance.merge(archive, {"source": {"strip": 2}})["source"] == {
        "archive": "/a",
        "sha256": "x",
        "strip": 2,
    }
