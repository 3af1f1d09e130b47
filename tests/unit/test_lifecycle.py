"""What one node does with instances it starts: what is left of those that fail, and what is told of them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from saltdeploy import lifecycle as module
from saltdeploy import standing
from saltdeploy.errors import Failed
from saltdeploy.host import STATE
from saltdeploy.lifecycle import Lifecycle
from saltdeploy.model import Stop
from saltdeploy.runtime import State

from tests.support.apps import Archives

# Passes for one instance, while `good` is there.
TEST = {"command": "rmdir good"}


class Runtime:
    """Stands for a supervisor: whatever it starts is up at once."""

    lacks, name = ("memory", "cpu"), "nobody"

    def __init__(self):
        self.up, self.broken = set(), False

    def start(self, unit):
        if self.broken:
            raise Failed("supervisord does not answer")
        self.up.add(unit.id)

    def stop_of(self, one):
        return Stop()

    def stop(self, one):
        self.up.discard(one)
        return False

    def forget(self, one):
        pass

    def processes(self, one):
        return []

    def states(self):
        return {i: State(running=True, failed=False, detail="") for i in self.up}

    def logs(self, unit, lines, most):
        return "no database"


class Discovery:
    """Stands for a node's agent."""

    def __init__(self):
        self.services = {}

    def publish(self, service):
        self.services[service.id] = SimpleNamespace(id=service.id, meta=service.meta, weight=1)

    def withdraw(self, one):
        self.services.pop(one, None)

    def registered(self):
        return dict(self.services)

    def wait(self, name, until, deadline):
        return until([])


@pytest.fixture
def node(tmp_path, monkeypatch):
    """The Lifecycle of a node with release 1.0 of an app without ports, that nothing can be asked of."""
    monkeypatch.setattr(module, "SETTLE", 0.0)
    archives = Archives(tmp_path / "archives")
    archives.make("1.0")
    app = {**archives.app(), "run": "sleep 60", "checks": [], "tests": [TEST]}
    del app["ports"]
    environment = {"nodes": {"a": {"address": "127.0.0.1"}}, "apps": {"web": {"version": "1.0"}}}
    pillar = {"apps": {"web": app}, "environments": {"e": environment}}
    made = Lifecycle("a", pillar, {"root": str(tmp_path / "srv")}, None, None)
    made._runtime, made._discovery = Runtime(), Discovery()
    made.install("web", "1.0")
    return made


def start(node, count=1):
    return standing.start(node, "web", "1.0", count, STATE, held=True)


def there(node):
    return {i.id for i in node.host.instances()} | node.runtime.up


def may_pass(node):
    (node.host.release("web", "1.0") / "good").mkdir()


def test_of_what_fails_for_a_state_nothing_is_left_however_often(node):
    for _ in range(10):
        result = start(node, 2)
        assert not result["ok"] and result["instances"] == [] and there(node) == set()
        assert [text.split(":")[0] for text in result["failures"]] == ["web_1.0_0", "web_1.0_1"]
        for text in result["failures"]:
            assert "test `command rmdir good` failed: " in text and text.endswith("\nits last lines:\nno database")


def test_what_passes_beside_it_stays(node):
    may_pass(node)
    result = start(node, 2)
    assert not result["ok"] and [i["id"] for i in result["instances"]] == ["web_1.0_0"]
    assert there(node) == {"web_1.0_0"} and list(node.discovery.services) == ["web_1.0_0_candidate"]
    assert start(node)["failures"] and there(node) == {"web_1.0_0"}


def test_what_cannot_be_started_for_a_state_leaves_no_folder(node):
    node.runtime.broken = True
    with pytest.raises(Failed, match="supervisord does not answer"):
        start(node)
    assert there(node) == set()


def test_what_a_killed_state_has_left_goes_with_the_next(node):
    node.start("web", "1.0", 1, STATE, held=True)
    assert there(node) == {"web_1.0_0"}
    may_pass(node)
    assert start(node)["ok"] and there(node) == {"web_1.0_1"}


def test_what_died_later_goes_with_the_next(node):
    may_pass(node)
    assert start(node)["ok"]
    node.runtime.up.clear()
    may_pass(node)
    assert start(node)["ok"] and there(node) == {"web_1.0_1"}


def test_what_somebody_has_started_stays_to_be_looked_at(node):
    result = node.start("web", "1.0", 1, "manual", held=True)
    assert not result["ok"]
    start(node)
    assert there(node) == {"web_1.0_0"}


def test_for_a_state_is_started_again_after_all_of_it_was_stopped(node):
    may_pass(node)
    assert start(node)["ok"]
    assert node.stop("web", deployment=STATE, drain=0) == ["web_1.0_0"]
    may_pass(node)
    assert start(node)["ok"]


def break_record(node, instance):
    (node.host.folder(instance) / "instance.json").write_text("")


def test_what_is_broken_is_told_and_can_be_stopped(node):
    may_pass(node)
    start(node)
    break_record(node, "web_1.0_0")
    node.host.release("web", "0.9").symlink_to(".0.9@gone/files")
    seen = node.observe("web")
    assert (seen["instances"], seen["ghosts"], list(seen["broken"])) == ([], ["web_1.0_0"], ["web_1.0_0"])
    assert [text.partition(":")[0] for text in seen["warnings"]] == ["web_1.0_0 is broken", "web 0.9 is broken"]
    assert seen["releases"] == ["1.0"]
    assert node.stop("web", ["web_1.0_0"], drain=0) == ["web_1.0_0"]
    assert there(node) == set() and node.observe("web")["broken"] == {}


def test_all_instances_are_those_that_are_broken_too(node):
    may_pass(node)
    start(node)
    break_record(node, "web_1.0_0")
    assert node.stop("web", drain=0) == ["web_1.0_0"]


def test_what_the_supervisor_has_and_no_record_says_is_stopped_like_a_ghost(node):
    node.runtime.up |= {"web_1.0_7", "till_1.0_7"}
    assert node.observe("web")["ghosts"] == ["web_1.0_7"]
    node.stop("web", ["web_1.0_7"], drain=0)
    assert node.runtime.up == {"till_1.0_7"}


def test_what_is_not_enforced_is_told(node):
    node.environment.apps["web"] = replace(node.app("web"), memory="512M")
    assert node.observe("web")["warnings"] == ["nobody does not enforce apps:web:resources:memory."]


def test_what_cannot_be_recorded_is_withdrawn_all_the_same(node, monkeypatch):
    may_pass(node)
    start(node)
    node.publish("web")

    def save(instance):
        raise Failed("instance.json: Read-only file system.")

    monkeypatch.setattr(node.host, "save", save)
    with pytest.raises(Failed, match="Read-only file system"):
        node.withdraw("web")
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
        node.stop("web", drain=0)
    assert [i.id for i in node.host.instances()] == ["web_1.0_0"] and node.warnings == ["web_1.0_1 was killed"]
