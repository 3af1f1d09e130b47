"""The output of instances, from the nodes that have some."""

from __future__ import annotations

import pytest
from saltdeploy.core.errors import DONE, REVERTED, Refused
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.verbs import logs

from tests.support.verbs import Minions

SILENT = Reply("web2", None, "does not answer")


def shown(here, answers, instance=None):
    answers = {node: {} for node in ("web1", "web2", "web3")} | answers
    made = here(minions=Minions(**{"app.logs": answers}))
    return logs.run(made.session, "shop", None, None, instance, None, None)


def test_nodes_without_an_instance_are_left_out(here):
    result = shown(here, {"web1": {"shop_1.0_100": "started"}})
    assert (result["logs"], result["problems"], result["retcode"]) == (
        {"web1": {"shop_1.0_100": "started"}},
        {},
        DONE,
    )


def test_a_node_that_does_not_answer_is_a_problem_beside_the_output_of_the_others(here):
    result = shown(here, {"web1": {"shop_1.0_100": "started"}, "web2": SILENT})
    assert (list(result["logs"]), result["problems"], result["retcode"]) == (
        ["web1"],
        {"web2": "does not answer"},
        REVERTED,
    )


def test_problems_alone_are_a_refusal(here):
    with pytest.raises(Refused, match="^web2: does not answer"):
        shown(here, {"web2": SILENT})


def test_the_output_of_another_app_is_not_believed(here):
    with pytest.raises(Refused, match="web1: its answer is not to be believed: .* the logs of instances of shop"):
        shown(here, {"web1": {"till_1.0_100": "started"}})


@pytest.mark.parametrize("instance, which", [(None, "instance"), ("shop_1.0_100", "instance shop_1.0_100")])
def test_where_nothing_runs_there_is_no_output(here, instance, which):
    with pytest.raises(Refused) as refused:
        shown(here, {}, instance)
    assert str(refused.value) == f"no {which} of shop is on web1, web2, web3: see salt-run deploy.status shop env=e"
