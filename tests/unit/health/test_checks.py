"""Checks, as Consul's agent takes them, and the states that their results lead to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy.core.model import Probe
from saltdeploy.discovery import consulservices
from saltdeploy.health.checks import Check, Malformed, Result, parse, seconds
from saltdeploy.health.registry import State

from tests.support.catalog import SERVICE


def test_what_a_deployment_registers_is_understood():
    probes = (
        Probe("http", "/a?b=c", interval=0.5, timeout=3.0, failures_before_critical=3),
        Probe("tcp", "", port=81),
        Probe("ttl", "", interval=30.0),
        Probe("alias", "shop_1_80"),
        Probe("script", "exit 1", port=99, timeout=2.0),
    )
    body = consulservices.registration(replace(SERVICE, checks=probes, expires=90.0))
    checks = [parse(each, "shop_1_80", number) for number, each in enumerate(body["Checks"], 1)]
    assert [(c.kind, c.target) for c in checks[:4]] == [
        ("HTTP", "http://10.0.0.1:80/a?b=c"),
        ("TCP", "10.0.0.1:81"),
        ("TTL", "30s"),
        ("AliasService", "shop_1_80"),
    ]
    http, _, ttl, _, script, expires = checks
    assert (http.interval, http.timeout, http.failures, http.successes, http.initial) == (0.5, 3.0, 3, 1, "passing")
    assert ttl.ttl == 30.0 and not ttl.runs and script.target.startswith("http://10.0.0.1:99/script/")
    assert (expires.name, expires.ttl, expires.leaves) == ("expires", 91.0, 60.0)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"HTTP": "http://a/", "TCP": "a:1"},
        {"GRPC": "a:1"},
        {"TCP": "a:1", "Interval": "s3cret"},
        {"TCP": "a:1", "Interval": "-1s"},
        {"TCP": "a:1", "Timeout": "0s"},
        {"HTTP": "http://a/", "Header": "s3cret"},
        {"TCP": "a:1", "SuccessBeforePassing": "s3cret"},
        {"TTL": 30},
    ],
)
def test_what_is_not_understood_is_refused_without_its_values(body):
    with pytest.raises(Malformed) as told:
        parse(body, "shop", 1)
    assert "check 1 of shop" in str(told.value) and "s3cret" not in str(told.value)


@pytest.mark.parametrize("text, found", [("2s", 2.0), ("1m30s", 90.0), ("500ms", 0.5), ("1h", 3600.0), ("", 7.0)])
def test_durations_of_go(text, found):
    assert seconds(text, 7.0) == found


def states(state, *statuses):
    """Return the status after each of some results, as Consul's documentation has it."""
    found = []
    for status in statuses:
        state.take(Result(status, f"it is {status}"))
        found.append(state.status)
    return found


def test_a_status_changes_after_so_many_results_in_a_row():
    check = Check("c", "tcp", "TCP", "a:1", successes=2, failures=3)
    passing, critical, warning = "passing", "critical", "warning"
    assert states(State(check, passing), critical, critical, passing, critical, critical, critical) == [
        *[passing] * 5,
        critical,
    ]
    assert states(State(check, critical), passing, critical, passing, passing, warning) == [
        *[critical] * 3,
        passing,
        warning,
    ]


def test_etcd_learns_of_a_first_result_and_of_each_change_alone():
    state = State(Check("c", "tcp", "TCP", "a:1"), "passing")
    assert state.take(Result("passing", "one")) and state.shown == "one"
    assert not state.take(Result("passing", "two")) and (state.shown, state.output) == ("one", "two")
    assert state.take(Result("critical", "three")) and state.shown == "three" and state.since
    assert state.take(Result("passing", "four")) and state.since is None
