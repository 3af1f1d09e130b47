"""A node that goes out of use, and comes back: what is moved, what is told, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy import discovery
from saltdeploy.core.conditions import Conditions, Window
from saltdeploy.core.environment import Environment, Node
from saltdeploy.core.errors import DONE, NOT_REVERTED, REFUSED, Refused
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.verbs import evacuate, scale

from tests.support.fleet import make_app
from tests.support.verbs import WELL, Catalog, Minions, call

KEY = "deploy/e/.away/web1"
CLOSED = Conditions(windows=(Window(0, 1, (), "UTC"),))


def record(**nodes):
    return {"version": "1.0", "deployment": "d", "time": 0.0, "nodes": nodes}


@pytest.fixture
def here(monkeypatch):
    """An environment with three apps: shop and till are on web1. ``codes`` are the exit codes of their moves."""

    class Here:
        environment = Environment(
            "e",
            {name: Node(name, f"10.0.0.{number}", ("app",)) for number, name in enumerate(("web1", "web2"))},
            {name: replace(make_app(), name=name) for name in ("mail", "shop", "till")},
        )
        codes, machine = {}, WELL

        def __init__(self):
            self.catalog = Catalog(
                {
                    "deploy/e/shop/current": record(web1=["shop_1.0_1"], web2=["shop_1.0_1"]),
                    "deploy/e/till/current": record(web1=["till_1.0_1"]),
                    "deploy/e/mail/current": record(web2=["mail_1.0_1"]),
                }
            )
            self.session = call(environment=lambda env: self.environment, pillar=dict)
            self.placed = []

        def run(self, function, node="web1", test=False, **more):
            more = {"move": False, **more} if function is evacuate.evacuate else more
            return function(self.session, node, "e", test=test, reason="disk", parallel=None, **more)

    made = Here()

    class Several:
        def __init__(self, session, environment, apps, most):
            self.apps = apps

        def __enter__(self):
            return self

        def __exit__(self, *exc):
            pass

        def plan(self, verb, looks):
            return {app: {"app": app, "plan": ["move"], "placed": verb(made.session, app, "e")} for app in self.apps}

        def locked(self, verb, doing, reason, patience, act):
            return act()

        def write(self, entries, delete):
            made.catalog.values.update(entries)
            for key in delete:
                del made.catalog.values[key]

        def each(self, verb):
            for app in self.apps:
                verb(made.session, app, "e")
            return {app: {"app": app, "retcode": made.codes.get(app, DONE)} for app in self.apps}

    def place(session, app, env, *, verb, test, reason, move, even=False, presumed=()):
        made.placed.append((app, test, move, verb, even, list(presumed), dict(session.away)))

    monkeypatch.setattr(evacuate, "Several", Several)
    monkeypatch.setattr(scale, "place", place)
    monkeypatch.setattr(discovery, "connect", lambda config: made.catalog)
    monkeypatch.setattr(evacuate, "Fleet", lambda opts: Minions(**{"environment.machine": {"web1": made.machine}}))
    return made


def test_the_apps_of_a_node_are_moved_and_the_node_is_marked(here):
    result = here.run(evacuate.evacuate)
    assert result["retcode"] == DONE
    assert result["verdict"] == (
        "web1 is out of use in e, and no app runs there. To bring it back, run salt-run deploy.return web1 env=e"
    )
    away = {"web1": True}
    # The plan presumes that the others are there, because they may have been on this node only.
    assert here.placed[:2] == [
        (app, True, False, "evacuate", False, ["shop", "till"], away) for app in ("shop", "till")
    ]
    assert here.placed[2:] == [(app, False, False, "evacuate", False, [], away) for app in ("shop", "till")]
    mark = here.catalog.values[KEY]
    assert (mark["apps"], mark["reason"], mark["by"]) == (["shop", "till"], "disk", here.session.owner)


def test_a_dry_run_marks_nothing(here):
    result = here.run(evacuate.evacuate, test=True)
    assert [plan["app"] for plan in result["plans"]] == ["shop", "till"] and KEY not in here.catalog.values


@pytest.mark.parametrize(
    "codes, machine, left",
    [
        ({"till": REFUSED}, WELL, "till"),
        ({}, {**WELL, "instances": ["blog_2.0_7"]}, "blog_2.0_7"),
    ],
)
def test_what_is_left_needs_a_look_because_the_node_is_marked(here, codes, machine, left):
    here.codes, here.machine = codes, machine
    result = here.run(evacuate.evacuate)
    assert result["retcode"] == NOT_REVERTED and f", but these are left there: {left}. To bring" in result["verdict"]
    assert KEY in here.catalog.values


def test_a_dead_node_has_nothing_left(here):
    here.machine = Reply("web1", None, "does not answer", silent=True)
    assert here.run(evacuate.evacuate)["retcode"] == DONE


def test_a_node_comes_back_and_only_the_apps_that_left_are_spread(here):
    here.catalog.values[KEY] = {"apps": ["shop", "gone", 5]}
    result = here.run(evacuate.come_back)
    assert (result["verdict"], result["retcode"]) == ("web1 is in use again in e", DONE)
    assert here.placed == [("shop", False, True, "return", True, [], {"web1": False})]
    assert KEY not in here.catalog.values


def test_a_node_comes_back_although_an_app_cannot_be_spread(here):
    here.catalog.values[KEY] = {"apps": ["shop", "till"]}
    here.codes = {"shop": REFUSED}
    result = here.run(evacuate.come_back)
    assert result["retcode"] == NOT_REVERTED and KEY not in here.catalog.values
    assert result["verdict"] == "web1 is in use again in e, but these were not spread again: shop"


def test_data_stay_where_they_are(here):
    here.environment.apps["shop"] = replace(here.environment.apps["shop"], data="/srv/data")
    here.catalog.values[KEY] = {"apps": ["shop", "till"]}
    here.run(evacuate.come_back)
    assert [app for app, *_ in here.placed] == ["till"]


@pytest.mark.parametrize("mark", [{}, "odd", {"apps": 5}, {"apps": {"shop": 1}}])
def test_an_odd_mark_is_removed_and_moves_nothing_else(here, mark):
    here.catalog.values["deploy/e/.away/old9"] = mark
    assert here.run(evacuate.come_back, node="old9")["verdict"] == "old9 is in use again in e"
    assert "deploy/e/.away/old9" not in here.catalog.values and here.placed == []


def test_outside_of_the_windows_no_mark_is_written_or_removed(here):
    here.environment = replace(here.environment, conditions=CLOSED)
    with pytest.raises(Refused, match="^e is closed now"):
        here.run(evacuate.evacuate)
    assert KEY not in here.catalog.values
    here.session.force = True
    assert here.run(evacuate.evacuate)["retcode"] == DONE
    assert here.catalog.values[KEY]["forced"].startswith("e is closed now")
    here.session.force = False
    with pytest.raises(Refused, match="^e is closed now"):
        here.run(evacuate.come_back)
    assert KEY in here.catalog.values


@pytest.mark.parametrize("node", [None, "web11", ["web1", None], {"web1": 1}, True, "", "../x", 5, "web1,", []])
@pytest.mark.parametrize("function", [evacuate.evacuate, evacuate.come_back])
def test_other_nodes_are_refused(here, function, node):
    with pytest.raises(Refused):
        here.run(function, node=node)
    assert here.placed == []


def test_several_nodes_are_evacuated_and_come_back_at_once(here):
    here.environment = replace(
        here.environment, nodes={**here.environment.nodes, "web3": Node("web3", "10.0.0.3", ("app",))}
    )
    result = here.run(evacuate.evacuate, "web1, web2")
    assert result["nodes"] == ["web1", "web2"] and [app for app, *_ in here.placed] == 2 * ["mail", "shop", "till"]
    marks = {key.rpartition("/")[2]: value["apps"] for key, value in here.catalog.values.items() if "/.away/" in key}
    assert marks == {"web1": ["shop", "till"], "web2": ["mail", "shop"]}
    assert result["verdict"].startswith(
        "web1, web2 are out of use in e, and no app runs there. To bring them back, run"
    )
    # Once more, as after a failure: the apps that come back are known still.
    here.catalog.values["deploy/e/shop/current"] = record(web3=["shop_1.0_1"])
    here.run(evacuate.evacuate, ["web1"])
    assert here.catalog.values[KEY]["apps"] == ["shop", "till"]
    result = here.run(evacuate.come_back, "web1,web2")
    assert result["verdict"] == "web1, web2 are in use again in e"
    assert not [key for key in here.catalog.values if "/.away/" in key]
