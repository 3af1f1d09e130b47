"""The jobs of a deployment: the function, its deadline, and which answers are right."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from saltdeploy.core import deadlines
from saltdeploy.core.model import Probe, Reload
from saltdeploy.definition import stops
from saltdeploy.master.remote.jobs import TALK_DEADLINE, publish_deadline, stop_deadline, told_ids
from saltdeploy.master.rollout import steps

from tests.support.fleet import make_app

IDS = {"web1": ["shop_1.0_100", "shop_1.0_101"], "web2": ["shop_1.0_100"]}
WEIGHTS = {node: dict.fromkeys(ids, 256) for node, ids in IDS.items()}
APP = make_app()
TESTED = replace(APP, tests=(Probe("tcp", "", timeout=4.0), Probe("tcp", "", timeout=5.0)))
STEPS = {
    "stop": steps.stop("clean", APP, IDS),
    "publish": steps.publish(APP, IDS),
    "withdraw": steps.withdraw(APP, IDS),
    "weigh": steps.weigh(APP, WEIGHTS),
    "register": steps.register(APP, IDS),
    "restore": steps.restore(APP, IDS),
    "restart": steps.restart(APP, IDS),
    "renew": steps.renew(APP, IDS),
}


class Journal:
    def __init__(self):
        self.said = []
        self.say = self.said.append


@pytest.mark.parametrize(
    "name, phase, function",
    [
        ("stop", "clean", "app.stop"),
        ("publish", "publish", "discovery.publish"),
        ("withdraw", "withdraw", "discovery.withdraw"),
        ("weigh", "weigh", "discovery.weigh"),
        ("register", "register", "discovery.register_again"),
        ("restore", "restore", "app.restore"),
        ("restart", "restart", "app.restart"),
        ("renew", "reload", "app.renew_config"),
    ],
)
def test_each_step_is_a_job_on_the_nodes_of_its_instances(name, phase, function):
    step, asked = STEPS[name], WEIGHTS if name == "weigh" else IDS
    assert step.job == (phase, function, asked, "shop", asked)
    assert list(step.nodes) == ["web1", "web2"] and step.options["told"] is told_ids


@pytest.mark.parametrize("prepared", [(), ("web1",), ("web1", "web2"), ("web1", "web2", "web3")])
def test_an_installation_is_a_state_run_unless_no_node_needs_a_state(prepared):
    context = SimpleNamespace(
        app=APP,
        desired=SimpleNamespace(release="1.0"),
        artifact="a" * 64,
        identity=SimpleNamespace(id="d1"),
        strategy=APP.strategy,
        jobs=SimpleNamespace(journal=Journal()),
        prepared=frozenset(prepared),
    )
    step = steps.install(context, ["web1", "web2"])
    about = {"digest": "a" * 64, "deployment": "d1"}
    assert step.options["deadline"] == APP.strategy.progress_deadline and step.options["told"]({}) == "shop 1.0"
    if len(prepared) < 2:
        assert step.job == ("install", "state.apply", ["web1", "web2"], "app.release")
        assert step.options["pillar"] == {"saltdeploy": {"app": "shop", "version": "1.0", **about}}
        step.options["on_busy"]("web1")
        assert context.jobs.journal.said == ["web1 applies states just now: its installation waits"]
    else:
        assert step.job == ("install", "app.install", ["web1", "web2"], "shop", "1.0")
        assert {**about, "room": True}.items() <= step.options.items() and "on_busy" not in step.options
        assert [bool(step.options["answer"]("web1", value)) for value in (True, False, None, "yes")] == [0, 0, 1, 1]


@pytest.mark.parametrize("name, some", [(name, name in ("weigh", "restore")) for name in STEPS])
def test_nodes_answer_with_the_instances_that_they_were_asked_for(name, some):
    """Instances may have gone before they are weighed or restored."""
    answer = STEPS[name].options["answer"]
    assert answer("web1", IDS["web1"]) == ""
    assert (answer("web1", IDS["web1"][:1]) == "") == some
    assert answer("web2", IDS["web1"]) and answer("web1", ["till_1.0_100"]) and answer("web1", None)


def test_who_stops_instances_has_the_time_that_they_take():
    for name in ("stop", "weigh"):
        assert STEPS[name].options["deadline"] == stop_deadline(APP, IDS)


def test_who_publishes_has_the_time_of_the_first_checks():
    assert STEPS["publish"].options["deadline"] == publish_deadline(APP)


def test_who_registers_again_runs_the_checks_of_each_instance_before_that():
    checked = replace(APP, checks=(Probe("tcp", "", timeout=4.0), Probe("tcp", "", timeout=5.0)))
    assert steps.register(checked, IDS).options["deadline"] == publish_deadline(checked) + deadlines.CATALOG + 2 * 11


def test_who_only_withdraws_has_the_usual_time():
    """Which Jobs.run gives: nothing is waited for."""
    assert "deadline" not in STEPS["withdraw"].options


@pytest.mark.parametrize("step", [steps.publish, steps.withdraw, steps.register])
def test_options_are_passed_on_and_may_be_a_deadline(step):
    options = step(APP, IDS, held=True, deadline=5.0).options
    assert (options["held"], options["deadline"]) == (True, 5.0)


@pytest.mark.parametrize("step", [steps.restore, steps.restart])
def test_who_starts_instances_again_does_so_one_after_the_other(step):
    """Each has the time to stop twice: it is stopped, and stopped again if it does not become healthy."""

    def deadline(app, ids=IDS):
        return step(app, ids).options["deadline"]

    each = deadline(APP) - deadline(APP, {"web1": ["shop_1.0_100"], "web2": ["shop_1.0_100"]})
    assert each > APP.strategy.healthy_deadline + 2 * APP.stop.timeout
    slow = replace(APP, stop=stops.parse({"timeout": "5m"}, ""))
    longer = 300 - APP.stop.timeout
    assert deadline(slow) - deadline(APP) == 2 * 2 * longer + 2 * longer
    assert deadline(APP) > TALK_DEADLINE + each


def test_who_is_restarted_is_drained_and_tested_too():
    once = {"web1": ["shop_1.0_100"]}
    draining = replace(APP, strategy=replace(APP.strategy, drain=APP.strategy.drain + 7))

    def longer(app, step):
        return step(app, once).options["deadline"] - step(APP, once).options["deadline"]

    assert (longer(TESTED, steps.restart), longer(TESTED, steps.restore)) == (9, 0)
    # A job that retires instances drains them once, and a restart once more for each instance.
    assert (longer(draining, steps.restart), longer(draining, steps.restore)) == (14, 7)


def test_a_reload_waits_for_its_command_and_the_tests():
    app, once = replace(TESTED, reload=Reload(command="x", timeout=11.0)), {"web1": ["shop_1.0_100"]}
    plain = steps.reload(APP, once).options["deadline"]
    assert steps.reload(TESTED, once).options["deadline"] == plain + 9
    assert steps.reload(app, once).options["deadline"] == plain + 9 + 11
