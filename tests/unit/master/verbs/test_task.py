"""How the work of a verb is carried out: decided, done, judged, and written to the history."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy.core.conditions import Approvals, Conditions, Window
from saltdeploy.core.errors import DONE, NOT_REVERTED, REVERTED, DiscoveryUnavailable, Refused
from saltdeploy.master.outcome import Ending, Outcome
from saltdeploy.master.verbs import task
from saltdeploy.master.verbs.task import Task

from tests.support.fleet import instance
from tests.support.verbs import recorded

ONE = instance("web1")
RECORD = recorded("1.0", {"web1": [ONE.id]})
ACTIONS = {"to": "1.0"}


def carried_out(made, ending=Ending(Outcome.DONE, RECORD), test=False, reason=None, **options):
    """Return the result of a task with one line, which ends with ``ending``; what it did is in ``made.acts``."""
    made.acts = []

    def act(lock, identity):
        lock.check()
        made.acts.append(identity)
        return ending

    def decide(observed):
        told = {"version": "1.0", "lines": ["the plan"], "changes": True, "actions": ACTIONS, "more": {"left": "2.0"}}
        return Task(**{**told, "act": act, "verdict": lambda result: f"verdict: {result['outcome']}", **options})

    with made.session.site(made.environment, made.app) as site:
        return task.carry_out(made.session, site, "rollback", decide, reason, test)


def history(made):
    return [value for _, value in made.catalog.entries(f"{made.prefix}history/")]


def test_a_dry_run_is_the_plan_and_nothing_else(here):
    made = here(ONE, record=RECORD)
    made.session.warn("beware")
    assert carried_out(made, test=True) == {
        "app": "shop",
        "environment": "e",
        "version": "1.0",
        "left": "2.0",
        "against": [],
        "plan": ["the plan"],
        "actions": ACTIONS,
        "warnings": ["beware"],
        "retcode": DONE,
    }
    assert made.acts == [] and history(made) == [] and "deploy/e/shop/lock" not in made.catalog.values


def test_what_was_done_is_the_result_and_the_newest_entry_of_the_history(here):
    made = here(ONE, record=RECORD)
    result = carried_out(made, publishes=True, reason="too slow")
    assert (result["outcome"], result["retcode"], result["verdict"]) == ("done", DONE, "verdict: done")
    assert (result["verb"], result["owner"], result["reason"], result["changed"]) == (
        "rollback",
        made.session.owner,
        "too slow",
        True,
    )
    assert [identity.id for identity in made.acts] == [result["deployment"]]
    assert history(made) == [result] and made.catalog.holders == {}
    assert "the plan" in made.said()


def test_what_clients_do_not_find_is_not_done(here):
    """It ended as it should, and the instance of the record is gone since."""
    made = here(record=RECORD)
    result = carried_out(made, publishes=True)
    assert (result["outcome"], result["retcode"], result["acted"]) == ("untrue", NOT_REVERTED, DONE)
    assert result["untrue"] == f"clients do not find {ONE.id} on web1, whose checks do not pass"
    assert history(made)[0]["outcome"] == "untrue"


def test_a_revert_after_which_clients_miss_an_instance_is_not_reverted(here):
    made = here(ONE, record=RECORD)

    def act(lock, identity):
        made.serve()
        return Ending(Outcome.REVERTED, RECORD, "a test failed")

    result = carried_out(made, act=act)
    assert (result["outcome"], result["retcode"], result["acted"]) == ("untrue", NOT_REVERTED, REVERTED)
    assert result["why"] == "a test failed"


def test_a_revert_that_is_true_has_its_own_code(here):
    result = carried_out(here(ONE, record=RECORD), Ending(Outcome.REVERTED, RECORD, "a test failed"))
    assert (result["outcome"], result["retcode"], result["why"]) == ("reverted", REVERTED, "a test failed")
    assert "untrue" not in result and "acted" not in result


def test_a_task_that_changes_nothing_is_no_entry_of_the_history(here):
    made = here(ONE, record=RECORD)
    result = carried_out(made, changes=False)
    assert (result["changed"], result["retcode"], history(made)) == (False, DONE, [])


def test_a_history_that_cannot_be_written_is_a_warning(here):
    made = here(ONE, record=RECORD)
    entries = made.catalog.entries

    def unanswered(prefix):
        if "history" in prefix:
            raise DiscoveryUnavailable("no leader")
        return entries(prefix)

    made.catalog.entries = unanswered
    result = carried_out(made, publishes=True)
    assert (result["outcome"], result["retcode"]) == ("done", DONE)
    assert made.session.journal.warnings == ["the history of this run could not be written: no leader"]


def test_an_entry_that_is_too_many_replaces_the_oldest(here):
    made = here(ONE, record=RECORD, history=[{"number": number} for number in range(50)])
    result = carried_out(made)
    found = history(made)
    assert len(found) == 50 and found[0] == {"number": 1} and found[-1] == result


@pytest.mark.parametrize("test", [True, False])
def test_an_error_of_the_decision_has_changed_nothing(here, test):
    made = here(ONE, record=RECORD)

    def decide(observed):
        raise ValueError("a bug")

    with made.session.site(made.environment, made.app) as site, pytest.raises(ValueError) as caught:
        task.carry_out(made.session, site, "rollback", decide, None, test)
    assert caught.value.unchanged and made.catalog.holders == {} and history(made) == []


def test_the_lock_tells_others_what_is_being_done(here):
    made, seen = here(ONE, record=RECORD), []

    def act(lock, identity):
        seen.append(made.catalog.values["deploy/e/shop/lock"])
        return Ending(Outcome.DONE, RECORD)

    result = carried_out(made, act=act, reason="too slow")
    [holder] = seen
    assert (holder["doing"], holder["reason"], holder["deployment"]) == (
        "rolled back",
        "too slow",
        result["deployment"],
    )


def test_a_reason_that_is_too_long_is_refused_before_anything_else(here):
    with pytest.raises(Refused, match="^reason="):
        carried_out(here(ONE, record=RECORD), reason="x" * 501)


@pytest.mark.parametrize("back, changes, refused", [(False, True, True), (True, True, False), (False, False, False)])
def test_a_closed_environment_allows_only_to_go_back_and_to_do_nothing(here, back, changes, refused):
    made = here(ONE, record=RECORD)
    windows = (Window(0, 1, (), "UTC"),)
    made.environment = replace(made.environment, conditions=Conditions(Approvals(("bob",)), windows))
    work = task.Task("1.0", [], changes, act=None, verdict=str, back=back)
    with made.session.site(made.environment, made.app) as site:
        against, _ = task.refused(made.session, site, "rollback", work)
        assert bool(against) is refused and (not refused or len(against) == 2)
        made.session.force = True
        made.catalog.values["deploy/e/shop/approvals/bob"] = {"version": "1.0"}
        against, facts = task.refused(made.session, site, "rollback", work)
        assert against == [] and set(facts) == ({"forced", "approved_by"} if refused else set())
