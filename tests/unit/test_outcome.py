"""What a verb has led to: what clients find decides, not what was meant."""

from types import SimpleNamespace

import pytest
from saltdeploy import outcome
from saltdeploy.discovery import Endpoint
from saltdeploy.errors import DONE, NOT_REVERTED, REVERTED, DiscoveryUnavailable
from saltdeploy.model import Environment, Node
from saltdeploy.site import Task

SITE = Environment("site", {n: Node(n, "10.0.0.1") for n in ("web1", "web2")}, {})
OLD, NEW = ("web1", "shop_1.0_80"), ("web2", "shop_2.0_80")
RECORD = {"version": "2.0", "nodes": {"web2": ["shop_2.0_80"]}}


def site(*passing, known=frozenset()):
    """Return a Site whose clients find ``(node, id)``."""
    found = [Endpoint(i, "shop", n, "10.0.0.1", 80, meta={"minion": n, "environment": "site"}) for n, i in passing]
    backend = SimpleNamespace(wait=lambda *args, **kwargs: False, instances=lambda name, passing: found)
    return SimpleNamespace(app=SimpleNamespace(name="shop"), environment=SITE, discovery=backend, known=known)


def task(**options):
    return Task("2.0", [], True, None, None, **{"publishes": True, **options})


def judged(code, before, after, made=None, record=RECORD):
    made = made or task()
    wanted = outcome.expected(made, code, outcome.look(site(*before)), record)
    return outcome.judge(made, code, outcome.look(site(*after), wanted))


@pytest.mark.parametrize(
    "code, before, after, wrong",
    [
        (DONE, [OLD], [NEW], ""),
        # A node that was not chosen keeps what it has.
        (DONE, [OLD], [NEW, OLD], ""),
        (DONE, [OLD], [OLD], "clients do not find shop_2.0_80 on web2, whose checks do not pass"),
        (REVERTED, [OLD], [OLD], ""),
        (REVERTED, [], [], ""),
        (REVERTED, [OLD], [], "clients do not find shop_1.0_80 on web1, whose checks do not pass"),
        (NOT_REVERTED, [OLD], [], ""),
    ],
)
def test_an_exit_code_is_compared_with_what_clients_find(code, before, after, wrong):
    assert judged(code, before, after) == wrong


def test_nothing_published_is_never_done():
    assert judged(DONE, [], [], record={"version": "2.0", "nodes": {}}) == "clients find nothing"
    assert judged(DONE, [], [], task(publishes=False), None) == ""


def test_what_clients_get_beside_is_not_done_unless_the_operator_wants_it():
    after = [NEW, ("web9", "shop_1.0_81"), ("web1", "legacy")]
    said = judged(DONE, [OLD], after)
    assert said.startswith("clients get more than that: ")
    assert "shop_1.0_81 on web9: web9 is no node of site" in said and "legacy on web1: it is registered as" in said
    assert judged(DONE, [OLD], after, task(keep=True)) == ""


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
    assert outcome.running(None) == "discovery does not say what serves now"


def verdict(retcode, serving, **result):
    given = {"app": "shop", "version": "2.0", "environment": "site", "why": "x", "record": RECORD, "changed": True}
    desired = SimpleNamespace(publish=True, instances=1)
    return outcome.verdict({**given, "serving": serving, "retcode": retcode, **result}, desired, "")


def test_the_verdict_is_of_what_serves_and_not_of_the_record():
    nothing, one = {"nodes": {}}, {"nodes": {"web1": ["shop_1.0_80"]}}
    assert verdict(REVERTED, nothing) == "shop 2.0 was not deployed in site; all is as before (nothing is published): x"
    assert "all is as before (1 instance of 1.0 on web1): x" in verdict(REVERTED, one)
    assert verdict(DONE, one) == "shop 2.0 is published in site: 1 instance of 1.0 on web1"
    said = verdict(NOT_REVERTED, one, untrue="clients do not find shop_2.0_80 on web2", acted=DONE, why="")
    assert said.startswith(
        "shop 2.0 was deployed in site, but clients do not find shop_2.0_80 on web2. Look now (salt-run"
    )
