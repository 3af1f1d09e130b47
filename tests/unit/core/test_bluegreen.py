"""Blue-green: what a definition may say, how it is planned, by examples, and what the record has of it."""

from dataclasses import replace

import pytest
from saltdeploy.core import bluegreen
from saltdeploy.core.environment import Environment, Node
from saltdeploy.core.errors import Refused
from saltdeploy.core.model import NORMAL_WEIGHT, PortRange
from saltdeploy.discovery import Endpoint
from saltdeploy.master import status
from saltdeploy.planning.explain import lines
from saltdeploy.planning.model import Desired, Plan, Wave
from saltdeploy.planning.planner import plan, publication

from tests.support.definitions import mistake, pillar, shop
from tests.support.fleet import NEW, OLD, instance, make_app, observe

BLUE_GREEN = {"type": "blue_green"}
TWO = ("web1", "web2")


# -- definitions ------------------------------------------------------------------------------


def test_it_is_warm_for_ten_minutes_unless_it_is_said():
    assert shop({"strategy": BLUE_GREEN}).blue_green and not shop().blue_green
    assert shop({"strategy": BLUE_GREEN}).strategy.keep_old == 600
    assert shop({"strategy": {**BLUE_GREEN, "keep_old": "1h"}}).strategy.keep_old == 3600


@pytest.mark.parametrize(
    "strategy, message",
    [
        (
            {"keep_old": "5m"},
            "apps:shop:strategy:keep_old: has a meaning with `type: blue_green` only, and shop has `rolling`",
        ),
        (
            {"type": "recreate", "keep_old": "5m"},
            "apps:shop:strategy:keep_old: has a meaning with `type: blue_green` only",
        ),
        (
            {**BLUE_GREEN, "keep_old": "soon"},
            "apps:shop:strategy:keep_old: 'soon' is not a duration. Write a number of seconds",
        ),
        ({**BLUE_GREEN, "pause": "manual"}, "apps:shop:strategy:pause: a blue_green deployment has no first wave"),
        ({**BLUE_GREEN, "pause": "5m"}, "apps:shop:strategy:pause: a blue_green deployment has no first wave"),
        ({**BLUE_GREEN, "waves": [1, "100%"]}, "apps:shop:strategy:waves: blue_green replaces all at once"),
    ],
)
def test_what_has_no_meaning_together_is_refused(strategy, message):
    assert mistake(pillar({"strategy": strategy})).startswith(message)


def test_an_environment_s_strategy_is_refused_where_it_contradicts_itself():
    waves = pillar(strategy={**BLUE_GREEN, "waves": [1]})
    assert mistake(waves).startswith("environments:test:strategy:waves: blue_green replaces all at once")
    for_others = shop({"strategy": BLUE_GREEN}, strategy={"waves": [1, "50%"], "keep_old": "1m"})
    assert for_others.blue_green and for_others.strategy.keep_old == 60
    assert not shop(strategy={"keep_old": "1m"}).blue_green
    paused = pillar({"strategy": BLUE_GREEN}, strategy={"pause": "5m"})
    assert mistake(paused).startswith("environments:test:strategy:pause: a blue_green deployment has no first wave")
    assert shop({"strategy": {**BLUE_GREEN, "pause": 0, "waves": ["100%"]}}, strategy={"pause": "5m"}).blue_green


def test_there_must_be_ports_for_two_sets():
    app = {"strategy": BLUE_GREEN, "ports": "20000-20002"}
    assert shop(app, {"instances": 3}).ports == PortRange(20000, 20002)
    assert mistake(pillar(app, {"instances": 4})) == (
        "apps:shop:ports: 20000-20002 has 3 on each of 2 nodes, and blue_green needs two for each of the 4 instances,"
        " old and new: give 4 ports or more."
    )
    # One port is enough where there are as many nodes to spare.
    assert shop({**app, "ports": 20000}, {"instances": 1}).blue_green
    assert shop({"strategy": BLUE_GREEN, "run": "a", "ports": "20000-20009"}, {"instances": 10}).blue_green


# -- plans ------------------------------------------------------------------------------------


def desire(version=NEW, instances=2, ports=PortRange(100, 101), **options):
    return Desired(make_app(ports, type="blue_green"), version, instances, TWO, **options)


def seen(*instances, warm=(), **more):
    return replace(observe(*instances, releases=dict.fromkeys(TWO, (OLD, NEW)), **more), warm=frozenset(warm))


def resting(node, version=OLD, slot=100):
    return instance(node, version, slot, published=False)


FLIPPED = [*(resting(n) for n in TWO), *(instance(n, NEW, 101) for n in TWO)]
WARM = [(n, "shop_1.0_100") for n in TWO]


def test_all_is_one_wave_and_what_it_replaces_is_withdrawn():
    made = plan(desire(), seen(*(instance(n) for n in TWO)))
    old = dict.fromkeys(TWO, ("shop_1.0_100",))
    assert made == Plan({}, (), (Wave({"web1": 1, "web2": 1}, {}, withdraw=old),), True)
    assert lines(made, "shop", NEW) == [
        "wave 1: start, test and publish 1 on web1, 1 on web2",
        "wave 1: withdraw shop_1.0_100 on web1, shop_1.0_100 on web2, to run on, warm",
    ]


def test_without_a_time_it_is_retired():
    desired = desire()
    desired = replace(desired, app=replace(desired.app, strategy=replace(desired.app.strategy, keep_old=0)))
    [wave] = plan(desired, seen(*(instance(n) for n in TWO))).waves
    assert wave.retire == dict.fromkeys(TWO, ("shop_1.0_100",)) and not wave.withdraw


def test_what_is_warm_stays_until_its_time_is_over():
    assert not plan(desire(), seen(*FLIPPED, warm=WARM))
    assert plan(desire(), seen(*FLIPPED)) == Plan(dict.fromkeys(TWO, ("shop_1.0_100",)), (), (), True)


def test_the_way_back_publishes_what_is_warm():
    [wave] = plan(desire(OLD), seen(*FLIPPED, warm=WARM)).waves
    assert wave.start == {} and wave.adopt == {n: (resting(n),) for n in TWO}
    assert wave.withdraw == dict.fromkeys(TWO, ("shop_2.0_101",))


def test_what_is_dead_is_started_anew():
    there = [replace(FLIPPED[0], running=False), *FLIPPED[1:]]
    made = plan(desire(OLD), seen(*there, warm=WARM))
    assert made.clean == {"web1": ("shop_1.0_100",)}
    assert made.waves[0].start == {"web1": 1} and made.waves[0].adopt == {"web2": (resting("web2"),)}


def test_the_next_release_takes_the_place_of_what_is_warm():
    made = plan(desire("3.0"), seen(*FLIPPED, warm=WARM))
    assert made.clean == dict.fromkeys(TWO, ("shop_1.0_100",))
    assert made.waves[0].withdraw == dict.fromkeys(TWO, ("shop_2.0_101",))


def test_more_instances_run_beside_what_is_warm_if_there_is_room():
    assert plan(desire(instances=3, ports=PortRange(100, 102)), seen(*FLIPPED, warm=WARM)).clean == {}
    assert plan(desire(instances=3), seen(*FLIPPED, warm=WARM)).clean == dict.fromkeys(TWO, ("shop_1.0_100",))
    with pytest.raises(Refused, match="no room for 3 more"):
        plan(desire(instances=5), seen(*FLIPPED, warm=WARM))


def test_candidates_that_somebody_looked_at_are_published_all_at_once():
    held = [instance(n, NEW, 101, published=False, held=True) for n in TWO]
    old = [instance(n) for n in TWO]
    assert not plan(desire(publish=False), seen(*old, *held))
    [wave] = publication(desire(), seen(*old, *held)).waves
    assert wave.adopt == {i.node: (i,) for i in held} and wave.withdraw == dict.fromkeys(TWO, ("shop_1.0_100",))
    assert not bluegreen.returning(wave), "what is new has to stay healthy for min_healthy_time"


def test_publication_stops_what_was_warm_before_and_what_a_dead_run_left():
    held = [instance(n, NEW, 102, published=False, held=True) for n in TWO]
    there = (resting("web1", "0.9"), resting("web2", "0.9"), *(instance(n, slot=101) for n in TWO), *held)
    made = publication(desire(), seen(*there, warm=[("web1", "shop_0.9_100")]))
    assert made.clean == dict.fromkeys(TWO, ("shop_0.9_100",))


def test_what_is_warm_is_no_candidate_for_publication():
    with pytest.raises(Refused, match="no candidate of shop 1.0 waits"):
        publication(desire(OLD), seen(*FLIPPED, warm=WARM))


def test_another_strategy_keeps_nothing_warm():
    desired = replace(desire(), app=make_app(PortRange(100, 101)))
    assert plan(desired, seen(*FLIPPED, warm=WARM)).clean == dict.fromkeys(TWO, ("shop_1.0_100",))


# -- the record -------------------------------------------------------------------------------

ENTRY = {"until": 1000.0, "nodes": {"web1": ["shop_1.0_100"], "web2": ["shop_1.0_100"]}}


def test_until_when():
    assert bluegreen.still({"warm": ENTRY}, 999.9) == set(WARM)
    assert bluegreen.still({"warm": ENTRY}, 1000) == bluegreen.still({}, 0) == bluegreen.still(None, 0) == set()


def test_what_is_over_is_what_is_there_and_unpublished():
    record = {"warm": ENTRY}
    there = (resting("web1"), instance("web2"), resting("web2", "3.0", 102))
    assert bluegreen.over(record, seen(*there)) == {"web1": ("shop_1.0_100",)}
    assert bluegreen.over(record, seen(*there, warm=WARM)) == bluegreen.over(None, seen(*there)) == {}


def test_entries_change():
    more = bluegreen.kept(ENTRY, {"web1": ("shop_1.0_100", "shop_1.0_101"), "web3": ("shop_1.0_100",)}, 2000.0)
    assert more["until"] == 2000.0
    assert more["nodes"]["web1"] == ["shop_1.0_100", "shop_1.0_101"] and more["nodes"]["web3"] == ["shop_1.0_100"]
    assert bluegreen.without(more, {"web1": ["shop_1.0_100"], "web3": ["shop_1.0_100"]})["nodes"] == {
        "web1": ["shop_1.0_101"],
        "web2": ["shop_1.0_100"],
    }
    assert bluegreen.without(ENTRY, ENTRY["nodes"]) is bluegreen.without(None, {}) is None
    assert bluegreen.cooled({"version": "2.0", "warm": ENTRY}, ENTRY["nodes"]) == {"version": "2.0"}
    assert ENTRY["nodes"]["web1"] == ["shop_1.0_100"], "the entry that was read is not changed"


class Discovery:
    """Has one instance published, and one of the two warm ones still."""

    def __init__(self, current):
        self.current = current

    def read(self, key):
        return (self.current, 0, None) if key.endswith("current") else (None, 0, None)

    def instances(self, name, passing=False):
        instance, version = ("shop_1.0_100_candidate", OLD) if name.endswith("candidate") else ("shop_2.0_101", NEW)
        meta = {"environment": "e", "version": version, "minion": "web1"}
        return [Endpoint(instance, name, "web1", "127.0.0.1", 1, meta=meta, weight=NORMAL_WEIGHT)]


def test_status_has_what_is_warm_and_until_when():
    record = {"version": NEW, "nodes": {"web1": ["shop_2.0_101"]}, "deployment": "d", "time": 0}
    app = replace(make_app(), version=NEW)

    def state(entry):
        environment = Environment("e", {"web1": Node("web1", "127.0.0.1")}, {"shop": app})
        found = status.of_app(Discovery({**record, **entry}), environment, app)
        return [row["state"] for row in found["instances"]], found["warm"]

    states, sentence = state({"warm": {**ENTRY, "until": 4e9}})
    assert states == ["published", "warm"]
    assert sentence.startswith("shop 1.0 runs on, warm, until 20")
    assert sentence.endswith(": salt-run deploy.rollback shop version=\"'1.0'\" env=e publishes it at once")
    assert state({"warm": ENTRY})[1].endswith(": salt-run deploy.prune shop env=e retires it")
    assert state({}) == (["published", "candidate"], "")
    assert state({"warm": {"until": 4e9, "nodes": {"web2": ["shop_1.0_100"]}}})[1] == "", "it is gone"
