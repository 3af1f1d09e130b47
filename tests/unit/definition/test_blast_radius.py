"""Nobody's mistake stands in another app's way: on the master and on a node."""

import copy
import json

import pytest
from saltdeploy import definition
from saltdeploy.core.errors import DefinitionError, Refused
from saltdeploy.core.model import App
from saltdeploy.definition import validation
from saltdeploy.environment import appfiles, environmentfiles
from saltdeploy.environment import pillar as pillars
from saltdeploy.node.host import Host

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
    "instances of a wrong type": lambda pillar, apps, placed: placed["cart"].update(instances=[1], version=3.1),
    "name": lambda pillar, apps, placed: (apps.update(Cart_2=apps["cart"]), placed.update(Cart_2={})),
    "name that is a number": lambda pillar, apps, placed: (
        apps.update({8080: apps["cart"]}),
        placed.update({8080: {}}),
    ),
    "a mapping among the roles": lambda pillar, apps, placed: apps["cart"].update(roles=[{"web": None}]),
    "a mapping among the roles there": lambda pillar, apps, placed: placed["cart"].update(roles=[{"web": None}]),
    "roles of a wrong type": lambda pillar, apps, placed: apps["cart"].update(roles={"web": None}),
    "instances that are text": lambda pillar, apps, placed: placed["cart"].update(instances="two"),
    "tests of a wrong type": lambda pillar, apps, placed: apps["cart"].update(tests=5, strategy=[1], stop="x"),
    "another environment": lambda pillar, apps, placed: pillar["environments"].update(other={"nodes": 5, "apps": [{}]}),
    "another environment's name": lambda pillar, apps, placed: pillar["environments"].update({True: {}}),
}


@pytest.mark.parametrize("label", MISTAKES)
def test_an_app_is_what_it_was(label):
    good = definition.load(PILLAR, "test").apps["shop"]
    pillar = changed(MISTAKES[label])
    environment = definition.load(pillar, "test")
    shop = definition.find_app(environment, "shop")
    assert shop == good
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


@pytest.mark.parametrize("label", [label for label in MISTAKES if not label.startswith("another")])
def test_an_app_is_what_it_was_in_a_nodes_pillar(label, monkeypatch):
    """The files are read as they are. Here only their content is made up."""
    pillar = changed(MISTAKES[label])
    pillar["environments"]["test"]["nodes"]["web1"]["roles"] = ["app"]
    files = {name: {"apps": {name: app}} for name, app in pillar["apps"].items()}
    rendered = {name: appfiles._usable(appfiles._data(data)) for name, data in files.items()}
    found, unread = (
        {n: data for n, (data, _) in rendered.items()},
        {n: wrong for n, (_, wrong) in rendered.items() if wrong},
    )
    monkeypatch.setattr(pillars, "_apps", lambda *_: (found, unread))
    monkeypatch.setattr(environmentfiles, "_kept", lambda folder: (pillar["environments"], {}, {}))
    own = pillars.own_environment("environments", "web1", {"pki_dir": "/nowhere"}, {})
    json.dumps(own, default=repr)
    good = definition.load(PILLAR, "test").apps["shop"]
    environment = definition.load_own("web1", own)
    assert environment.apps["shop"] == good
    assert len(environment.broken) == 1


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


@pytest.mark.parametrize("order", [["shop", "cart"], ["cart", "shop"]])
def test_somebodys_new_app_does_not_make_an_app_wrong_that_serves(order):
    """Whichever of the two is written first."""
    pillar = changed(lambda pillar, apps, placed: [app.update(frontend={"port": 80}) for app in apps.values()])
    pillar["environments"] = {"test": pillar["environments"]["test"]}
    pillar["environments"]["test"]["apps"] = {app: {"version": "1.0"} for app in order}
    for environment in (definition.load(pillar), definition.load_own("web1", pillar)):
        assert environment.broken == {} and definition.find_app(environment, "shop").version == "1.0"
        for app, other in (order, order[::-1]):
            said = f"apps:{app}:frontend:port: 80 is the port of the frontend of {other}, too. Write another port."
            assert environment.clashing[app] == said
            with pytest.raises(DefinitionError, match="too. Write another port."):
                definition.refuse_clash(environment, environment.apps[app])


def based(base, **test):
    """Return a pillar whose environment ``test`` is based on the environment ``production``, which has mistakes."""
    return changed(
        lambda pillar, apps, placed: (
            pillar["environments"].update(production={"nodes": {"p1": {"address": "10.1.0.1"}}, "apps": {}, **base}),
            pillar["environments"]["test"].update(based_on="production", **test),
        )
    )


URL = "https://chat.example.com/x"


@pytest.mark.parametrize(
    "base, test",
    [
        ({"nodes": {"p1": {"adress": "10.1.0.1"}}}, {}),
        ({"nodes": ["p1"]}, {}),
        ({"notify": {"webhook": {"url": 5}}}, {"notify": {"webhook": {"url": URL}}}),
        ({"notify": {"webhook": [URL]}}, {"notify": {"webhook": {"url": URL}}}),
    ],
)
def test_a_mistake_in_a_part_of_a_base_that_is_not_used_is_in_nobodys_way(base, test):
    pillar = based(base, **test)
    environment = definition.load(pillar, "test")
    assert set(environment.apps) == {"shop", "cart"} and environment.broken == {}
    assert bool(environment.webhook) == bool(test)
    with pytest.raises(DefinitionError, match="environments:production:"):
        definition.load(pillar, "production")


@pytest.mark.parametrize(
    "base, test, said",
    [
        ({"notify": {"webhook": {"url": 5}}}, {}, "environments:production:notify:webhook:url: found a number"),
        (
            {"notify": {"webhook": {"url": 5, "evnts": []}}},
            {"notify": {"webhook": {"url": URL}}},
            "environments:production:notify:webhook:evnts: unknown key",
        ),
        ({"strategy": {"drain": -1}}, {}, "environments:production:strategy:drain: -1 is not a duration"),
    ],
)
def test_a_mistake_in_a_part_of_a_base_that_is_used_is_named_where_it_is(base, test, said):
    with pytest.raises(DefinitionError, match=said):
        definition.load(based(base, **test), "test")


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
