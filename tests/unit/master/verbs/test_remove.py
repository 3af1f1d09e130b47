"""A removal: what it asks the operator to confirm, and what is left if it stops half way."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy.core.errors import DONE, NOT_REVERTED, Refused
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.verbs import remove

from tests.support.fleet import instance, make_app
from tests.support.verbs import entry, recorded

ON_1, ON_2 = instance("web1"), instance("web2", slot=101)
RECORD = recorded("1.0", {"web1": [ON_1.id], "web2": [ON_2.id]})
RELEASES = {"web1": ["0.9", "1.0"], "web2": ["1.0"], "web3": []}
MARK = "deploy/e/shop/hooks/1.0/before_start-aaa"
STOPPED = "its unit could not be stopped"


@pytest.fixture
def whole(here):
    """The app on two nodes, with its record, its history and a mark of a hook."""
    made = here(ON_1, ON_2, record=RECORD, history=[entry("1.0")], releases=RELEASES, keys={MARK: "any"})
    run = made.minions.run

    def stop(function, nodes, *args, **options):
        replies = run(function, nodes, *args, **options)
        if function == "app.stop":
            made.serve(*(i for i in (ON_1, ON_2) if not (i.node in replies and replies[i.node].ok)))
        return replies

    made.minions.run = stop
    return made


def call(made, name="shop", confirm=True, test=False):
    return remove.run(made.session, name, None, confirm, test, None)


def test_without_confirmation_all_that_would_go_is_named(whole):
    till = replace(make_app(), name="till", requires=("shop",))
    whole.environment.apps["till"] = till
    with pytest.raises(Refused) as refused:
        call(whole, confirm=False)
    assert str(refused.value) == (
        "say confirm=True to withdraw, drain and stop shop_1.0_100 on web1, shop_1.0_101 on web2;"
        " remove the releases 0.9 on web1, 1.0 on web1, 1.0 on web2;"
        " forget the record: 2 instances of 1.0 on web1, web2. till would miss it."
    )
    assert whole.minions.jobs == [] and whole.record() == RECORD


def test_a_dry_run_needs_no_confirmation(whole):
    assert len(call(whole, confirm=False, test=True)["plan"]) == 3
    assert whole.minions.jobs == [] and whole.record() == RECORD


def test_it_removes_all_but_the_history(whole):
    result = call(whole)
    assert (result["retcode"], result["verdict"]) == (DONE, "shop is removed from e. Its history stays")
    assert [job[0] for job in whole.minions.jobs] == ["app.stop", "deploy.prune"]
    assert whole.record() is None and MARK not in whole.catalog.values
    assert len(whole.catalog.keys(f"{whole.prefix}history/")) == 2


def test_where_data_stays_is_said(whole):
    whole.observed = replace(whole.observed, data={"web1": "/srv/shop/data"})
    assert call(whole)["verdict"].endswith("Its history stays, and its data stays: web1 (/srv/shop/data)")


def test_what_could_not_be_stopped_keeps_its_place_in_the_record(whole):
    whole.minions.answers["app.stop"] = {"web2": Reply("web2", None, STOPPED)}
    result = call(whole)
    left = {**RECORD, "nodes": {"web2": [ON_2.id]}}
    assert (result["retcode"], whole.record(), result["record"]) == (NOT_REVERTED, left, left)
    assert [job[0] for job in whole.minions.jobs] == ["app.stop"], "the releases stay for what runs"
    assert MARK in whole.catalog.values
    assert result["verdict"] == (
        f"shop could not be removed completely from e, repair and run it again: stop on web2: {STOPPED}"
    )


def test_releases_that_could_not_be_removed_are_told_and_nothing_is_recorded(whole):
    whole.minions.answers["deploy.prune"] = {"web1": Reply("web1", None, "read-only file system")}
    result = call(whole)
    assert (result["retcode"], whole.record(), result["record"]) == (NOT_REVERTED, None, None)
    assert "prune on web1: read-only file system" in result["verdict"] and MARK in whole.catalog.values


def test_instances_that_clients_still_find_are_not_removed(whole):
    """Their agent has deregistered them, and the catalog has them still."""
    run = whole.minions.run
    whole.minions.run = lambda *args, **options: (run(*args, **options), whole.serve(ON_1))[0]
    result = call(whole)
    assert result["retcode"] == NOT_REVERTED
    assert result["verdict"].endswith("repair and run it again: clients still get 1 instance of 1.0 on web1")


def test_of_an_app_that_is_not_there_nothing_is_done(here):
    made = here()
    result = call(made, confirm=False)
    assert (result["changed"], result["plan"], result["retcode"]) == (
        False,
        ["nothing to do: there is nothing of it"],
        DONE,
    )
    assert result["verdict"] == "there is nothing of shop in e, nothing was done"
    assert not made.catalog.values.keys() - {"deploy/e/shop/lock"}


def test_an_app_that_never_was_is_refused(here):
    with pytest.raises(Refused, match="^unknown app 'till' in environment e"):
        call(here(), "till")
