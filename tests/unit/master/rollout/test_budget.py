"""How many nodes may fail, and what goes on serving in their place."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy.core.errors import Failed
from saltdeploy.master.remote.jobs import PhaseFailed
from saltdeploy.master.rollout.budget import Budget
from saltdeploy.planning.model import Wave

from tests.support.fleet import instance
from tests.support.rollout import Fleet, deployment


def test_all_nodes_of_a_wave_must_not_fail():
    """However many may: it is the release that is at fault, and the rest must not be the first to try it."""
    for fault, said in ((0, "no node of a wave is left: install on c: fault"), (1, "start on a: fault")):
        fleet = Fleet([instance(n) for n in "abc"], faults=[fault])
        run, made = deployment(fleet, list("abc"), (1, "100%"), "rolling", max_failures="100%")
        made = made if fault else replace(made, waves=made.waves[::-1])
        made = made if fault else replace(made, waves=(replace(made.waves[0], start={"c": 1}), *made.waves[1:]))
        before = dict(fleet.instances)
        with pytest.raises(Failed, match=said):
            run.run(made)
        assert fleet.instances == before


def test_nodes_that_a_deployment_goes_on_without_are_told_by_phase_and_problem():
    budget = Budget("100%", ["web1", "web2", "web3", "web4"])
    budget.spend(PhaseFailed("install", {"web1": "no room."}, {}), ["web1", "web2", "web3", "web4"])
    budget.spend(PhaseFailed("start", {"web2": "no room.", "web3": "no room."}, {}), ["web2", "web3", "web4"])
    budget.problems.append("stop on web3: does not answer")
    assert budget.told() == "install on web1: no room; start on web2, web3: no room; stop on web3: does not answer"


@pytest.mark.parametrize("most, count, may", [(0, 3, 0), (2, 3, 2), ("50%", 3, 1), ("100%", 3, 3), ("30%", 3, 0)])
def test_a_percentage_is_of_the_nodes_and_rounded_down(most, count, may):
    assert Budget(most, list("abc"[:count])).most == may


def spent(most, *nodes, of="abcd"):
    """Return a Budget after ``nodes`` failed to start."""
    budget = Budget(most, list(of))
    if nodes:
        budget.spend(PhaseFailed("start", dict.fromkeys(nodes, "no room"), {}), list(of))
    return budget


def test_one_more_than_may_fail_is_raised():
    budget = spent(2, "a", "b")
    one_more = PhaseFailed("start", {"c": "no room"}, {})
    with pytest.raises(PhaseFailed) as raised:
        budget.spend(one_more, ["c", "d"])
    assert raised.value is one_more and list(budget.failed) == ["a", "b"]


def test_a_node_that_fails_twice_counts_once():
    budget = spent(1, "a")
    budget.spend(PhaseFailed("start", {"a": "gone"}, {}), ["a", "b"])
    assert budget.failed == {"a": ("start", "gone")}


def test_a_wave_goes_on_without_the_nodes_that_failed():
    wave = Wave({"a": 1, "b": 2}, {"a": ("x",), "b": ("y",)}, replace={"a": ("z",), "c": ("w",)})
    left = spent(1, "a").left(wave)
    assert (left.start, left.replace, left.retire) == ({"b": 2}, {"c": ("w",)}, wave.retire)
    assert spent(1).left(wave) == wave
    with pytest.raises(Failed, match="^no node of a wave is left: start on a: no room$"):
        spent(1, "a").left(Wave({"a": 1}, {}))


def test_what_serves_on_a_node_that_failed_stays():
    assert spent(1, "a").to_retire({"a": ["x"], "b": ["y"]}) == {"b": ["y"]}


def test_as_many_old_ones_stay_as_new_ones_did_not_start():
    """Those on the node itself count first. Later waves keep the rest."""
    budget = spent(1, "a")
    budget.owe({"a": 3}, {}, [])
    assert budget.to_retire({"a": ["v"], "b": ["w", "x"]}) == {}
    assert budget.to_retire({"c": ["y", "z"]}) == {"c": ["y", "z"]}


def test_an_old_one_that_was_restored_is_one_less_to_keep():
    budget = spent(1, "a")
    budget.owe({"a": 2}, {"a": ["v"]}, ["stop on a: gone"])
    assert budget.to_retire({"b": ["w", "x"]}) == {"b": ["x"]}
    assert budget.told() == "start on a: no room; stop on a: gone"
