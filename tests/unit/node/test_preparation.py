"""The settings that an instance starts with: of its edition, or of the definition."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy.core.changes import NOT_KEPT
from saltdeploy.core.errors import Failed
from saltdeploy.node import comparison, publication, restoration, retirement

from tests.support.onenode import make_node, recorded

CONFIG = {"web.ini": "salt://web.ini", "own.ini": "salt://own.ini"}


@pytest.fixture
def node(tmp_path, monkeypatch):
    made = make_node(tmp_path, monkeypatch, env={"LEVEL": "first"}, config=CONFIG, tests=[])
    made.text = "first"
    made.render = lambda url, path, values: path.write_text(
        made.text + (values["instance"][-4:] if "own" in url else "")
    )
    return made


def define(node, text):
    """Change both a variable and what a template is rendered into."""
    node.text = text
    node.environment.apps["web"] = replace(node.environment.apps["web"], env={"LEVEL": text})


def started(node, version, **options):
    """Start an instance; return what it was started with: its variable, and its file."""
    [instance] = node.start("web", version, 1, "d", held=True, **options).instances
    return of(node, instance.id)


def of(node, one):
    folder = node.host.instances.folder(one)
    [line] = [line for line in (folder / "start").read_text().splitlines() if line.startswith("export LEVEL=")]
    assert (folder / "own.ini").read_text().endswith(one[-4:])
    return line.removeprefix("export LEVEL="), (folder / "web.ini").read_text()


def test_by_default_it_is_as_defined_whatever_is_kept(node):
    assert started(node, "1.0@1") == ("first", "first")
    define(node, "second")
    assert started(node, "1.0@2") == ("second", "second")
    assert node.host.settings.slots("web") == {"1.0@1": [0], "1.0@2": [1]}


def test_an_edit_during_a_deployment_waits_for_the_next(node):
    node.begin("web", "d", "1.0")
    node.environment.apps["web"] = replace(node.environment.apps["web"], env={"LEVEL": "edited"})
    assert started(node, "1.0@1") == ("first", "first")
    assert node.host.settings.read("web", "1.0@1", 0).env == {"LEVEL": "first"}
    # So it is where the settings of the first wave are not kept, as in a promotion.
    assert started(node, "1.0@2", as_before=True) == ("first", "first")
    node.begin("web", "d2", "1.0")
    [instance] = node.start("web", "1.0@3", 1, "d2", held=True).instances
    assert of(node, instance.id) == ("edited", "first")


def test_a_run_that_starts_nothing_keeps_nothing(node):
    """The definition may have secrets."""
    file = node.host.root / "web/settings/begun.json"
    node.begin("web", "d", "1.0")
    assert "first" in file.read_text()
    node.begin("web", "d2", None)
    assert not file.exists()


def test_settings_that_are_kept_for_its_place_are_taken_as_they_were(node):
    started(node, "1.0@1")
    retirement.stop(node, "web", drain=0)
    define(node, "second")
    assert started(node, "1.0@1", slots=[0], as_before=True) == ("first", "first")
    # What it was started with is what is kept, and not what is defined now.
    assert node.host.settings.read("web", "1.0@1", 0).env == {"LEVEL": "first"} and node.warnings == []


def test_in_another_place_only_files_that_are_about_the_place_are_rendered_again(node):
    started(node, "1.0@1")
    assert started(node, "1.0@1", as_before=True) == ("first", "first") and node.warnings == []
    define(node, "second")
    assert started(node, "1.0@1", as_before=True) == ("first", "first")
    assert (node.host.instances.folder("web_1.0_2-1") / "own.ini").read_text() == "second_2-1"
    [warning] = node.warnings
    assert warning == (
        "web_1.0_2-1 starts with the config of now (own.ini changed since): that of web 1.0 (settings 1) is kept for"
        " other ports only."
    )


def test_a_template_that_is_broken_now_is_not_needed_to_go_back(node):
    started(node, "1.0@1")

    def render(url, path, values):
        raise Failed(f"{url}: is not on the master: see its file_roots.")

    node.render = render
    [instance] = node.start("web", "1.0@1", 1, "d", held=True, as_before=True).instances
    assert (node.host.instances.folder(instance.id) / "web.ini").read_text() == "first"
    assert node.warnings == [
        f"{instance.id} starts with the config of web_1.0_0-1: salt://web.ini: is not on the master: see its file_roots."
    ]


def test_a_place_that_its_settings_are_kept_for_is_taken_first(node):
    for version in ("1.0", "1.0@1", "1.0@2"):
        started(node, version)
    retirement.stop(node, "web", drain=0)
    [again] = node.start("web", "1.0@1", 1, "d", held=True, as_before=True).instances
    assert again.id == "web_1.0_1-1"


def test_settings_that_nobody_has_kept_are_those_of_now(node):
    started(node, "1.0@1")
    define(node, "second")
    assert started(node, "1.0@7", as_before=True) == ("second", "second")


def test_what_is_restored_has_the_settings_that_it_had(node):
    started(node, "1.0@1")
    publication.publish(node, "web", weight=25600)
    recorded(node, a=["web_1.0_0-1"])
    define(node, "second")
    node.runtime.up.clear()
    node.discovery.services.clear()
    assert restoration.restore(node, "web", ["web_1.0_0-1"]) == ["web_1.0_0-1"]
    assert of(node, "web_1.0_0-1") == ("first", "first") and node.warnings == []


def test_a_node_that_has_lost_them_says_so_as_it_restores(node):
    recorded(node, a=["web_1.0_0-1"])
    restoration.restore(node, "web", ["web_1.0_0-1"])
    assert node.warnings == [
        "web_1.0_0-1 starts with the settings of now: a has not kept those of web 1.0 (settings 1)."
    ]


@pytest.mark.parametrize("broken", ["", "[" * 100_000, '{"stop": {"signal": "TERM", "timeout": 1' + "0" * 400 + "}}"])
def test_settings_that_cannot_be_read_are_lost(node, broken):
    started(node, "1.0@1")
    (node.host.root / "web/settings/1.0/1-0.json").write_text(broken)
    assert comparison.compare(node, "web", "1.0") == ({"1.0@1": {NOT_KEPT: []}}, [])
    assert comparison.observe(node, "web").editions == {}
    recorded(node, a=["web_1.0_0-1"])
    node.runtime.up.clear()
    define(node, "second")
    restoration.restore(node, "web", ["web_1.0_0-1"])
    assert len(node.warnings) == 1 and of(node, "web_1.0_0-1") == ("second", "second")


def test_they_go_with_the_release(node):
    started(node, "1.0@1")
    retirement.stop(node, "web", drain=0)
    assert node.host.settings.slots("web") == {"1.0@1": [0]}
    node.host.releases.remove("web", "1.0")
    assert not (node.host.root / "web").exists()


def test_settings_of_a_reverted_deployment_are_forgotten(node):
    """Else the next try of the release would have other settings than its first ones."""
    started(node, "1.0")
    node.start("web", "1.0@1", 1, "failed", held=True)
    node.start("web", "1.0", 1, "failed", held=True, as_before=True)
    assert set(node.host.settings.slots("web")) == {"1.0", "1.0@1"}
    retirement.stop(node, "web", deployment="failed", drain=0)
    assert node.host.settings.slots("web") == {"1.0": [0]}
    assert of(node, "web_1.0_0") == ("first", "first")
