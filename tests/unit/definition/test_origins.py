"""Where each value of an environment comes from, without any value that may be secret."""

from __future__ import annotations

import pytest
from saltdeploy.core.errors import DefinitionError
from saltdeploy.definition import origins

SECRET = "hunter2-hunter2"
FILES = {
    "environments": {"production": "environments/production.sls", "test": "environments/test.sls"},
    "apps": {"shop": "apps/shop.sls"},
    "computed": {"test": [["discovery", "consul", "token"]]},
}


def pillar(**changes):
    shop = {"source": {"pip": "shop"}, "run": f"./serve --password {SECRET}", "env": {"PASSWORD": SECRET, "A": 5}}
    production = {
        "nodes": {"p1": {"address": "10.0.0.1", "roles": ["app"]}},
        "apps": {"shop": {"instances": 6, "version": "1.4.2"}},
        "strategy": {"drain": "30s", "waves": [1, "100%"]},
    }
    test = {
        "based_on": "production",
        "scale": 0.34,
        "nodes": {"t1": {"address": "10.1.0.1"}},
        "apps": {"shop": {"version": "1.5.0"}},
        "strategy": {"drain": "1s"},
        "discovery": {"consul": {"token": SECRET, "servers": ["http://10.1.0.1:8500"]}},
    }
    found = {"apps": {"shop": shop}, "environments": {"production": production, "test": test}}
    return {**found, "saltdeploy_files": FILES, **changes}


def values(name="test", found=None):
    return {value.key: (value.value, value.origin) for value in origins.values(found or pillar(), name)}


def test_each_value_has_its_file():
    found = values()
    assert found["apps:shop:version"] == ("1.5.0", "environments/test.sls")
    assert found["apps:shop:source:pip"] == ("shop", "apps/shop.sls")
    assert found["strategy:drain"] == ("1s", "environments/test.sls")
    assert found["strategy:waves"] == ([1, "100%"], "environments/production.sls")
    assert found["discovery:consul:servers"] == (["http://10.1.0.1:8500"], "environments/test.sls")


def test_nodes_are_its_own():
    assert [key for key in values() if key.startswith("nodes:")] == ["nodes:t1:address"]
    assert values("production")["nodes:p1:roles"] == (["app"], "environments/production.sls")


def test_a_scaled_number_says_of_what():
    assert values()["apps:shop:instances"] == (2, "environments/production.sls (6, scale 0.34)")
    assert values("production")["apps:shop:instances"] == (6, "environments/production.sls")
    # One that is the same by chance was not scaled.
    found = pillar()
    found["environments"]["test"]["apps"]["shop"]["instances"] = 6
    assert values("test", found)["apps:shop:instances"] == (6, "environments/test.sls")


def test_a_computed_value_is_in_no_file():
    assert values()["discovery:consul:token"] == ("***", "computed")


def test_what_highstate_computes_hides_no_file():
    """The master's pillar has the whole discovery of an environment with ``consul`` as its own."""
    found = pillar()
    found["environments"]["production"]["discovery"] = {"consul": {"agent": "http://a:8500"}}
    found["environments"]["test"]["discovery"] = {"consul": {"agent": "http://a:8500", "token": SECRET}}
    found["saltdeploy_files"] = {**FILES, "discovery": {"test": None}}
    shown = values("test", found)
    assert shown["discovery:consul:agent"] == ("http://a:8500", "environments/production.sls")
    assert shown["discovery:consul:token"] == ("***", "computed")


def test_without_the_names_of_files_the_environment_is_named():
    found = pillar()
    del found["saltdeploy_files"]
    assert values("test", found)["apps:shop:version"] == ("1.5.0", "environments:test")
    assert values("test", found)["apps:shop:source:pip"] == ("shop", "apps:shop")


def test_items_of_a_list_have_the_place_of_the_list():
    found = pillar()
    found["apps"]["shop"]["checks"] = [{"http": "/health", "interval": "2s"}, {"tcp": True}]
    shown = values("test", found)
    assert shown["apps:shop:checks:0:http"] == ("/health", "apps/shop.sls")
    assert shown["apps:shop:checks:1:tcp"] == (True, "apps/shop.sls")


@pytest.mark.parametrize(
    "app, key, shown",
    [
        ({"run": SECRET}, "run", "***"),
        ({"env": {"A": 5}}, "env:A", "***"),
        ({"env": {"HOOK": f"https://hooks.example.com/{SECRET}"}}, "env:HOOK", "***"),
        ({"source": {"archive": "/srv/a.tar"}}, "source:archive", "/srv/a.tar"),
        (
            {"source": {"archive": f"https://ann:{SECRET}@host/a.tar?token={SECRET}"}},
            "source:archive",
            "***",
        ),
        ({"source": {"pip": f"https://ann:{SECRET}@host/a"}}, "source:pip", "***"),
        ({"source": {"pip": f"git+https://ann:{SECRET}@host/a"}}, "source:pip", "***"),
        (
            {"source": {"requirements": ["flask==2.0", f"a @ https://{SECRET}@h/x"]}},
            "source:requirements",
            ["***", "***"],
        ),
        ({"source": {"requirements": ["flask==2.0"]}}, "source:requirements", ["flask==2.0"]),
        ({"source": {"headers": {"X-Token": SECRET}}}, "source:headers:X-Token", "***"),
        ({"source": {"vars": {"token": SECRET}}}, "source:vars:token", "***"),
        ({"source": {"vars": {"database": {"password": SECRET}}}}, "source:vars:database:password", "***"),
        ({"source": {"archive": f"https://ci:pa/{SECRET}@host/a.tar"}}, "source:archive", "***"),
        ({"checks": [{"https": f"https://ann:{SECRET}@host/"}]}, "checks:0:https", "***"),
        ({"config": {"etc/a.ini": f"salt://a.ini?saltenv={SECRET}"}}, "config:etc/a.ini", "salt://a.ini"),
        ({"config": {"etc/a.ini": "salt://a.ini"}}, "config:etc/a.ini", "salt://a.ini"),
        ({"tests": [{"http": f"/a?token={SECRET}"}]}, "tests:0:http", "/a?***"),
        ({"tests": [{"http": {"path": "/a", "body": SECRET}}]}, "tests:0:http:body", "***"),
        ({"tests": [{"http": {"path": "/a", "headers": {"X": SECRET}}}]}, "tests:0:http:headers:X", "***"),
        ({"tests": [{"command": f"./x {SECRET}"}]}, "tests:0:command", "***"),
        ({"checks": [{"script": f"./x {SECRET}"}]}, "checks:0:script", "***"),
        ({"hooks": {"before_start": f"./x {SECRET}"}}, "hooks:before_start", "***"),
        (
            {"hooks": {"before_start": [{"command": f"./x {SECRET}", "once": True}]}},
            "hooks:before_start:0:command",
            "***",
        ),
        ({"requires": []}, "requires", []),
        ({"unknown": SECRET}, "unknown", "***"),
        ({"ports": {"odd": SECRET}}, "ports:odd", "***"),
    ],
)
def test_what_may_be_secret_is_not_shown(app, key, shown):
    found = pillar()
    found["apps"]["shop"].update(app)
    all_of_it = values("test", found)
    assert all_of_it[f"apps:shop:{key}"] == (shown, "apps/shop.sls")
    assert SECRET not in str(all_of_it)


def test_no_planted_secret_is_shown():
    notify = {"webhook": {"url": f"https://host/{SECRET}", "headers": {"X": SECRET}, "token_file": f"/{SECRET}"}}
    found = pillar()
    found["environments"]["production"]["notify"] = notify
    found["environments"]["test"]["strategy"]["analysis"] = {
        "errors": {"http": {"url": f"https://host/?t={SECRET}", "headers": {"X": SECRET}}, "max": 1}
    }
    assert SECRET not in str(values("test", found)) and SECRET not in str(values("production", found))


def test_what_is_not_right_is_shown_as_far_as_it_goes():
    found = pillar(apps={"shop": ["odd"]})
    assert not any(key.startswith("apps:shop") for key in values("test", found))
    found["environments"]["test"]["based_on"] = "nowhere"
    with pytest.raises(DefinitionError, match="there is no environment 'nowhere'"):
        values("test", found)


def test_a_value_is_plain_data():
    assert {type(value) for value in origins.values(pillar(), "test")} == {origins.Value}
