"""Who answers, who must, and what is made of what they say."""

from types import SimpleNamespace

import pytest
from saltdeploy import __version__, preflight
from saltdeploy.errors import Refused
from saltdeploy.fleet import Reply
from saltdeploy.model import Node

NODES = ("web1", "web2", "web3")
VALUE = {
    "saltdeploy": __version__,
    "applying_states": False,
    "instances": [],
    "ports_taken": [],
    "releases": ["1.0"],
    "ghosts": [],
}


class Fleet:
    """Nodes that answer as they are told."""

    def __init__(self, opts, replies):
        self.opts, self.replies, self.jobs = opts, replies, []

    def run(self, function, nodes, *args, deadline, **kwargs):
        self.jobs.append((function, args, kwargs))
        return {node: self.replies.get(node, Reply(node, VALUE)) for node in nodes}


class Journal:
    def __init__(self):
        self.warnings, self.said = [], []
        self.warn, self.say = self.warnings.append, self.said.append


def site(replies=(), opts=(), **changes):
    environment = SimpleNamespace(nodes={n: Node(n, "192.0.2.1") for n in NODES}, zones={})
    fleet = Fleet(dict(opts), {reply.node: reply for reply in replies})
    given = {"nodes": NODES, "needed": NODES, "chosen": False, "choice": True, "answering": None, "observed": None}
    return SimpleNamespace(
        environment=environment, app=SimpleNamespace(name="shop"), fleet=fleet, **{**given, **changes}
    )


def silent(node):
    return Reply(node, None, "does not answer: is its salt-minion running?", silent=True)


def test_all_that_answer_are_looked_at_in_one_job():
    here, journal = site([silent("web2")], needed=("web1",)), Journal()
    observed = preflight.observe(here, journal)
    assert here.answering == here.observed == ["web1", "web3"] and set(observed.releases) == {"web1", "web3"}
    assert journal.warnings == ["web2 does not answer: what it runs is not seen."]
    assert here.fleet.jobs == [("app.observe", ("shop",), {"refresh": True})]


def test_what_nodes_warn_of_is_told_once():
    values = {"web1": ["a", "b"], "web2": ["a"], "web3": "of another version"}
    replies = [Reply(node, {**VALUE, "warnings": texts}) for node, texts in values.items()]
    journal = Journal()
    preflight.observe(site(replies), journal)
    assert journal.warnings == ["web1, web2: a", "web1: b"]


def test_who_is_needed_must_answer():
    with pytest.raises(Refused) as refused:
        preflight.observe(site([silent("web2")]), Journal())
    assert str(refused.value) == (
        "web2: does not answer: is its salt-minion running? Start it there, or leave it out: nodes=web1,web3"
    )


def test_where_there_are_no_nodes_to_choose_none_is_to_be_left_out():
    with pytest.raises(Refused, match=r"is its salt-minion running\? Start it there\.$"):
        preflight.observe(site([silent("web2")], choice=False), Journal())


@pytest.mark.parametrize("error", ["app.observe did not end within 120s", "Consul does not answer"])
def test_who_answers_and_cannot_tell_is_an_error_also_where_it_is_not_needed(error):
    with pytest.raises(Refused, match=f"^web2: {error}$"):
        preflight.observe(site([Reply("web2", None, error)], needed=("web1",)), Journal())


def test_where_nodes_are_chosen_the_others_may_say_what_they_want():
    chosen = {"nodes": ("web1",), "needed": ("web1",), "chosen": True}
    here, journal = site([Reply("web2", None, "Consul does not answer"), silent("web3")], **chosen), Journal()
    observed = preflight.observe(here, journal)
    assert here.observed == ["web1"] and set(observed.releases) == {"web1"}
    assert here.answering == ["web1", "web2"]  # they may test the others' instances


def test_another_version_is_refused():
    old = Reply("web2", {**VALUE, "saltdeploy": "0.0.1"})
    with pytest.raises(Refused, match=f"web2 has saltdeploy 0.0.1, the master {__version__}: run salt '\\*' saltutil"):
        preflight.observe(site([old]), Journal())


def test_a_node_that_applies_states_is_told():
    here, journal = site([Reply("web2", {**VALUE, "applying_states": True})]), Journal()
    preflight.observe(here, journal)
    assert journal.said == ["web2 applies states just now: an installation there waits for it"]


def test_a_master_that_keeps_pillars_is_told_to_forget_them():
    here = site(opts={"pillar_cache": True})
    preflight.observe(here, Journal())
    assert here.fleet.jobs == [
        ("saltutil.refresh_pillar", (), {"wait": True}),
        ("app.observe", ("shop",), {"refresh": True}),
    ]
