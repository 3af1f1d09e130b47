"""Properties of the planner, over thousands of generated fleets.

Plans are run in a simulated world, one small step after the other, so that a run may be cut off between any two.
How many fleets is a matter of the Hypothesis profile, see tests/conftest.py; that each property finds what it is there
for is shown in test_mutations.py.
"""

import math
from collections import Counter
from dataclasses import replace

from hypothesis import assume, event, given
from hypothesis import strategies as st
from saltdeploy.core.errors import Refused
from saltdeploy.core.instanceids import slot_of
from saltdeploy.core.model import PortRange
from saltdeploy.planning.explain import lines
from saltdeploy.planning.model import Desired, Plan
from saltdeploy.planning.planner import plan, publication

from tests.support.fleet import NEW, OLD, World, instance, make_app

RANGE, ONE = PortRange(100, 105), PortRange(100, 100)
NODES, SIX = ("a", "b", "c", "d"), ("a", "b", "c", "d", "e", "f")
STRANGER = None
WAITING = {"version": NEW, "published": False, "held": True}
# What only discovery and the supervisor know; and what is neither, in a folder that comes from another machine.
LOST = {"version": OLD, "recorded": False, "tested": False}
COPIED = {**LOST, "running": False, "published": False}
# What may be found in a slot, in whatever state earlier runs, crashes and strangers have left it.
FOUND = [
    {"version": OLD},
    {"version": OLD, "tested": False},
    {"version": OLD, "running": False},
    {"version": OLD, "running": False, "published": False},
    {"version": OLD, "published": False},
    {"version": OLD, "healthy": False},
    LOST,
    COPIED,
    {"version": NEW},
    {"version": NEW},
    {"version": NEW, "outdated": "tags, checks"},
    {"version": NEW, "stale": "etc/shop.ini"},
    {**WAITING, "stale": "etc/shop.ini"},
    {"version": NEW, "healthy": False},
    {"version": NEW, "tested": False},
    {"version": NEW, "running": False},
    {"version": NEW, "published": False},
    {"version": NEW, "published": False, "tested": False},
    WAITING,
    STRANGER,
]


WAVES = st.sampled_from([(1, "100%"), ("100%",), (1, "25%", "50%"), (2, 3), ("1%", 1, "99%")])


@st.composite
def worlds(draw, found=tuple(FOUND)):
    """Draw nodes ("left" is in the environment no more) with something in some of their slots, often just what serves."""
    usual = [{"version": OLD}] * 3
    found = draw(st.sampled_from([found, found, (*usual, {"version": OLD, "healthy": False})]))
    ports = draw(st.sampled_from([RANGE, RANGE, None, PortRange(100, 101), ONE]))
    spots = st.tuples(st.sampled_from((*NODES, "left")), st.sampled_from(list(ports or RANGE)), st.sampled_from(found))
    drawn = draw(st.lists(spots, max_size=10, unique_by=lambda spot: spot[:2]))
    return draw(worlds_with(NODES, drawn, make_app(ports, draw(WAVES))))


@st.composite
def worlds_in_place(draw):
    """Draw nodes with something on most of their ports, mostly what serves; an app with one port may have had others."""
    nodes = SIX[: draw(st.sampled_from([3, 4, 6, 5, 2, 1]))]
    usual = [{"version": OLD}]
    sick = {"version": OLD, "healthy": False}
    found = draw(st.sampled_from([usual, [*usual, sick], [*usual * 8, {"version": NEW}, ()], [*usual * 8, *FOUND, ()]]))
    spots = [(node, 100, draw(st.sampled_from(found))) for node in nodes]
    if draw(st.integers(0, 3)) == 0:
        spots += [("left", 100, {"version": OLD}), (nodes[0], 101, {"version": OLD})][draw(st.integers(0, 1)) :]
    drawn = [spot for spot in spots if spot[2] != ()]
    return draw(worlds_with(nodes, drawn, make_app(ONE, draw(WAVES), "recreate")))


@st.composite
def worlds_blue_green(draw, found=FOUND):
    """Draw nodes on which some of what nobody finds is warm; a run that was killed may have been about to withdraw."""
    unpublished = [{"version": v, "published": False} for v in (OLD, OLD, OLD, NEW, NEW)]
    world = draw(worlds(found=(*found, *unpublished)))
    world.app = make_app(world.app.ports, draw(WAVES), "blue_green")
    world.warm = {key for key, i in sorted(world.instances.items()) if not i.held and draw(st.booleans())}
    return world


@st.composite
def worlds_held(draw):
    """Draw nodes that mostly have an old instance that serves, and beside it a candidate held for publication."""
    found = [(100, [{"version": OLD}] * 6), (101, [WAITING] * 6)]
    spots = [(node, slot, draw(st.sampled_from([*usual, *FOUND]))) for node in NODES for slot, usual in found]
    drawn = [spot for spot in spots if spot[2]]
    return draw(worlds_with(NODES, drawn, make_app(RANGE, draw(WAVES))))


@st.composite
def worlds_with(draw, nodes, drawn, app):
    installed = {node: draw(st.sampled_from([(), (OLD,), (OLD, NEW)])) for node in nodes}
    # An old instance is of another release, or has other settings.
    old = draw(st.sampled_from([OLD, OLD, f"{NEW}@3"]))
    there = [
        (node, slot, {**flags, "version": old if flags.get("version", OLD) == OLD else NEW})
        for node, slot, flags in drawn
        if flags
    ]
    return World(
        app,
        [instance(node, slot=slot, **flags) for node, slot, flags in there],
        {node: {slot for n, slot, flags in drawn if n == node and not flags and app.ports} for node in nodes},
        installed,
        {node: draw(st.sampled_from(["x", "y", ""])) for node in nodes} if draw(st.booleans()) else {},
    )


@st.composite
def deployments(draw, of=st.one_of(worlds(), worlds_in_place(), worlds_blue_green())):
    """Draw a world and something desired of it."""
    world = draw(of)
    here = tuple(world.releases)
    some = [nodes for nodes in (("b", "a"), ("d", "b", "c"), ("c",)) if set(nodes) <= set(here)]
    nodes = draw(st.sampled_from([here, here, *some]))
    publish, keep = draw(st.sampled_from([(True, False)] * 3 + [(True, True), (False, False)]))
    count = draw(st.one_of(st.just(len(nodes)), st.integers(1, len(nodes) if world.app.recreate else 5)))
    return world, Desired(world.app, NEW, count, nodes, publish, keep, move=draw(st.integers(0, 3)) == 0)


SOME_WAIT = (*FOUND, *[WAITING] * 4)
BESIDE, IN_PLACE, BLUE_GREEN = map(deployments, (worlds(), worlds_in_place(), worlds_blue_green()))
IN_WAVES = st.one_of(BESIDE, IN_PLACE)
# Ports are few where much is there.
CROWDED = deployments(worlds(found=(STRANGER, STRANGER, {"version": OLD}, {"version": NEW})))

# Much of it has to be replaced, some of it sooner.
SICK = deployments(worlds(found=({"version": OLD}, {"version": OLD, "healthy": False})))

# Much of it has a successor, and nodes are added.
REPLACED = deployments(worlds(found=(*[{"version": OLD}] * 4, {"version": NEW}, {"version": NEW, "healthy": False})))


def plan_or_skip(desired, world, planner=plan):
    try:
        return planner(desired, world.observed())
    except Refused:
        assume(False)


def floor(world, desired):
    """Return how many must serve at any time: none less, but in place half of them, and a single one may be out."""
    least = min(world.serving(), desired.instances)
    if not world.app.recreate or not least:
        return least
    return 0 if world.serving() == 1 else max(1, least - least // 2)


@given(st.one_of(deployments(), REPLACED, IN_PLACE))
def test_never_fewer_serve_than_served_before_or_are_desired(drawn):
    """…or half as many, in place."""
    world, desired = drawn
    least = floor(world, desired)
    made = plan_or_skip(desired, world)
    event(f"waves {len(made.waves)}, retires {any(w.retire for w in made.waves)}")
    for _ in world.steps(made, desired.version):
        assert world.serving() >= least


@given(deployments())
def test_what_is_published_and_runs_is_never_cleaned(drawn):
    """…whatever its node knows of it: it goes once it is replaced, or is left alone."""
    world, desired = drawn
    made = plan_or_skip(desired, world)
    cleaned = {(node, one) for node, ids in made.clean.items() for one in ids}
    event(f"cleans {bool(cleaned)}, lost {any(i.published and not i.recorded for i in world.there())}")
    assert not [key for key in cleaned if world.instances[key].published and world.instances[key].running]


@given(st.one_of(IN_WAVES, REPLACED))
def test_an_instance_has_its_successor_on_its_own_node(drawn):
    """…unless that may not run it or has no port for it, or the operator has all spread anew; the plan says each move."""
    world, desired = drawn
    assume(not desired.keep)
    made = plan_or_skip(desired, world)
    started = sum((Counter(wave.start) for wave in made.waves), Counter())
    gone = {
        (n, i) for w in made.waves for part in (w.retire, w.replace, w.withdraw) for n, ids in part.items() for i in ids
    }
    there = [i for i in world.there() if i.node in desired.nodes and _usable(i, desired)]
    kept = Counter(i.node for i in there if (i.node, i.id) not in gone)
    # A successor that is there already is the one of an instance of another release beside it.
    published = [i for i in world.there() if i.published and i not in there]
    other = Counter(i.node for i in published if i.version != NEW or not desired.publish)
    same = Counter(i.node for i in published if i.version == NEW and desired.publish)
    had = Counter({n: max(other[n], kept[n]) + same[n] for n in (*NODES, *SIX, "left")})
    left, came = had - started - kept, started + kept - had
    told = [line for line in lines(made, "shop", NEW) if line.startswith("shop moves from ")]
    event(f"moves {bool(told)}, more {bool(came)}, move {desired.move}")
    assert len(told) == len(made.moves) == min(sum(left.values()), sum(came.values()))
    if came and not desired.move:
        could = [n for n in left if n in desired.nodes and _room(world, desired, n) > started[n]]
        assert not could, f"{could} could have kept one, {dict(came)} got one instead"


@given(deployments(), st.sets(st.sampled_from((*NODES, "left"))))
def test_nothing_starts_without_its_data_unless_that_is_confirmed(drawn, data):
    """…nor does a node with data lose its last instance, but for another one with data."""
    world, desired = drawn
    assume(not desired.move)
    desired = replace(desired, app=replace(desired.app, data=True))
    observed = replace(world.observed(), data=dict.fromkeys(data, ""))
    before = {i.node for i in world.there() if i.published}
    try:
        made = plan(desired, observed)
    except Refused as exc:
        event(f"refused {'data' in str(exc)}")
        assume(False)
    for _ in world.steps(made, NEW):
        pass
    after = {i.node for i in world.there() if i.published or (i.held and not desired.publish)}
    lost, reached = data & before - after, data & after - before
    event(f"data {bool(data)}, empty {bool(made.empty)}, from one to the other {bool(lost)}")
    assert len(lost) <= len(reached)
    bare = {node for wave in made.waves for node in wave.start} - data
    assert set(made.empty) == bare
    assert not [m for m in made.moves if m.source in data and m.target in bare]
    # Candidates leave nothing yet: what is replaced once they are published is.
    left = data - {i.node for i in world.there() if i.version == NEW} if not desired.publish else data - after
    assert not left or not bare - before


@given(IN_PLACE)
def test_in_place_the_plan_says_if_nothing_serves_meanwhile(drawn):
    """…and of each wave, how many do: the world asserts that."""
    world, desired = drawn
    assume(world.serving())
    made = plan_or_skip(desired, world)
    says = any("is down there" in line for line in lines(made, "shop", desired.version))
    fewest = min([world.serving(), *(world.serving() for _ in world.steps(made, desired.version))])
    event(f"down {says}, replaces {any(wave.replace for wave in made.waves)}")
    assert says == (fewest == 0)


@given(IN_PLACE)
def test_in_place_only_what_is_in_the_way_goes_first(drawn):
    """…and only once the nodes with room have their instances."""
    world, desired = drawn
    waves = plan_or_skip(desired, world).waves
    replacing = [bool(wave.replace) for wave in waves if wave.start]
    assert replacing == sorted(replacing)
    for wave in waves:
        assert all(slot_of(ids[0]) == 100 and len(ids) == 1 for ids in wave.replace.values())
        assert not wave.replace or wave.replace.keys() == wave.start.keys(), "nodes with room wait for others"


@given(BESIDE)
def test_beside_nothing_goes_first(drawn):
    world, desired = drawn
    assert not any(wave.replace for wave in plan_or_skip(desired, world).waves)


@given(IN_WAVES)
def test_no_wave_touches_two_zones(drawn):
    world, desired = drawn
    assert_in_one_zone_each(world, plan_or_skip(desired, world))


def assert_in_one_zone_each(world, made):
    for wave in made.waves:
        touched = {*wave.start, *wave.adopt, *wave.replace, *wave.retire}
        assert len({world.zones.get(node, "") for node in touched}) == 1


@given(IN_WAVES)
def test_a_wave_is_no_larger_than_the_strategy_says(drawn):
    """Nodes that start something are handled in cumulative sizes, and each of them once."""
    world, desired = drawn
    waves = [list(wave.start) for wave in plan_or_skip(desired, world).waves]
    handled = [node for wave in waves for node in wave]
    assert len(handled) == len(set(handled)), "two waves start something on the same node"
    done = 0
    for wave in waves:
        for size in desired.app.strategy.waves:
            upto = size if isinstance(size, int) else math.ceil(len(handled) * int(size[:-1]) / 100)
            assert not done < upto < done + len(wave), f"a wave goes beyond {size}"
        done += len(wave)


@given(st.one_of(IN_WAVES, SICK))
def test_nothing_is_started_later_on_a_node_that_has_retired_something(drawn):
    """It could take the port that what was retired needs, should it be brought back."""
    world, desired = drawn
    waves, retired = plan_or_skip(desired, world).waves, set()
    event(f"starts twice {sum(bool(wave.start) for wave in waves) > 1}")
    for wave in waves:
        assert not retired & set(wave.start)
        retired |= {*wave.replace, *wave.retire}


@given(deployments())
def test_nothing_is_touched_outside_of_the_deployment(drawn):
    """Only its nodes install and start; what is stopped was there, and is stopped once."""
    world, desired = drawn
    made = plan_or_skip(desired, world)
    active = {*made.install, *(node for wave in made.waves for node in (*wave.start, *wave.adopt))}
    assert active <= set(desired.nodes)
    stopped = [made.clean, *(ids for wave in made.waves for ids in (wave.replace, wave.withdraw, wave.retire))]
    gone = Counter((node, one) for ids in stopped for node, some in ids.items() for one in some)
    assert set(gone) <= set(world.instances)
    assert set(gone.values()) <= {1}


@given(IN_WAVES)
def test_what_is_started_is_spread_evenly_over_the_zones(drawn):
    """A zone gets more than another only where the other has no room, or had more before: successors are not spread."""
    world, desired = drawn
    started = sum((Counter(wave.start) for wave in plan_or_skip(desired, world).waves), Counter())
    replaced = [i for i in world.there() if i.published and not _usable(i, desired)]
    successors = Counter(i.node for i in replaced if not desired.keep or i.version == NEW)
    more = started if desired.move else started - successors
    room = Counter({node: _room(world, desired, node) for node in desired.nodes})
    kept = [i.node for i in world.there() if i.node in desired.nodes and _usable(i, desired)]
    zones = {zone: [n for n in desired.nodes if world.zones.get(n, "") == zone] for zone in ("x", "y", "")}
    new = {zone: sum(started[n] + kept.count(n) for n in nodes) for zone, nodes in zones.items()}
    event(f"zones {len([nodes for nodes in zones.values() if nodes])}")
    for zone, nodes in zones.items():
        for other, others in zones.items():
            if any(more[n] for n in nodes) and any(room[n] > started[n] for n in others):
                assert new[zone] <= new[other] + 1


def _usable(i, desired):
    return i.version == NEW and (i.good if desired.publish else i.held and not i.stale)


def _room(world, desired, node):
    """Return how many more can be started on ``node``."""
    if world.app.ports is None:
        return 99
    goes = world.app.recreate and desired.publish and not desired.keep
    stays = [i for i in world.there() if i.node == node and (_usable(i, desired) or not goes)]
    taken = {i.port for i in stays if (i.running and i.published) or _usable(i, desired)}
    return len(set(world.app.ports) - taken - set(world.foreign.get(node, ())))


@given(st.one_of(deployments(), CROWDED))
def test_refused_only_if_there_is_no_room(drawn):
    """…and a plan never starts more on a node than its free ports: the world asserts that for each start."""
    world, desired = drawn
    kept = [i for i in world.there() if i.node in desired.nodes and _usable(i, desired)]
    missing = max(0, desired.instances - len(kept))
    free = sum(_room(world, desired, node) for node in desired.nodes)
    try:
        made = plan(desired, world.observed())
    except Refused:
        event("refused")
        assert desired.app.ports and free < missing
    else:
        adopted = sum(len(some) for w in made.waves for some in w.adopt.values())
        assert sum(sum(w.start.values()) for w in made.waves) == missing - adopted
        for _ in world.steps(made, desired.version):
            pass


@given(deployments())
def test_the_plan_leads_to_what_is_desired(drawn):
    world, desired = drawn
    before = [i for i in world.there() if i.running and i.published]
    made = plan_or_skip(desired, world)
    for _ in world.steps(made, desired.version):
        pass
    assert_reached(world, desired, before)
    if desired.publish:
        there = [i for i in world.there() if i.published and i.version == desired.version and i.node in desired.nodes]
        assert not any(i.outdated for i in there), "it is not registered as it is defined"
        assert not any(i.stale for i in there), "its files are not as they are defined"
        assert plan(desired, world.observed()) == Plan({}, (), (), True)


@given(deployments(worlds(found=({"version": OLD}, WAITING, {**WAITING, "stale": "etc/shop.ini"}))))
def test_a_candidate_that_waits_has_the_files_of_its_definition(drawn):
    """Nobody reloads it."""
    world, desired = drawn
    desired = replace(desired, publish=False, keep=False)
    made = plan_or_skip(desired, world)
    for _ in world.steps(made, desired.version):
        pass
    waiting = [i for i in world.there() if not i.published and i.version == desired.version]
    assert not any(i.stale for i in waiting)


@given(deployments(), st.integers(0, 60), st.sets(st.integers(0, 5)))
def test_a_run_cut_off_anywhere_is_simply_run_again(drawn, cut, dying):
    """Some of the candidates that the dead run left behind may die before the next one."""
    world, desired = drawn
    before = [i for i in world.there() if i.running and i.published]
    least = floor(world, desired)
    steps = world.steps(plan_or_skip(desired, world), desired.version)
    cut_off = sum(1 for _ in zip(range(cut), steps)) == cut
    event(f"cut off {cut_off}")
    candidates = [key for key, i in sorted(world.instances.items()) if not i.published]
    for number in dying & set(range(len(candidates))):
        key = candidates[number]
        world.instances[key] = replace(world.instances[key], running=False)
    # In place, the dead run may have left a single one that serves, which may be out in its turn.
    least = min(least, floor(world, desired)) if world.serving() else least
    for _ in world.steps(plan(desired, world.observed()), desired.version):
        assert world.serving() >= least
    assert_reached(world, desired, before)


@given(BLUE_GREEN, st.integers(0, 60))
def test_blue_green_nothing_is_withdrawn_before_all_that_is_new_serves(drawn, cut):
    """…and what was withdrawn stays, warm, until its time is over; then a next run retires it, and nothing else."""
    world, desired = drawn
    assume(desired.publish and not desired.keep)
    old = {(i.node, i.id) for i in world.there() if i.good and i.version == OLD}
    made = plan_or_skip(desired, world)
    assert len(made.waves) <= 1
    for _ in zip(range(cut), world.steps(made, NEW)):
        assert_all_of_a_set_serve(world, desired, old)
    for _ in world.steps(plan(desired, world.observed()), NEW):
        assert_all_of_a_set_serve(world, desired, old)
    event(f"old {bool(old)}, cut off {bool(made) and bool(cut)}")
    serving = {key for key, i in world.instances.items() if i.published}
    again = Desired(world.app, NEW, desired.instances, desired.nodes)
    world.warm.clear()
    last = plan(again, world.observed())
    assert (last.waves, last.install) == ((), ())
    for _ in world.steps(last, NEW):
        pass
    assert set(world.instances) == serving


def assert_all_of_a_set_serve(world, desired, old):
    new = [i for i in world.there() if i.good and i.version == NEW and i.node in desired.nodes]
    if not old <= {key for key, i in world.instances.items() if i.published}:
        assert len(new) >= desired.instances


@given(worlds_blue_green(found=(*[{"version": OLD}] * 8, *FOUND)), st.integers(1, 3), st.integers(0, 60))
def test_blue_green_the_way_back_starts_nothing(world, count, cut):
    """…cut off or not: all of the old set that served is published as it is, and the new one is warm in its place."""
    old = {(i.node, i.id) for i in world.there() if i.good and i.version == OLD and i.node in NODES}
    assume(old)
    for _ in world.steps(plan_or_skip(Desired(world.app, NEW, count, NODES), world), NEW):
        pass
    assert old <= world.is_warm()
    new = {key for key, i in world.instances.items() if i.published}
    back = Desired(world.app, OLD, len(old), NODES)
    made = plan(back, world.observed())
    least = min(world.serving(), len(old))
    assert not made.install and not any(wave.start for wave in made.waves)
    for _ in zip(range(cut), world.steps(made, OLD)):
        assert world.serving() >= least
    for _ in world.steps(plan(back, world.observed()), OLD):
        assert world.serving() >= least
    assert not plan(back, world.observed())
    assert len([i for i in world.there() if i.good and i.version == OLD]) == len(old) == world.serving()
    assert new <= world.is_warm()


def assert_reached(world, desired, before):
    """Assert that there is what was desired, of the old what was to stay, and nothing else."""
    there, warm = world.counts(), world.is_warm()
    assert world.app.blue_green or not warm
    assert all(world.instances[key].running and world.instances[key].tested for key in warm)
    if not desired.publish:
        held = [i for i in world.there() if not i.published and (i.node, i.id) not in warm]
        assert len(held) == desired.instances
        assert all(i.held and i.running and i.tested and i.version == NEW and i.node in desired.nodes for i in held)
        assert {(i.node, i.id) for i in before} | {(i.node, i.id) for i in held} | warm == set(world.instances)
        return
    good = [i for i in world.there() if i.version == NEW and i.good and i.node in desired.nodes]
    if desired.keep:
        assert len(good) >= desired.instances
        assert {(i.node, i.id) for i in before if i.version != NEW or i.good} <= set(world.instances)
        assert all(i.running and i.published for i in world.there() if (i.node, i.id) not in warm)
    else:
        assert there == {(NEW, True, True, True): desired.instances}
        assert len(good) == desired.instances


@given(
    st.one_of(worlds(SOME_WAIT), worlds_blue_green(SOME_WAIT), worlds_held()),
    st.sampled_from([1, 0.7, 0.3, 0]),
    st.booleans(),
    st.integers(0, 40),
)
def test_publication_never_leaves_fewer_and_may_be_cut_off(world, part, keep, cut):
    mine = [i for i in world.there() if i.version == NEW and i.node in NODES]
    most = sum(i.good or i.held for i in mine)
    desired = Desired(world.app, NEW, max(1, round(part * most)), NODES, keep=keep)
    least = min(world.serving(), desired.instances)
    made = plan_or_skip(desired, world, publication)
    if world.app.blue_green:
        assert len(made.waves) == 1
    else:
        assert_in_one_zone_each(world, made)
    adopted = {(i.node, i.id) for wave in made.waves for ids in wave.adopt.values() for i in ids}
    steps = world.steps(made, NEW)
    for _ in zip(range(cut), steps):
        assert world.serving() >= least
    if any(not world.instances[key].published for key in adopted):
        event("cut off")
        steps = world.steps(publication(desired, world.observed()), NEW)
    for _ in steps:
        assert world.serving() >= least
    assert all(world.instances[key].good for key in adopted)
    served = [i for i in world.there() if i.published]
    assert all(i.running for i in served)
    assert keep or all(i.good and i.version == NEW and i.node in NODES for i in served)
