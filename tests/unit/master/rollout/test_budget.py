"""How many nodes may fail, and what goes on serving in their place."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy.core.errors import Failed
from saltdeploy.master.remote.jobs import PhaseFailed
from saltdeploy.master.rollout.budget import Budget

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
