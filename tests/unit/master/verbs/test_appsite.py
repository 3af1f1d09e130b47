"""An app in an environment, as a verb sees it: its record, and the other services under its name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy.core.errors import Refused
from saltdeploy.master import preflight

from tests.support.fleet import instance, make_app, observe
from tests.support.verbs import ABOUT, Foreign, entry, recorded, site_with

ONE = instance("web1")


def test_what_keep_left_to_clients_once_is_tolerated_later_without_it():
    here = site_with(Foreign("legacy", "older", tolerated=["legacy on web1", "gone on web1"]))
    with pytest.raises(Refused, match="older on web1, which saltdeploy did not register") as refused:
        here.refuse_strangers(observe())
    assert "legacy" not in str(refused.value) and here.tolerated == {"legacy on web1"}
    here.refuse_strangers(observe(), keep=True)
    assert here.tolerated == {"legacy on web1", "older on web1"}
    here.tell_strangers(observe())
    assert here.tolerated == {"legacy on web1"}


@pytest.fixture
def site(here):
    """Return ``make(…)``, which returns the Site of a Here with these arguments."""

    def make(*instances, **options):
        made = here(*instances, **options)
        with made.session.site(made.environment, made.app) as site:
            made.session.observe(site)
            return site, made

    return make


def test_an_app_without_a_record_is_not_deployed(site):
    with pytest.raises(Refused, match="^shop is not deployed in e: salt-run deploy.app shop env=e$"):
        site()[0].deployed()


@pytest.mark.parametrize("when_paused, refused", [("refuse", True), ("supersede", False)])
def test_a_paused_deployment_is_in_the_way_unless_another_may_replace_it(site, when_paused, refused):
    app = make_app()
    app = replace(app, strategy=replace(app.strategy, when_paused=when_paused))
    it, _ = site(app=app, record=recorded("2.0", {}, paused=ABOUT))
    if refused:
        with pytest.raises(Refused, match="^shop 2.0 is paused after its first wave"):
            it.not_paused()
    else:
        it.not_paused()


def test_a_record_and_a_history_that_cannot_be_read_are_warnings(site):
    it, made = site(record={"version": "1.0"}, history=[entry("1.0"), "anything"])
    assert it.record() is None and [one["version"] for one in it.history()] == ["1.0"]
    record, history = made.session.journal.warnings
    assert record.startswith("deploy/e/shop/current: `deployment` is missing")
    assert history.startswith("deploy/e/shop/history/001: found 'anything'")


def test_recorded_instances_outside_of_the_environment_are_warned_of(site):
    it, made = site(record=recorded("1.0", {"web9": ["shop_1.0_100", "shop_1.0_101"]}))
    it.tell_strangers(made.observed)
    assert made.session.journal.warnings == [
        "web9 is no node of e: the record forgets shop_1.0_100, shop_1.0_101 there."
    ]


GONE = {"web1": [ONE.id], "web9": ["shop_1.0_101"]}


def test_a_removed_node_with_recorded_instances_or_data_is_refused_unless_it_is_forgotten(site):
    it, made = site(ONE, record=recorded("1.0", GONE, data=["web8", "web1"]))
    with pytest.raises(Refused) as refused:
        it.refuse_strangers(made.observed)
    assert str(refused.value) == (
        "web9, web8 are no node of e any more, and the record of shop has shop_1.0_101 on web9; data on web8. Add it to"
        " the nodes again and run `salt-run deploy.evacuate web9 env=e` before you remove it. If nothing is left there to"
        " stop or to keep, have the record forget it: `salt-run deploy.app shop version=\"'1.0'\" env=e forget=True`."
    )
    assert it.forgotten() == []
    it.forget = True
    it.refuse_strangers(made.observed)
    assert it.forgotten() == [
        "the record forgets shop_1.0_101 on web9, which is no node of e any more",
        "the record forgets the data on web8, which is no node of e any more",
    ]


def test_a_node_owes_its_part_until_a_deployment_has_it_again(site):
    it, _ = site(ONE, record=recorded("1.0", {"web1": [ONE.id]}, absent=["web2", "web9"]))
    it.answering = ["web1", "web2"]
    assert it.returned() == ["web2"] and (it.owing(), it.settled()) == (["web2"], set())
    it.settles = True
    assert (it.owing(), it.settled()) == (["web2"], {"web2"})
    it.answering, it.absent = ["web1"], frozenset({"web3"})
    assert (it.owing(), it.settled()) == (["web2", "web3"], set())
    # The operator chose other nodes.
    it.answering, it.nodes = ["web1", "web2"], ("web1",)
    assert (it.owing(), it.settled()) == (["web2", "web3"], set())
    # A node that lost its role owes nothing.
    nodes = {n: replace(node, roles=("db",) if n == "web2" else ()) for n, node in it.environment.nodes.items()}
    it.environment = replace(it.environment, nodes=nodes)
    assert it.owing() == ["web3"]


def test_an_entry_that_the_node_s_agent_does_not_have_is_refused(site):
    """The node's agent lost it, and clients still get it."""
    it, made = site(ONE)
    made.observed = observe(replace(ONE, published=False), releases={"web1": ["1.0"]})
    with pytest.raises(Refused, match="^Discovery shows shop_1.0_100 on web1, which the Consul agent there does not"):
        it.refuse_strangers(made.observed)


def test_what_another_run_has_published_since_the_nodes_were_asked_is_no_stranger(site, monkeypatch):
    """A plan is made without the lock."""
    it, _ = site(ONE)
    asked = []
    monkeypatch.setattr(preflight, "published", lambda _, nodes: asked.extend(nodes) or now)
    before = observe(replace(ONE, published=False), releases={"web1": ["1.0"]})
    now = {("web1", ONE.id)}
    assert it.strangers(before) == [] and asked == ["web1"]
    now = {("web2", ONE.id)}
    assert [s.endpoint.id for s in it.strangers(before)] == [ONE.id]


def test_the_catalog_has_a_moment_to_follow_the_agent(site):
    it, made = site(ONE)
    made.observed = observe(replace(ONE, published=False), releases={"web1": ["1.0"]})

    def wait(name, until, deadline, passing=False):
        made.serve()
        return until([])

    made.catalog.wait = wait
    assert it.strangers(made.observed) == []
