"""Several apps in one run: what is refused, in which order they go, and what is said of the whole."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from saltdeploy.core.environment import Environment, Group, Node
from saltdeploy.core.errors import DONE, NOT_REVERTED, REFUSED, REVERTED, LockLost, Refused
from saltdeploy.core.model import Strategy
from saltdeploy.master.verbs import several

from tests.support.fleet import make_app
from tests.support.verbs import call


def environment(groups=None, **requires):
    """Return an environment with these apps, each with what it requires."""
    made = make_app()
    apps = {name: replace(made, name=name, requires=tuple(needs)) for name, needs in requires.items()}
    return Environment("e", {"web1": Node("web1", "10.0.0.1", ("app",))}, apps, groups=groups or {})


def several_of(here, apps=None):
    session = call(pillar=dict, environment=lambda env: here)
    return several.Several(session, here, list(apps or here.apps), 4)


@pytest.mark.parametrize(
    "value, expected",
    [
        ("shop", None),
        (None, None),
        (7, None),
        ("shop,till", ["shop", "till"]),
        (" shop , till,shop", ["shop", "till"]),
        (["shop"], ["shop"]),
        ([2048, "till"], ["2048", "till"]),
    ],
)
def test_several_apps_are_a_list_or_a_text_with_commas(value, expected):
    assert several.names(value) == expected


@pytest.mark.parametrize("value", ["shop,", ",", [], [None], ["shop", ""]])
def test_a_list_with_a_hole_is_refused(value):
    with pytest.raises(Refused, match="^unknown apps .*: say their names, separated by commas"):
        several.names(value)


@pytest.mark.parametrize("value", [[["shop"]], [{"shop": 1}], [True]])
def test_an_odd_name_is_refused(value):
    with pytest.raises(Refused, match="^unknown app"):
        several.names(value)


def test_arguments_for_one_app_are_refused():
    several.refuse_alone(version=None, instances=None, publish=False, keep=False)
    with pytest.raises(Refused, match="^version=, instances=: is"):
        several.refuse_alone(version=0, instances=0, publish=False, keep=False)
    with pytest.raises(Refused, match="^version=, keep=: is for one app. With several, each is deployed as"):
        several.refuse_alone(version="1.0", instances=None, publish=False, keep=True)


def test_a_group_is_chosen_by_its_name():
    here = environment({"front": Group(("b", "a"))}, a=[], b=[], c=[])
    assert several.chosen(here, None) == ["a", "b", "c"]
    assert several.chosen(here, "front") == ["b", "a"]
    with pytest.raises(Refused, match=r"^unknown group 'fron' in environment e \(did you mean `front`\?\)"):
        several.chosen(here, "fron")


def test_a_circle_is_refused_only_among_the_apps_of_the_run():
    here = environment(a=["b"], b=["c"], c=["a"], d=[])
    with pytest.raises(Refused, match="^apps:a:requires: goes round in a circle: a > b > c > a."):
        several.refuse_wrong(here, ["a", "b", "c", "d"])
    several.refuse_wrong(here, ["d"])
    # The others may be there already.
    several.refuse_wrong(here, ["a", "b"])


def test_all_mistakes_are_told_and_an_unknown_app_comes_first():
    here = environment(a=[], b=[])
    here.broken.update(x="apps:x:run: is missing.", y="apps:y:run: is missing.")
    here.clashing["b"] = "apps:b:data: is the data folder of a, too."
    with pytest.raises(Refused, match="^apps:x:run: is missing.\napps:y:run: is missing.\napps:b:data"):
        several.refuse_wrong(here, ["a", "x", "y", "b"])
    with pytest.raises(Refused, match="^unknown app 'z'"):
        several.refuse_wrong(here, ["x", "z"])


def test_an_app_that_pauses_for_ever_has_no_fate_with_others():
    pausing = Strategy(pause=math.inf)
    here = environment({"core": Group(("a", "b"), together=True)}, a=[], b=[], c=[])
    here.apps["a"] = replace(here.apps["a"], strategy=pausing)
    with pytest.raises(Refused, match="^environments:e:groups:core: is `together`, and a deployment of a pauses"):
        several.refuse_wrong(here, ["a", "b"])
    several.refuse_wrong(here, ["a", "c"])


def test_the_order_is_that_of_what_is_required_and_others_do_not_count():
    apps = several_of(environment(a=["b", "postgres"], b=[], c=["a"]), "abc")
    assert apps.requires == {"a": ["b"], "b": [], "c": ["a"]}
    assert apps.required_by == {"a": ["c"], "b": ["a"], "c": []}
    assert several_of(environment(a=["b"], b=[]), ["a"]).requires == {"a": []}


@pytest.mark.parametrize(
    "results, why",
    [
        ({}, ""),
        ({"b": {"retcode": DONE, "outcome": "done"}}, ""),
        ({"b": {"retcode": REVERTED}}, "b, which it requires, was not deployed"),
        ({"b": {"retcode": DONE, "outcome": "paused"}}, "b, which it requires, is paused"),
        ({"c": {"retcode": NOT_REVERTED}}, "c of its group core was not deployed"),
        ({"x": {"retcode": REVERTED}}, "the group other, which it requires an app of, was not deployed"),
        ({"d": {"retcode": REVERTED}}, ""),
    ],
)
def test_an_app_is_not_begun_after_a_failure_that_concerns_it(results, why):
    groups = {
        "core": Group(("a", "c"), together=True),
        "other": Group(("x", "y"), together=True),
        "loose": Group(("a", "d")),
    }
    apps = several_of(environment(groups, a=["b", "y"], b=[], c=[], d=[], x=[], y=[]))
    assert apps._ahead("a") == ["b", "x", "y"]
    assert apps._barred("a", results) == why


def row(app, code, changed=True, **more):
    return {"app": app, "retcode": code, "changed": changed, "verdict": f"{app} said so", **more}


@pytest.mark.parametrize(
    "rows, code",
    [
        ([row("a", DONE), row("b", DONE)], DONE),
        ([row("a", DONE), row("b", REVERTED)], REVERTED),
        ([row("a", DONE), row("b", REFUSED, False)], REVERTED),
        ([row("a", REVERTED), row("b", NOT_REVERTED)], NOT_REVERTED),
        ([row("a", REFUSED, False), row("b", REFUSED, False)], REFUSED),
        ([row("a", DONE, False), row("b", REFUSED, False)], REFUSED),
    ],
)
def test_the_exit_code_is_that_of_the_whole(rows, code):
    assert several.retcode(rows) == code


def test_the_verdict_names_each_app():
    rows = [
        row("a", DONE),
        row("b", REVERTED),
        row("c", REFUSED, False),
        row("d", NOT_REVERTED),
        row("e", DONE, outcome="paused"),
    ]
    assert several._verdict("site", rows) == (
        "in site, d is not as before and not deployed, look now (salt-run deploy.status env=site); b, c are as before;"
        " e is paused; a is deployed"
    )
    assert several._verdict("site", [row("a", DONE), row("b", DONE, False)]) == "all 2 apps are deployed in site"
    unchanged = [row("a", DONE, False), row("b", DONE, False)]
    assert several._verdict("site", unchanged) == "all 2 apps were already deployed, nothing was done in site"
    assert several._verdict("site", [row("a", DONE)]) == "a said so"


def test_an_app_that_was_taken_back_is_as_before_and_one_that_was_not_needs_a_look():
    deployed = row("a", DONE, outcome="done")
    back = several._after_back(deployed, {"retcode": DONE, "verdict": "a 1.0 is published"})
    assert (back["retcode"], back["outcome"]) == (REVERTED, "taken_back")
    assert back["verdict"] == "a was deployed and taken back. a 1.0 is published"
    stuck = several._after_back(deployed, {"retcode": REFUSED, "verdict": "refused"})
    assert (stuck["retcode"], stuck["verdict"]) == (
        NOT_REVERTED,
        "a was deployed, and could not be taken back: refused",
    )


def test_what_was_only_registered_again_is_not_taken_back():
    with pytest.raises(Refused, match="^a has the release and the settings that it had before"):
        several._back(call(), "a", "e", None, {"deployment": "d1", "before": "1.0@2", "version": "1.0@2"}, "why")


@pytest.mark.parametrize(
    "before, asked",
    [("1.0@2", ("1.0", 2)), ("1.0", ("1.0", 0)), ("", None)],
)
def test_an_app_goes_back_to_exactly_what_it_was(monkeypatch, before, asked):
    calls = []
    monkeypatch.setattr(several.rollback, "run", lambda *given: calls.append(("rollback", *given[1:])) or {})
    monkeypatch.setattr(several.remove, "run", lambda *given: calls.append(("remove", *given[1:])) or {})
    several._back(call(), "a", "e", "web1", {"deployment": "d1", "before": before, "version": "1.1"}, "why")
    if asked:
        version, settings = asked
        back = ("rollback", "a", "e", version, "web1", False, False, "why", False, settings, "d1")
    else:
        back = ("remove", "a", "e", True, False, "why", "d1")
    assert calls == [back]


def test_no_app_is_begun_without_the_lock_of_the_environment():
    class Lost:
        def check(self):
            raise LockLost("the deployment lock was lost")

    apps = several_of(environment(a=[]))
    assert apps._barred("a", {}) == apps._kept("a", {}) == ""
    apps._lock = Lost()
    assert apps._barred("a", {}) == apps._kept("a", {}) == "the deployment lock was lost"


def test_a_plan_that_the_environment_does_not_allow_stops_the_run_in_front(monkeypatch):
    apps = several_of(environment(a=[], b=[]))
    plans = {
        "a": {"retcode": DONE, "plan": ["install"], "against": []},
        "b": {"retcode": DONE, "plan": ["install"], "against": ["it is closed", "it is not approved."]},
    }
    monkeypatch.setattr(apps, "_run", lambda *args, **options: plans)
    assert apps.plan(None, True) == plans
    with pytest.raises(Refused, match="^b: it is closed; it is not approved.$"):
        apps.plan(None, False)
