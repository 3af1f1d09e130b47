"""A plan in sentences, and as plain data."""

import json
from dataclasses import replace

from saltdeploy.core.model import Strategy
from saltdeploy.planning.explain import actions, lines
from saltdeploy.planning.model import Desired
from saltdeploy.planning.planner import plan, publication

from tests.support.fleet import NEW, OLD, THREE, desire, in_place, instance, make_app, observe
from tests.support.gates import gate, named


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


def test_a_release_is_installed_and_its_settings_are_started():
    said = lines(plan(desire(version=f"{NEW}@7"), observe(*(instance(n) for n in THREE))), "shop", f"{NEW}@7")
    assert said[0] == "install shop 2.0 on web1, web2, web3" and "@" not in " ".join(said)


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


def test_in_place_a_single_instance_is_down_meanwhile_and_the_plan_says_so():
    made = plan(in_place(1, ("web1",)), observe(instance("web1"), releases={"web1": [NEW]}))
    assert lines(made, "shop", NEW) == [
        "wave 1: first retire shop_1.0_100 on web1, and nothing else serves on these nodes:"
        " shop is down there until the new one is published",
        "wave 1: start, test and publish 1 on web1",
    ]


def test_the_plan_says_what_is_measured():
    app = replace(make_app(), strategy=Strategy(analysis=(gate(), named("latency", gate()))))
    there = observe(*[instance(n) for n in ("a", "b")])
    desired = Desired(app, NEW, 2, ("a", "b"), analysis=True)
    told = lines(plan(desired, there), "shop", NEW)
    assert told[1:4] == [
        "wave 1: start, test and publish 1 on a",
        "wave 1: measure errors, latency",
        "wave 1: retire shop_1.0_100 on a",
    ]
    for other in ({"analysis": False}, {"publish": False}):
        unmeasured = plan(Desired(app, NEW, 2, ("a", "b"), **{"analysis": True, **other}), there)
        assert "measure" not in " ".join(lines(unmeasured, "shop", NEW))
