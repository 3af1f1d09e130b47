"""The way in which an app is stopped."""

from __future__ import annotations

import pytest
from saltdeploy.core.model import Stop
from saltdeploy.definition import stops

from tests.support.definitions import complaint, shop


def test_how_an_app_is_stopped():
    assert shop({"stop": {"timeout": "20s"}}, {"stop": {"signal": "INT"}}).stop == Stop("INT", 20.0)


@pytest.mark.parametrize(
    "app, message",
    [
        ({"stop": {"timeout": "0s"}}, "stop:timeout: '0s' is too short. Write 1s to 1h"),
        ({"stop": {"timeout": "61m"}}, "stop:timeout: '61m' is too long. Write 1s to 1h"),
    ],
)
def test_a_timeout_that_is_too_short_or_too_long(app, message):
    assert complaint(app).startswith(message)


@pytest.mark.parametrize("timeout", ["1s", 1, "60m", 3600])
def test_the_shortest_and_the_longest_timeout(timeout):
    assert stops.parse({"timeout": timeout}, "stop").timeout in (stops.LEAST, stops.MOST)


def test_without_keys_it_has_the_defaults():
    assert stops.parse({}, "stop") == Stop()
