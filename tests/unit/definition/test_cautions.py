"""Warnings of a plan: slow checks, tests that ask nothing of their own, and logins and digests over plain http."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy.core.environment import Environment, Webhook
from saltdeploy.core.httprequests import Request
from saltdeploy.core.model import Gate, Probe, Source
from saltdeploy.definition import cautions

from tests.support.fleet import make_app

HEALTH, TCP = Probe("http", "/health"), Probe("tcp", "")
SAME = "the tests of shop only repeat its checks"


def app(checks=(), tests=(), min_healthy_time=10.0):
    made = make_app()
    return replace(
        made,
        checks=tuple(checks),
        tests=tuple(tests),
        strategy=replace(made.strategy, min_healthy_time=min_healthy_time),
    )


def test_the_defaults_are_no_reason_to_warn():
    assert cautions.of(app()) == [] == cautions.of(app([HEALTH], [Probe("http", "/")]))


def test_a_check_that_is_slower_than_min_healthy():
    slow = replace(HEALTH, interval=8.0, timeout=5.0)
    assert cautions.of(app([HEALTH, slow])) == [
        "a release of shop that hangs is not noticed before the old one is retired: min_healthy_time is 10s, and the check"
        " `http /health` needs up to 13s for it (interval 8s and timeout 5s)"
    ]
    assert cautions.of(app([HEALTH, slow], min_healthy_time=13.0)) == []
    [warning] = cautions.of(app(min_healthy_time=1.0))
    assert "the check `tcp` needs up to 7s" in warning


def test_a_check_that_may_fail_some_times():
    patient = Probe("https", "/health", interval=1.0, timeout=3.0, failures_before_critical=3)
    [warning] = cautions.of(app([HEALTH, patient], min_healthy_time=11.0))
    assert warning.endswith("`https /health` needs up to 12s for it (3 times interval 1s and timeout 3s)")
    assert cautions.of(app([HEALTH, patient], min_healthy_time=12.0)) == []


def test_a_test_with_another_request_is_no_repetition():
    asked = Request(method="POST")
    same = Probe("http", "/health", request=asked)
    assert cautions.of(app([HEALTH], [same])) == [] == cautions.of(app([HEALTH], [replace(HEALTH, kind="https")]))
    [warning] = cautions.of(app([same], [replace(same, status=(204,))]))
    assert warning.startswith(f"{SAME} (/health)")
    assert cautions.of(app([same], [replace(same, status=("4xx",))])) == []


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


DIGEST = "0" * 64
LOGINS = ({"headers": {"A": "hunter2"}}, {"token_file": "/t"}, {"netrc": "/n"})


def sourced(*args, **options):
    return replace(app(), source=Source(*args, **options))


@pytest.mark.parametrize("login", LOGINS, ids=str)
def test_a_login_over_plain_http(login):
    [warning] = cautions.of(sourced("archive", "http://files:8080/shop.tar", sha256=DIGEST, **login))
    assert warning.startswith(
        f"the login in source:{next(iter(login))} of shop goes to files over http: everybody on the way"
    )
    assert "hunter2" not in warning


def test_a_login_for_pip_over_plain_http():
    requirements = ("six", "a @ http://other/a.whl", "b @ https://safe/b.whl")
    options = {"index": "http://[fd00::1]:80/simple", "requirements": requirements}
    found = cautions.of(sourced("pip", "shop", netrc="/n", **options))
    assert [text.partition(" goes to ")[2].partition(" ")[0] for text in found] == ["[fd00::1]", "other"]
    assert cautions.of(sourced("pip", "shop", **options)) == []


def test_a_login_of_a_gate_over_plain_http():
    gates = [
        Gate("errors", "http", url=f"{scheme}://metrics/rate", request=Request(headers={"A": "b"}))
        for scheme in ("http", "https")
    ]
    strategy = replace(app().strategy, analysis=(*gates, replace(gates[0], request=Request())))
    found = cautions.of(replace(app(), strategy=strategy))
    assert len(found) == 1 and found[0].startswith("the login in analysis:errors of shop goes to metrics over http")


@pytest.mark.parametrize("login", [{"headers": {"A": "hunter2"}}, {"token_file": "/t"}], ids=str)
def test_a_login_of_a_webhook_over_plain_http(login):
    def warned(url, **more):
        return cautions.of_environment(Environment("site", {}, {}, webhook=Webhook(url, **more)))

    [warning] = warned("http://chat:8080/hooks/1", **login)
    assert warning.startswith(f"the login in notify:webhook:{next(iter(login))} of site goes to chat over http: ")
    assert "hunter2" not in warning
    assert warned("https://chat/hooks/1", **login) == warned("http://localhost/hooks/1", **login) == []
    assert warned("http://chat/hooks/1") == cautions.of_environment(Environment("site", {}, {})) == []


@pytest.mark.parametrize("host", ["http://localhost:8080", "http://127.0.0.1", "http://[::1]:80", "https://files"])
def test_a_login_that_nobody_else_can_read(host):
    assert cautions.of(sourced("archive", f"{host}/shop.tar", sha256=f"{host}/shop.sha256", token_file="/t")) == []


@pytest.mark.parametrize("host", ["localhost.example.com", "127.example.com"])
def test_a_host_that_only_looks_like_this_machine(host):
    [warning] = cautions.of(sourced("archive", f"http://{host}/shop.tar", sha256=DIGEST, token_file="/t"))
    assert f"goes to {host} over http" in warning


def test_a_repository_over_plain_http():
    [warning] = cautions.of(sourced("git", "http://host/shop.git"))
    assert warning.startswith("the repository of shop comes from host over http: somebody on the way can replace tags")
    assert "the login in source:netrc of shop" in cautions.of(sourced("git", "http://host/shop.git", netrc="/n"))[0]
    assert cautions.of(sourced("git", "https://host/shop.git", netrc="/n")) == []


def test_a_digest_over_plain_http():
    [warning] = cautions.of(sourced("archive", "https://files/shop.tar", sha256="http://files/shop.sha256"))
    assert warning.startswith("the digest of shop comes from files over http: somebody on the way can replace it")
    assert cautions.of(sourced("archive", "http://files/shop.tar", sha256={"1.0": DIGEST})) == []
