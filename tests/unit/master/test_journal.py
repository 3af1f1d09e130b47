"""The steps of a run: what is emitted as it happens, and what the result keeps."""

from __future__ import annotations

import pytest
from saltdeploy.core.phases import PHASES
from saltdeploy.master.journal import LONG, Journal


@pytest.fixture
def emitted():
    return []


@pytest.fixture
def journal(emitted):
    return Journal(emitted.append)


class Observer:
    """Stands for events.Phases."""

    def __init__(self):
        self.seen = []

    def begin(self, phase, nodes):
        self.seen.append((phase, list(nodes)))

    def add(self, step):
        self.seen.append(step)


def test_a_step_is_kept_and_emitted_as_plain_data(journal, emitted):
    journal.add("start", "web1", "shop_1.0_80", 1.23456)
    journal.add("start", "web2", "no room", 0.5, ok=False)
    rows = [
        {"phase": "start", "node": "web1", "what": "shop_1.0_80", "seconds": 1.235, "ok": True},
        {"phase": "start", "node": "web2", "what": "no room", "seconds": 0.5, "ok": False},
    ]
    assert journal.as_data() == rows
    assert emitted == [{"step": row} for row in rows]


@pytest.mark.parametrize("phase, seen", [*[(p, True) for p in (*LONG, *PHASES)], ("publish", False), ("weigh", False)])
def test_only_a_phase_that_may_last_is_said_to_begin(journal, emitted, phase, seen):
    journal.begin(phase, {"web1": 1, "web2": 2})
    assert emitted == ([{"begin": phase, "nodes": ["web1", "web2"]}] if seen else [])
    assert journal.steps == []


def test_the_observer_learns_of_all_phases_and_steps(journal):
    journal.add("clean", "web1", "", 0.0)
    journal.observer = Observer()
    journal.begin("publish", ["web1"])
    journal.add("publish", "web1", "shop_1.0_80", 0.0)
    assert journal.observer.seen == [("publish", ["web1"]), journal.steps[1]]


def test_a_warning_is_emitted_and_kept_and_other_words_are_only_emitted(journal, emitted):
    journal.say("measuring errors")
    journal.warn("no token")
    assert emitted == [{"say": "measuring errors"}, {"say": "warning: no token"}]
    assert (journal.warnings, journal.steps) == (["no token"], [])


def test_a_journal_that_nobody_reads_keeps_its_steps():
    journal = Journal()
    journal.begin("start", ["web1"])
    journal.add("start", "web1", "", 0.0)
    journal.say("x")
    assert len(journal.steps) == 1
