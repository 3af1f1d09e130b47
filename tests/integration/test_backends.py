"""Consul and SkyDNS as a deployment sees them: the same protocol, on real servers, without Salt."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer

import pytest
import requests
from saltdeploy import discovery
from saltdeploy.core.errors import DiscoveryUnavailable, Failed
from saltdeploy.core.httprequests import Request
from saltdeploy.core.model import Probe
from saltdeploy.discovery import Service, etcd
from saltdeploy.discovery.etcd import Etcd, Login

from tests.support import balancer
from tests.support.site import NETWORK, Agents, until
from tests.support.skydns import ENVIRONMENT, SkyDNS
from tooling import agents as tools
from tooling.skydns import DNS, DOMAIN

# Other addresses than those of the site, which runs meanwhile.
CONSUL_NODES = {f"db{n}": f"{NETWORK}.3{n}" for n in (1, 2, 3)}
NODES = {f"db{n}": f"{NETWORK}.4{n}" for n in (1, 2, 3)}
LEASE = 5
# The frontend of HAProxy.
BALANCED = 24184


class Answering(BaseHTTPRequestHandler):
    """Answers with the status that its server has now."""

    def do_GET(self):
        self.server.seen.append(dict(self.headers))
        body = self.server.body
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """Print nothing."""


@pytest.fixture
def app():
    """A web server whose answers a test chooses."""
    server = HTTPServer(("127.0.0.1", 0), Answering)
    server.status, server.seen, server.body = 200, [], b"so it is"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def haproxy(skydns, tmp_path):
    """HAProxy on a load balancer of SkyDNS, before the app shop."""
    balancer.required()
    nodes = {"lb1": {"address": NODES["db3"], "roles": ["loadbalancer"]}}
    shop = {
        "source": {"pip": "shop"},
        "run": "./bin/shop {port}",
        "ports": "20000-20009",
        "frontend": {"port": BALANCED},
    }
    site = {"nodes": nodes, "discovery": skydns.discovery, "apps": {"shop": {"instances": 3}}}
    found = balancer.HAProxy(tmp_path, NODES["db1"])
    found.configure({"apps": {"shop": shop}, "environments": {ENVIRONMENT: site}}, "lb1")
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def skydns(folder):
    with SkyDNS(folder / "sky", NODES).running() as site:
        yield site


@pytest.fixture(scope="module")
def consul(folder, consul_binary):
    with Agents(folder / "con", consul_binary, CONSUL_NODES).running() as site:
        yield site


@pytest.fixture(params=["consul", "skydns"])
def site(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def node(site):
    """The discovery as the node db1 has it, without services."""
    yield from _clean(site)


@pytest.fixture
def sky(skydns):
    """The same, of SkyDNS."""
    yield from _clean(skydns)


def _clean(site):
    with site.backend("db1") as backend:
        yield backend
        for ident in backend.registered():
            discovery.patiently(lambda ident=ident: backend.withdraw(ident), 20)


def service(app, ident="shop_1.0_20001", **changes):
    """Return a Service that ``app`` answers for."""
    check = Probe("http", "/health?x=1", interval=0.5, timeout=2.0)
    address, port = app.server_address
    given = {"tags": ("site", "1.0"), "meta": {"minion": "db1", "environment": ENVIRONMENT}, "weight": 25600}
    return dataclasses.replace(Service(ident, "shop", address, port, checks=(check,), **given), **changes)


def within(seconds, condition, what):
    """Wait for what discovery must know within some seconds: much less than that on an idle machine."""
    until(condition, seconds, what)


# -- both ---------------------------------------------------------------------------------------


def test_a_service_is_found_while_its_checks_pass(node, site, app):
    node.publish(service(app))
    [found] = node.instances("shop", passing=True)
    assert (found.id, found.address, found.port) == ("shop_1.0_20001", *app.server_address)
    assert (found.tags, found.minion, found.weight, found.alive) == (("site", "1.0"), "db1", 25600, True)
    assert found.belongs_to(ENVIRONMENT) and not found.output
    # Consul before 1.7 does not tell the times of a check.
    assert found.checks in ((("http /health?x=1", 0.5, 2.0),), (("http /health?x=1", None, None),))
    assert node.check_counts() == {"shop_1.0_20001": 1}
    within(20, lambda: not node.unmeasured(["shop_1.0_20001"]), "a first result")
    assert node.results("shop_1.0_20001")["http /health?x=1"][0] == "passing"
    assert node.failing() == [] and node.services()["shop"] == ("1.0", "site")
    within(10, lambda: site.addresses("shop") == {app.server_address[0]}, "DNS to have it")

    app.status = 503
    with site.backend() as master:
        gone = time.monotonic() + 30
        assert master.wait("shop", lambda found: not found, gone, passing=True)
        [found] = master.instances("shop")
        assert found.status == "critical" and "503" in found.output and "so it is" in found.output
        assert node.failing() == ["shop_1.0_20001"]
        within(10, lambda: site.addresses("shop") == set(), "DNS not to have it")
        app.status = 429
        assert master.wait("shop", lambda found: [e.status for e in found] == ["warning"], gone)
        assert master.instances("shop", passing=True) == []
        app.status = 200
        assert master.wait("shop", bool, gone, passing=True)
        # What is there already is not waited for, and what does not come is waited for as long as is said.
        began = time.monotonic()
        assert not master.wait("shop", lambda found: len(found) == 2, began + 0.5)
        assert 0.4 < time.monotonic() - began < 5
    node.withdraw("shop_1.0_20001")
    node.withdraw("shop_1.0_20001")
    assert node.registered() == {} and node.instances("shop") == []


def test_a_change_of_a_service_is_waited_for_from_elsewhere(node, site, app):
    with ThreadPoolExecutor() as pool, site.backend() as master:
        waits = pool.submit(master.wait, "shop", lambda found: len(found) == 2, time.monotonic() + 60)
        node.publish(service(app))
        node.publish(service(app, "shop_1.0_20002"))
        assert waits.result()
        node.publish(service(app, weight=256, tags=("site", "1.0", "more")))
        found = {e.id: (e.weight, e.tags) for e in master.instances("shop")}
        assert found["shop_1.0_20001"] == (256, ("site", "1.0", "more"))
        waits = pool.submit(master.wait, "shop", lambda found: len(found) == 1, time.monotonic() + 60)
        node.withdraw("shop_1.0_20001")
        assert waits.result()


def test_what_is_not_proved_is_not_found_before_its_first_results(node, app):
    app.status = 500
    node.publish(service(app), proved=False)
    assert node.instances("shop", passing=True) == [] and node.failing() == ["shop_1.0_20001"]
    app.status = 200
    assert node.wait("shop", bool, time.monotonic() + 30, passing=True)


def test_thresholds_of_a_check(node, app):
    check = Probe("http", "/", interval=0.5, timeout=2.0, failures_before_critical=3, success_before_passing=2)
    node.publish(service(app, checks=(check,)))
    within(20, lambda: not node.unmeasured(["shop_1.0_20001"]), "a first result")
    app.status, before = 500, len(app.seen)
    assert node.wait("shop", lambda found: not found, time.monotonic() + 30, passing=True)
    assert len(app.seen) - before >= 3
    app.status, before = 200, len(app.seen)
    assert node.wait("shop", bool, time.monotonic() + 30, passing=True)
    assert len(app.seen) - before >= 2


def test_an_app_reports_and_another_name_follows_it(node, site, app):
    named = service(app, "shop_1.0_20001_named", name="front", checks=(Probe("alias", "shop_1.0_20001"),))
    node.publish(service(app, checks=(Probe("ttl", "", interval=3.0),)), proved=False)
    node.publish(named)
    [ident] = [c["CheckID"] for c in checks(site) if c["ServiceID"] == "shop_1.0_20001"]
    report = f"{site.url('db1')}/v1/agent/check/pass/{ident}"
    # A candidate may still be there: it has the same check.
    check = (Probe("ttl", "", interval=3.0),)
    node.publish(service(app, "shop_1.0_20001_candidate", name="shop-candidate", checks=check), proved=False)
    node.publish(service(app, checks=check), proved=False)
    assert requests.put(report, timeout=5).status_code == 200
    for name in ("shop", "front"):
        assert node.wait(name, bool, time.monotonic() + 20, passing=True)
    for name in ("shop", "front"):
        assert node.wait(name, lambda found: not found, time.monotonic() + 30, passing=True)
    assert "TTL expired" in node.results("shop_1.0_20001")["ttl"][1]
    assert requests.put(f"{report}-of-nobody", timeout=5).status_code in (404, 500)


def checks(site):
    return requests.get(f"{site.url('db1')}/v1/agent/checks", timeout=5).json().values()


def test_keys_and_fenced_writes(node):
    assert node.read("deploy/none") == (None, 0, None)
    assert node.replace("deploy/b", {"n": 1}, 0) and not node.replace("deploy/b", {"n": 2}, 0)
    value, index, session = node.read("deploy/b")
    assert (value, session) == ({"n": 1}, None) and node.replace("deploy/b", {"n": 2}, index)
    assert node.write({"deploy/a": [1, "ü"], "deploy/dir/c": None})
    assert node.read_all("deploy/") == {"deploy/b": {"n": 2}, "deploy/a": [1, "ü"], "deploy/dir/c": None}
    assert [key for key, _ in node.entries("deploy/")] == ["deploy/b", "deploy/a", "deploy/dir/c"]
    assert sorted(node.keys("deploy/d")) == ["deploy/dir/c"] and node.keys("deployment/") == []
    many = {f"deploy/many/{n:03}": n for n in range(150)}
    for some in (list(many)[:60], list(many)[60:120], list(many)[120:]):
        assert node.write({key: many[key] for key in some})
    assert len(node.keys("deploy/many/")) == 150
    assert node.write({"deploy/a": 2}, delete=[*many, "deploy/b", "deploy/dir/c"])
    assert node.read_all("deploy/") == {"deploy/a": 2}
    assert node.write({}, delete=["deploy/a"])


def test_one_holds_a_lock_until_its_session_ends(node, site):
    one, other = node.create_session("one", 10), node.create_session("other", 10)
    assert node.acquire("deploy/lock", one, {"by": "one"}, 0)
    value, index, holder = node.read("deploy/lock")
    assert (value, holder) == ({"by": "one"}, one)
    assert not node.acquire("deploy/lock", other, {"by": "other"}, index)
    assert node.write({"deploy/record": 1}, "deploy/lock", one)
    assert not node.write({"deploy/record": 2}, "deploy/lock", other) and node.read("deploy/record")[0] == 1
    node.destroy_session(one)
    assert not node.renew_session(one) and node.renew_session(other)
    assert not node.write({"deploy/record": 3}, "deploy/lock", one)
    assert node.read("deploy/lock")[::2] == ({"by": "one"}, None)
    until(lambda: node.acquire("deploy/lock", other, {"by": "other"}, node.read("deploy/lock")[1]), 10, "the lock")
    node.release("deploy/lock", other)
    assert node.read("deploy/lock")[2] is None
    # Nobody who read it before somebody else had it gets it.
    assert not node.acquire("deploy/lock", other, {"by": "late"}, index)
    node.destroy_session(other)
    assert node.write({}, delete=["deploy/lock", "deploy/record"])


def test_a_session_that_nobody_renews_ends(node):
    session = node.create_session("dead", 10)
    assert node.acquire("deploy/lock", session, {}, node.read("deploy/lock")[1])
    until(lambda: node.read("deploy/lock")[2] is None, 40, "the session to end")
    assert not node.renew_session(session)


def test_a_leader_is_needed_and_a_dead_server_is_not_asked_again(node, site, app):
    assert "http" in node.leader() or ":" in node.leader()
    node.publish(service(app))
    site.stop_agent("db2", "db3")
    try:
        with site.backend() as master:
            with pytest.raises(DiscoveryUnavailable, match=r"ore than half of its|does not answer|leadership lost"):
                master.leader()
            with pytest.raises(DiscoveryUnavailable):
                master.write({"deploy/a": 1})
    finally:
        site.start_agent("db2")
        site.start_agent("db3")
        site.await_leader()
    # The first of the servers is down, and the others are asked.
    site.stop_agent("db1")
    try:
        with site.backend() as master:
            assert discovery.patiently(lambda: master.write({"deploy/a": 1}), 20)
            assert master.read("deploy/a")[0] == 1
            until(lambda: not discovery.patiently(lambda: master.instances("shop", True), 20), 40, "db1 to be gone")
            [found] = master.instances("shop")
            assert not found.alive and found.status == "critical"
            with pytest.raises(DiscoveryUnavailable, match="does not answer"):
                node.registered()
    finally:
        site.start_agent("db1")
        site.await_leader()
    until(lambda: node.instances("shop", passing=True), 30, "the service to be back, without another registration")
    assert node.write({}, delete=["deploy/a"])


# -- SkyDNS alone -------------------------------------------------------------------------------


def test_coredns_answers_addresses_and_ports(sky, skydns, app):
    host, port = app.server_address
    sky.publish(service(app))
    sky.publish(service(app, "Shop_1.1+b_20002", address="fd00::7", checks=(), weight=256))
    sky.publish(service(app, "worker_1.0_1", name="worker", port=None, checks=()))
    name, at = f"shop.{ENVIRONMENT}.{DOMAIN}", NODES["db2"]
    found = [answer.split() for answer in tools.resolve(name, tools.SRV, at, DNS)]
    assert {(priority, port) for priority, _, port, _ in found} == {("10", str(port))}
    # CoreDNS gives shares of 100 in place of the weights, and at least 1.
    assert sorted(int(weight) for _, weight, _, _ in found) == [1, 99]
    targets = {target.rstrip(".") for *_, target in found}
    assert {tuple(tools.resolve(target, tools.A, at, DNS)) for target in targets} == {(host,), ()}
    assert all(target.endswith(f".db1.{name}") for target in targets)
    assert {len(label) <= 63 and not set("_+. ") & set(label) for label in (t.split(".")[0] for t in targets)} == {True}
    assert tools.resolve(name, tools.A, at, DNS) == [host]
    assert tools.resolve(name, tools.AAAA, at, DNS) == ["fd00::7"]
    assert tools.resolve(f"worker.{ENVIRONMENT}.{DOMAIN}", tools.A, at, DNS) == [host]
    record = next(iter(raw(skydns, f"/skydns/local/skydns/{ENVIRONMENT}/shop/").values()))
    assert '"ttl": 1' in record and '"text": ' in record


def raw(skydns, prefix):
    """Return what etcd has under a prefix."""
    command = ["etcdctl", "--endpoints", ",".join(skydns.members), "get", "--prefix", prefix]
    done = subprocess.run(command, env={**os.environ, "ETCDCTL_API": "3"}, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    return dict(zip(lines[::2], lines[1::2]))


def test_a_killed_health_agent_leaves_no_gap_if_it_is_back_at_once(sky, skydns, app):
    sky.publish(service(app))
    seen, over = set(), threading.Event()

    def watch():
        while not over.is_set():
            seen.add(len(sky.instances("shop", passing=True)))
            time.sleep(0.02)

    watching = threading.Thread(target=watch)
    watching.start()
    kill(skydns, "health-db1")
    skydns.start_health("db1")
    skydns.await_leader()
    time.sleep(LEASE + 1)
    over.set()
    watching.join()
    assert seen == {1}
    # It has forgotten nothing.
    assert set(sky.registered()) == {"shop_1.0_20001"}


def kill(skydns, name, number=signal.SIGKILL):
    os.kill(skydns.daemons.running()[name].pid, number)


def test_a_suspended_health_agent_believes_no_old_result(sky, skydns, app):
    sky.publish(service(app))
    within(20, lambda: not sky.unmeasured(["shop_1.0_20001"]), "a first result")
    kill(skydns, "health-db1", signal.SIGSTOP)
    try:
        with skydns.backend() as master:
            assert master.wait("shop", lambda found: not found, time.monotonic() + 30, passing=True)
            assert skydns.addresses("shop") == set()
            app.status = 500
            seen = []
            kill(skydns, "health-db1", signal.SIGCONT)
            end = time.monotonic() + 3
            while time.monotonic() < end:
                seen += master.instances("shop", passing=True)
                time.sleep(0.02)
            assert seen == []
            app.status = 200
            assert master.wait("shop", bool, time.monotonic() + 30, passing=True)
    finally:
        kill(skydns, "health-db1", signal.SIGCONT)


def test_etcd_that_lost_all_gets_it_again(sky, skydns, app):
    sky.publish(service(app))
    client = Etcd(skydns.members)
    lease = next(value.lease for value in client.ranges(etcd.under("/saltdeploy/site/agents/db1"))[1][0])
    client.transact([], [etcd.delete(etcd.under("/saltdeploy/")), etcd.delete(etcd.under("/skydns/"))], "remove all")
    client.revoke(lease)
    until(lambda: sky.instances("shop", passing=True), 20, "the service to be back")
    within(10, lambda: skydns.addresses("shop") == {app.server_address[0]}, "its record to be back")
    skydns.await_leader()
    # A record that somebody wrote by hand is none of this node's, and goes.
    stray = "/saltdeploy/site/services/shop/db1/stray"
    client.transact([], [etcd.put(stray, "{}")], "write a stray")
    client.revoke(next(value.lease for value in client.ranges(etcd.under("/saltdeploy/site/agents/db1"))[1][0]))
    until(lambda: stray not in raw(skydns, "/saltdeploy/site/services/"), 20, "the stray to be gone")
    client.close()


def test_a_second_agent_with_the_same_name_changes_nothing(sky, skydns, app, folder):
    sky.publish(service(app))
    nodes = {**NODES, "db1": f"{NETWORK}.44"}
    other = SkyDNS(folder / "second", nodes)
    other.servers = skydns.servers
    try:
        other.start_health("db1")
        with other.backend("db1") as second:
            until(lambda: _answers(second), 20, "the second agent to listen")
            with pytest.raises(DiscoveryUnavailable, match="another health agent has the name db1 in site"):
                second.publish(service(app, "shop_2.0_20001"))
        assert [e.id for e in sky.instances("shop", passing=True)] == ["shop_1.0_20001"]
    finally:
        other.stop()


def _answers(backend):
    try:
        backend.registered()
    except DiscoveryUnavailable:
        return False
    return True


def test_a_compacted_history_does_not_disturb_who_waits(sky, skydns, app):
    client = Etcd(skydns.members)
    revision = client.ranges(etcd.under("/"))[0]
    client.ask("kv/compaction", {"revision": str(revision)}, "compact")
    client.await_change(etcd.under("/saltdeploy/"), 1, 5.0)
    with ThreadPoolExecutor() as pool:
        waits = pool.submit(sky.wait, "shop", bool, time.monotonic() + 30)
        sky.publish(service(app))
        assert waits.result()
    client.close()


def test_a_candidate_that_nobody_publishes_leaves_by_itself(sky, app):
    until_then = service(app, "shop_1.0_20001_candidate", name="shop-candidate", expires=1.0)
    sky.publish(until_then)
    assert len(sky.instances("shop-candidate", passing=True)) == 1
    assert sky.wait("shop-candidate", lambda found: not found, time.monotonic() + 10, passing=True)


def test_rights_and_logins(skydns, sky, app, folder):
    """A login that has ended is renewed, a wrong one and a missing right are told, and no password is."""
    client = Etcd(skydns.members)
    for path, body in (
        ("auth/user/add", {"name": "root", "password": "r00t"}),
        ("auth/user/grant", {"user": "root", "role": "root"}),
        ("auth/role/add", {"name": "reader"}),
        ("auth/role/grant", {"name": "reader", "perm": {"permType": "READ", **etcd.under("/saltdeploy/")}}),
        ("auth/role/add", {"name": "deploy"}),
        ("auth/role/grant", {"name": "deploy", "perm": {"permType": "READWRITE", **etcd.under("/saltdeploy/site/")}}),
        (
            "auth/role/grant",
            {"name": "deploy", "perm": {"permType": "READWRITE", **etcd.under("/skydns/local/skydns/site/")}},
        ),
        ("auth/user/add", {"name": "deploy", "password": "depl0y"}),
        ("auth/user/grant", {"user": "deploy", "role": "deploy"}),
        ("auth/user/add", {"name": "reader", "password": "re4der"}),
        ("auth/user/grant", {"user": "reader", "role": "reader"}),
        ("auth/enable", {}),
    ):
        client.ask(path, body, path)
    try:
        with pytest.raises(Failed, match="discovery:skydns:user"):
            client.get("/saltdeploy/x")
        with pytest.raises(Failed, match="discovery:skydns:user and password") as told:
            Etcd(skydns.members, Login("reader", "wr0ng")).get("/saltdeploy/x")
        assert "wr0ng" not in str(told.value)
        reader = Etcd(skydns.members, Login("reader", "re4der"))
        assert reader.get("/saltdeploy/x") is None
        with pytest.raises(Failed, match=r"etcd refuses to write x: permission denied.*has no right"):
            reader.transact([], [etcd.put("/saltdeploy/x", "")], "write x")
        # The rights of the how-to are enough for all that master and nodes do.
        with skydns.backend() as plain, pytest.raises(Failed, match="user name is empty"):
            plain.leader()
        login = {"user": "deploy", "password": "depl0y"}
        settings = {"skydns": {**skydns.discovery["skydns"], **login, "environment": ENVIRONMENT}}
        with discovery.connect(settings) as deployer:
            assert deployer.leader() and deployer.write({"deploy/a": 1}) and deployer.read("deploy/a")[0] == 1
            session = deployer.create_session("one", 10)
            assert deployer.acquire("deploy/lock", session, {}, 0) and deployer.renew_session(session)
            deployer.destroy_session(session)
            assert not deployer.wait("shop", bool, time.monotonic() + 0.3)
            assert deployer.write({}, delete=["deploy/a", "deploy/lock"])
        root = Etcd(skydns.members, Login("root", "r00t"))
        assert root.get("/saltdeploy/x") is None
        # Any change of users ends all logins. So does a restart of the member.
        root.ask("auth/user/add", {"name": "third", "password": "th1rd"}, "add")
        assert reader.get("/saltdeploy/x") is None
        reader._token = "ended"
        assert reader.get("/saltdeploy/x") is None
    finally:
        Etcd(skydns.members, Login("root", "r00t")).ask("auth/disable", {}, "disable")
    # The agents have no login here, so etcd did not know them for a moment.
    skydns.await_leader()
    until(lambda: set(skydns_nodes(skydns)) == set(NODES), 30, "all agents to be back")


def skydns_nodes(skydns):
    with skydns.backend() as backend:
        return backend.nodes()


def test_the_health_agent_refuses_what_it_cannot_keep(sky, skydns):
    url = f"{skydns.url('db1')}/v1/agent"
    put = functools.partial(_put, url)
    good = {"Name": "shop", "Address": "127.0.0.1", "Port": 80}
    for body, told in (
        ({"json": []}, "a registration is a mapping"),
        ({"data": b"{"}, "is no JSON"),
        ({"json": {"Name": "shop"}}, "needs Address"),
        ({"json": {**good, "ID": "../../etc/passwd"}}, "ID may have letters"),
        ({"json": {**good, "Port": 70000}}, "from 0 to 65535"),
        ({"json": {**good, "Checks": [{"GRPC": "127.0.0.1:1"}]}}, "must have exactly one of HTTP, TCP, TTL"),
        ({"json": {**good, "Checks": [{"TCP": "127.0.0.1:1", "Interval": "s3cret"}]}}, "another type than Consul's"),
    ):
        answer = put("service/register", **body)
        assert (answer.status_code, told in answer.text) == (400, True), answer.text
        assert "s3cret" not in answer.text
    assert put("service/deregister/none").status_code == 404
    assert put("nothing").status_code == requests.get(f"{url}/self", timeout=5).status_code == 404
    assert put("service/register", data=b"x" * (1 << 21)).status_code == 413
    assert sky.registered() == {}


def _put(url, path, **body):
    return requests.put(f"{url}/{path}", **body, timeout=10)


def test_secrets_of_a_check_stay_on_its_node(sky, skydns, app):
    check = Probe(
        "http", "/", interval=0.5, request=Request(headers={"Authorization": "Bearer s3cret"}, host="shop.test")
    )
    sky.publish(service(app, checks=(check,)))
    until(lambda: any(h.get("Authorization") == "Bearer s3cret" for h in app.seen), 10, "the header to be sent")
    assert app.seen[-1]["Host"] == "shop.test"
    assert not any("s3cret" in text for text in raw(skydns, "/").values())
    [kept] = (skydns.folder / "db1/health/services").glob("*.json")
    assert kept.stat().st_mode & 0o077 == 0


def test_haproxy_follows_coredns_and_gives_each_instance_the_same(skydns, sky, haproxy):
    with contextlib.ExitStack() as stack:
        old, older, new = (stack.enter_context(serving(version)) for version in ("1.0", "1.0", "1.1"))

        def usable(*servers):
            wanted = {server.server_address for server in servers}
            within(20, lambda: haproxy.usable("shop") == wanted, f"HAProxy to have {wanted}")

        for server in (old, older):
            sky.publish(service(server, f"shop_1.0_{server.server_port}"))
        usable(old, older)
        clients = stack.enter_context(balancer.Clients(BALANCED, "shop"))
        assert clients.wait_for("1.0", 10)
        sky.publish(service(new, "shop_1.1_1_candidate", name="shop-candidate"))
        within(10, lambda: skydns.addresses("shop-candidate"), "DNS to have the candidate")
        time.sleep(3)  # HAProxy asks once a second
        usable(old, older)
        assert set(clients.answered) == {"1.0"}
        sky.publish(service(new, "shop_1.1_1", weight=2560))
        usable(old, older, new)
        before, after = clients.answered["1.1"], clients.total
        within(30, lambda: clients.total > after + 60, "some requests")
        # A third, although its weight is a tenth of the others'.
        assert 0.25 < (clients.answered["1.1"] - before) / (clients.total - after) < 0.42
        for server in (old, older):
            sky.withdraw(f"shop_1.0_{server.server_port}")
        usable(new)
        before = clients.total
        assert clients.wait_for("1.1", 10)
        gone = clients.answered["1.0"]
        within(20, lambda: clients.total > before + 20, "some requests")
        assert clients.answered["1.0"] == gone and clients.failures == []


@contextlib.contextmanager
def serving(version):
    """Yield a web server that answers with its release."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.status, server.seen, server.body = 200, [], f"release {version}".encode()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
