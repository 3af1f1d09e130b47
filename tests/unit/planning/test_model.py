"""What planning takes and gives, as plain data."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy.planning.model import Observed, Plan, Wave, by_node, ids_by_node

from tests.support.fleet import NEW, OLD, desire, instance

EMPTY = Plan({}, (), (), True)
LATE, FIRST, OTHER = instance("web2", slot=101), instance("web2"), instance("web1", NEW)


def test_an_instance_is_current_if_it_is_of_the_desired_release():
    assert desire().is_current(instance("web1", NEW))
    assert not desire().is_current(instance("web1", OLD))


def test_nodes_without_a_zone_share_one():
    observed = Observed(zones={"web1": "a"})
    assert (observed.zone("web1"), observed.zone("web2"), observed.zone("web3")) == ("a", "", "")


@pytest.mark.parametrize(
    "changes, does",
    [
        ({}, False),
        ({"clean": {"web1": ("shop_1.0_100",)}}, True),
        ({"install": ("web1",)}, True),
        ({"waves": (Wave({"web1": 1}, {}),)}, True),
        ({"weigh": {"web1": {"shop_1.0_100": 256}}}, True),
        ({"register": ({"web1": {"shop_1.0_100": "tags"}},)}, True),
        ({"paused": True}, True),
        # They only say more of what a plan does.
        ({"sick": {"web1": ("shop_1.0_100",)}, "analysis": ("errors",), "unused": ("web1",)}, False),
    ],
)
def test_a_plan_without_a_step_is_empty(changes, does):
    assert bool(replace(EMPTY, **changes)) == does


def test_a_plan_concerns_the_nodes_that_install_or_start_the_release_each_once():
    waves = (Wave({"web3": 1}, {"web9": ("shop_1.0_100",)}), Wave({"web1": 1, "web2": 2}, {}))
    assert replace(EMPTY, install=("web2", "web4"), waves=waves).concerned == ("web2", "web4", "web3", "web1")
    assert EMPTY.concerned == ()


def test_instances_are_grouped_by_node_as_they_come():
    assert by_node([LATE, OTHER, FIRST]) == {"web2": (LATE, FIRST), "web1": (OTHER,)}


def test_ids_are_grouped_by_node_in_the_order_of_nodes_and_slots():
    found = ids_by_node([LATE, OTHER, FIRST])
    assert list(found.items()) == [("web1", ("shop_2.0_100",)), ("web2", ("shop_1.0_100", "shop_1.0_101"))]
