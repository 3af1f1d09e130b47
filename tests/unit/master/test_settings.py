"""What a status says of settings that differ: each node tells of its own, and one that does not is named."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from saltdeploy.master import settings
from saltdeploy.master.remote.fleet import Reply

from tests.support.verbs import Minions

ENVIRONMENT = SimpleNamespace(apps={"shop": None, "till": None}, nodes={"web1": None, "web2": None})


def row(node, version="1.0", state="published"):
    output = "GET http://10.0.0.1:80/: 503 Output: no such password hunter2"
    one = f"shop_{version.partition('@')[0]}_100"
    about = {"id": one, "node": node, "version": version, "state": state}
    return {**about, "notes": [], "outdated": ["tags"], "output": output}


def about(settings, registrations=None, **restarts):
    return {"settings": settings, "registrations": registrations or {}, "restarts": restarts}


def told(*apps, **answers):
    minions = Minions(**{"app.changed": answers})
    settings.add(minions, ENVIRONMENT, apps)
    return minions.jobs


def test_each_instance_has_the_settings_that_differ():
    shop = {"app": "shop", "instances": [row("web1"), row("web1", "1.0@2"), row("web2")], "warnings": [], "lock": ""}
    till = {"app": "till", "instances": [row("web2", state="candidate")], "warnings": [], "lock": ""}
    jobs = told(
        shop,
        till,
        web1={"shop": about({"1.0": {"env": ["LEVEL"]}, "1.0@2": {}})},
        web2={"shop": about({"1.0": {}}), "till": about({"1.0": {"run": []}})},
    )
    assert jobs == [("app.changed", ["shop", "till"])]
    assert [i["notes"] for i in shop["instances"]] == [["settings not as defined (env: LEVEL)"], [], []]
    assert [i["settings"] for i in (*shop["instances"], *till["instances"])] == [
        {"env": ["LEVEL"]},
        {},
        {},
        {"run": []},
    ]
    # An answer of the app may have a secret of before.
    assert [i["output"].endswith("hunter2") for i in shop["instances"]] == [False, True, True]


def test_while_a_run_is_under_way_no_node_takes_in_another_pillar():
    shop = {"app": "shop", "instances": [row("web1")], "warnings": []}
    asked = []
    fleet = SimpleNamespace(run=lambda *args, refresh, **options: asked.append(refresh) or {"web1": Reply("web1", {})})
    for lock in ("", "ann holds it"):
        settings.add(fleet, ENVIRONMENT, [{**shop, "lock": lock}])
    assert asked == [True, False]


def test_what_is_not_there_or_not_of_the_environment_is_not_asked_for():
    lost, away = row("web1", state="lost"), row("web9")
    assert told({"app": "shop", "instances": [lost, away], "warnings": [], "lock": ""}) == []
    assert told({"app": "undefined", "instances": [row("web1")], "warnings": [], "lock": ""}) == []


@pytest.mark.parametrize(
    "answer, why",
    [
        (Reply("web1", None, "does not answer", silent=True), "does not answer"),
        ({"shop": about({"../1.0": {}})}, "its answer is not to be believed: editions: found"),
        ({"shop": about({"1.0": {"env": [7]}})}, "its answer is not to be believed: editions: found"),
        ({"shop": about({"1.0": 7})}, "its answer is not to be believed: editions: found"),
        ({"../shop": {}}, "its answer is not to be believed: found"),
        ({"shop": {"1.0": {}}}, "its answer is not to be believed: found"),
        (["shop"], "its answer is not to be believed: found"),
    ],
)
def test_a_node_that_does_not_tell_is_named_once(answer, why):
    shop = {"app": "shop", "instances": [row("web1"), row("web1", "1.1")], "warnings": [], "lock": ""}
    told(shop, web1=answer)
    [warning] = shop["warnings"]
    assert warning.startswith(f"web1 does not say whether its settings are as defined: {why}")
    assert [i["notes"] for i in shop["instances"]] == [[], []] and "hunter2" not in str(shop)


def test_what_the_catalog_does_not_know_of_a_registration_is_told():
    shop = {"app": "shop", "instances": [row("web1"), row("web2")], "warnings": [], "lock": ""}
    told(shop, web1={"shop": about({}, {"shop_1.0_100": ["name", "tags"]})}, web2={"shop": about({})})
    assert [i["outdated"] for i in shop["instances"]] == [["tags", "name"], ["tags"]]


@pytest.mark.parametrize("parts", [["nonsense"], "tags", [7]])
def test_parts_that_no_registration_has_are_not_believed(parts):
    shop = {"app": "shop", "instances": [row("web1")], "warnings": [], "lock": ""}
    told(shop, web1={"shop": about({}, {"shop_1.0_100": parts})})
    assert shop["instances"][0]["outdated"] == ["tags"] and "registrations: found" in shop["warnings"][0]


def test_restarts_by_a_check_are_told():
    shop = {"app": "shop", "instances": [row("web1"), row("web2")], "warnings": [], "lock": ""}
    once, twice = ([1, "http /health: status 503"], [2, "tcp: timed out"])
    told(shop, web1={"shop": about({}, **{"shop_1.0_100": once})}, web2={"shop": about({}, **{"shop_1.0_100": twice})})
    assert [i["restarts"] for i in shop["instances"]] == [once, twice]
    assert [i["notes"] for i in shop["instances"]] == [[], []]


@pytest.mark.parametrize("restarts", [{"shop_1.0_100": 2}, {"shop_1.0_100": ["2", "x"]}, {"nonsense": [1, "x"]}])
def test_an_answer_of_another_form_is_told(restarts):
    shop = {"app": "shop", "instances": [row("web1")], "warnings": [], "lock": ""}
    told(shop, web1={"shop": about({}, **restarts)})
    assert shop["instances"][0]["notes"] == []
    assert "web1 does not say whether its settings are as defined: " in shop["warnings"][0]
