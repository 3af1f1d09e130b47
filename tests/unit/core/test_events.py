"""The events of a run: one for each phase, and one outcome."""

import pytest
from saltdeploy.core import events
from saltdeploy.master.journal import Step


@pytest.fixture
def told():
    return []


@pytest.fixture
def phases(told):
    return events.Phases(lambda what, **data: told.append((what, data)))


def step(phase, node, what="", seconds=1.0, ok=True):
    return Step(phase, node, what, seconds, ok)


def test_a_phase_is_told_when_its_last_node_has_answered(phases, told):
    phases.begin("start", ["b", "a"])
    phases.add(step("start", "a", seconds=2.0))
    assert told == []
    phases.add(step("start", "b", seconds=3.0))
    assert told == [("start", {"nodes": ["a", "b"], "seconds": 3.0, "outcome": "done", "error": ""})]
    phases.cut()
    assert len(told) == 1


def test_a_step_without_a_node_ends_its_phase_everywhere(phases, told):
    phases.begin("healthy", ["a", "b"])
    phases.add(step("healthy", "a", "slow", ok=False))
    phases.add(step("healthy", "", "not healthy", ok=False))
    [(what, data)] = told
    assert (what, data["outcome"], data["error"]) == ("healthy", "failed", "not healthy")


def test_a_step_of_a_phase_that_nobody_began_is_a_phase(phases, told):
    phases.add(step("weigh", "a"))
    phases.add(step("clean", ""))
    assert [(what, data["nodes"]) for what, data in told] == [("weigh", ["a"]), ("clean", [])]


def test_the_next_phase_ends_a_phase_that_lacks_answers(phases, told):
    phases.begin("install", ["a", "b", "c"])
    phases.add(step("install", "b"))
    phases.begin("start", ["a"])
    [(what, data)] = told
    assert (what, data["outcome"]) == ("install", "failed")
    assert data["error"] == "it was interrupted before a, c answered"


def test_a_phase_that_no_node_answered_takes_no_time(phases, told):
    phases.begin("install", ["a"])
    phases.cut()
    assert told[0][1]["seconds"] == 0.0


def test_a_test_touches_no_node(phases):
    phases.begin("test", ["a"])
    phases.begin("start", ["b"])
    assert phases.touched == {"b"}


def test_an_error_is_cut_to_a_length_that_a_chat_shows():
    assert events.shortened("x" * events.ERROR) == "x" * events.ERROR
    assert events.shortened("x" * (events.ERROR + 1)) == "x" * events.ERROR + "…"
