"""What a plan warns of: checks that are too slow for min_healthy, and tests that ask nothing of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy import cautions
from saltdeploy.model import Probe

from tests.support.fleet import make_app

HEALTH, TCP = Probe("http", "/health"), Probe("tcp", "")
SAME = "the tests of shop ask only what its checks ask too"


def app(checks=(), tests=(), min_healthy=10.0):
    made = make_app()
    return replace(
        made, checks=tuple(checks), tests=tuple(tests), strategy=replace(made.strategy, min_healthy=min_healthy)
    )


def test_the_defaults_are_no_reason_to_warn():
    assert cautions.of(app()) == [] == cautions.of(app([HEALTH], [Probe("http", "/")]))


def test_a_check_that_is_slower_than_min_healthy():
    slow = replace(HEALTH, interval=8.0, timeout=5.0)
    assert cautions.of(app([HEALTH, slow])) == [
        "a release of shop that hangs is not noticed before the old one is retired: min_healthy is 10s, and the check"
        " `http /health` needs up to 13s for it (interval 8s and timeout 5s)"
    ]
    assert cautions.of(app([HEALTH, slow], min_healthy=13.0)) == []
    [warning] = cautions.of(app(min_healthy=1.0))
    assert "the check `tcp` needs up to 7s" in warning


@pytest.mark.parametrize(
    "checks, tests",
    [
        ([HEALTH], [HEALTH]),
        ([HEALTH], [replace(HEALTH, origin="peer"), replace(HEALTH, status=204)]),
        ([HEALTH], [HEALTH, TCP]),
        ([], [TCP]),
        ([TCP], [replace(TCP, origin="master")]),
    ],
)
def test_tests_that_ask_what_the_checks_ask(checks, tests):
    [warning] = cautions.of(app(checks, tests))
    assert warning.startswith(f"{SAME} ({'/health' if HEALTH in checks else 'whether the port is listened on'}): ")


@pytest.mark.parametrize(
    "checks, tests",
    [
        ([HEALTH], []),
        ([HEALTH], [HEALTH, Probe("command", "./selftest")]),
        ([HEALTH], [replace(HEALTH, contains="ok")]),
        ([HEALTH], [replace(HEALTH, status=404)]),
        ([HEALTH], [Probe("http", "/health?deep=1")]),
        ([], [HEALTH]),
    ],
)
def test_tests_that_ask_more(checks, tests):
    assert cautions.of(app(checks, tests)) == []
