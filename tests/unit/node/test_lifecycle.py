"""What one node does with instances that it starts, and what is told of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy.core.errors import Failed
from saltdeploy.core.model import Probe
from saltdeploy.node import publication, retirement

from tests.support.onenode import break_record, make_node, may_pass, start, there


@pytest.fixture
def node(tmp_path, monkeypatch):
    return make_node(tmp_path, monkeypatch)


def test_the_output_of_an_instance_and_of_its_tests_is_told_without_the_values_of_env(node):
    app = node.environment.apps["web"]
    tests = (Probe("command", "sh -c 'echo as $WHO in $DB; exit 1'"),)
    node.environment.apps["web"] = replace(app, env={"WHO": "hunter2", "DB": "database"}, tests=tests)
    [failure] = start(node).failures
    assert "ended with 1: as *** in ***\n" in failure and failure.endswith("\nits last lines:\nno ***")


def test_what_somebody_has_started_stays_to_be_looked_at(node):
    result = node.start("web", "1.0", 1, "manual", held=True)
    assert not result.ok
    start(node)
    assert there(node) == {"web_1.0_0"}


def test_a_job_that_slept_while_its_deployment_ended_registers_nothing(node, monkeypatch):
    may_pass(node)
    monkeypatch.setattr(node, "failed_tests", lambda app, instance: node.host.turns.end("web", "d1") or [])
    with pytest.raises(Failed, match="Refused on a: deployment d1 of web has ended there"):
        node.start("web", "1.0", 1, "d1")
    assert node.discovery.services == {}


def test_all_instances_are_those_that_are_broken_too(node):
    may_pass(node)
    start(node)
    break_record(node, "web_1.0_0")
    assert retirement.stop(node, "web", drain=0) == ["web_1.0_0"]


def test_what_cannot_be_recorded_is_withdrawn_all_the_same(node, monkeypatch):
    may_pass(node)
    start(node)
    publication.publish(node, "web")

    def save(instance):
        raise Failed("instance.json: Read-only file system.")

    monkeypatch.setattr(node.host.instances, "save", save)
    with pytest.raises(Failed, match="Read-only file system"):
        publication.withdraw(node, "web")
    assert list(node.discovery.services) == ["web_1.0_0_candidate"]


def test_what_cannot_be_ended_keeps_its_place_and_the_others_go(node, monkeypatch):
    may_pass(node)
    start(node)
    may_pass(node)
    start(node)
    stop = node.ending.stop

    def fail(instance, *place):
        if instance == "web_1.0_0":
            raise Failed("web_1.0_0: process 7 (serve) does not end")
        return stop(instance, *place) or f"{instance} was killed"

    monkeypatch.setattr(node.ending, "stop", fail)
    with pytest.raises(Failed, match=r"process 7 \(serve\) does not end"):
        retirement.stop(node, "web", drain=0)
    assert [i.id for i in node.host.instances.recorded()] == ["web_1.0_0"] and node.warnings == ["web_1.0_1 was killed"]


def test_a_candidate_is_registered_before_it_is_ready_only_if_discovery_must_run_a_check(node):
    may_pass(node)
    app = node.environment.apps["web"]
    node.environment.apps["web"] = replace(app, checks=(Probe("ttl", ""),))
    seen = []

    def results(one):
        seen.append((one, node.discovery.proved.get("web_1.0_0_candidate")))
        return {"ttl": ("passing", "")} if one.endswith("_candidate") else {}

    node.discovery.results = results
    assert node.start("web", "1.0", 1, "d1").ok
    assert seen == [("web_1.0_0", False), ("web_1.0_0_candidate", False)]
    assert node.discovery.proved == {"web_1.0_0_candidate": True}


def test_a_late_step_registers_no_candidate(node):
    node.environment.apps["web"] = replace(node.environment.apps["web"], checks=(Probe("ttl", ""),))
    node.host.turns.end("web", "d1")
    with pytest.raises(Failed):
        node.start("web", "1.0", 1, "d1")
    assert node.discovery.proved == {}
