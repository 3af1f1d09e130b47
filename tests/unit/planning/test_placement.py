"""Where instances are started, and which ones stay of too many, by examples."""

from collections import Counter
from dataclasses import replace

import pytest
from saltdeploy.core.errors import Refused
from saltdeploy.core.model import PortRange
from saltdeploy.planning.explain import lines
from saltdeploy.planning.model import Plan, Reason, Wave
from saltdeploy.planning.planner import plan

from tests.support.fleet import NEW, THREE, desire, in_place, instance, observe


def test_first_deployment_spreads_over_the_nodes():
    made = plan(desire(4), observe())
    assert made.clean == {}
    assert made.install == THREE
    assert made.waves == (Wave({"web1": 2}, {}), Wave({"web2": 1, "web3": 1}, {}))


def test_scaling_up_starts_the_difference_on_the_emptiest_nodes():
    made = plan(desire(3), observe(instance("web1", NEW)))
    assert made.waves == (Wave({"web2": 1}, {}), Wave({"web3": 1}, {}))


def test_scaling_down_retires_from_the_fullest_nodes_and_starts_nothing():
    there = [instance("web1", NEW, 100), instance("web1", NEW, 101), instance("web2", NEW)]
    made = plan(desire(2), observe(*there))
    assert made == Plan({}, (), (Wave({}, {"web1": ("shop_2.0_101",)}),), True)


def test_the_node_with_fewest_of_the_new_release_comes_first_whatever_else_it_runs():
    there = [instance("web1", NEW), instance("web2"), instance("web2", slot=101)]
    assert plan(desire(2, ("web1", "web2")), observe(*there)).waves[0].start == {"web2": 1}


def test_equal_nodes_the_one_with_fewer_of_any_release_comes_first():
    made = plan(desire(1, keep=True), observe(instance("web1"), instance("web2")))
    assert made.waves == (Wave({"web3": 1}, {}),)


@pytest.mark.parametrize("node", THREE)
def test_what_is_replaced_has_its_successor_on_the_same_node(node):
    made = plan(desire(1), observe(instance(node)))
    assert made.waves == (Wave({node: 1}, {node: ("shop_1.0_100",)}),) and not made.moves
    made = plan(in_place(1), observe(instance(node)))
    assert [wave.replace for wave in made.waves] == [{node: ("shop_1.0_100",)}] and not made.moves


def test_also_of_a_process_that_has_died():
    made = plan(desire(1), observe(instance("web3", running=False)))
    assert made.waves == (Wave({"web3": 1}, {}),)


@pytest.mark.parametrize(
    "nodes, facts, reason",
    [
        (("web2",), {"barred": {"web1": "web1 has the role db and not app"}}, "web1 has the role db and not app"),
        (("web2",), {}, "web1 is not among the nodes of this deployment"),
        (("web1", "web2"), {"taken": {"web1": range(100, 110)}}, "web1 has no free port for it"),
    ],
)
def test_a_move_to_another_node_is_told_with_its_reason(nodes, facts, reason):
    made = plan(desire(1, nodes), observe(instance("web1"), **facts))
    assert made.waves == (Wave({"web2": 1}, {"web1": ("shop_1.0_100",)}),)
    assert f"shop moves from web1 to web2: {reason}" in lines(made, "shop", NEW)


ONE_NODE = [instance("web1", slot=slot) for slot in (100, 101, 102)]


ZONES_OF_THREE = {"web1": "a", "web2": "a", "web3": "b"}
FOUR, ZONES_OF_FOUR = ("a1", "a2", "b1", "b2"), {"a1": "a", "a2": "a", "b1": "b", "b2": "b"}


def test_a_node_that_is_added_changes_nothing_for_what_is_replaced():
    made = plan(desire(), observe(*ONE_NODE))
    assert [wave.start for wave in made.waves] == [{"web1": 3}] and not made.moves
    made = plan(desire(2), observe(instance("web1"), instance("web2"), zones=ZONES_OF_THREE))
    assert [wave.start for wave in made.waves] == [{"web1": 1}, {"web2": 1}] and not made.moves


def test_only_what_is_more_than_before_is_spread():
    made = plan(desire(4), observe(*ONE_NODE[:2], zones=ZONES_OF_THREE))
    assert [wave.start for wave in made.waves if wave.start] == [{"web1": 2}, {"web3": 2}] and not made.moves


def test_it_is_spread_anew_if_that_is_wanted():
    made = plan(desire(move=True), observe(*ONE_NODE))
    assert [wave.start for wave in made.waves] == [{"web1": 1}, {"web2": 1, "web3": 1}]
    assert [(m.source, m.target, m.reason) for m in made.moves] == [
        ("web1", "web2", Reason.SHARE),
        ("web1", "web3", Reason.SHARE),
    ]
    [move] = plan(desire(2, move=True), observe(instance("web1"), instance("web2"), zones=ZONES_OF_THREE)).moves
    assert (move.source, move.target, move.reason) == ("web2", "web3", Reason.ZONE)


def test_a_successor_that_a_killed_run_has_published_is_one():
    """What is missing then is the successor of another one."""
    there = [instance("web1"), instance("web1", NEW, 101), instance("web2"), instance("web3")]
    made = plan(desire(), observe(*there))
    assert [wave.start for wave in made.waves] == [{"web2": 1}, {"web3": 1}] and not made.moves
    sick = [instance("web1", NEW), instance("web1", NEW, 101, healthy=False)]
    assert [wave.start for wave in plan(desire(2), observe(*sick)).waves] == [{"web1": 1}]


def test_more_and_fewer_instances_are_no_move():
    assert not plan(desire(3), observe(instance("web2"))).moves
    assert not plan(desire(1), observe(*(instance(n) for n in THREE))).moves


def test_the_right_release_on_a_node_that_is_not_wanted_is_moved():
    made = plan(desire(1, ("web1",)), observe(instance("web9", NEW)))
    assert made.waves == (Wave({"web1": 1}, {"web9": ("shop_2.0_100",)}),)


def test_no_room_beside_the_only_port():
    with pytest.raises(
        Refused, match=r"no room for 1 more of shop 2.0.*ports 100 have free 0 on web1.*a range of.*type: recreate"
    ):
        plan(desire(1, ("web1",), ports=PortRange(100, 100)), observe(instance("web1")))


def test_no_room_in_the_range_says_how_much_there_is():
    taken = {"web1": range(100, 110), "web2": range(100, 109)}
    with pytest.raises(Refused, match="no room for 2 more.*free 0 on web1, 1 on web2. Either widen apps:shop:ports"):
        plan(desire(2, ("web1", "web2")), observe(taken=taken))


def test_no_node_at_all():
    with pytest.raises(Refused, match="no node may run shop: give a node of the environment the role"):
        plan(desire(1, ()), observe())


def test_an_app_without_ports_always_has_room():
    made = plan(desire(5, ("web1",), ports=None), observe())
    assert made.waves == (Wave({"web1": 5}, {}),)


def test_instances_are_spread_over_the_zones_first():
    made = plan(desire(2, FOUR), observe(zones=ZONES_OF_FOUR))
    assert made.waves == (Wave({"a1": 1}, {}), Wave({"b1": 1}, {}))
    there = observe(instance("a1", NEW), zones=ZONES_OF_FOUR)
    assert plan(desire(2, FOUR), there).waves == (Wave({"b1": 1}, {}),)


def test_scaling_down_takes_from_the_fullest_zone():
    there = observe(*(instance(n, NEW) for n in ("a1", "b1", "b2")), zones=ZONES_OF_FOUR)
    assert plan(desire(2, FOUR), there).waves == (Wave({}, {"b2": ("shop_2.0_100",)}),)


@pytest.mark.parametrize(
    "there, zones, after, moved",
    [
        ("web1 web1 web2", {}, {"web1": 1, "web2": 1, "web3": 1}, 1),
        ("web1 web2 web3", {}, {"web1": 1, "web2": 1, "web3": 1}, 0),
        ("web1 web1 web1", {}, {"web1": 1, "web2": 1, "web3": 1}, 2),
        ("web1 web1 web2 web2", {}, {"web1": 2, "web2": 1, "web3": 1}, 1),
        ("web1 web2 web3 web3", {}, {"web1": 1, "web2": 1, "web3": 2}, 0),
        # Two nodes of a zone carry as much as the only one of another.
        ("web1 web1 web2 web2", {"web3": "b"}, {"web1": 1, "web2": 1, "web3": 2}, 2),
        ("web1 web2 web3 web3", {"web3": "b"}, {"web1": 1, "web2": 1, "web3": 2}, 0),
        ("web1", {}, {"web1": 1}, 0),
        # One zone cannot gain, the other can.
        ("web1 web1 web3 web3", {"web1": "a", "web2": "a", "web3": "b"}, {"web1": 1, "web2": 1, "web3": 2}, 1),
        ("web1 web1 web1 web3 web3 web3", {"web3": "b"}, {"web1": 2, "web2": 1, "web3": 3}, 1),
    ],
)
def test_instances_are_spread_evenly_again_with_as_few_moves_as_can_be(there, zones, after, moved):
    instances = [instance(node, NEW, 100 + number) for number, node in enumerate(there.split())]
    wanted = desire(len(instances), move=True, even=True)
    observed = observe(*instances, zones=zones)
    waves = plan(wanted, observed).waves
    start = sum((Counter(wave.start) for wave in waves), Counter())
    gone = Counter(node for wave in waves for node, ids in wave.retire.items() for _ in ids)
    left = Counter(there.split()) - gone + start
    assert (dict(left), sum(start.values())) == (after, moved)
    assert not plan(replace(wanted, even=False), observed).waves
