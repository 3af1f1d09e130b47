"""The history: the newest entries, and sentences on those that cannot be read."""

from __future__ import annotations

import pytest
from saltdeploy.core.errors import DONE, Refused
from saltdeploy.master.verbs import history

from tests.support.verbs import entry


def test_the_newest_entries_come_first_and_ten_are_enough(here):
    made = here(history=[entry(f"1.{number}") for number in range(12)])
    shown = [one["version"] for one in history.run(made.session, "shop", None, None)["history"]]
    assert shown == [f"1.{number}" for number in range(11, 1, -1)]
    assert [one["version"] for one in history.run(made.session, "shop", None, 2)["history"]] == ["1.11", "1.10"]


def test_an_app_without_history_has_none(here):
    result = history.run(here().session, "shop", None, None)
    assert (result["history"], result["warnings"], result["retcode"]) == ([], [], DONE)


def test_an_app_that_is_gone_has_its_history_still(here):
    made = here(keys={"deploy/e/till/history/001": {**entry("1.0"), "record": None}})
    assert len(history.run(made.session, "till", None, None)["history"]) == 1


def test_an_app_that_never_was_is_refused(here):
    with pytest.raises(Refused, match="^unknown app 'till' in environment e"):
        history.run(here().session, "till", None, None)


def test_an_entry_that_cannot_be_read_is_a_warning_and_no_unknown_app(here):
    made = here(keys={"deploy/e/till/history/001": "anything"})
    result = history.run(made.session, "till", None, None)
    [warning] = result["warnings"]
    assert result["history"] == [] and warning.startswith("deploy/e/till/history/001: found 'anything'")
