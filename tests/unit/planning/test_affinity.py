"""Instances stay where their data is, by examples."""

from dataclasses import replace

import pytest
from saltdeploy.core.errors import Refused
from saltdeploy.planning import affinity
from saltdeploy.planning.explain import lines
from saltdeploy.planning.model import Wave
from saltdeploy.planning.planner import plan, publication

from tests.support.fleet import NEW, OLD, THREE, desire, held, instance, observe


def with_data(count=1, nodes=THREE, **options):
    wanted = desire(count, nodes, **options)
    return replace(wanted, app=replace(wanted.app, data=True))


FOLDER = "/srv/saltdeploy/shop/data"
ZONES = {"web1": "a", "web2": "a", "web3": "b"}


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
    for zones in ({}, ZONES):
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
    made = plan(with_data(2), observe(*twice, data={"web1": FOLDER, "web2": FOLDER}, zones=ZONES))
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
    made = plan(with_data(2), observe(data={"web1": FOLDER, "web2": FOLDER}, zones=ZONES))
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
