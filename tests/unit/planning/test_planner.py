"""The planner, by examples to read; test_planner_properties.py has what holds in every fleet."""

from dataclasses import replace

import pytest
from saltdeploy.core.errors import Refused
from saltdeploy.core.model import PortRange
from saltdeploy.planning.explain import lines
from saltdeploy.planning.model import Plan, Wave
from saltdeploy.planning.planner import everything, installed, plan, prunable, publication, restarts

from tests.support.fleet import NEW, OLD, THREE, desire, held, in_place, instance, observe


def test_nothing_to_do_is_an_empty_plan():
    made = plan(desire(), observe(*(instance(n, NEW) for n in THREE)))
    assert not made
    assert lines(made, "shop", NEW) == ["no changes: the deployed instances are as defined"]


def test_only_nodes_without_the_release_install_it():
    made = plan(desire(), observe(releases={"web1": [OLD], "web2": [NEW, OLD]}))
    assert made.install == ("web1", "web3")


def test_a_node_that_starts_nothing_installs_nothing():
    assert plan(desire(1), observe()).install == ("web1",)


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


# -- publication of held candidates -----------------------------------------------------------


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


# -- registrations ------------------------------------------------------------------------------


def test_what_stays_is_registered_again_in_waves():
    there = [instance(n, NEW, outdated="tags") for n in THREE[:2]] + [instance("web3", NEW, outdated="checks")]
    made = plan(desire(3), observe(*there))
    assert made == Plan(
        {},
        (),
        (),
        True,
        register=(
            {"web1": {"shop_2.0_100": "tags"}},
            {"web2": {"shop_2.0_100": "tags"}, "web3": {"shop_2.0_100": "checks"}},
        ),
    )
    assert made and lines(made, "shop", NEW) == [
        "register again, without a restart: shop_2.0_100 on web1 (tags)",
        "register again, without a restart: shop_2.0_100 on web2 (tags), shop_2.0_100 on web3 (checks)",
    ]


def test_what_takes_in_changed_files_by_a_reload_does_so_in_waves():
    there = [instance(n, NEW, stale="etc/shop.ini") for n in THREE]
    made = plan(desire(3), observe(*there))
    [first, second] = [{n: {"shop_2.0_100": "etc/shop.ini"} for n in nodes} for nodes in (THREE[:1], THREE[1:])]
    assert made == Plan({}, (), (), True, reload=(first, second)) and made
    assert lines(made, "shop", NEW)[0] == (
        "write files of config and reload, without a restart: shop_2.0_100 on web1 (etc/shop.ini)"
    )
    assert not plan(desire(3, register=False), observe(*there))
    # A promotion goes on with the files that its deployment began with.
    assert not plan(desire(3, as_before=True), observe(*there))


def test_a_candidate_with_old_files_is_replaced_unless_it_is_wanted_as_it_is():
    waiting = instance("web1", NEW, published=False, held=True, stale="etc/shop.ini")
    made = plan(desire(1, publish=False), observe(waiting))
    assert made.clean == {"web1": (waiting.id,)} and [w.start for w in made.waves] == [{"web1": 1}]
    assert not plan(desire(1, publish=False, as_before=True), observe(waiting))


def test_what_goes_or_waits_is_not_registered_again():
    going, waiting = instance("web1", OLD, outdated="tags"), instance("web2", NEW, published=False, outdated="tags")
    assert plan(desire(1), observe(going, waiting)).register == ()
    assert plan(desire(1, publish=False), observe(instance("web1", NEW, outdated="tags"))).register == ()
    assert not plan(desire(1, register=False), observe(instance("web1", NEW, outdated="tags")))


def test_with_keep_all_that_stay_are_registered_again():
    there = [instance(node, NEW, outdated="tags") for node in THREE]
    made = plan(desire(1, keep=True), observe(*there))
    assert [list(ids) for ids in made.register] == [["web1"], ["web2", "web3"]] and not made.waves
