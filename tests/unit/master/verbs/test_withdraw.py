"""A withdrawal: of which instances, never of the last one by mistake, and what is told of its end."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from saltdeploy.core.errors import DONE, INTERRUPTS, NOT_REVERTED, DiscoveryUnavailable, Refused
from saltdeploy.master.journal import Journal
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.remote.jobs import Jobs
from saltdeploy.master.rollout.context import Identity
from saltdeploy.master.verbs import withdraw

from tests.support.fleet import instance, make_app
from tests.support.verbs import Minions, recorded

OLD, NEW = instance("web1"), instance("web2", "2.0")
RECORD = recorded("2.0", {"web1": [OLD.id], "web2": [NEW.id]})


def call(made, version=None, confirm=False, test=False):
    return withdraw.run(made.session, "shop", None, version, None, confirm, test, None)


@pytest.mark.parametrize("fault", [DiscoveryUnavailable("no leader"), *(interrupt() for interrupt in INTERRUPTS)])
def test_a_withdrawal_whose_record_could_not_be_written_is_told(fault):
    """Nobody can tell whether it was: it is no refusal."""

    def write(entries):
        raise fault

    record = {"version": "1.0", "nodes": {"web1": ["shop_1.0_100"]}}
    site = SimpleNamespace(record=lambda: record, prefix="deploy/e/shop/", app=make_app())
    lock = SimpleNamespace(write=write)
    ending = withdraw.act(Jobs(None, Journal()), site, [instance("web1")], lock, Identity("d1", "ann"))
    assert (ending.code, ending.record) == (NOT_REVERTED, record)
    assert ending.why in ("no leader", "it was interrupted")


def test_a_release_is_withdrawn_from_the_record_and_from_discovery(here):
    answers = {"discovery.withdraw": {"web1": [OLD.id]}}
    made = here(OLD, NEW, record=RECORD, minions=Minions(**answers))
    result = call(made, "1.0")
    assert made.minions.jobs == [("discovery.withdraw", "shop", {"web1": [OLD.id]})]
    assert made.record() == {**RECORD, "nodes": {"web2": [NEW.id]}}
    assert (result["retcode"], result["verdict"]) == (
        DONE,
        "1 of shop withdrawn in e. They run on, and deploy.publish brings them back.",
    )


def test_a_release_is_withdrawn_with_any_settings(here):
    numbered = instance("web1", "1.0@7")
    made = here(numbered, NEW, record=recorded("2.0", {"web1": [numbered.id], "web2": [NEW.id]}))
    result = call(made, "1.0", test=True)
    assert (result["version"], result["plan"]) == ("1.0 (settings 7)", [f"withdraw {numbered.id} on web1"])


def test_all_that_clients_have_is_withdrawn_only_with_confirmation(here):
    made = here(OLD, NEW, record=RECORD)
    with pytest.raises(Refused, match="^no instance of shop would be left for clients. To do it, say confirm=True"):
        call(made)
    assert len(call(made, test=True)["plan"]) == 2 and made.minions.jobs == []


@pytest.mark.parametrize("version, which", [(None, "shop "), ("3.0", "shop 3.0")])
def test_what_is_not_published_cannot_be_withdrawn(here, version, which):
    made = here(instance("web1", published=False))
    with pytest.raises(Refused, match=f"^nothing of {which} is published on web1, web2, web3"):
        call(made, version)


def test_a_node_that_does_not_withdraw_is_told(here):
    answers = {"discovery.withdraw": {"web1": Reply("web1", None, "its agent does not answer")}}
    result = call(here(OLD, NEW, record=RECORD, minions=Minions(**answers)), "1.0")
    assert (result["retcode"], result["verdict"]) == (
        NOT_REVERTED,
        "failed: withdraw on web1: its agent does not answer",
    )
