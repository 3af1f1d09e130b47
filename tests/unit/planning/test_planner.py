"""The planner, by examples to read; test_planner_properties.py has what holds in every fleet."""

import json
from dataclasses import replace

import pytest
from saltdeploy.core.errors import Refused
from saltdeploy.core.model import PortRange
from saltdeploy.planning import affinity
from saltdeploy.planning.explain import actions, lines
from saltdeploy.planning.planner import Plan, Wave, everything, installed, plan, prunable, publication, restarts

from tests.support.fleet import NEW, OLD, THREE, desire, in_place, instance, observe


def test_first_deployment_spreads_over_the_nodes():
    made = plan(desire(4), observe())
    assert made.clean == {}
    assert made.install == THREE
    assert made.waves == (Wave({"web1": 2}, {}), Wave({"web2": 1, "web3": 1}, {}))


def test_upgrade_starts_beside_and_retires_what_it_replaced():
    made = plan(desire(), observe(*(instance(n) for n in THREE)))
    assert made.waves == (
        Wave({"web1": 1}, {"web1": ("shop_1.0_100",)}),
        Wave({"web2": 1, "web3": 1}, {"web2": ("shop_1.0_100",), "web3": ("shop_1.0_100",)}),
    )


def test_nothing_to_do_is_an_empty_plan():
    made = plan(desire(), observe(*(instance(n, NEW) for n in THREE)))
    assert not made
    assert lines(made, "shop", NEW) == ["no changes: the deployed instances are as defined"]


def test_only_nodes_without_the_release_install_it():
    made = plan(desire(), observe(releases={"web1": [OLD], "web2": [NEW, OLD]}))
    assert made.install == ("web1", "web3")


def test_a_node_that_starts_nothing_installs_nothing():
    assert plan(desire(1), observe()).install == ("web1",)


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
        ("web1", "web2", "web1 would have more than its share"),
        ("web1", "web3", "web1 would have more than its share"),
    ]
    [move] = plan(desire(2, move=True), observe(instance("web1"), instance("web2"), zones=ZONES_OF_THREE)).moves
    assert (move.source, move.target, move.reason) == ("web2", "web3", "its zone would have more than its share")


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


# -- data -------------------------------------------------------------------------------------


def with_data(count=1, nodes=THREE, **options):
    wanted = desire(count, nodes, **options)
    return replace(wanted, app=replace(wanted.app, data=True))


FOLDER = "/srv/saltdeploy/shop/data"


def test_an_app_goes_where_its_data_is_though_nothing_of_it_runs():
    made = plan(with_data(), observe(data={"web3": FOLDER}))
    assert made.waves == (Wave({"web3": 1}, {}),) and not made.empty


def test_the_first_time_and_as_one_more_it_starts_without_data_and_the_plan_says_so():
    for there, bare in ((observe(), "web1"), (observe(instance("web2", NEW), data={"web2": FOLDER}), "web1, web3")):
        made = plan(with_data(3 if there.data else 1), there)
        assert f"shop starts with an empty data folder on {bare}" in lines(made, "shop", NEW)


@pytest.mark.parametrize("folder, told", [(FOLDER, f"web1 ({FOLDER})"), ("", "web1")])
def test_it_leaves_its_data_only_if_that_is_confirmed(folder, told):
    there = observe(instance("web1"), data={"web1": folder}, barred={"web1": "web1 has the role db and not app"})
    with pytest.raises(Refused) as refused:
        plan(with_data(nodes=("web2",)), there)
    assert str(refused.value) == (
        f"shop would start without its data on web2: its data is on {told}. web1 has the role db and not app. Copy the"
        " data there, or say move=True to start shop with an empty data folder."
    )
    made = plan(with_data(nodes=("web2",), move=True), there)
    assert made.empty == ("web2",) and [m.target for m in made.moves] == ["web2"] and made.unused == ("web1",)
    assert "shop has data on web1, where none of it runs then" in lines(made, "shop", NEW)


def test_where_its_data_was_copied_to_it_may_go():
    there = observe(instance("web1"), data={"web1": FOLDER, "web2": FOLDER})
    assert plan(with_data(nodes=("web2",)), there).waves == (Wave({"web2": 1}, {"web1": ("shop_1.0_100",)}),)


TWO_WITH_DATA = [instance("web1"), instance("web1", slot=101)]


@pytest.mark.parametrize("move", [False, True])
def test_no_part_of_it_moves_to_a_node_or_a_zone_with_fewer(move):
    for zones in ({}, ZONES_OF_THREE):
        made = plan(with_data(2, move=move), observe(*TWO_WITH_DATA, data={"web1": FOLDER}, zones=zones))
        assert [wave.start for wave in made.waves] == [{"web1": 2}] and not made.empty


def test_a_part_that_has_to_move_is_refused_though_the_rest_stays():
    there = observe(*TWO_WITH_DATA, taken={"web1": range(102, 109)}, data={"web1": FOLDER})
    with pytest.raises(
        Refused, match=r"without its data on web2: .* is on web1 .*\. web1 has no free port for it\. Copy"
    ):
        plan(with_data(2), there)
    assert plan(with_data(2, move=True), there).empty == ("web2",)


def test_the_nodes_with_data_keep_theirs():
    there = [instance(node, NEW) for node in THREE]
    made = plan(with_data(), observe(*there, data={"web3": FOLDER}))
    assert made.waves == (Wave({}, {"web1": ("shop_2.0_100",), "web2": ("shop_2.0_100",)}),)
    twice = [*there[:2], instance("web1", NEW, 101), instance("web2", NEW, 101)]
    made = plan(with_data(2), observe(*twice, data={"web1": FOLDER, "web2": FOLDER}, zones=ZONES_OF_THREE))
    assert made.waves == (Wave({}, {"web1": ("shop_2.0_101",), "web2": ("shop_2.0_101",)}),)


@pytest.mark.parametrize("version", [OLD, NEW])
def test_the_last_one_leaves_a_node_with_data_only_if_that_is_confirmed(version):
    """…also where nothing starts."""
    there = observe(*(instance(node, version) for node in ("web1", "web2")), data={"web1": FOLDER, "web2": FOLDER})
    with pytest.raises(Refused) as refused:
        plan(with_data(), there)
    assert str(refused.value) == (
        f"shop would leave its data on web2 ({FOLDER}): none of it would run there. Run as many as before, or say"
        " move=True to leave the data there, unused."
    )
    made = plan(with_data(move=True), there)
    assert made.unused == ("web2",) and "web2" in made.waves[-1].retire


def test_candidates_leave_nothing_until_they_are_published():
    there = [instance("web1"), instance("web2")]
    data = {"web1": FOLDER, "web2": FOLDER}
    assert plan(with_data(publish=False), observe(*there, data=data)).waves == (Wave({"web1": 1}, {}),)
    waiting = observe(*there, held("web1"), data=data)
    with pytest.raises(Refused, match="shop would leave its data on web2 "):
        publication(with_data(), waiting)
    assert publication(with_data(move=True), waiting).unused == ("web2",)
    assert not publication(with_data(keep=True), waiting).unused


def test_a_folder_that_is_empty_still_is_where_it_runs():
    there = observe(instance("web1"), data={"web2": FOLDER})
    made = plan(with_data(), there)
    assert made.waves == (Wave({"web1": 1}, {"web1": ("shop_1.0_100",)}),)
    assert (made.empty, made.unused) == (("web1",), ("web2",))


def test_after_it_was_taken_away_it_goes_to_each_node_with_data_before_any_other():
    made = plan(with_data(2), observe(data={"web1": FOLDER, "web2": FOLDER}, zones=ZONES_OF_THREE))
    assert [wave.start for wave in made.waves] == [{"web1": 1}, {"web2": 1}]
    assert not made.empty and not made.unused


def test_a_folder_that_lost_its_data_is_not_taken_for_a_new_one():
    there = observe(instance("web1"), lost=frozenset({"web1"}))
    with pytest.raises(
        Refused, match=r"shop had data on web1, and its data folder there is empty: a disk .* move=True"
    ):
        plan(with_data(), there)
    assert plan(with_data(move=True), there).empty == ("web1",)
    assert not plan(with_data(), observe(instance("web1", NEW), lost=frozenset({"web1"})))


def test_the_record_keeps_nodes_with_data_until_an_operator_gives_it_up():
    """A node that does not answer has data only if the record says so: it may have run the app, and written nothing."""
    there, before = observe(data={"web1": FOLDER, "web2": ""}, lost=frozenset({"web3"})), {"data": ["web3"]}
    assert affinity.recorded(with_data(), there, before) == ["web1", "web3"]
    assert affinity.recorded(with_data(move=True), there, before) == ["web1"]
    assert affinity.recorded(with_data(), there, None) == ["web1"]
    assert affinity.recorded(desire(1), there, before) == ()


def test_data_of_nodes_that_were_not_chosen_is_not_left():
    there = observe(instance("web1"), data={"web1": FOLDER, "web3": FOLDER})
    made = plan(with_data(nodes=("web1",)), there)
    assert made.waves and not made.unused


def test_an_app_without_data_knows_nothing_of_folders():
    """It may have kept some before."""
    there = observe(instance("web1"), instance("web2"), data=dict.fromkeys(THREE, ""), lost=frozenset({"web1"}))
    made = plan(desire(1), there)
    assert (made.empty, made.unused) == ((), ())


# -- health -----------------------------------------------------------------------------------


def test_what_is_not_healthy_is_replaced_by_the_same_release():
    sick = instance("web2", NEW, healthy=False)
    there = [instance("web1", NEW), sick, instance("web3", NEW)]
    made = plan(desire(), observe(*there, releases={"web2": [NEW]}))
    assert made.waves == (Wave({"web2": 1}, {"web2": ("shop_2.0_100",)}),)
    assert lines(made, "shop", NEW)[0] == "not healthy in discovery, so it is replaced: shop_2.0_100 on web2"
    assert plan(desire(keep=True), observe(*there, instance("web3", slot=105))).waves == made.waves


def test_a_release_that_is_not_healthy_anywhere_is_replaced_like_any_other():
    made = plan(desire(), observe(*(instance(n, healthy=False) for n in THREE)))
    old = ("shop_1.0_100",)
    assert made.waves == (Wave({"web1": 1}, {"web1": old}), Wave({"web2": 1, "web3": 1}, {"web2": old, "web3": old}))


def test_in_place_what_is_not_healthy_goes_first_and_does_not_count():
    made = plan(in_place(), observe(instance("web1"), instance("web2"), instance("web3", healthy=False)))
    assert [(tuple(wave.replace), wave.meanwhile) for wave in made.waves] == [
        (("web3",), 2),
        (("web1",), 2),
        (("web2",), 2),
    ]


# -- what its node has no file of -------------------------------------------------------------

LOST = {"recorded": False, "tested": False}


def test_what_only_discovery_knows_serves_until_it_is_replaced():
    made = plan(desire(1, ("web1",)), observe(instance("web1", NEW, **LOST)))
    assert (made.clean, made.waves) == ({}, (Wave({"web1": 1}, {"web1": ("shop_2.0_100",)}),))
    with pytest.raises(
        Refused,
        match="the release of shop_1.0_100 on web1 is not known, so it cannot be restarted: deploy.app replaces",
    ):
        restarts(observe(instance("web1", **LOST)), THREE, (1,))


def test_a_copy_from_another_machine_is_cleaned_where_it_is():
    there = observe(instance("web1", NEW), instance("web3", NEW, running=False, published=False, **LOST))
    made = plan(desire(1, ("web1",)), there)
    assert (made.clean, made.waves) == ({"web3": ("shop_2.0_100",)}, ())


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


def test_the_right_release_on_a_node_that_is_not_wanted_is_moved():
    made = plan(desire(1, ("web1",)), observe(instance("web9", NEW)))
    assert made.waves == (Wave({"web1": 1}, {"web9": ("shop_2.0_100",)}),)


def test_keep_leaves_the_old_published():
    made = plan(desire(1, keep=True), observe(instance("web1")))
    assert made.waves == (Wave({"web2": 1}, {}),)


def test_without_publication_nothing_is_retired():
    made = plan(desire(1, publish=False), observe(instance("web1"), instance("web1", NEW, 101)))
    assert made.waves == (Wave({"web1": 1}, {}),)
    assert not made.publish


def test_candidates_of_an_earlier_run_are_cleaned_first():
    made = plan(desire(1), observe(instance("web1", NEW, published=False)))
    assert made.clean == {"web1": ("shop_2.0_100",)}


@pytest.mark.parametrize("version", [OLD, NEW])
def test_a_dead_process_is_cleaned_even_while_it_is_registered(version):
    made = plan(desire(1), observe(instance("web1", version, running=False)))
    assert made.clean == {"web1": (f"shop_{version}_100",)}
    assert made.waves == (Wave({"web1": 1}, {}),)


def test_a_dead_process_does_not_block_the_only_port():
    made = plan(desire(1, ("web1",), ports=PortRange(100, 100)), observe(instance("web1", running=False)))
    assert (made.clean, made.waves) == ({"web1": ("shop_1.0_100",)}, (Wave({"web1": 1}, {}),))


def test_what_serves_untested_is_replaced_but_never_cleaned():
    made = plan(desire(1, ("web1",)), observe(instance("web1", NEW, tested=False)))
    assert made.clean == {}
    assert made.waves == (Wave({"web1": 1}, {"web1": ("shop_2.0_100",)}),)


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


def test_lines_tell_the_plan_in_the_order_of_execution():
    there = [instance(n) for n in THREE] + [instance("web1", NEW, 105, published=False)]
    made = plan(desire(), observe(*there))
    assert lines(made, "shop", NEW) == [
        "stop instances that serve nobody: shop_2.0_105 on web1",
        "install shop 2.0 on web1, web2, web3",
        "wave 1: start, test and publish 1 on web1",
        "wave 1: retire shop_1.0_100 on web1",
        "wave 2: start, test and publish 1 on web2, 1 on web3",
        "wave 2: retire shop_1.0_100 on web2, shop_1.0_100 on web3",
    ]


def test_a_plan_is_plain_data_too():
    there = [instance(n) for n in THREE] + [instance("web1", NEW, 105, published=False)]
    observed = observe(*there)
    found = json.loads(json.dumps(actions(plan(desire(), observed), observed, NEW)))
    assert (found["from"], found["to"], found["install"]) == ([OLD], NEW, list(THREE))
    assert found["clean"] == {"web1": ["shop_2.0_105"]} and found["publish"] and not found["paused"]
    first, rest = found["waves"]
    assert first["start"] == {"web1": 1} and first["retire"] == {"web1": ["shop_1.0_100"]}
    assert rest["start"] == {"web2": 1, "web3": 1} and first["adopt"] == first["replace"] == first["withdraw"] == {}


def test_the_data_of_a_plan_has_moves_and_candidates():
    moving = observe(instance("web1"))
    found = actions(plan(desire(1, ("web2",)), moving), moving, NEW)
    [move] = found["moves"]
    assert (move["source"], move["target"]) == ("web1", "web2") and move["reason"]
    waiting = observe(instance("web1"), instance("web2", NEW, 105, published=False, held=True))
    made = actions(publication(desire(1), waiting), waiting, NEW)
    assert made["waves"][0]["adopt"] == {"web2": ["shop_2.0_105"]}


def test_lines_say_when_nothing_is_published():
    made = plan(desire(1, publish=False), observe(releases={"web1": [NEW]}))
    assert lines(made, "shop", NEW) == ["wave 1: start and test, without publishing, 1 on web1"]


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


def test_in_place_a_single_instance_is_down_meanwhile_and_the_plan_says_so():
    made = plan(in_place(1, ("web1",)), observe(instance("web1"), releases={"web1": [NEW]}))
    assert lines(made, "shop", NEW) == [
        "wave 1: first retire shop_1.0_100 on web1, and nothing else serves on these nodes:"
        " shop is down there until the new one is published",
        "wave 1: start, test and publish 1 on web1",
    ]


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


def test_instances_are_spread_over_the_zones_first():
    made = plan(desire(2, FOUR), observe(zones=ZONES))
    assert made.waves == (Wave({"a1": 1}, {}), Wave({"b1": 1}, {}))
    there = observe(instance("a1", NEW), zones=ZONES)
    assert plan(desire(2, FOUR), there).waves == (Wave({"b1": 1}, {}),)


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


def test_scaling_down_takes_from_the_fullest_zone():
    there = observe(*(instance(n, NEW) for n in ("a1", "b1", "b2")), zones=ZONES)
    assert plan(desire(2, FOUR), there).waves == (Wave({}, {"b2": ("shop_2.0_100",)}),)


def test_in_place_a_wave_is_in_one_zone_too():
    there = observe(*(instance(n) for n in FOUR), zones=ZONES)
    made = plan(in_place(4, FOUR, waves=("100%",)), there)
    assert [tuple(wave.replace) for wave in made.waves] == [FOUR[:2], FOUR[2:]]


# -- publication of held candidates -----------------------------------------------------------


def held(node, slot=105):
    return instance(node, NEW, slot, published=False, held=True)


def test_publication_adopts_candidates_in_waves():
    candidates = [held(n) for n in THREE]
    made = publication(desire(), observe(*(instance(n) for n in THREE), *candidates))
    assert made.waves == (
        Wave({}, {"web1": ("shop_1.0_100",)}, {"web1": (candidates[0],)}),
        Wave(
            {},
            {"web2": ("shop_1.0_100",), "web3": ("shop_1.0_100",)},
            {"web2": (candidates[1],), "web3": (candidates[2],)},
        ),
    )
    assert lines(made, "shop", NEW)[0] == "wave 1: test again and publish shop_2.0_105 on web1"


def test_publication_counts_what_is_published_already():
    there = [instance("web1"), instance("web2"), instance("web3", NEW), held("web1"), held("web2")]
    made = publication(desire(), observe(*there))
    assert [wave.retire for wave in made.waves] == [{"web1": ("shop_1.0_100",)}, {"web2": ("shop_1.0_100",)}]


def test_candidates_that_wait_are_kept_when_the_same_is_asked_for_again():
    there = observe(*(instance(n) for n in THREE), *(held(n) for n in THREE))
    assert not plan(desire(publish=False), there)


def test_a_publication_that_was_cut_off_before_it_retired_goes_on():
    there = observe(*(instance(n) for n in THREE), *(instance(n, NEW, 105) for n in THREE))
    [wave] = publication(desire(), there).waves
    assert (wave.start, wave.adopt) == ({}, {})
    assert wave.retire == dict.fromkeys(THREE, ("shop_1.0_100",))


def test_publication_of_nothing():
    unheld = replace(held("web1"), held=False)
    dead = replace(held("web2"), running=False)
    with pytest.raises(Refused, match="no candidate of shop 2.0 waits for publication"):
        publication(desire(), observe(unheld, dead, replace(held("web3"), version=OLD)))


def test_publication_of_too_few():
    there = observe(instance("web1"), held("web1"), held("web2"))
    with pytest.raises(Refused, match="2 of shop 2.0 would be published, and 3 are desired"):
        publication(desire(3), there)
    kept = publication(desire(3, keep=True), there)
    assert [wave.retire for wave in kept.waves] == [{}, {}]


def test_publication_counts_no_dead_process_as_serving():
    there = [instance("web1"), instance("web2"), instance("web3"), held("web1"), held("web2"), held("web3")]
    dead = [instance("web1", slot=108, running=False), instance("web2", slot=108, running=False)]
    made = publication(desire(), observe(*there, *dead))
    assert made.clean == {"web1": ("shop_1.0_108",), "web2": ("shop_1.0_108",)}
    assert made.waves[0].retire == {"web1": ("shop_1.0_100",)}


# -- examples of a pause ----------------------------------------------------------------------


def test_a_pause_comes_after_the_first_wave_and_nothing_old_goes_before_it():
    observed = observe(*(instance(n) for n in THREE))
    made = plan(desire(pause=True), observed)
    assert made.waves == (Wave({"web1": 1}, {}),) and made.install == THREE and made.paused
    assert "deploy.promote or deploy.abort" in lines(made, "shop", NEW)[-1]


@pytest.mark.parametrize("new", [1, 3])
def test_a_pause_that_a_run_was_cut_off_before_is_made_up_for(new):
    there = [instance(n) for n in THREE] + [instance(n, NEW, 101) for n in THREE[:new]]
    made = plan(desire(pause=True), observe(*there, releases=dict.fromkeys(THREE, (OLD, NEW))))
    assert made and made.paused and not (made.waves or made.clean or made.install)


def test_an_instance_of_the_same_release_that_moves_is_no_canary():
    there = [instance(n, NEW) for n in ("web1", "web2", "left")]
    made = plan(desire(pause=True), observe(*there))
    assert not made.paused and [wave.retire for wave in made.waves] == [{"left": ("shop_2.0_100",)}]


def test_what_follows_a_pause_is_the_rest():
    there = [instance(n) for n in THREE] + [instance("web1", NEW, 101)]
    made = plan(desire(), observe(*there))
    assert [wave.start for wave in made.waves] == [{"web2": 1}, {"web3": 1}] and not made.paused
    assert sorted(i for wave in made.waves for ids in wave.retire.values() for i in ids) == ["shop_1.0_100"] * 3


def test_the_way_back_from_a_pause_starts_nothing():
    there = [instance(n) for n in THREE] + [instance("web1", NEW, 101)]
    made = plan(desire(version=OLD), observe(*there))
    assert made.waves == (Wave({}, {"web1": ("shop_2.0_101",)}),) and not made.install


def test_there_is_no_pause_where_nothing_is_replaced():
    assert not plan(desire(pause=True), observe()).paused
    assert not plan(desire(pause=True), observe(*(instance(n, NEW) for n in THREE))).paused
    assert not plan(desire(pause=True, publish=False), observe(*(instance(n) for n in THREE))).paused


# -- examples of day two ----------------------------------------------------------------------


def ids(*nodes, slots=(100,)):
    return {node: tuple(f"shop_1.0_{slot}" for slot in slots) for node in nodes}


def test_restarts_go_in_waves_in_the_order_of_the_nodes():
    observed = observe(*(instance(n) for n in reversed(THREE)))
    assert restarts(observed, ["web2", "web1", "web3"], (1, "100%")) == [ids("web2"), ids("web1"), ids("web3")]


def test_restarts_are_of_what_is_published():
    waiting = instance("web2", published=False, held=True)
    assert restarts(observe(instance("web1"), waiting), THREE, (1,)) == [ids("web1")]
    assert restarts(observe(waiting), THREE, (1,)) == []


def test_restarts_never_take_all_that_serves_at_once():
    assert restarts(observe(*(instance(n) for n in THREE)), THREE, ("100%",)) == [ids(n) for n in THREE]
    two = observe(instance("web1"), instance("web1", slot=101))
    assert restarts(two, THREE, ("100%",)) == [ids("web1", slots=(100, 101))]


def test_restarts_begin_with_what_serves_nobody():
    observed = observe(instance("web1"), instance("web2", running=False))
    assert restarts(observed, THREE, ("100%",)) == [ids("web2"), ids("web1")]


def test_restarts_reach_nodes_that_may_not_run_it_any_more():
    assert restarts(observe(instance("web9"), instance("web1")), THREE, (1,)) == [ids("web1"), ids("web9")]


@pytest.mark.parametrize(
    "keep, good, going",
    [
        (5, (), ()),
        (3, (), ("1", "2")),
        (3, ("1",), ("2", "3")),
        (2, ("5", "1"), ("2", "3", "4")),
        (1, ("5", "1"), ("2", "3", "4")),
        (1, ("not installed",), ("1", "2", "3", "4")),
    ],
)
def test_releases_beyond_what_is_kept_go_the_oldest_first(keep, good, going):
    observed = observe(releases={"web1": ["1", "2", "3", "4", "5"], "web2": ["5"]})
    assert prunable(observed, keep, good) == ({"web1": going} if going else {})


def test_a_release_that_an_instance_has_never_goes():
    observed = observe(instance("web2", "1", published=False), releases={"web1": ["1", "2"], "web2": ["1", "2", "3"]})
    assert prunable(observed, 1, ["3"]) == {"web1": ("2",), "web2": ("2",)}


def test_what_is_installed_comes_last():
    observed = observe(releases={"web1": [OLD], "web2": [OLD, NEW]})
    after = installed(observed, plan(desire(3), observed), NEW)
    assert after.releases == {"web1": (OLD, NEW), "web2": (OLD, NEW), "web3": (NEW,)}


def test_everything_is_what_runs_and_what_is_installed():
    observed = observe(
        instance("web1"),
        instance("web2", NEW, published=False),
        releases={"web2": [OLD, NEW], "web3": []},
    )
    stopped = {"web1": ("shop_1.0_100",), "web2": ("shop_2.0_100",)}
    assert everything(observed) == (stopped, {"web2": (OLD, NEW)})


@pytest.mark.timeout(120)
@pytest.mark.parametrize("wanted", [desire, in_place])
def test_a_large_fleet_is_planned_in_a_moment(wanted):
    """The time is for a busy machine; what grows with the square of the nodes takes minutes."""
    nodes = tuple(f"node{number:05}" for number in range(10_000))
    there = observe(*(instance(node) for node in nodes))
    made = plan(wanted(len(nodes), nodes), there)
    assert sum(sum(wave.start.values()) for wave in made.waves) == len(nodes)
    assert sum(map(len, restarts(there, list(nodes), (1, "100%")))) == len(nodes)
    twice = observe(*(instance(node, NEW, slot) for node in nodes for slot in (100, 101)))
    kept = plan(wanted(len(nodes), nodes), twice)
    assert sum(len(ids) for wave in kept.waves for ids in wave.retire.values()) == len(nodes)
