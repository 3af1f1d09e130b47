"""As which instance a command runs, and what is told of its end."""

from __future__ import annotations

import pytest
from saltdeploy.core.errors import DONE, REVERTED, Refused
from saltdeploy.discovery import Endpoint
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.verbs import execute

from tests.support.fleet import held, instance
from tests.support.verbs import Minions, recorded

FIRST, SECOND, CANDIDATE = instance("web1"), instance("web2", slot=101), held("web3")


def ran(code=0, output="1.0", of=FIRST):
    return {"instance": of.id, "code": code, "output": output}


@pytest.fixture
def command(here):
    """Return ``run(answers, instance=, node=)``: the command ``shop --version``."""

    def run(answers, there=(FIRST, SECOND), lost=(), **chosen):
        nodes = {i.node: [i.id] for i in [*(i for i in there if i.published), *lost]}
        made = here(*there, record=recorded("1.0", nodes), minions=Minions(**{"app.command": answers}))
        made.catalog.found += [
            Endpoint(i.id, "shop-candidate", i.node, i.address, i.port, meta={"minion": i.node, "environment": "e"})
            for i in there
            if not i.published
        ]
        given = {"instance": None, "node": None, **chosen}
        return execute.run(made.session, "shop", "shop --version", None, given["instance"], given["node"], 5)

    return run


def test_the_first_published_instance_is_taken(command):
    result = command({"web1": ran()}, there=(CANDIDATE, FIRST, SECOND))
    assert (result["node"], result["instance"], result["output"], result["retcode"]) == ("web1", FIRST.id, "1.0", DONE)
    assert result["verdict"] == f"shop --version ended with 0, as {FIRST.id} on web1"


def test_the_operator_chooses_by_node_or_by_id(command):
    for chosen in ({"node": "web2"}, {"instance": SECOND.id}):
        assert command({"web2": ran(of=SECOND)}, **chosen)["instance"] == SECOND.id


def test_a_candidate_is_taken_only_by_its_id(command):
    there = (FIRST, CANDIDATE)
    assert command({"web3": ran(of=CANDIDATE)}, there=there, instance=CANDIDATE.id)["node"] == "web3"
    with pytest.raises(Refused) as refused:
        command({}, there=there, node="web3")
    assert str(refused.value) == (
        f"no instance of shop on web3 is published. There are: {FIRST.id} on web1 (published), {CANDIDATE.id} on web3 (candidate)."
        " Say instance= and node="
    )


def test_where_nothing_is_published_the_choice_is_the_operator_s(command):
    with pytest.raises(Refused) as refused:
        command({}, there=(CANDIDATE,))
    assert str(refused.value) == (
        f"no instance of shop is published. There are: {CANDIDATE.id} on web3 (candidate). Say instance= and node="
    )


def test_an_instance_that_discovery_does_not_have_runs_no_command(command):
    """The record has it, and nobody knows whether it runs."""
    with pytest.raises(Refused) as refused:
        command({}, there=(), lost=(FIRST,))
    assert str(refused.value) == "no instance of shop is published. There are: none. Say instance= and node="


def test_a_command_that_fails_is_told_by_its_code(command):
    result = command({"web1": ran(code=3, output="no database")})
    assert (result["code"], result["output"], result["retcode"]) == (3, "no database", REVERTED)
    assert result["verdict"] == f"shop --version ended with 3, as {FIRST.id} on web1"


def test_a_node_that_does_not_answer_has_not_run_it_to_its_end(command):
    result = command({"web1": Reply("web1", None, "does not answer")})
    assert (result["code"], result["output"], result["retcode"]) == (None, "does not answer", REVERTED)
    assert result["verdict"] == f"shop --version did not run to its end, as {FIRST.id} on web1"


def test_the_answer_of_another_instance_is_not_believed(command):
    result = command({"web1": ran(of=SECOND)})
    assert result["code"] is None and "it was asked for shop_1.0_100, and says" in result["output"]
