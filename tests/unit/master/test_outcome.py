"""What a verb has led to: what clients find decides, not what was meant."""

from types import SimpleNamespace

import pytest
from saltdeploy.core.environment import Environment, Node
from saltdeploy.core.errors import DONE, NOT_REVERTED, REVERTED, DiscoveryUnavailable
from saltdeploy.discovery import Endpoint
from saltdeploy.master import outcome
from saltdeploy.master.outcome import Ending, Outcome
from saltdeploy.master.verbs.appsite import Site
from saltdeploy.master.verbs.task import Task

SITE = Environment("site", {n: Node(n, "10.0.0.1") for n in ("web1", "web2")}, {})
OLD, NEW = ("web1", "shop_1.0_80"), ("web2", "shop_2.0_80")
ENDINGS = {DONE: Outcome.DONE, REVERTED: Outcome.REVERTED, NOT_REVERTED: Outcome.NOT_REVERTED}
RECORD = {"version": "2.0", "nodes": {"web2": ["shop_2.0_80"]}}


def site(*passing, known=frozenset(), tolerated=()):
    """Return a Site whose clients find ``(node, id)``."""
    found = [Endpoint(i, "shop", n, "10.0.0.1", 80, meta={"minion": n, "environment": "site"}) for n, i in passing]
    backend = SimpleNamespace(wait=lambda *args, **kwargs: False, instances=lambda name, passing: found)
    app, tolerated = SimpleNamespace(name="shop"), frozenset(tolerated)
    return Site(SITE, app, None, backend, (), (), known=known, tolerated=tolerated)


def task(**options):
    return Task("2.0", [], True, None, None, **{"publishes": True, **options})


def judged(code, before, after, made=None, record=RECORD, **options):
    made = made or task()
    wanted = outcome.expected(made, Ending(ENDINGS[code], record), outcome.look(site(*before)))
    return outcome.judge(made, code, outcome.look(site(*after, **options), wanted))


@pytest.mark.parametrize(
    "code, before, after, wrong",
    [
        (DONE, [OLD], [NEW], ""),
        (DONE, [OLD], [NEW, OLD], "clients still get shop_1.0_80 on web1"),
        (DONE, [OLD], [OLD], "clients do not find shop_2.0_80 on web2, whose checks do not pass"),
        (REVERTED, [OLD], [OLD], ""),
        (REVERTED, [], [], ""),
        (REVERTED, [OLD], [], "clients do not find shop_1.0_80 on web1, whose checks do not pass"),
        (NOT_REVERTED, [OLD], [], ""),
    ],
)
def test_an_exit_code_is_compared_with_what_clients_find(code, before, after, wrong):
    assert judged(code, before, after, task(alone=True)) == wrong


def test_other_releases_may_serve_where_the_operator_left_them():
    """With ``nodes=`` or ``keep``, and while a deployment is paused."""
    assert judged(DONE, [OLD], [NEW, OLD], task(alone=False)) == ""
    assert judged(REVERTED, [OLD], [NEW, OLD], task(alone=True)) == ""


def test_the_catalog_has_a_moment_to_forget_what_was_retired():
    """It follows the agents."""
    here, later = site(NEW, OLD), site(NEW)
    here.discovery.wait = lambda name, until, *args, **kwargs: until(later.discovery.instances(name, passing=True))
    assert outcome.look(here, {NEW}, "2.0")["nodes"] == {"web2": ["shop_2.0_80"]}
    assert set(outcome.look(here, {NEW})["nodes"]) == {"web1", "web2"}, "nobody asked to wait"


def test_nothing_published_is_never_done():
    assert judged(DONE, [], [], record={"version": "2.0", "nodes": {}}) == "clients find nothing"
    assert judged(DONE, [], [], task(publishes=False), None) == ""


def test_what_clients_get_beside_is_not_done_unless_the_operator_wants_it():
    after = [NEW, ("web9", "shop_1.0_81"), ("web1", "legacy")]
    said = judged(DONE, [OLD], after)
    assert said.startswith("clients get more than that: ")
    assert "shop_1.0_81 on web9: web9 is no node of site" in said and "legacy on web1: it is registered as" in said
    assert judged(DONE, [OLD], after, task(keep=True)) == ""


def test_a_service_that_was_left_there_once_is_tolerated_by_all_verbs():
    """…that one, and no other, nor an instance of ours."""
    legacy, other = ("web1", "legacy"), ("web9", "shop_1.0_81")
    tolerated = ["legacy on web1", "shop_1.0_81 on web9"]
    assert judged(DONE, [OLD], [NEW, legacy], tolerated=tolerated) == ""
    said = judged(DONE, [OLD], [NEW, legacy, ("web1", "more"), other], tolerated=tolerated)
    assert "more on web1" in said and "shop_1.0_81 on web9" in said and "legacy" not in said


def test_removed_is_what_clients_do_not_find():
    assert (
        judged(DONE, [OLD], [OLD], task(publishes=False, removes=True)) == "clients still get 1 instance of 1.0 on web1"
    )
    assert judged(DONE, [OLD], [("web9", "legacy")], task(publishes=False, removes=True)) == ""


def test_where_discovery_does_not_answer_nobody_claims_to_know(monkeypatch):
    def instances(*args, **kwargs):
        raise DiscoveryUnavailable("no leader")

    monkeypatch.setattr(outcome, "ANSWERS", 0.0)
    here = site()
    here.discovery.instances = instances
    assert outcome.look(here) is None and outcome.judge(task(), DONE, None) == ""
    assert outcome.running(None) == "discovery does not say which instances serve now"


def verdict(end, serving, as_before=False, **result):
    given = {"app": "shop", "version": "2.0", "environment": "site", "why": "x", "record": RECORD, "changed": True}
    desired = SimpleNamespace(publish=True, instances=1, as_before=as_before)
    return outcome.verdict({**given, "serving": serving, "outcome": end.value, **result}, desired, "")


def test_the_verdict_is_of_what_serves_and_not_of_the_record():
    nothing, one = {"nodes": {}, "beside": []}, {"nodes": {"web1": ["shop_1.0_80"]}, "beside": []}
    assert (
        verdict(Outcome.REVERTED, nothing)
        == "shop 2.0 was not deployed in site, and all is as before (nothing is published): x"
    )
    assert "all is as before (1 instance of 1.0 on web1): x" in verdict(Outcome.REVERTED, one)
    assert verdict(Outcome.DONE, one) == "shop 2.0 is published in site: 1 instance of 1.0 on web1"
    said = verdict(Outcome.UNTRUE, one, untrue="clients do not find shop_2.0_80 on web2", acted=DONE, why="")
    assert said.startswith(
        "shop 2.0 was deployed in site, but clients do not find shop_2.0_80 on web2. Look now (salt-run"
    )


@pytest.mark.parametrize(
    "as_before, command",
    [(False, "deploy.app shop version=\"'2.0'\" env=site"), (True, "deploy.scale shop instances=1 env=site")],
)
def test_what_does_the_rest_does_not_bring_in_other_settings(as_before, command):
    said = verdict(Outcome.INCOMPLETE, {"nodes": {}, "beside": []}, as_before, version="2.0@4")
    assert f"Repair them, then salt-run {command} does the rest" in said


@pytest.mark.parametrize("end", Outcome)
def test_each_outcome_of_a_deployment_has_its_sentence(end):
    paused = {"from": "1.0", "before": 1, "instances": 1, "nodes": ["web1"], "by": "me", "reason": "", "since": 0.0}
    frozen = {"version": "2.0", "why": "x", "by": "me", "reason": "", "deployment": "d", "since": 0.0}
    record = {**RECORD, "deployment": "d", "time": 0.0, "paused": paused, "frozen": frozen}
    parts = {
        Outcome.DONE: "is published in site: ",
        Outcome.PAUSED: "is paused after its first wave",
        Outcome.INCOMPLETE: "but for nodes that failed",
        Outcome.FROZEN: "is FROZEN half way",
        Outcome.REVERTED: "all is as before",
        Outcome.NOT_REVERTED: "could not be reverted completely",
        Outcome.UNTRUE: "but clients find nothing",
    }
    text = verdict(end, {"nodes": {}, "beside": []}, record=record, acted=DONE, untrue="clients find nothing")
    assert [other for other, part in parts.items() if part in text] == [end]


def test_the_verdict_says_that_it_is_frozen():
    about = {"version": "2.0", "why": "x", "by": "me", "deployment": "d", "reason": "", "since": 0}
    result = {"app": "shop", "version": "2.0", "environment": "e", "outcome": "frozen", "why": "frozen: x"}
    record = {"version": "1", "nodes": {}, "frozen": about}
    said = outcome.verdict({**result, "record": record, "serving": {"nodes": {}, "beside": []}}, None, "")
    assert "is FROZEN half way" in said and said.endswith("In discovery: nothing is published")
