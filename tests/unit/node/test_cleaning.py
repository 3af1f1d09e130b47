"""All apps are taken off a node: the data stays, and so does whatever a deployment still needs."""

from __future__ import annotations

import time

import pytest
from saltdeploy.core.errors import DiscoveryUnavailable, Refused
from saltdeploy.node import cleaning
from saltdeploy.source import images

from tests.support.onenode import make_node, recorded, registered, serves


@pytest.fixture
def node(tmp_path, monkeypatch):
    """The Lifecycle of a node with release 1.0 of an app that keeps data."""
    return make_node(tmp_path, monkeypatch, strategy={"drain": 0}, data=True)


def clean(node, test=False):
    return cleaning.clean(node.host, lambda: node, test)


def files(node):
    return {p.relative_to(node.host.root) for p in node.host.root.rglob("*") if not p.is_dir() or p.is_symlink()}


def state(node):
    return node.runtime.up, node.discovery.services, files(node)


def unconnected():
    raise AssertionError("a node without apps is asked for its environment")


def test_only_data_is_left(node):
    [one] = serves(node)
    registered(node, "web_1.0_7", environment="e")
    data = node.host.root / "web/data"
    (data / "state").write_text("kept")
    found = clean(node)
    assert (found["instances"], found["releases"]) == ({"web": [one, "web_1.0_7"]}, {"web": ["1.0"]})
    assert found["data"] == [str(data)] and node.runtime.up == set() and node.discovery.services == {}
    assert [str(p.relative_to(node.host.root)) for p in node.host.root.rglob("*")] == [
        "web",
        "web/data",
        "web/data/state",
    ]


def test_a_second_run_and_a_run_on_another_node_change_nothing(node):
    serves(node)
    clean(node)
    kept = files(node)
    again = cleaning.clean(node.host, unconnected)
    assert not any(again[part] for part in ("instances", "releases", "folders")) and files(node) == kept


def test_a_node_without_data_has_no_folder_afterwards(node):
    serves(node)
    (node.host.root / "web/data").rmdir()
    assert clean(node)["data"] == [] and not node.host.root.exists()
    assert cleaning.clean(node.host, unconnected)["folders"] == []


@pytest.mark.parametrize("apps", [True, False])
def test_an_image_that_stays_is_told_and_not_forgotten(node, monkeypatch, apps):
    images.claim(node.host.root, "a" * 64, "r.example/shop")
    monkeypatch.setattr(images, "podman", lambda words: (0 if words[0] == "image" else 2, "Error: it is in use"))
    if not apps:
        clean(node)
    [told] = clean(node)["warnings"]
    assert "(podman rmi r.example/shop: it is in use). Remove the container" in told
    assert {str(path) for path in files(node)} == {f".images/{'a' * 64}"}
    monkeypatch.setattr(images, "podman", lambda words: (0, ""))
    assert clean(node)["warnings"] == [] and files(node) == set()


def test_files_of_somebody_else_stay(node):
    for path in ("web/releases/2.0/app", "web/notes", "lost+found/x"):
        (node.host.root / path).parent.mkdir(parents=True, exist_ok=True)
        (node.host.root / path).write_text("")
    clean(node)
    assert {str(path) for path in files(node)} == {"web/releases/2.0/app", "web/notes", "lost+found/x"}


def test_a_dry_run_tells_the_same_and_changes_nothing(node):
    serves(node)
    before = state(node)
    told = clean(node, test=True)
    assert state(node) == before and told["instances"] and told["folders"]
    found = clean(node)
    assert {**found, "folders": sorted(found["folders"])} == {**told, "folders": sorted(told["folders"])}


def paused():
    return {"from": "1.0", "before": 1, "by": "ann", "reason": "", "since": time.time(), "instances": 1, "nodes": ["b"]}


@pytest.mark.parametrize(
    "change, told",
    [
        (
            {"nodes": {"a": ["web_1.0_0"]}},
            "The record still has web_1.0_0 on a, so .* salt-run deploy.app web version=\"'2.0'\" env=e",
        ),
        (
            {"nodes": {"a": ["web_2.0_0-7"]}, "version": "2.0@7"},
            "The record still has web_2.0_0-7 on a, so .* salt-run deploy.app web version=\"'2.0'\" env=e",
        ),
        ({"paused": paused()}, "deploy.promote web env=e"),
        ({"version": 7}, "deploy/e/web/current: "),
    ],
    ids=["recorded here", "with settings", "paused", "broken"],
)
def test_what_a_deployment_needs_stays(node, change, told):
    serves(node)
    recorded(node, b=["web_2.0_0"]).update(change)
    before = state(node)
    for test in (True, False):
        with pytest.raises(Refused, match=told):
            clean(node, test)
    assert state(node) == before


def test_nothing_is_removed_during_a_deployment(node):
    serves(node)
    node.discovery.locked = "session"
    with pytest.raises(Refused, match="web is being deployed"):
        clean(node)


def test_what_was_deployed_elsewhere_may_go(node):
    serves(node)
    recorded(node, b=["web_2.0_0"])
    assert clean(node)["instances"]


def test_without_discovery_nobody_knows_what_is_needed(node, monkeypatch):
    serves(node)

    def silent(*_):
        raise DiscoveryUnavailable("Consul does not answer")

    monkeypatch.setattr(node.discovery, "registered", silent)
    before = state(node)
    with pytest.raises(DiscoveryUnavailable):
        clean(node)
    assert state(node) == before
