"""What share a paused release gets: the weights, and the plans that bring and take them."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st
from saltdeploy.core import records, traffic
from saltdeploy.core.errors import DefinitionError, Refused
from saltdeploy.core.model import NORMAL_WEIGHT, Strategy
from saltdeploy.planning import planner
from saltdeploy.planning.explain import lines

from tests.support.definitions import mistake, pillar, shop
from tests.support.fleet import NEW, OLD, World, instance, make_app
from tests.unit.planning.test_planner_properties import SIX, WAITING, WAVES, worlds_with

COUNTS, PERCENT = st.one_of(st.integers(1, 10), st.integers(1, 1000)), st.integers(1, 99)


def haproxy(weight):
    """Return the weight that HAProxy takes from that of an SRV record, rounding up."""
    return (weight + 255) // 256


# -- weights ----------------------------------------------------------------------------------


@given(PERCENT, COUNTS, COUNTS)
def test_the_share_is_within_one_point_of_what_was_asked(percent, old, new):
    """…to who goes by SRV weights, and to HAProxy, which knows 256 of them."""
    found = traffic.balanced(percent / 100, old, new)
    event(f"found {bool(found)}")
    assume(found)
    assert all(1 <= weight <= 65535 for weight in found)
    for of_old, of_new in (found, map(haproxy, found)):
        assert abs(new * of_new / (new * of_new + old * of_old) - percent / 100) <= 0.01


@given(PERCENT, st.integers(1, 200), st.integers(1, 200))
def test_only_a_share_that_no_weights_give_is_refused(percent, old, new):
    if traffic.balanced(percent / 100, old, new):
        return
    most, least = 255 * new / (255 * new + old), new / (new + 255 * old)
    event("too much" if most < percent / 100 else "too little")
    assert most < percent / 100 - 0.01 or least > percent / 100 + 0.01


@given(st.integers(1, 98), st.integers(1, 5), st.integers(1, 4))
def test_with_a_few_instances_any_share_can_be_had(percent, old, new):
    assert traffic.balanced(percent / 100, old, new)


@pytest.mark.parametrize(
    "percent, old, new, units", [(25, 3, 1, (100, 100)), (10, 3, 1, (100, 33)), (50, 3, 1, (86, 255))]
)
def test_old_instances_keep_their_weight_where_the_new_ones_can_have_theirs(percent, old, new, units):
    assert traffic.balanced(percent / 100, old, new) == tuple(256 * u for u in units)


def test_a_share_that_cannot_be_had_says_what_can():
    desired = planner.Desired(canary_app("50%"), NEW, 900, ())
    with pytest.raises(
        Refused, match=r"shop:strategy:canary_weight: 50% .* 2 new beside 900 old.*0.00% to 36.17%.*waves"
    ):
        traffic.canary(desired, [*[instance("a")] * 900, instance("b", NEW)], 1)


# -- definitions ------------------------------------------------------------------------------


@pytest.mark.parametrize("canary", ["full", "none", "1%", "99%"])
def test_a_canary_is_defined(canary):
    assert shop({"strategy": {"canary_weight": canary, "pause": "manual"}}).strategy.canary_weight == canary
    assert shop({}).strategy.canary_weight == "full"


@pytest.mark.parametrize("canary", ["0%", "100%", "05%", "2.5%", "25", 25, "half", True])
def test_a_canary_that_is_none(canary):
    message = mistake(pillar({"strategy": {"canary_weight": canary, "pause": "manual"}}))
    assert message.startswith("apps:shop:strategy:canary_weight: ") and "a percentage from 1% to 99%" in message


@pytest.mark.parametrize("canary", ["25%", "none"])
@pytest.mark.parametrize(
    "strategy, told",
    [({}, "no pause"), ({"pause": 0}, "no pause"), ({"pause": "1m", "type": "recreate"}, "type: recreate")],
)
def test_a_canary_that_can_never_be_one(canary, strategy, told):
    message = mistake(pillar({"ports": 80, "strategy": {**strategy, "canary_weight": canary}}))
    assert message.startswith(f"apps:shop:strategy:canary_weight: found '{canary}'") and told in message


def test_a_canary_of_the_environment_that_can_never_be_one():
    message = mistake(pillar({"strategy": {"drain": 1}}, strategy={"canary_weight": "25%"}))
    assert message.startswith("environments:test:strategy:canary_weight: found '25%'")
    traffic.check(Strategy(), "environments:test")
    with pytest.raises(DefinitionError):
        traffic.check(Strategy(canary_weight="25%"), "environments:test")


# -- plans ------------------------------------------------------------------------------------


def canary_app(canary, app=None):
    app = app or make_app()
    return replace(app, strategy=replace(app.strategy, canary_weight=canary, pause=1.0))


@st.composite
def pauses(draw, canary):
    """Draw a fleet in which the old release serves, with any weights, and what is desired of it: a pause.

    Runs that were cut off have left some of the new release.
    """
    names = SIX[: draw(st.integers(1, 6))]
    left = {"version": NEW}, {"version": NEW, "running": False}, WAITING, {"published": False}, {}
    weigh = {"weight": draw(st.sampled_from([1, 256, 8448, NORMAL_WEIGHT, 65280]))}
    drawn = [(name, 100, {"version": OLD, **draw(st.sampled_from([{}, weigh]))}) for name in names]
    drawn += [(name, 101, {**draw(st.sampled_from(left)), **weigh}) for name in names if draw(st.booleans())]
    world = draw(worlds_with(names, drawn, canary_app(draw(canary), make_app(waves=draw(WAVES)))))
    return world, planner.Desired(world.app, NEW, draw(st.integers(1, len(names) + 2)), names, pause=True)


SHARES = pauses(PERCENT.map("{}%".format))
ANY = pauses(st.one_of(PERCENT.map("{}%".format), st.just("none")))
CANDIDATES = pauses(st.just("none"))
ALL = pauses(st.one_of(PERCENT.map("{}%".format), st.sampled_from(["full", "none"])))


def plan(desired, world):
    try:
        return planner.plan(desired, world.observed())
    except Refused:
        assume(False)


def run(world, made, version=NEW):
    for _ in world.steps(made, version):
        pass


def share(world):
    """Return the part of the traffic that is for the new release, and whether all of each kind weigh the same."""
    serving = [i for i in world.there() if i.running and i.published and i.tested]
    return sum(i.weight for i in serving if i.version == NEW) / sum(i.weight for i in serving)


@given(SHARES, st.integers(0, 30))
def test_a_pause_has_the_share_that_is_asked_also_where_a_run_was_cut_off(drawn, cut):
    """…whatever weights it was left with."""
    world, desired = drawn
    for _ in zip(range(cut), world.steps(plan(desired, world), NEW)):
        pass
    made = plan(desired, world)
    run(world, made)
    event(f"paused {made.paused}, with a share {bool(made.canary)}")
    if made.canary:
        assert abs(100 * share(world) - int(world.app.strategy.canary_weight[:-1])) <= 1
    else:
        assert {i.weight for i in world.there()} <= {NORMAL_WEIGHT}


@given(ALL, st.integers(0, 30))
def test_a_pause_is_made_up_for_where_a_run_was_cut_off_before_it(drawn, cut):
    """…and nothing old has gone."""
    world, desired = drawn
    old = {key for key in published(world) if world.instances[key].version == OLD}
    made = plan(desired, world)
    assume(made.paused)
    for _ in zip(range(cut), world.steps(made, NEW)):
        pass
    made = plan(desired, world)
    run(world, made)
    event(f"all of it was done {not made.waves}")
    assert made.paused and old <= published(world)
    assert any(i.version == NEW and i.tested and (i.published or i.held) for i in world.there())


@given(ANY, st.integers(0, 30))
def test_on_promotion_all_weigh_the_same_before_anything_else_starts(drawn, cut):
    world, desired = drawn
    made = plan(desired, world)
    assume(made.paused)
    run(world, made)
    promoted = replace(desired, pause=False, adopt=True)
    for _ in zip(range(cut), world.steps(plan(promoted, world), NEW)):
        pass
    made = plan(promoted, world)
    run(world, replace(made, waves=()))
    event(f"starts {any(wave.start for wave in made.waves)}")
    if any(wave.start for wave in made.waves):
        assert {i.weight for i in world.there() if i.published} == {NORMAL_WEIGHT}
    run(world, replace(made, clean={}, weigh={}))
    assert world.counts() == {(NEW, True, True, True): desired.instances}
    assert {i.weight for i in world.there()} == {NORMAL_WEIGHT}
    assert not plan(promoted, world)


@given(st.integers(1, 6), PERCENT)
def test_on_the_way_back_the_canary_never_gets_more(count, percent):
    names = tuple("abcdef"[:count])
    world = World(canary_app(f"{percent}%"), [instance(n) for n in names], {}, {n: {OLD} for n in names}, {})
    desired = planner.Desired(world.app, NEW, count, names, pause=True)
    run(world, plan(desired, world))
    weight = next(i.weight for i in world.there() if i.version == NEW)
    for _ in world.steps(plan(planner.Desired(world.app, OLD, count, names), world), OLD):
        assert all(i.weight == weight for i in world.there() if i.version == NEW)
    assert [(i.version, i.weight) for i in world.there()] == [(OLD, NORMAL_WEIGHT)] * count


@given(CANDIDATES)
def test_no_user_gets_a_candidate_and_none_is_started_twice(drawn):
    world, desired = drawn
    made = plan(desired, world)
    assume(made.canary)
    before = published(world)
    for _ in world.steps(made, NEW):
        assert published(world) == before
    candidates = {key for key, i in world.instances.items() if i.held and not i.published}
    assert len(candidates) == sum(made.waves[0].start.values()) > 0
    promoted = plan(replace(desired, pause=False, adopt=True), world)
    assert {(i.node, i.id) for wave in promoted.waves for some in wave.adopt.values() for i in some} == candidates
    assert not promoted.clean
    assert all(len({world.zones.get(node, "") for node in wave.adopt}) <= 1 for wave in promoted.waves)


def published(world):
    return {key for key, i in world.instances.items() if i.published and i.running}


def test_what_a_plan_says():
    world = World(canary_app("50%"), [instance(n) for n in "abc"], {}, {n: {OLD, NEW} for n in "abc"}, {})
    desired = planner.Desired(world.app, NEW, 3, tuple("abc"), pause=True)
    assert lines(plan(desired, world), "shop", NEW) == [
        "give other weights in discovery: 22016 for shop_1.0_100 on a, 22016 for shop_1.0_100 on b,"
        " 22016 for shop_1.0_100 on c",
        "wave 1: start, test and publish 1 on a",
        "canary: 2.0 gets 50% of the traffic, by weights: 65280 for each new instance, 22016 for each old one",
        "pause: the rest waits, and nothing old is retired, until deploy.promote or deploy.abort",
    ]
    hidden = replace(desired, app=canary_app("none"))
    assert lines(plan(hidden, world), "shop", NEW)[:2] == [
        "wave 1: start and test, without publishing, 1 on a",
        "canary: 2.0 is found as shop-candidate only, users of shop do not get it",
    ]


# -- what is seen, and recorded ---------------------------------------------------------------


def endpoint(version, weight, status="passing", minion="a"):
    return SimpleNamespace(id=f"shop_{version}_100", weight=weight, status=status, minion=minion)


def test_the_share_is_of_what_passes():
    found = [endpoint("1", 300), endpoint("2", 100), endpoint("1", 600, "critical")]
    assert traffic.share(found, "2") == 0.25
    assert traffic.share([], "2") is None


@pytest.mark.parametrize("canary, refused", [("25%", True), ("none", False), ("full", False)])
def test_a_share_is_of_all_that_serves(canary, refused):
    found = [endpoint("1", 1, minion="a"), endpoint("1", 1, minion="b")]
    traffic.refuse_unseen(canary_app(canary), found, ["a", "b", "c"])
    if refused:
        with pytest.raises(
            Refused, match="shop:strategy:canary_weight: 25% is a share of all .* on b cannot be weighed"
        ):
            traffic.refuse_unseen(canary_app(canary), found, ["a"])
    else:
        traffic.refuse_unseen(canary_app(canary), found, ["a"])


PUBLISHED = {"a": ["shop_1_80", "shop_2_81"], "b": ["shop_1_80"]}


def record(found, published=PUBLISHED):
    about = traffic.recorded(found, "2", published, {"b": ["shop_2_81"]})
    paused = {"since": 0, "by": "me", "reason": "", **about}
    return {"version": "2", "nodes": published, "paused": paused}


def test_the_record_of_a_share():
    made = record(traffic.Canary("25%", 100, 200))
    assert "is paused after its first wave, with 25% of the traffic, for" in records.paused("shop", "e", made)
    assert [traffic.weight_of(made, i) for i in ("shop_1_80", "shop_2_81", "shop_3_1")] == [100, 200, NORMAL_WEIGHT]
    assert traffic.watched(make_app(), made) == ("shop", {("a", "shop_2_81")})


def test_the_record_of_a_candidate():
    made = record(traffic.Canary("none"), {"a": ["shop_1_80"]})
    assert "its first wave, as a candidate that no user gets, for" in records.paused("shop", "e", made)
    assert traffic.watched(make_app(), made) == ("shop-candidate", {("b", "shop_2_81")})


def test_the_record_of_a_pause_as_it_always_was():
    made = record(None)
    assert set(made["paused"]) == {"since", "by", "reason"}
    assert "is paused after its first wave, for" in records.paused("shop", "e", made)
    assert traffic.weight_of(made, "shop_2_81") == traffic.weight_of(None, "shop_2_81") == NORMAL_WEIGHT
    assert traffic.watched(make_app(), made) == ("shop", {("a", "shop_2_81")})
