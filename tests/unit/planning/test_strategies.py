"""The waves of each strategy, by examples; blue-green has its own in the tests of core."""

import pytest
from saltdeploy.core.errors import Refused
from saltdeploy.planning.explain import lines
from saltdeploy.planning.model import Wave
from saltdeploy.planning.planner import plan

from tests.support.fleet import NEW, THREE, desire, in_place, instance, observe


def test_upgrade_starts_beside_and_retires_what_it_replaced():
    made = plan(desire(), observe(*(instance(n) for n in THREE)))
    assert made.waves == (
        Wave({"web1": 1}, {"web1": ("shop_1.0_100",)}),
        Wave({"web2": 1, "web3": 1}, {"web2": ("shop_1.0_100",), "web3": ("shop_1.0_100",)}),
    )


@pytest.mark.parametrize(
    "waves, sizes",
    [
        ((1, "100%"), [1, 3]),
        ((1, "50%", "100%"), [1, 1, 2]),
        (("25%", "50%"), [1, 1, 2]),
        (("100%",), [4]),
        ((2,), [2, 2]),
        ((1, 2, 3, 4, 5), [1, 1, 1, 1]),
        (("1%", 3), [1, 2, 1]),
    ],
)
def test_wave_sizes_are_cumulative_and_end_with_all(waves, sizes):
    nodes = ("a", "b", "c", "d")
    made = plan(desire(4, nodes, waves=waves), observe())
    assert [len(wave.start) for wave in made.waves] == sizes


def test_nodes_that_left_the_environment_are_emptied_last():
    made = plan(desire(2, ("web1", "web2")), observe(instance("web9"), instance("web9", slot=101)))
    assert made.waves == (
        Wave({"web1": 1}, {"web9": ("shop_1.0_100",)}),
        Wave({"web2": 1}, {"web9": ("shop_1.0_101",)}),
    )


# -- in place ---------------------------------------------------------------------------------


def test_in_place_the_old_one_goes_first_and_half_of_them_stay():
    made = plan(in_place(), observe(*(instance(n) for n in THREE)))
    old = ("shop_1.0_100",)
    assert made.waves == tuple(Wave({n: 1}, {}, replace={n: old}, meanwhile=2) for n in THREE)
    assert lines(made, "shop", NEW) == [
        "install shop 2.0 on web1, web2, web3",
        "wave 1: first retire shop_1.0_100 on web1, while 2 others serve",
        "wave 1: start, test and publish 1 on web1",
        "wave 2: first retire shop_1.0_100 on web2, while 2 others serve",
        "wave 2: start, test and publish 1 on web2",
        "wave 3: first retire shop_1.0_100 on web3, while 2 others serve",
        "wave 3: start, test and publish 1 on web3",
    ]


@pytest.mark.parametrize(
    "count, waves, sizes",
    [
        (2, ("100%",), [1, 1]),
        (4, ("100%",), [2, 2]),
        (5, (1, "100%"), [1, 2, 2]),
        (5, (1, 2, "100%"), [1, 1, 2, 1]),
    ],
)
def test_in_place_a_wave_takes_half_of_them_at_most(count, waves, sizes):
    nodes = tuple("abcde"[:count])
    made = plan(in_place(count, nodes, waves), observe(*(instance(n) for n in nodes)))
    assert [len(wave.replace) for wave in made.waves] == sizes


def test_in_place_more_instances_are_started_before_any_is_replaced():
    made = plan(in_place(2, ("web1", "web2")), observe(instance("web1")))
    assert made.waves == (
        Wave({"web2": 1}, {}),
        Wave({"web1": 1}, {}, replace={"web1": ("shop_1.0_100",)}, meanwhile=1),
    )


def test_in_place_nodes_with_room_come_in_waves_of_their_own():
    made = plan(in_place(3, waves=("100%",)), observe(instance("web1")))
    assert made.waves == (
        Wave({"web2": 1, "web3": 1}, {}),
        Wave({"web1": 1}, {}, replace={"web1": ("shop_1.0_100",)}, meanwhile=2),
    )


def test_in_place_what_is_replaced_later_is_not_retired_before():
    nodes = ("web1", "web2", "web4")
    made = plan(in_place(3, nodes), observe(*(instance(n) for n in THREE)))
    assert made.waves == (
        Wave({"web4": 1}, {"web3": ("shop_1.0_100",)}),
        Wave({"web1": 1}, {}, replace={"web1": ("shop_1.0_100",)}, meanwhile=2),
        Wave({"web2": 1}, {}, replace={"web2": ("shop_1.0_100",)}, meanwhile=2),
    )


def test_in_place_an_old_one_on_another_port_is_not_in_the_way():
    made = plan(in_place(1, ("web1",)), observe(instance("web1", slot=105)))
    assert made.waves == (Wave({"web1": 1}, {"web1": ("shop_1.0_105",)}),)


def test_in_place_after_a_run_was_killed_the_emptied_node_comes_first():
    there = observe(instance("web1", NEW, published=False), instance("web2"), instance("web3"))
    made = plan(in_place(), there)
    assert made.clean == {"web1": ("shop_2.0_100",)}
    assert [(wave.start, wave.replace) for wave in made.waves] == [
        ({"web1": 1}, {}),
        ({"web2": 1}, {"web2": ("shop_1.0_100",)}),
        ({"web3": 1}, {"web3": ("shop_1.0_100",)}),
    ]


def test_in_place_first_deployments_and_free_nodes_may_have_candidates():
    made = plan(in_place(2, publish=False), observe(instance("web1")))
    assert made.waves == (Wave({"web2": 1}, {}), Wave({"web3": 1}, {}))


@pytest.mark.parametrize("option", [{"publish": False}, {"keep": True}], ids=lambda o: next(iter(o)))
def test_in_place_nothing_can_wait_or_stay_where_its_port_is_needed(option):
    name = next(iter(option))
    with pytest.raises(
        Refused, match=rf"no room for 1 more .*Either leave {name}=\w+ out \(in place, .*a range of ports"
    ):
        plan(in_place(1, ("web1",), **option), observe(instance("web1")))


def test_in_place_a_stranger_on_the_port_is_not_replaced():
    with pytest.raises(
        Refused, match="free 1 on web1, 0 on web2. Either stop the process that uses that port, or add nodes"
    ):
        plan(in_place(2, ("web1", "web2")), observe(instance("web1"), taken={"web2": [100]}))


# -- zones ------------------------------------------------------------------------------------


FOUR, ZONES = ("a1", "a2", "b1", "b2"), {"a1": "a", "a2": "a", "b1": "b", "b2": "b"}


def test_a_wave_is_in_one_zone():
    there = observe(*(instance(n) for n in FOUR), zones=ZONES)
    old = ("shop_1.0_100",)
    assert plan(desire(4, FOUR), there).waves == (
        Wave({"a1": 1}, {"a1": old}),
        Wave({"a2": 1}, {"a2": old}),
        Wave({"b1": 1, "b2": 1}, {"b1": old, "b2": old}),
    )
    assert [tuple(wave.start) for wave in plan(desire(4, FOUR, waves=("100%",)), there).waves] == [FOUR[:2], FOUR[2:]]


def test_what_is_replaced_in_another_zone_is_retired_in_a_wave_of_its_own():
    there = observe(instance("b1"), instance("b1", slot=101), zones=ZONES)
    made = plan(desire(2, ("a1", "a2"), waves=("100%",)), there)
    assert made.waves == (
        Wave({"a1": 1, "a2": 1}, {}),
        Wave({}, {"b1": ("shop_1.0_100", "shop_1.0_101")}),
    )


def test_in_place_a_wave_is_in_one_zone_too():
    there = observe(*(instance(n) for n in FOUR), zones=ZONES)
    made = plan(in_place(4, FOUR, waves=("100%",)), there)
    assert [tuple(wave.replace) for wave in made.waves] == [FOUR[:2], FOUR[2:]]
