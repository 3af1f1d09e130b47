"""Instances that were replaced while their node was away."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy.node import superseded

from tests.support.onenode import make_node, recorded, serves, there


@pytest.fixture
def node(tmp_path, monkeypatch):
    return make_node(tmp_path, monkeypatch)


def test_what_came_back_with_an_old_release_is_retired_once_others_serve(node):
    [one] = serves(node)
    recorded(node, b=["web_2.0_0"])
    assert superseded.find(node, "web") == [one]
    assert superseded.retire(node, "web") == [one] and there(node) == set()


def test_a_minion_that_was_renamed_retires_nothing(node):
    """Its own instance is in the record and in discovery under its old name, at its own address."""
    [one] = serves(node)
    recorded(node, old=[one])
    node.discovery.elsewhere = [replace(e, address=node.node.address) for e in node.discovery.elsewhere]
    assert superseded.find(node, "web") == [] and there(node) == {one}


@pytest.mark.parametrize("version, deployment", [("1.0", "d9"), ("2.0", "d1")])
def test_the_recorded_release_and_the_recorded_deployment_are_not_retired(node, version, deployment):
    """…as of a node that was left out because it was silent, or of a run that was killed before it wrote all."""
    [one] = serves(node)
    recorded(node, b=[f"web_{version}_0"])["deployment"] = deployment
    assert superseded.find(node, "web") == [] and there(node) == {one}


@pytest.mark.parametrize(
    "why", ["locked", "paused", "frozen", "recorded", "warm", "only here", "not found", "by hand", "junk"]
)
def test_what_may_be_needed_is_not_retired(node, why):
    [one] = serves(node, "manual" if why == "by hand" else "d1")
    record = recorded(node, **{"a" if why == "only here" else "b": ["web_2.0_0"]})
    about = {"by": "me", "reason": "", "since": 1.0}
    if why == "locked":
        node.discovery.locked = "session"
    elif why == "paused":
        record["paused"] = {**about, "from": "1.0", "before": 1, "instances": 1, "nodes": ["b"]}
    elif why == "frozen":
        record["frozen"] = {**about, "version": "2.0", "why": "x", "deployment": "d2"}
    elif why == "recorded":
        record["nodes"]["a"] = [one]
    elif why == "warm":
        record["warm"] = {"until": 1.0, "nodes": {"a": [one]}}
    elif why == "not found":
        node.discovery.elsewhere = []
    elif why == "junk":
        record["nodes"]["b"].append("../x")
    assert superseded.find(node, "web") == superseded.retire(node, "web") == []
    assert there(node) == {one}
