"""Hooks that run once: what is shown of them, and how an operator settles those whose end nobody saw."""

from __future__ import annotations

import pytest
from saltdeploy.core.errors import DONE, Refused
from saltdeploy.master.verbs import hooks

PREFIX = "deploy/e/shop/hooks/"
DONE_KEY, STARTED_KEY = f"{PREFIX}1.0/before_start-aaa", f"{PREFIX}2.0/before_start-bbb"


def mark(state, **more):
    about = {"phase": "before_start", "command": "migrate", "node": "web1", "deployment": "d1", "owner": "bob"}
    return {**about, "state": state, "time": 1.0, **more}


@pytest.fixture
def marked(here):
    return here(keys={DONE_KEY: mark("done"), STARTED_KEY: mark("started")})


def call(made, version=None, settle=None):
    return hooks.run(made.session, "shop", None, version, settle)


def test_all_marks_are_shown_with_the_release_of_each(marked):
    result = call(marked)
    first, second = result["verdict"].splitlines()
    assert first.startswith("1.0 before_start `migrate`: it ran on web1, ")
    assert second.startswith("2.0 before_start `migrate`: it was started, and its end is not known, on web1, ")
    assert (len(result["hooks"]), result["retcode"]) == (2, DONE)
    assert call(marked, "1.0")["verdict"] == first


@pytest.mark.parametrize("version, which", [(None, "shop"), ("3.0", "shop 3.0")])
def test_without_a_mark_no_hook_has_run(here, version, which):
    assert call(here(), version)["verdict"] == f"no hook that runs once has run for {which} in e"


@pytest.mark.parametrize("settle", ["Done", True, ""])
def test_a_wrong_word_settles_nothing(marked, settle):
    before = dict(marked.catalog.values)
    with pytest.raises(Refused, match="^settle=.*: done or again is allowed$"):
        call(marked, settle=settle)
    assert marked.catalog.values == before


@pytest.mark.parametrize("settle", ["done", "again"])
@pytest.mark.parametrize("version, which", [("1.0", "shop 1.0"), ("3.0", "shop 3.0")])
def test_where_every_end_is_known_there_is_nothing_to_settle(marked, version, which, settle):
    with pytest.raises(Refused, match=f"^there is no hook of {which} in e whose end is not known"):
        call(marked, version, settle)
    assert marked.catalog.values[DONE_KEY] == mark("done") and not marked.catalog.holders


def test_a_hook_that_has_done_its_work_is_marked_by_the_operator(marked):
    result = call(marked, settle="done")
    settled = marked.catalog.values[STARTED_KEY]
    assert (settled["state"], settled["owner"], settled["command"]) == ("done", marked.session.owner, "migrate")
    assert settled["time"] > 1.0
    assert marked.catalog.values[DONE_KEY] == mark("done"), "its end was known"
    assert "2.0 before_start `migrate`: it ran on web1, " in result["verdict"]


def test_a_hook_that_is_to_run_again_has_no_mark(marked):
    result = call(marked, settle="again")
    assert STARTED_KEY not in marked.catalog.values and DONE_KEY in marked.catalog.values
    assert len(result["hooks"]) == 1


def test_a_mark_that_cannot_be_read_can_be_settled(here):
    made = here(keys={STARTED_KEY: "anything"})
    assert call(made)["verdict"] == "2.0 before_start-bbb `?`: its mark cannot be read"
    call(made, settle="again")
    assert STARTED_KEY not in made.catalog.values


def test_nothing_is_settled_while_a_run_has_the_lock(marked):
    key = "deploy/e/shop/lock"
    marked.catalog.values[key], marked.catalog.holders[key] = {"owner": "bob"}, "bob's session"
    with pytest.raises(Refused, match="^shop is being deployed in e by bob"):
        call(marked, settle="again")
    assert marked.catalog.values[STARTED_KEY] == mark("started")
