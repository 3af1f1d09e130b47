"""What is not healthy, or does not stay so, is never the end of a deployment; and what is waited for is told."""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
import time

import psutil
import pytest
from saltdeploy.environment import certificates

from tests.support import apps
from tests.support.site import NODES, until
from tests.support.target import NAME, Target

WORKER = "worker"


@pytest.fixture(scope="module")
def releases(target):
    target.archives.make("hangs", **{"hangs/health": 4})
    target.archives.make("dies", **{"delay/selftest": 1})
    target.archives.make("crashes", crashes=2.5)
    return target.archives


@pytest.fixture(scope="module")
def worker(minions, agents, pillar, cli, folder):
    """An app without ports: release 1.0 runs on, ``exits`` does so for eight seconds at a time."""
    archives = apps.Archives(folder / "worker")
    archives.make("1.0", lives=3600)
    archives.make("exits", lives=8)
    return Target(agents, pillar, archives, cli, WORKER)


def test_a_release_that_hangs_after_its_first_check_is_reverted(target, releases, users):
    """…with the default times of a check. Its first check passes, and the old instances stay."""
    strategy = {"min_healthy_time": "10s", "healthy_deadline": "20s"}
    target.define({"checks": [{"http": "/health"}]}, strategy)
    before = target.traces().published
    assert users.wait_for(target.traces().versions[0], 10)
    output = target.deploy("hangs", code=1)
    # Where this machine is slow, it hangs before it was found once.
    assert re.search(r"(did not stay|not) healthy in discovery (for 10s|within 20s): shop_hangs_", output), output
    assert "(critical: Get " in output and "(Client.Timeout exceeded" in output
    assert "\nretire " not in output and target.traces().published == before


def test_a_release_that_crashes_between_two_checks_is_reverted(target, releases):
    """Its supervisor restarts it before the next check. Nothing is retired for it, and nothing new is left."""
    seldom = {"checks": [{"http": "/health", "interval": "10s", "timeout": "1s"}]}
    target.define(seldom, {"min_healthy_time": "4s", "healthy_deadline": "50s"})
    before = target.traces()
    output = target.deploy("crashes", code=1)
    assert re.search(r"shop_crashes_\d+ crashed after its publication, and its supervisor restarted it", output), output
    assert "\nretire " not in output and target.traces().published == before.published

    # Also where it replaces nothing.
    output = target.deploy("crashes", "instances=1", "nodes=web3", "keep=True", code=1)
    assert "crashed after its publication" in output and target.traces().published == before.published


@pytest.mark.thorough
def test_an_instance_that_dies_while_the_next_wave_runs_reverts_both(target, releases):
    target.define()
    target.start_over("1.0")
    before = target.traces()
    run = target.start("dies")
    run.until("wave 2").until("retire   web1").until("start    web2, web3 …")
    # It does not get up again.
    behaviour = target.agents.folder / "web1" / "srv" / NAME / "releases/dies/behaviour"
    behaviour.write_text("version=dies exit=1")
    [(address, port, _)] = [where for (n, _), where in target.traces().published.items() if n == "web1"]
    listening = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    [pid] = {c.pid for c in listening if c.laddr == (address, port)}
    psutil.Process(pid).kill()
    output = run.end(1)
    assert "not healthy any more: shop_dies_" in output and " on web1 (critical: " in output
    assert target.traces().published == before.published


def test_a_worker_that_does_not_run_on_is_refused_and_one_that_is_stopped_is_critical(worker):
    quick = {"waves": ["100%"], "min_healthy_time": "500ms"}
    also = {"service": {"name": "workers", "meta": {"team": "red"}}}
    plain = {"run": "./bin/serve", "ports": None, "checks": [], "tests": [], **also}

    def define(**strategy):
        known = {k: v for k, v in worker.app(**plain).items() if v is not None}
        changes = {"apps": {WORKER: {"version": "1.0", "instances": 2}}}
        environment = apps.environment(worker.agents, **changes)
        environment["strategy"].update({**quick, **strategy})
        worker.pillar.write({WORKER: known}, {"site": environment})

    define()
    worker.deploy("1.0")
    before = worker.agents.passing(WORKER)
    assert len(before) == 2 and {port for _, port, _ in before.values()} == {0}
    define(min_healthy_time="12s", healthy_deadline="30s")
    output = worker.deploy("exits", code=1)
    assert "did not stay healthy in discovery for 12s: worker_exits_" in output
    assert worker.agents.passing(WORKER) == before
    node, instance = min(before)
    supervisor = worker.agents.folder / node / "supervisord.conf"
    control = [sys.executable, "-m", "supervisor.supervisorctl", "-c", supervisor]
    subprocess.run([*control, "stop", f"app-{instance}"], check=True)
    until(lambda: len(worker.agents.passing(WORKER)) == 1, 10, "the stopped worker to be found no more")
    # Its second name passes as long as it does itself, and goes with it.
    until(lambda: len(worker.agents.passing("workers")) == 1, 5, "its second name to be found no more")
    [row] = [r for r in worker.cli.result("status", WORKER)["apps"][0]["instances"] if r["node"] == node]
    assert row["health"] == "critical" and "/running" in row["output"]
    worker.run("remove", "confirm=True")
    assert worker.agents.passing("workers") == {}


def test_a_wrong_port_is_told_while_it_is_waited_for(target):
    target.define({"run": "./bin/serve {address} 23999"}, {"healthy_deadline": "13s"})
    output = target.deploy(
        "1.0" if target.traces().versions[0] != "1.0" else "1.1", "instances=1", "nodes=web3", code=1
    )
    wrong = f"connection refused; the process listens on {NODES['web3']}:23999, and {{port}} is 230"
    told = [line.strip() for line in output.splitlines() if wrong in line]
    waiting = r"web3: shop_1\.[01]_\d+(-\d+)? is not ready after \d+s: check `http /health`: GET "
    assert any(re.match(waiting, line) for line in told), output
    assert any(line.startswith("start    web3: shop_1.") and "is not ready after 13s: " in line for line in told)


@pytest.fixture(scope="module")
def certificate(folder):
    """The paths of a certificate of ``shop.example.com``, with its key, and of its CA."""
    now = datetime.datetime.now(datetime.timezone.utc)
    ca = certificates.authority("test", now)
    pair = certificates.issue(ca, ["shop.example.com"], [], now)
    (folder / "pair.pem").write_text(pair["certificate"] + pair["key"])
    (folder / "ca.pem").write_text(ca["certificate"])
    return str(folder / "pair.pem"), str(folder / "ca.pem")


def checks(target):
    """Return ``{(node, name): status}`` of the checks of the app's instances."""
    return {(c["Node"], c["Name"]): c["Status"] for c in target.ask(f"/v1/health/checks/{NAME}?consistent")}


def test_https_checks_and_tests_with_a_login(target, certificate):
    """The node and Consul ask with the same request. Whoever asks otherwise gets a 401, and nobody reads the token."""
    pair, ca = certificate
    token = "a-token-of-this-test"
    request = {"host": "shop.example.com", "headers": {"X-Token": token}}
    check = {"https": {"path": "/health", "insecure": True, **request}, "interval": "1s"}
    verified = {"path": "/selftest", "ca": ca, "status": ["2xx", 304], "contains": "release secure", **request}
    app = {"env": {"TLS": pair, "TOKEN": token}, "checks": [check], "tests": [{"https": verified}]}
    for version in ("secure", "locked"):
        target.archives.make(version)
    target.define(app)
    if target.ask("/v1/agent/self")["Config"]["Version"].startswith("1.8."):
        output = target.deploy("secure", code=1)
        assert "because its agent is too old" in output and "secure" not in target.traces().versions
        return
    output = target.deploy("secure")
    assert target.traces().versions == ["secure"] * 3
    found = checks(target)
    assert len(found) == 3 and {name for _, name in found} == {"https /health"}
    assert set(found.values()) == {"passing"}
    assert target.agents.passing(NAME).keys() == target.traces().published.keys()

    wrong = {**check, "https": {**check["https"], "headers": {"X-Token": "another-token"}}}
    target.define({**app, "checks": [wrong]}, {"healthy_deadline": "4s"})
    output += target.deploy("locked", code=1)
    assert "check `https /health`: GET https://" in output and "status 401, expected 2xx" in output
    assert target.traces().versions == ["secure"] * 3
    assert token not in output and "another-token" not in output


def test_a_check_may_fail_some_times_before_it_is_critical(target):
    """…and must pass some times before it passes again."""
    check = {"http": "/health", "interval": "1s", "timeout": "1s", "failures_before_critical": 3}
    target.archives.make("patient")
    target.define({"checks": [{**check, "success_before_passing": 2}], "env": {}})
    target.deploy("patient")
    [(address, port, _)] = [where for (n, _), where in target.traces().published.items() if n == "web3"]
    listening = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    [pid] = {c.pid for c in listening if c.laddr == (address, port)}
    process = psutil.Process(pid)
    process.suspend()
    try:
        # The third failure is there after four seconds at the earliest, the first after two at the latest.
        time.sleep(3.5)
        assert len(target.agents.passing(NAME)) == 3
        until(lambda: len(target.agents.passing(NAME)) == 2, 20, "the third failure to count")
    finally:
        process.resume()
    until(lambda: len(target.agents.passing(NAME)) == 3, 20, "the instance to pass again")
