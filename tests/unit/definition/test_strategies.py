"""The way in which a deployment proceeds."""

from __future__ import annotations

import math

import pytest
from saltdeploy.core.errors import DefinitionError
from saltdeploy.core.model import Strategy
from saltdeploy.definition import strategies

from tests.support.definitions import complaint, mistake, pillar, shop


def test_the_error_of_an_environment_s_strategy_points_there():
    message = mistake(pillar(strategy={"min_healthy_time": "10m"}))
    assert message.startswith("environments:test:strategy: min_healthy_time (600s)")


@pytest.mark.parametrize(
    "app, message",
    [
        ({"strategy": {"min_healthy_time": "10m"}}, "strategy: min_healthy_time (600s) < healthy_deadline (300s)"),
        (
            {"strategy": {"healthy_deadline": "20m"}},
            "strategy: min_healthy_time (10s) < healthy_deadline (1200s) <= progress",
        ),
        ({"strategy": {"waves": [2, 1]}}, "strategy:waves: [2, 1]: sizes are cumulative and must grow"),
        ({"strategy": {"waves": [1, "50%", "25%"]}}, "strategy:waves: [1, '50%', '25%']: sizes are cumulative"),
    ],
)
def test_times_and_waves_that_contradict_each_other(app, message):
    assert complaint(app).startswith(message)


def test_without_keys_it_has_the_defaults():
    assert strategies.parse({}, "apps:shop") == Strategy()


def test_a_pause_is_a_time_or_lasts_until_the_operator_decides():
    assert strategies.parse({"pause": "manual"}, "apps:shop").pause == math.inf
    assert strategies.parse({"pause": "30m"}, "apps:shop").pause == 1800.0
    assert shop({"strategy": {"pause": "manual"}}, strategy={"pause": 5}).strategy.pause == math.inf


def test_a_deadline_of_its_own_holds_for_the_first_deployment_too():
    assert strategies.parse({"healthy_deadline": "4m"}, "apps:shop").first_deadline == 240.0
    assert strategies.parse({"drain": "4m"}, "apps:shop").first_deadline == Strategy.first_deadline


@pytest.mark.parametrize(
    "raw, message",
    [
        ({"drain": "1000h"}, "here:strategy:drain: '1000h' is too long. Write at most 30 days."),
        (
            {"max_failures": 1, "pause": "manual"},
            "here:strategy:max_failures: no node may fail with `pause`. Remove one of them, or write `max_failures: 0`.",
        ),
        (
            {"max_failures": "10%", "type": "blue_green"},
            "here:strategy:max_failures: no node may fail with `type: blue_green`. Remove one of them, or write"
            " `max_failures: 0`.",
        ),
        ({"waves": ["50%", "50%"]}, "here:strategy:waves: ['50%', '50%']: sizes are cumulative and must grow."),
    ],
)
def test_mistakes(raw, message):
    with pytest.raises(DefinitionError) as caught:
        strategies.parse(raw, "here")
    assert str(caught.value) == message


def test_no_failures_are_no_budget():
    assert strategies.parse({"max_failures": "0%", "pause": "manual"}, "here").max_failures == "0%"
