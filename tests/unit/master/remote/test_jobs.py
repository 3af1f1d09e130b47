"""A phase as one Salt job: its answers, its failure, and how long it may take."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from saltdeploy.core.model import Probe
from saltdeploy.definition import stops
from saltdeploy.discovery.registration import first_result
from saltdeploy.master.journal import Journal
from saltdeploy.master.remote import answers
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.remote.jobs import (
    TALK_DEADLINE,
    Jobs,
    PhaseFailed,
    ids_by_node,
    most,
    publish_deadline,
    stop_deadline,
    told_failure,
    told_ids,
    warnings,
)

from tests.support.fleet import instance, make_app


def jobs_of(*replies):
    """Return Jobs on nodes that give these replies."""
    by_node = {reply.node: reply for reply in replies}
    fleet = SimpleNamespace(run=lambda *args, on_reply, **kwargs: [on_reply(r) for r in replies] and by_node)
    return Jobs(fleet, Journal())


def test_what_the_nodes_return_is_returned_and_in_the_journal():
    jobs = jobs_of(Reply("web1", ["a"], seconds=0.5), Reply("web2", ["b"]))
    assert jobs.run("publish", "discovery.publish", ["web1", "web2"], told=", ".join) == {"web1": ["a"], "web2": ["b"]}
    assert [(s.node, s.what, s.seconds, s.ok) for s in jobs.journal.steps] == [
        ("web1", "a", 0.5, True),
        ("web2", "b", 0.0, True),
    ]


def test_without_nodes_there_is_no_job():
    assert Jobs(None, None).run("publish", "discovery.publish", {}, told=str) == {}


def test_a_phase_that_failed_has_the_values_of_the_other_nodes():
    jobs = jobs_of(Reply("web3", 1), Reply("web2", None, "no room."), Reply("web1", 3))
    with pytest.raises(PhaseFailed) as failed:
        jobs.run("start", "app.stop", ["web1", "web2", "web3"], told=str, wrong=lambda n: "too many" * (n == 3))
    assert (failed.value.phase, failed.value.values) == ("start", {"web3": 1})
    assert failed.value.problems == {"web1": "too many", "web2": "no room."}
    assert failed.value.nodes == ["web1", "web2"]
    assert [(s.node, s.what, s.ok) for s in jobs.journal.steps] == [
        ("web3", "1", True),
        ("web2", "no room.", False),
        ("web1", "too many", False),
    ]


def test_a_failure_has_each_problem_once_with_its_nodes():
    assert told_failure(
        "stop", {"web1": "disk on web1 is full.", "web2": "disk on web2 is full.", "web3": "gone."}
    ) == ("stop on web1, web2: disk is full; stop on web3: gone")


def test_a_revert_gets_the_problem_as_a_sentence():
    job = ("stop", "app.stop", ["web1"])
    assert jobs_of(Reply("web1", [])).attempt(*job, told=str) == []
    assert jobs_of(Reply("web1", None, "gone")).attempt(*job, told=str) == ["stop on web1: gone"]


@pytest.mark.parametrize(
    "value, texts",
    [
        ({"warnings": ["no token", 3, "old"]}, ["no token", "old"]),
        ({"warnings": "no token"}, []),
        ({}, []),
        (["no token"], []),
        (None, []),
    ],
    ids=repr,
)
def test_warnings_of_nodes_are_told_with_their_node(value, texts):
    assert warnings(value) == texts
    jobs = jobs_of(Reply("web1", value))
    jobs.run("start", "app.stop", ["web1"], told=str)
    assert jobs.journal.warnings == [f"web1: {text}" for text in texts]


def test_an_error_that_all_nodes_have_is_told_once():
    """Also where each node names itself, and without the period that would stand before a semicolon."""
    missing, full = (
        "salt://shop.tar.gz: is not on the master: see its file_roots.",
        "shop cannot be installed on {}: full.",
    )
    errors = {"web1": missing, "web2": missing, "web3": full, "web4": full}
    jobs = jobs_of(*(Reply(node, None, error.format(node)) for node, error in errors.items()))
    with pytest.raises(PhaseFailed) as failed:
        jobs.run("install", "state.apply", list(errors), "app.release", told=str)
    assert str(failed.value) == (
        "install on web1, web2: salt://shop.tar.gz: is not on the master: see its file_roots;"
        " install on web3, web4: shop cannot be installed: full"
    )
    assert failed.value.nodes == list(errors) and failed.value.problems["web3"] == full.format("web3")


def test_a_phase_fails_on_the_node_whose_answer_is_wrong_and_names_it():
    jobs = jobs_of(Reply("web1", ["shop_1.0_100"]), Reply("web2", []))
    ids = {"web1": ["shop_1.0_100"], "web2": ["shop_1.0_100"]}
    with pytest.raises(PhaseFailed) as failed:
        jobs.run("publish", "discovery.publish", ids, "shop", ids, told=", ".join, answer=answers.exactly(ids))
    assert failed.value.nodes == ["web2"] and failed.value.values == {"web1": ["shop_1.0_100"]}
    assert str(failed.value) == (
        "publish on web2: its answer is not to be believed: it was asked for shop_1.0_100, and says []."
        " Look at that node, or run: salt '*' saltutil.sync_all"
    )


class Waiting:
    """Stands for a fleet whose job lasts for a while."""

    def run(self, function, nodes, *args, on_wait=lambda nodes: None, on_reply, **_):
        on_wait(["web2"])
        return {}

    def aside(self, function, nodes, *args):
        assert (function, nodes, args) == ("app.waiting", ["web2"], ("shop",))
        return self.word


@pytest.mark.parametrize(
    "function, word, said",
    [
        ("app.start", {"web2": {"shop_1.0_80": "is not ready"}}, ["web2: shop_1.0_80 is not ready"]),
        ("app.restore", {"web2": {"shop_1.0_80": "x" * 10000}}, ["web2: shop_1.0_80 " + "x" * 600]),
        ("app.start", {"web2": {}}, []),
        ("app.start", {"web2": ["no", "mapping"]}, []),
        ("app.stop", {"web2": {"shop_1.0_80": "is not ready"}}, []),
    ],
)
def test_what_instances_wait_for_is_told(function, word, said):
    fleet, events = Waiting(), []
    fleet.word = word
    Jobs(fleet, Journal(events.append)).run("start", function, ["web2"], "shop", told=str)
    assert [event["say"] for event in events if "say" in event] == said


# -- ids, and how long a job may take ----------------------------------------------------------


def test_ids_are_grouped_by_node_and_counted():
    ids = ids_by_node([instance("web2"), instance("web1"), instance("web2", slot=101)])
    assert ids == {"web2": ["shop_1.0_100", "shop_1.0_101"], "web1": ["shop_1.0_100"]}
    assert (most(ids), most({})) == (2, 0)


@pytest.mark.parametrize(
    "value, text",
    [(["a", "b"], "a, b"), ({"instances": ["a"]}, "a"), ([], "nothing left"), ({"instances": []}, "nothing left")],
)
def test_ids_are_told(value, text):
    assert told_ids(value) == text


def test_a_publication_has_the_time_of_the_first_result_of_its_checks():
    slow = replace(make_app(), checks=(Probe("tcp", "", interval=20.0, timeout=7.0),))
    assert publish_deadline(slow) == TALK_DEADLINE + first_result(slow) == TALK_DEADLINE + 27


def test_who_stops_more_or_slower_instances_has_longer():
    app, one, two = make_app(), {"web1": ["a"]}, {"web1": ["a"], "web2": ["a", "b"]}
    slow = replace(app, stop=stops.parse({"timeout": "5m"}, ""))
    draining = replace(app, strategy=replace(app.strategy, drain=app.strategy.drain + 100))
    assert stop_deadline(app, two) == stop_deadline(app, one) + 1
    assert stop_deadline(slow, one) == stop_deadline(app, one) + 2 * (300 - app.stop.timeout)
    assert stop_deadline(draining, one) == stop_deadline(app, one) + 100
