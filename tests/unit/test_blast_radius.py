"""Nobody's mistake stands in another app's way: on the master and on a node."""

import copy
import json

import pytest
from saltdeploy import clashes, definition, validation
from saltdeploy.errors import DefinitionError, Refused
from saltdeploy.host import Host
from saltdeploy.model import App

SHOP = {"source": {"pip": "shop"}, "run": "./shop", "ports": "20000-20009", "checks": [{"http": "/"}]}
PILLAR = {
    "apps": {"shop": SHOP, "cart": copy.deepcopy(SHOP)},
    "environments": {
        "test": {
            "nodes": {"web1": {"address": "10.0.0.1"}, "web2": {"address": "10.0.0.2"}},
            "apps": {"shop": {"version": "1.0"}, "cart": {"version": "1.0"}},
        },
        "other": {"nodes": {"o1": {"address": "10.0.1.1"}}, "apps": {"cart": {}}},
    },
}


def changed(change):
    pillar = copy.deepcopy(PILLAR)
    change(pillar, pillar["apps"], pillar["environments"]["test"]["apps"])
    return pillar


# What somebody does to the app `cart`, or beside it.
MISTAKES = {
    "no mapping": lambda pillar, apps, placed: apps.update(cart=None),
    "unknown key": lambda pillar, apps, placed: apps["cart"].update(prots=80),
    "wrong type": lambda pillar, apps, placed: placed.update(cart="1.0"),
    "missing": lambda pillar, apps, placed: apps["cart"].pop("run"),
    "placeholder": lambda pillar, apps, placed: apps["cart"].update(run="./cart {prot}"),
    "contradiction": lambda pillar, apps, placed: apps["cart"].update(strategy={"waves": [2, 1]}),
    "not defined": lambda pillar, apps, placed: apps.pop("cart"),
    "too deep": lambda pillar, apps, placed: apps["cart"].update(env=json.loads("[" * 50 + "]" * 50)),
    "too long": lambda pillar, apps, placed: apps["cart"].update(run="x" * 40_000),
    "too much": lambda pillar, apps, placed: apps["cart"].update(packages=["x"] * 300_000),
    "object": lambda pillar, apps, placed: apps["cart"].update(env={"A": b"\xff"}),
    "same frontend": lambda pillar, apps, placed: [app.update(frontend={"port": 80}) for app in apps.values()],
    "instances of a wrong type": lambda pillar, apps, placed: placed["cart"].update(instances=[1], version=3.1),
    "name": lambda pillar, apps, placed: (apps.update(Cart_2=apps["cart"]), placed.update(Cart_2={})),
    "name that is a number": lambda pillar, apps, placed: (
        apps.update({8080: apps["cart"]}),
        placed.update({8080: {}}),
    ),
    "another environment": lambda pillar, apps, placed: pillar["environments"].update(other={"nodes": 5, "apps": [{}]}),
    "another environment's name": lambda pillar, apps, placed: pillar["environments"].update({True: {}}),
}


@pytest.mark.parametrize("label", MISTAKES)
def test_an_app_is_what_it_was(label):
    good = definition.load(PILLAR, "test").apps["shop"]
    pillar = changed(MISTAKES[label])
    environment = definition.load(pillar, "test")
    shop = definition.find_app(environment, "shop")
    assert shop == good or label == "same frontend"
    if not label.startswith("another environment"):
        assert len(environment.broken) == 1 and "shop" in environment.apps
        broken = next(iter(environment.broken))
        with pytest.raises(DefinitionError) as caught:
            definition.find_app(environment, broken)
        assert str(caught.value) == environment.broken[broken] != ""
        # What looks at it needs no definition of it.
        assert definition.known_by_name(environment, broken) == App(broken, None, "")
    pillar["environments"] = {"test": pillar["environments"]["test"]}
    assert definition.load_own("web1", pillar).apps["shop"] == shop


@pytest.mark.parametrize("label", MISTAKES)
def test_an_app_is_what_it_was_on_a_node_without_jsonschema(label):
    pillar = changed(MISTAKES[label])
    pillar["environments"] = {"test": pillar["environments"]["test"]}
    try:
        environment = definition.load_own("web1", pillar, problems=lambda definitions: None)
    except Refused as exc:  # the sizes of all together are looked at
        assert label in ("too deep", "too long", "too much", "object"), exc
    else:
        assert "shop" in environment.apps


def test_the_environment_asked_for_must_be_right():
    pillar = changed(lambda pillar, apps, placed: pillar["environments"]["test"].update(nodes={"web1": {}}))
    with pytest.raises(DefinitionError, match="environments:test:nodes:web1:address: is missing"):
        definition.load(pillar, "test")
    assert definition.load(pillar, "other").apps["cart"]


def test_the_only_environment_is_not_taken_for_one_that_cannot_be_read():
    pillar = {"apps": {}, "environments": {"production": {"nodes": {}}}}
    assert definition.load(pillar).name == "production"
    pillar["saltdeploy_broken"] = {"apps/mail.sls": "line 3: is wrong"}
    assert definition.load(pillar).name == "production"
    pillar["saltdeploy_broken"] = {"environments/test.sls": "is not YAML: line 2: something"}
    with pytest.raises(
        Refused, match=r"which environment\? Say env=NAME, one of: production\. Left out is environments/"
    ):
        definition.load(pillar)
    assert definition.load(pillar, "production").name == "production"


def test_an_unknown_app_is_told_which_files_are_left_out():
    environment = definition.load({**PILLAR, "saltdeploy_broken": {"apps/mail.sls": "line 3: is wrong"}}, "test")
    with pytest.raises(Refused, match=r"unknown app 'mail'.* Left out is apps/mail.sls: line 3: is wrong\."):
        definition.find_app(environment, "mail")


def test_a_node_remembers_what_was_wrong_and_what_was_not(tmp_path, monkeypatch):
    looked = []
    problems = validation.problems
    monkeypatch.setattr(validation, "problems", lambda *given: looked.append(1) or problems(*given))
    host, pillar = Host("web1", tmp_path), changed(MISTAKES["unknown key"])
    del pillar["environments"]["other"]
    for _ in range(3):
        environment = definition.load_own("web1", pillar, host.mistakes.find)
        assert list(environment.apps) == ["shop"] and "prots" in environment.broken["cart"]
    assert looked == [1]
    (tmp_path / ".validated").write_text("digest of an earlier version by another")
    assert "cart" in definition.load_own("web1", pillar, host.mistakes.find).broken
    assert looked == [1, 1]


@pytest.mark.parametrize(
    "requires, circle",
    [
        ({"shop": ["cart"], "cart": ["shop"]}, ["shop", "cart", "shop"]),
        ({"shop": ["shop"]}, ["shop", "shop"]),
        ({"shop": ["a"], "a": ["b"], "b": ["shop", "a"]}, ["shop", "a", "b", "shop"]),
        ({"shop": ["a", "db"], "a": ["b"], "b": ["a"]}, []),
    ],
)
def test_apps_that_require_one_another(requires, circle):
    apps = {name: App(name, None, "", requires=tuple(others)) for name, others in requires.items()}
    assert clashes.circle("shop", apps["shop"].requires, apps) == circle
