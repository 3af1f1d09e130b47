"""Where a rollback goes, and what the operator sees of its choice."""

from __future__ import annotations

import time

import pytest
from saltdeploy.core.errors import DONE, Refused
from saltdeploy.master.verbs import rollback

from tests.support.fleet import instance
from tests.support.verbs import entry, recorded

NEW = instance("web1", "2.0")
RECORD = recorded("2.0", {"web1": [NEW.id]})
INSTALLED = {"web1": ["1.0", "1.5", "2.0"]}


def back(made, version=None):
    """Return the result of a dry run."""
    return rollback.run(made.session, "shop", None, version, None, False, True, None, False)


def refused(made, version=None):
    with pytest.raises(Refused) as caught:
        back(made, version)
    return str(caught.value)


def test_the_release_that_runs_is_no_release_to_go_back_to(here):
    made = here(NEW, record=RECORD, releases=INSTALLED)
    assert refused(made, "2.0") == ("shop 2.0 is the release that runs in e: see salt-run deploy.history shop env=e")


@pytest.mark.parametrize("installed, retained", [(INSTALLED, "1.0, 1.5"), ({"web1": ["2.0"]}, "none")])
def test_a_release_that_is_gone_is_refused_with_the_retained_ones(here, installed, retained):
    made = here(NEW, record=RECORD, releases=installed)
    assert refused(made, "0.9") == (
        f"shop 0.9 is installed on no node any more. Retained are: {retained}."
        " To install it again: salt-run deploy.app shop version=\"'0.9'\" env=e"
    )


def test_a_history_without_a_good_release_is_refused(here):
    made = here(NEW, record=RECORD, releases=INSTALLED, history=[entry("1.0", retcode=1), entry("2.0")])
    assert refused(made) == (
        "the history of shop in e has no good release before 2.0: name one that is installed still"
        " (version=\"'…'\"), or deploy one: salt-run deploy.app shop version=\"'…'\" env=e"
    )


def test_an_app_that_is_not_deployed_has_nothing_to_go_back_from(here):
    assert refused(here()) == "shop is not deployed in e: salt-run deploy.app shop env=e"


def test_it_goes_back_to_the_last_good_release_and_says_when_that_was_deployed(here):
    made = here(NEW, record=RECORD, releases=INSTALLED, history=[entry("1.0"), entry("1.5"), entry("2.0")])
    result = back(made)
    assert (result["retcode"], result["version"], result["left"], result["warnings"]) == (DONE, "1.5", "2.0", [])
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(1.0))
    assert f"back from shop 2.0 to 1.5, deployed {when} (d0)" in made.said()


def test_a_release_that_is_named_may_be_older_than_the_history(here):
    made = here(NEW, record=RECORD, releases=INSTALLED, history=[entry("2.0")])
    assert back(made, "1.0")["version"] == "1.0"
    assert "back from shop 2.0 to 1.0, which the history has no more" in made.said()


def test_a_release_that_was_reverted_after_the_present_one_is_named(here):
    failed = entry("3.0", retcode=1, record=RECORD)
    result = back(here(NEW, record=RECORD, releases=INSTALLED, history=[entry("1.0"), entry("2.0"), failed]))
    assert (result["version"], result["warnings"]) == (
        "1.0",
        ["shop 3.0 failed and was reverted before: clients have 2.0. This goes below it, to 1.0."],
    )


def test_a_release_that_an_earlier_rollback_left_is_named(here):
    old = instance("web1", "1.5")
    history = [entry("1.0"), entry("1.5"), entry("2.0"), entry("1.5", verb="rollback", left="2.0")]
    made = here(old, record=recorded("1.5", {"web1": [old.id]}), releases=INSTALLED, history=history)
    result = back(made)
    assert (result["version"], result["warnings"]) == (
        "1.0",
        ["shop 2.0 is passed over: a rollback left it, and nobody deployed it again since."],
    )


def test_it_starts_as_many_as_serve_now(here):
    """Somebody may have scaled up for a reason."""
    there = [instance(node, "2.0") for node in ("web1", "web2")]
    made = here(*there, record=recorded("2.0", {i.node: [i.id] for i in there}), releases=INSTALLED)
    started = [line for line in back(made, "1.0")["plan"] if "start" in line]
    assert len(started) == 2
