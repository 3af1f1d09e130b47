"""Checks of all kinds on a real Consul: gRPC, scripts, reports of the app itself, and restarts by a check."""

from __future__ import annotations

import json
import sys
import time

import psutil
import pytest
import requests

from tests.support import apps
from tests.support.site import until
from tests.support.target import Target

NAME = "probed"
# Serves gRPC's health service. It reports to Consul while it is told to. A release may have a state of its own.
PROGRAM = """\
import os, pathlib, sys, time, urllib.request
from concurrent import futures
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

state, own = pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[3] + "-" + sys.argv[4])
servicer = health.HealthServicer()
server = grpc.server(futures.ThreadPoolExecutor(4))
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
server.add_insecure_port(f"{sys.argv[1]}:{sys.argv[2]}")
server.start()
url = f"http://{sys.argv[1]}:8500/v1/agent/check/pass/{os.environ['CONSUL_CHECK_ID']}"
while True:
    said = (own if own.exists() else state).read_text().split()
    for service in ("", "shop.v1"):
        servicer.set(service, health_pb2.HealthCheckResponse.ServingStatus.Value(said[0]))
    if "reports" in said:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=5)
        except OSError:
            pass
    time.sleep(0.2)
"""


@pytest.fixture(scope="module")
def probed(minions, agents, pillar, cli, folder):
    archives = apps.Archives(folder / NAME)
    archives.make("1.0")
    archives.make("1.1")
    archives.make("hangs", **{"hangs/health": 4})
    (folder / "program.py").write_text(PROGRAM)
    target = Target(agents, pillar, archives, cli, name=NAME, ports=(24100, 24119))
    target.state = folder / "state"
    target.state.write_text("SERVING")
    yield target
    target.call("*", "app.stop", NAME, "drain=0")


def define(target, *checks, version="1.0", count=3, **app):
    """Define the app with these checks."""
    target.define({"tests": [], "checks": list(checks), **app}, apps={NAME: {"version": version, "instances": count}})


def program(target, folder):
    """Return the key that has the app run the program in place of its release."""
    return {"run": f"{sys.executable} {folder / 'program.py'} {{address}} {{port}} {target.state} {{version}}"}


def results(target):
    """Return node -> name -> status and output of each check of its published instance, as its agent has them."""
    found = {}
    for node in target.agents.nodes:
        checks = requests.get(f"{target.agents.url(node)}/v1/agent/checks", timeout=10).json().values()
        mine = [c for c in checks if c["ServiceName"] == NAME]
        if mine:
            found[node] = {c["Name"]: (c["Status"], c["Output"]) for c in mine}
    return found


def processes(target):
    """Return node -> the process that listens for its published instance."""
    where = {(address, port): node for (node, _), (address, port, _) in target.traces().published.items()}
    found = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and tuple(c.laddr) in where]
    return {where[tuple(c.laddr)]: psutil.Process(c.pid) for c in found}


def test_a_grpc_service_is_asked_before_and_while_it_is_published(probed, folder):
    probed.state.write_text("SERVING")
    define(probed, {"grpc": True, "interval": "1s"}, **program(probed, folder))
    output = probed.deploy("1.0")
    assert f"{NAME} 1.0 is published in site: 3 instances" in output
    assert [set(found) for found in results(probed).values()] == [{"grpc"}] * 3
    before = probed.traces()

    # It would be registered again without a restart, so a service that nobody knows is found before that.
    define(probed, {"grpc": {"service": "shop.v2"}, "interval": "1s"}, **program(probed, folder))
    output = probed.deploy("1.0", code=1)
    assert "a check of the new registration does not pass, so nothing is registered" in output, output
    assert "check `grpc shop.v2`: " in output and probed.traces() == before
    define(probed, {"grpc": {"service": "shop.v1"}, "interval": "1s"}, **program(probed, folder))
    assert "register again, without a restart" in probed.run("plan", "version='1.0'")
    probed.deploy("1.0")
    assert [set(found) for found in results(probed).values()] == [{"grpc shop.v1"}] * 3
    assert probed.traces().published == before.published and not probed.traces().candidates

    # Another release that is not ready is never found, while the old one is.
    own = folder / f"{probed.state.name}-1.1"
    own.write_text("NOT_SERVING")
    output = probed.deploy("1.1", code=1)
    assert "is not ready after 10s: check `grpc shop.v1`: " in output and "NOT_SERVING" in output, output
    assert "\npublish" not in output
    own.unlink()
    assert probed.traces() == before


def test_an_app_that_reports_its_health_is_critical_when_it_is_silent(probed, folder):
    probed.state.write_text("SERVING")
    define(probed, {"tcp": True, "interval": "1s"}, **program(probed, folder))
    probed.deploy("1.0")
    before = probed.traces()
    # Nobody reports, so nothing is registered, and clients do not lose all instances.
    define(probed, {"tcp": True, "interval": "1s"}, {"ttl": "3s"}, **program(probed, folder))
    output = probed.deploy("1.0", code=1)
    assert "check `ttl`: no report of the app has come" in output and probed.traces() == before, output
    probed.state.write_text("SERVING reports")
    probed.deploy("1.0")
    assert {found["ttl"][0] for found in results(probed).values()} == {"passing"}
    # A new release reports to the check of its candidate, which is that of its publication, too.
    output = probed.deploy("1.1")
    assert f"{NAME} 1.1 is published in site: 3 instances" in output
    time.sleep(4)
    assert [{status for status, _ in found.values()} for found in results(probed).values()] == [{"passing"}] * 3
    probed.state.write_text("SERVING")
    until(lambda: not probed.traces().published, 20, "silent instances to be critical")
    assert "TTL expired" in probed.run("status", code=0)
    probed.state.write_text("SERVING reports")
    until(lambda: len(probed.traces().published) == 3, 20, "instances that report again to be healthy")


def test_a_script_runs_beside_the_instance_and_changes_without_a_restart(probed, folder):
    health = folder / "health"
    health.write_text("0")
    # It has the environment of the instance, and its placeholders.
    script = {"script": f"sh -c 'echo $PORT {{environment}} says no; exit $(cat {health})'", "interval": "1s"}
    define(probed, {"tcp": True, "interval": "1s"}, script)
    output = probed.deploy("1.0")
    assert f"{NAME} 1.0" in output and "is published in site: 3 instances" in output
    assert [set(found) for found in results(probed).values()] == [{"tcp", "script sh"}] * 3
    there = processes(probed)
    health.write_text("1")
    until(
        lambda: {f["script sh"][0] for f in results(probed).values()} == {"warning"}, 20, "exit code 1 to be a warning"
    )
    health.write_text("2")
    until(lambda: not probed.traces().published, 20, "exit code 2 to be critical")
    status = probed.run("status")
    assert status.count("site says no") == 3, status
    health.write_text("0")
    until(lambda: len(probed.traces().published) == 3, 20, "exit code 0 to be healthy")

    # Another script: registered again, and run by the watcher that is there.
    define(probed, {"tcp": True, "interval": "1s"}, {"script": "test -e /nowhere", "interval": "1s"})
    assert "checks not as defined" in probed.run("status")
    output = probed.deploy("1.0", code=1)
    assert "check `script test -e /nowhere`: exit code 1" in output and "so nothing is registered" in output, output
    define(probed, {"tcp": True, "interval": "1s"}, {"script": f"test -e {health}", "interval": "1s"})
    probed.deploy("1.0")
    assert "not as defined" not in probed.run("status") and processes(probed) == there
    health.unlink()
    until(lambda: {f["script test"][0] for f in results(probed).values()} == {"warning"}, 20, "the new script to fail")
    # A release whose script fails is never published.
    output = probed.deploy("1.1", code=1)
    assert f"check `script test -e {health}`: exit code 1" in output
    health.write_text("0")
    until(lambda: probed.traces().clean and len(probed.traces().published) == 3, 20, "the old instances to be healthy")


@pytest.mark.thorough
def test_an_instance_that_stays_critical_is_restarted_at_most_so_often(probed, folder):
    define(
        probed,
        {"http": "/health", "interval": "1s", "timeout": "1s"},
        version="hangs",
        count=1,
        check_restart={"after": 2, "grace": "1s", "most": 2},
    )
    probed.deploy("hangs")
    [(node, one)] = probed.traces().published
    first = processes(probed)[node]
    notes = probed.agents.folder / node / "srv" / NAME / "instances" / one / ".restarts"
    until(lambda: len(json.loads(notes.read_text())) == 2, 60, "two restarts")
    until(lambda: not first.is_running(), 10, "the first process to have ended")
    # It hangs again after four seconds, and no further restart comes.
    time.sleep(12)
    [[_, why], _] = json.loads(notes.read_text())
    assert why.startswith("http /health: "), why
    assert "restarted 2 times in the last hour (http /health: " in probed.run("status")
    probed.deploy("1.0")
    assert "restarted" not in probed.run("status")
