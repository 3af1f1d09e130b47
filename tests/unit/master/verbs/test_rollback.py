"""Where a rollback goes, and what the operator sees of its choice."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from saltdeploy.core.errors import DONE, Refused
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.verbs import rollback

from tests.support.fleet import instance, make_app
from tests.support.verbs import Minions, entry, recorded

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


NUMBERED = instance("web1", "2.0@4")


def back_to(made, version=None, settings=None):
    """Return version and plan of a dry run."""
    found = rollback.run(made.session, "shop", None, version, None, False, True, None, False, settings)
    return found["version"], found["plan"]


def with_settings(here, **seen):
    """Return an app whose release 2.0 was deployed with settings of its own, then with 2, 3, which failed, and 4."""
    before = recorded("2.0@2", {"web1": ["shop_2.0_100-2"]})
    history = [
        entry("1.0@1"),
        entry("2.0"),
        entry("2.0@2"),
        entry("2.0@3", retcode=1, record=before),
        entry("2.0@4"),
    ]
    record = recorded("2.0@4", {"web1": [NUMBERED.id]})
    return here(NUMBERED, record=record, releases=INSTALLED, history=history, **seen)


def test_it_goes_back_to_the_settings_of_before(here):
    version, plan = back_to(with_settings(here))
    assert version == "2.0@2" and plan[-1] == "wave 1: retire shop_2.0_100-4 on web1"


@pytest.mark.parametrize(
    "version, settings, target",
    [
        (None, 1, "1.0@1"),
        (None, 3, "2.0@3"),
        ("2.0", 0, "2.0"),
        # Not 3, which failed.
        ("2.0", None, "2.0@2"),
        ("2.0@3", None, "2.0@3"),
        ("1.0", None, "1.0@1"),
        ("1.5", None, "1.5"),
    ],
)
def test_settings_are_found_by_release_and_number(here, version, settings, target):
    assert back_to(with_settings(here), version, settings)[0] == target


@pytest.mark.parametrize(
    "version, settings, why",
    [
        (None, 9, "^settings=9: nobody knows of such settings of shop in e. See salt-run deploy.history shop env=e$"),
        ("1.0", 4, "^settings=4: nobody knows of such settings of shop of 1.0 in e"),
        (None, 0, "^settings=0: several releases of shop have it. Say which: version="),
        (None, 4, r"^shop 2.0 \(settings 4\) is the release that runs in e"),
        ("2.0@4", None, r"^shop 2.0 \(settings 4\) is the release that runs in e"),
        ("2.0@2", 3, "^version=2.0@2 has the number of other settings than settings=3. Say one of them.$"),
        (None, "4", "^settings='4': a whole number from 0 to 99999 is allowed"),
        (None, -1, "^settings=-1: a whole number"),
        ("2.0@x", None, "^version '2.0@x' is not usable"),
    ],
)
def test_settings_that_cannot_be_found_are_refused(here, version, settings, why):
    with pytest.raises(Refused, match=why):
        back_to(with_settings(here), version, settings)


def test_it_starts_where_the_release_is_installed(here):
    there, app = instance("web2", "2.0@4"), replace(make_app(), instances=2)
    options = {"record": recorded("2.0@4", {"web2": [there.id]}), "releases": {"web2": ["2.0"], "web3": ["2.0"]}}
    made = here(there, app=app, history=[entry("2.0@2"), entry("2.0@4")], **options)
    assert [line.rpartition(" on ")[2] for line in back_to(made)[1] if ": start" in line] == ["web2", "web3"]


def test_a_node_that_has_not_kept_the_settings_is_named_in_the_plan(here):
    made = with_settings(here, editions={"web1": {"2.0@2": None, "2.0@4": {}}, "web2": {"2.0@2": None}})
    assert "settings of now" not in str(back_to(made, settings=2)[1])
    made = with_settings(here, editions={"web1": {"2.0@4": {}}})
    assert back_to(made, settings=2)[1][0] == (
        "web1: shop starts with the settings of now, because those of 2.0 (settings 2) are not kept there"
    )


def test_settings_that_failed_are_no_settings_to_go_back_to(here):
    """Unless somebody says their number."""
    failed = entry("2.0@3", retcode=1, record=RECORD)
    made = here(NEW, record=RECORD, releases=INSTALLED, history=[entry("2.0"), failed])
    assert refused(made, "2.0").startswith("shop 2.0 is the release that runs in e")
    # Nobody knows whether others that a node has kept were any good.
    kept = {"web1": {"2.0": None, "2.0@4": {}}}
    record = recorded("2.0@4", {"web1": [NUMBERED.id]})
    made = here(NUMBERED, record=record, releases=INSTALLED, history=[entry("2.0@4")], editions=kept)
    assert refused(made, "2.0").startswith("shop 2.0 (settings 4) is the release that runs in e")


def test_of_a_release_without_a_good_deployment_the_newest_settings_that_are_kept_are_taken(here):
    """The history forgets."""
    kept = {"web1": {"1.0@2": None, "1.0@3": None, "2.0@5": None}}
    made = here(NEW, record=RECORD, releases=INSTALLED, history=[entry("2.0")], editions=kept)
    assert back_to(made, "1.0")[0] == "1.0@3"


def test_the_release_that_runs_is_not_among_those_to_go_back_to(here):
    assert " Retained are: 1.0, 1.5." in refused(with_settings(here), "1.7")


def test_a_node_that_is_left_out_must_not_serve_another_release_on(here):
    """Clients would get both."""
    old = instance("web3", "2.0")
    replies = {node: Reply(node, None, "does not answer", silent=node == "web3") for node in ("web1", "web2", "web3")}
    history = [entry("1.0"), entry("1.5"), entry("2.0")]
    made = here(NEW, old, record=RECORD, releases=INSTALLED, history=history, minions=Minions(**{"test.ping": replies}))
    made.session.skip_absent = True
    assert "web3: does not answer, and clients get shop_2.0_100 on web3, which would serve on" in refused(made)
    made.serve(NEW)
    assert back(made)["version"] == "1.5"
