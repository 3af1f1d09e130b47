"""Checks and tests of all kinds: their classes and their results."""

import socket
import threading

import pytest
from saltdeploy.core.environment import Environment
from saltdeploy.core.model import App, Probe, Source
from saltdeploy.definition.probes import CHECKS, TESTS
from saltdeploy.discovery import registration
from saltdeploy.system import probes

from tests.unit.system.probing import ADDRESS, converse, ok, probe, problem


def test_each_kind_of_a_definition_has_a_class():
    """Discovery runs the others."""
    assert set(probes.KINDS) | set(registration.REMOTE) == {*CHECKS, *TESTS}


def test_run_from_asks_each_target_the_tests_of_that_origin(web):
    values, _, asked = web
    tests = (probe("http", "/", origin="peer"), probe("tcp"), probe("http", "/gone", origin="master"))
    app = App("shop", Source("pip", "shop"), "run", tests=tests)
    targets = [
        {"id": "shop_1_1", "node": "web1", **values},
        {"id": "shop_1_2", "node": "web2", "address": ADDRESS, "port": 1},
    ]
    results = probes.run_from("peer", Environment("e", {}, {}), app, targets)
    assert [len(r) for r in results.values()] == [1, 1]
    assert ok(results["shop_1_1@web1"][0]) == "status 200"
    assert results["shop_1_1@web1"][0]["test"] == "http / from peer"
    assert "refused" in problem(results["shop_1_2@web2"][0])
    assert [path for path, _ in asked] == ["/"]


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_by_ipv6():
    """Messages have the address as a URL has it."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        where = {"address": "::1", "port": server.getsockname()[1]}
        assert probes.run(probe("tcp"), where)["ok"]
        server.accept()[0].close()
        answer = [server, lambda connection: connection.sendall(b"HTTP/1.0 500 Oh\r\n\r\n")]
        threading.Thread(target=converse, args=answer, daemon=True).start()
        failed = probes.run(probe("http", "/health"), where)["detail"]
    assert failed == f"GET http://[::1]:{where['port']}/health: status 500, expected 200"
    refused = probes.run(probe("tcp"), where)["detail"]
    assert refused.startswith(f"[::1]:{where['port']}: ")


def test_an_answer_is_told_without_the_values_of_env(web):
    values, pages, _ = web
    pages["/who"] = (200, {}, b"shop with hunter2")
    test = Probe("http", "/who", origin="master", contains="nobody")
    app = App("shop", Source("pip", "shop"), "run", tests=(test,), env={"PASSWORD": "hunter2"})
    target = {"id": "shop_1.0_100", "node": "web1", **values}
    [[result]] = probes.run_from("master", Environment("e", {}, {}), app, [target]).values()
    assert not result["ok"] and result["detail"].endswith("does not contain 'nobody': 'shop with ***'")
