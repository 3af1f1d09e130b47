"""Properties of the planner, over thousands of generated fleets.

Plans are run in a simulated world, one small step after the other, so that a run may be cut off between any two.
"""

from dataclasses import replace

from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from saltdeploy.errors import Refused
from saltdeploy.model import PortRange
from saltdeploy.planner import Desired, Plan, plan, publication

from tests.support.fleet import NEW, OLD, World, instance, make_app

RANGE = PortRange(100, 105)
NODES = ("a", "b", "c", "d")
STRANGER = None
WAITING = {"version": NEW, "published": False, "held": True}
# What may be found in a slot, in whatever state earlier runs, crashes and strangers have left it.
FOUND = [
    {"version": OLD},
    {"version": OLD, "tested": False},
    {"version": OLD, "running": False},
    {"version": OLD, "running": False, "published": False},
    {"version": OLD, "published": False},
    {"version": NEW},
    {"version": NEW},
    {"version": NEW, "tested": False},
    {"version": NEW, "running": False},
    {"version": NEW, "published": False},
    {"version": NEW, "published": False, "tested": False},
    WAITING,
    STRANGER,
]


@st.composite
def worlds(draw, found=tuple(FOUND)):
    """Draw nodes ("left" is in the environment no more) with something in some of their slots."""
    ports = draw(st.sampled_from([RANGE, RANGE, None, PortRange(100, 101), PortRange(100, 100)]))
    spots = st.tuples(st.sampled_from((*NODES, "left")), st.sampled_from(list(ports or RANGE)), st.sampled_from(found))
    drawn = draw(st.lists(spots, max_size=10, unique_by=lambda spot: spot[:2]))
    waves = draw(st.sampled_from([(1, "100%"), ("100%",), (1, "25%", "50%"), (2, 3), ("1%", 1, "99%")]))
    installed = {node: draw(st.sampled_from([(), (OLD,), (OLD, NEW)])) for node in NODES}
    return World(
        make_app(ports, waves),
        [instance(node, slot=slot, **flags) for node, slot, flags in drawn if flags],
        {node: {slot for n, slot, flags in drawn if n == node and not flags and ports} for node in NODES},
        installed,
        draw(st.sampled_from([{}, {"a": ()}, {"a": ("shop_0.9_200",), "left": ("shop_0.9_200", "shop_0.9_201")}])),
    )


@st.composite
def deployments(draw):
    """Draw a world and something desired of it."""
    world = draw(worlds())
    nodes = draw(st.sampled_from([NODES, ("b", "a"), ("d", "b", "c"), ("c",)]))
    publish, keep = draw(st.sampled_from([(True, False)] * 3 + [(True, True), (False, False)]))
    return world, Desired(world.app, NEW, draw(st.integers(1, 5)), nodes, publish, keep)


def plan_or_skip(desired, world, planner=plan):
    try:
        return planner(desired, world.observed())
    except Refused:
        assume(False)


# Derandomized: a failure of one run is seen again in the next.
many = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


@many
@given(deployments())
def test_never_fewer_serve_than_served_before_or_are_desired(drawn):
    world, desired = drawn
    least = min(world.serving(), desired.instances)
    made = plan_or_skip(desired, world)
    event(f"waves {len(made.waves)}, retires {any(w.retire for w in made.waves)}")
    for _ in world.steps(made, desired.version):
        assert world.serving() >= least


@many
@given(deployments())
def test_refused_only_if_there_is_no_room(drawn):
    """…and a plan never starts more on a node than its free ports: the world asserts that for each start."""
    world, desired = drawn
    good = [i for i in world.instances.values() if i.version == NEW and i.good and i.node in desired.nodes]
    missing = desired.instances - (min(len(good), desired.instances) if desired.publish else 0)
    serving = {(i.node, i.port) for i in world.instances.values() if i.running and i.published}
    strangers = {(node, port) for node, ports in world.foreign.items() for port in ports}
    free = sum((n, p) not in serving | strangers for n in desired.nodes for p in desired.app.ports or ())
    try:
        made = plan(desired, world.observed())
    except Refused:
        event("refused")
        assert desired.app.ports and free < missing
    else:
        assert sum(sum(w.start.values()) for w in made.waves) == missing
        for _ in world.steps(made, desired.version):
            pass


@many
@given(deployments())
def test_the_plan_leads_to_what_is_desired(drawn):
    world, desired = drawn
    before = [i for i in world.instances.values() if i.running and i.published]
    made = plan_or_skip(desired, world)
    for _ in world.steps(made, desired.version):
        pass
    assert_reached(world, desired, before)
    if desired.publish:
        assert plan(desired, world.observed()) == Plan({}, (), (), True)


@many
@given(deployments(), st.integers(0, 60), st.sets(st.integers(0, 5)))
def test_a_run_cut_off_anywhere_is_simply_run_again(drawn, cut, dying):
    """Some of the candidates that the dead run left behind may die before the next one."""
    world, desired = drawn
    before = [i for i in world.instances.values() if i.running and i.published]
    least = min(world.serving(), desired.instances)
    steps = world.steps(plan_or_skip(desired, world), desired.version)
    cut_off = sum(1 for _ in zip(range(cut), steps)) == cut
    event(f"cut off {cut_off}")
    candidates = [key for key, i in sorted(world.instances.items()) if not i.published]
    for number in dying & set(range(len(candidates))):
        key = candidates[number]
        world.instances[key] = replace(world.instances[key], running=False)
    for _ in world.steps(plan(desired, world.observed()), desired.version):
        assert world.serving() >= least
    assert_reached(world, desired, before)


def assert_reached(world, desired, before):
    """Assert that there is what was desired, of the old what was to stay, and nothing else."""
    assert not any(world.ghosts.values())
    there = world.counts()
    if not desired.publish:
        held = [i for i in world.instances.values() if not i.published]
        assert len(held) == desired.instances
        assert all(i.held and i.running and i.tested and i.version == NEW and i.node in desired.nodes for i in held)
        assert {(i.node, i.id) for i in before} | {(i.node, i.id) for i in held} == set(world.instances)
        return
    good = [i for i in world.instances.values() if i.version == NEW and i.good and i.node in desired.nodes]
    if desired.keep:
        assert len(good) >= desired.instances
        assert {(i.node, i.id) for i in before} <= set(world.instances)
        assert all(i.running and i.published for i in world.instances.values())
    else:
        assert there == {(NEW, True, True, True): desired.instances}
        assert len(good) == desired.instances


@many
@given(worlds(found=(*FOUND, WAITING, WAITING, WAITING, WAITING)), st.floats(0, 1), st.booleans(), st.integers(0, 40))
def test_publication_never_leaves_fewer_and_may_be_cut_off(world, part, keep, cut):
    mine = [i for i in world.instances.values() if i.version == NEW and i.node in NODES]
    most = sum(i.good or i.held for i in mine)
    desired = Desired(world.app, NEW, max(1, round(part * most)), NODES, keep=keep)
    least = min(world.serving(), desired.instances)
    made = plan_or_skip(desired, world, publication)
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
    served = [i for i in world.instances.values() if i.published]
    assert all(i.running for i in served)
    assert keep or all(i.good and i.version == NEW and i.node in NODES for i in served)
