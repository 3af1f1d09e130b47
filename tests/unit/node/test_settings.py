"""The settings that a node keeps of its instances."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from saltdeploy.core.model import App, CheckRestart, PortRange, Probe, Source, Stop
from saltdeploy.node import settings

APP = App("shop", Source("pip", "shop"), "./serve {port}", env={"LEVEL": "info"}, user="shop", memory="1G")
KEPT = settings.of(APP, {"etc/shop.ini": "level = info"})


@pytest.fixture
def store(tmp_path):
    return settings.Store(tmp_path)


@pytest.mark.parametrize(
    "changes, config, differs",
    [
        ({}, KEPT.config, {}),
        ({"run": "./serve"}, KEPT.config, {"run": []}),
        ({"env": {"LEVEL": "debug", "MORE": "1"}}, KEPT.config, {"env": ["LEVEL", "MORE"]}),
        ({"env": {}}, {}, {"env": ["LEVEL"], "config": ["etc/shop.ini"]}),
        ({"user": "root", "data": True}, KEPT.config, {"user": [], "data": []}),
        ({"memory": "", "cpu": "50%"}, KEPT.config, {"resources": ["memory", "cpu"]}),
        ({"stop": Stop("INT", 10.0)}, KEPT.config, {"stop": ["signal"]}),
        # The other checks of an app without ports belong to its registration.
        ({"checks": (Probe("script", "x"),)}, KEPT.config, {}),
        ({"ports": PortRange(80, 80)}, KEPT.config, {"watcher": []}),
        ({"ports": PortRange(80, 80), "check_restart": CheckRestart()}, KEPT.config, {}),
        ({"ports": PortRange(80, 80), "checks": (Probe("script", "x"),)}, KEPT.config, {}),
        # These reach no process.
        ({"tests": (), "requires": ("db",), "instances": 7, "version": "2.0"}, KEPT.config, {}),
    ],
)
def test_what_differs_is_named_by_its_keys(changes, config, differs):
    assert KEPT.differences(settings.of(replace(APP, **changes), config)) == differs


def test_nothing_shows_a_value():
    assert "info" not in repr(KEPT) and "serve" not in repr(KEPT)


def test_they_are_laid_over_a_definition_that_has_changed_since():
    now = replace(APP, run="./other", env={"NEW": "1"}, user="root", memory="", version="2.0", instances=5)
    assert KEPT.over(now) == replace(APP, version="2.0", instances=5)


def test_what_is_kept_is_read_again_and_is_for_root_only(store, tmp_path):
    store.keep("shop", "1.0", 8000, KEPT, "d1")
    store.keep("shop", "1.0@7", 8001, replace(KEPT, data="/srv/data", stop=Stop("INT", 3.0)), "d1")
    assert store.read("shop", "1.0", 8000) == KEPT
    assert store.read("shop", "1.0@7", 8001) == replace(KEPT, data="/srv/data", stop=Stop("INT", 3.0))
    assert store.slots("shop") == {"1.0": [8000], "1.0@7": [8001]}
    path = tmp_path / "shop/settings/1.0/7-8001.json"
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700


def test_a_start_with_another_watcher_does_not_take_the_settings_over(store):
    """If it is reverted, they stay."""
    store.keep("shop", "1.0", 80, replace(KEPT, watched=False), "d1")
    store.keep("shop", "1.0", 80, KEPT, "d7")
    store.forget_of("shop", "d7")
    assert store.read("shop", "1.0", 80) == KEPT
    store.keep("shop", "1.0", 80, replace(KEPT, run="other"), "d7")
    store.forget_of("shop", "d7")
    assert store.read("shop", "1.0", 80) is None


def test_a_file_of_an_older_version_does_not_say_whether_there_was_a_watcher(store, tmp_path):
    store.keep("shop", "1.0", 80, KEPT, "d1")
    [path] = tmp_path.glob("shop/settings/1.0/*.json")
    content = json.loads(path.read_text())
    assert content.pop("watched") is True
    path.write_text(json.dumps(content))
    assert store.read("shop", "1.0", 80) == replace(KEPT, watched=False)
    path.write_text(json.dumps({**content, "watched": 1}))
    assert store.read("shop", "1.0", 80) is None


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "{",
        "[]",
        "7",
        *(
            json.dumps({**json.loads(json.dumps(KEPT, default=vars)), "deployment": "d1", **change})
            for change in (
                {"run": 7},
                {"env": []},
                {"env": {"A": 1}},
                {"config": None},
                {"stop": {}},
                {"stop": {"signal": "TERM", "timeout": "10"}},
                {"data": None},
                {"more": 1},
            )
        ),
    ],
)
def test_a_broken_file_counts_as_lost(store, tmp_path, broken):
    store.keep("shop", "1.0", 8000, KEPT, "d1")
    (tmp_path / "shop/settings/1.0/0-8000.json").write_text(broken)
    assert store.read("shop", "1.0", 8000) is None


def test_what_is_no_file_of_settings_is_left_out(store, tmp_path):
    store.keep("shop", "1.0", 8000, KEPT, "d1")
    for name in ("x.json", "0-8000.partial", "0-8000.json.1", "-1-2.json"):
        (tmp_path / "shop/settings/1.0" / name).write_text("{}")
    (tmp_path / "shop/settings/1.0@7").mkdir()
    (tmp_path / "shop/settings/1.0@7/0-1.json").write_text("{}")
    assert store.slots("shop") == {"1.0": [8000]} and store.slots("till") == {}


def test_they_go_with_their_release(store, tmp_path):
    store.keep("shop", "1.0", 8000, KEPT, "d1")
    store.keep("shop", "1.0@7", 8000, KEPT, "d1")
    store.keep("shop", "1.1", 8000, KEPT, "d1")
    store.forget("shop", "1.0")
    assert store.slots("shop") == {"1.1": [8000]}
    store.forget("shop", "1.1")
    store.forget("shop", "1.1")
    assert not (tmp_path / "shop/settings").exists()


def test_a_deployment_has_the_settings_of_its_beginning(store, tmp_path):
    app = App("shop", Source("pip", "shop"), "run", env={"LEVEL": "first"}, config={"a.ini": "salt://a"}, memory="1G")
    edited = replace(app, env={"LEVEL": "edited"}, config={}, memory="", instances=5)
    assert store.begun(edited, "d1") == edited
    store.begin("shop", app, "d1")
    assert store.begun(edited, "d1") == replace(app, instances=5)
    # Not one that is over, and not an operator's command.
    assert store.begun(edited, "d2") == edited == store.begun(edited, "manual")
    file = tmp_path / "shop/settings/begun.json"
    assert file.stat().st_mode & 0o777 == 0o600 and store.slots("shop") == {}
    file.write_text("{")
    assert store.begun(edited, "d1") == edited
    # It may hold secrets, so it goes with the last release, and with a deployment that starts nothing.
    store.begin("shop", app, "d1")
    store.forget("shop", "1.0")
    assert not file.parent.exists()
    store.begin("shop", app, "d1")
    store.forget_of("shop", "d2")
    assert file.exists()
    store.forget_of("shop", "d1")
    assert not file.exists()
    store.begin("shop", app, "d1")
    store.begin("shop", None, "d2")
    store.begin("shop", None, "d3")
    assert not file.exists()


def test_what_a_reverted_deployment_has_brought_in_is_forgotten_and_nothing_else(store):
    store.keep("shop", "1.0", 8000, KEPT, "d1")
    store.keep("shop", "1.0", 8000, KEPT, "d2")
    store.keep("shop", "1.0@1", 8000, KEPT, "d2")
    store.forget_of("shop", "d2")
    assert store.slots("shop") == {"1.0": [8000]}
