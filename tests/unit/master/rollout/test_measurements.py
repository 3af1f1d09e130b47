"""What is measured of a release, on real servers, and what becomes of it."""

from __future__ import annotations

import http.server
import json
import logging
import os
import signal
import socket
import threading
import time
from types import SimpleNamespace

import pytest
from saltdeploy.core.analysis import Inconclusive, Measurement
from saltdeploy.core.errors import Failed, LockLost, NotReverted
from saltdeploy.core.httprequests import Request
from saltdeploy.core.model import Strategy
from saltdeploy.master.journal import Journal
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.rollout import measurements
from saltdeploy.planning.planner import plan

from tests.support.fleet import NEW, OLD, Desired, instance, make_app, observe
from tests.support.gates import VALUES, gate, named, vector
from tests.support.rollout import Case, Fleet

# -- asking -----------------------------------------------------------------------------------


@pytest.fixture
def web():
    """Serve ``answers``, path to (status, headers, body) or a function that makes one; ``asked`` is what was asked.

    ``bodies`` are what came with it.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            site.asked.append((self.path, dict(self.headers)))
            found = site.answers.get(self.path.partition("?")[0], (404, {}, "not found"))
            status, headers, body = found() if callable(found) else found
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def do_POST(self):
            site.bodies.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.do_GET()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site = SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}", answers={}, asked=[], bodies=[])
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield site
        server.shutdown()


@pytest.fixture
def nobody():
    """A URL where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def test_a_server_is_asked_for_json(web):
    web.answers["/m"] = (200, {}, '{"rate": 0.5}')
    one = gate(
        url=f"{web.url}/m?v={{version}}&e={{environment}}",
        pointer="/rate",
        request=Request(headers={"X-Key": "secret"}),
    )
    assert measurements.ask(one, VALUES) == Measurement(0.5)
    [(path, headers)] = web.asked
    assert path == "/m?v=1.0%2Bb2&e=test"
    assert headers["X-Key"] == "secret"


def test_a_search_is_sent_as_a_body(web):
    """Elasticsearch and Loki, for example, take their query so."""
    web.answers["/_count"] = (200, {}, '{"count": 3}')
    asked = Request(method="POST", body='{"query": {}}', headers={"Content-Type": "application/json"})
    assert measurements.ask(gate(url=f"{web.url}/_count", pointer="/count", request=asked), VALUES) == Measurement(3.0)
    assert web.bodies == ['{"query": {}}']


def test_an_answer_that_repeats_a_secret_is_told_without_it(web):
    web.answers["/"] = (200, {}, "who is hunter2-hunter2?")
    asked = Request(headers={"Authorization": "Bearer hunter2-hunter2"})
    found = measurements.ask(gate(url=web.url, request=asked), VALUES)
    assert found == Measurement(None, "the answer is not JSON: 'who is ***?'")


BODY = '{"user": "ann",\n "password": "hunter2secret"}'


@pytest.mark.parametrize(
    "pointer, answer",
    [
        ("", f"you sent: {BODY}"),
        ("", f"no such field: {BODY.splitlines()[1]}"),
        ("/x", json.dumps({"x": "hunter2-hunter2"})),
        ("", "x" * 190 + "hunter2-hunter2"),
    ],
    ids=["the body", "a line of the body", "a part of JSON", "where it is cut"],
)
def test_no_part_of_a_secret_is_told(web, pointer, answer):
    web.answers["/"] = (200, {}, answer)
    asked = Request(method="POST", headers={"Authorization": "Bearer hunter2-hunter2"}, body=BODY)
    found = measurements.ask(gate(url=web.url, pointer=pointer, request=asked), VALUES)
    assert found.value is None and "hun" not in found.why and "***" in found.why


def test_an_answer_that_is_cut_off_is_no_number():
    """Without a length, it ends where the connection ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip():
            connection = server.accept()[0]
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n12")
            time.sleep(0.6)
            connection.close()

        threading.Thread(target=drip, daemon=True).start()
        one = gate(url=f"http://127.0.0.1:{server.getsockname()[1]}", timeout=0.2)
        with pytest.raises(Inconclusive, match="no whole answer within 0.2s"):
            measurements._get(one, one.url)


@pytest.mark.parametrize("slash", ["", "/"])
def test_prometheus_is_asked_as_its_api_says(web, slash):
    web.answers["/prom/api/v1/query"] = (200, {}, json.dumps(vector("4")))
    query = 'sum(rate(errors{version="{version}",code=~"5.{2}"}[1m]))'
    one = gate("prometheus", url=f"{web.url}/prom{slash}", query=query)
    assert measurements.ask(one, VALUES) == Measurement(4.0)
    [(path, _)] = web.asked
    assert path == (
        "/prom/api/v1/query?query=sum%28rate%28errors%7Bversion%3D%221.0%2Bb2%22"
        "%2Ccode%3D~%225.%7B2%7D%22%7D%5B1m%5D%29%29"
    )


@pytest.mark.parametrize(
    "kind, status, headers, body, words",
    [
        ("http", 503, {}, "1", "status 503, expected 2xx"),
        ("http", 302, {"Location": "/"}, "1", "status 302, expected 2xx"),
        ("prometheus", 400, {}, '{"status": "error", "errorType": "bad_data", "error": "x"}', "bad_data: x"),
        ("prometheus", 502, {}, "bad gateway", "status 502, expected 200"),
    ],
)
def test_another_status_is_inconclusive(web, kind, status, headers, body, words):
    web.answers.update({"/": (200, {}, "1"), "/m": (status, headers, body), "/m/api/v1/query": (status, headers, body)})
    assert measurements.ask(gate(kind, url=f"{web.url}/m"), VALUES) == Measurement(None, words)


def test_nobody_answers(nobody):
    assert measurements.ask(gate(url=nobody), VALUES) == Measurement(None, "connection refused")


def test_a_name_that_nobody_has():
    measurement = measurements.ask(gate(url="http://nobody.invalid/"), VALUES)
    assert measurement.value is None and "HTTPConnectionPool" not in measurement.why


def test_a_url_that_becomes_none_is_inconclusive_and_waits_for_nothing(caplog):
    caplog.set_level(logging.CRITICAL)
    began = time.monotonic()
    assert measurements.ask(gate(url="http://a..b/"), VALUES).value is None
    assert time.monotonic() - began < 4


def test_a_server_that_drips_has_one_thread_at_most():
    one, ended = gate(url="http://127.0.0.1:1/"), threading.Event()
    thread = threading.Thread(target=ended.wait, args=[20])
    thread.start()
    asking = {one.name: thread}
    assert measurements.ask(one, VALUES, asking) == Measurement(None, "the request before is not answered yet")
    ended.set()
    thread.join()
    assert measurements.ask(one, VALUES, asking) == Measurement(None, "connection refused")


def test_a_server_that_drips_is_left_alone_in_time():
    def drip():
        with server.accept()[0] as connection:
            connection.recv(10000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            until = time.monotonic() + 10
            while not ended.wait(0.02) and time.monotonic() < until:
                connection.sendall(b"1")

    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert measurements.ask(gate(url=url, timeout=0.5), VALUES) == Measurement(None, "no whole answer within 0.5s")
        ended.set()
        thread.join()


# -- measuring --------------------------------------------------------------------------------


class Jobs:
    """Stands for jobs.Jobs: a command's node answers with each of ``replies``."""

    def __init__(self, *replies):
        self.journal, self.fleet, self.replies, self.ran = Journal(), self, list(replies), []

    def run(self, function, nodes, *args, **kwargs):
        self.ran.append((function, nodes, args, kwargs))
        return {nodes[0]: self.replies.pop(0)}


WHERE = measurements.Where("test", NEW, "web1", "shop_2.0_100")


def measure(jobs, *gates, check=lambda: None):
    app = SimpleNamespace(name="shop", env={"PASSWORD": "hunter2"}, strategy=Strategy(analysis=gates))
    measurements.run(jobs, app, WHERE, check)
    return jobs.journal.steps


def test_all_measurements_of_a_gate_are_taken_and_told(web):
    numbers = iter("1234")
    web.answers["/"] = lambda: (200, {}, next(numbers))
    steps = measure(Jobs(), gate(url=web.url, count=4, failure_limit=2, maximum=2))
    said = [
        "errors 1/4: 1",
        "errors 2/4: 2",
        "errors 3/4: 3, wanted is at most 2",
        "errors 4/4: 4, wanted is at most 2",
    ]
    assert [(s.phase, s.what, s.ok) for s in steps] == [
        ("measure", text, ok) for text, ok in zip(said, (True, True, False, False))
    ]


def test_the_first_measurement_has_an_interval_before_it(web):
    web.answers["/"] = (200, {}, "1")
    began = time.monotonic()
    measure(Jobs(), gate(url=web.url, count=2, interval=0.2))
    assert time.monotonic() - began >= 0.4


def test_gates_are_measured_beside_one_another(web):
    together = threading.Barrier(2, timeout=10)

    def answer():
        together.wait()
        return 200, {}, "1"

    web.answers["/"] = answer
    one = gate(url=web.url, count=2)
    assert len(measure(Jobs(), one, named("latency", one))) == 4


def test_the_first_gate_that_fails_ends_it(web, nobody):
    web.answers["/"] = (200, {}, "1")
    jobs = Jobs()
    with pytest.raises(Failed) as caught:
        measure(jobs, gate(url=web.url, count=3, interval=60), named("latency", gate(url=nobody, count=9)))
    assert str(caught.value) == (
        "analysis latency failed: measured inconclusive (connection refused), wanted is at most 5,"
        " 1 of 1 was not, and 0 may be"
    )
    [step] = jobs.journal.steps
    assert step.what == "latency 1/9: inconclusive (connection refused), wanted is at most 5" and not step.ok


def test_a_command_runs_at_an_instance_of_the_wave():
    value = {"instance": "shop_2.0_100", "code": 0, "output": "3\n"}
    jobs = Jobs(Reply("web1", value), Reply("web1", {**value, "output": "4\n"}))
    steps = measure(jobs, gate("command", command="./queue {port}", maximum=5, count=2))
    assert [(s.node, s.what) for s in steps] == [("web1", "errors 1/2: 3"), ("web1", "errors 2/2: 4")]
    function, nodes, args, kwargs = jobs.ran[0]
    assert (function, nodes, args) == ("app.command", ["web1"], ("shop", "./queue {port}", "shop_2.0_100", 5.0))
    assert kwargs["placeholders"] is True


def test_what_a_command_prints_is_told_without_the_values_of_env():
    jobs = Jobs(Reply("web1", {"instance": "shop_2.0_100", "code": 0, "output": "asked with hunter2"}))
    with pytest.raises(Failed) as error:
        measure(jobs, gate("command", command="./queue", maximum=5))
    assert "asked with ***" in str(error.value) and "hunter2" not in str(error.value)


@pytest.mark.parametrize("value", [None, {"instance": "shop_1.0_100", "code": 0, "output": ""}], ids=["none", "other"])
def test_an_answer_about_something_else_is_inconclusive(value):
    with pytest.raises(Failed, match=r"measured inconclusive \(web1: its answer is not to be believed: "):
        measure(Jobs(Reply("web1", value)), gate("command", command="x"))


def test_a_node_that_does_not_answer_is_inconclusive():
    with pytest.raises(Failed, match=r"measured inconclusive \(web1: does not answer\), wanted is exit code 0"):
        measure(Jobs(Reply("web1", None, "does not answer")), gate("command", command="x"))


@pytest.fixture
def hanging(web):
    """A URL that does not answer, and whether it was asked; ``also`` is called when it is."""
    web.was_asked, web.also, answer = threading.Event(), lambda: None, threading.Event()

    def hang():
        web.was_asked.set()
        web.also()
        answer.wait(20)
        return 200, {}, "1"

    web.answers["/"] = hang
    yield web
    answer.set()


def test_the_lock_is_looked_at_although_a_server_hangs(hanging, monkeypatch):
    monkeypatch.setattr(measurements, "BEAT", 0.05)

    def check():
        if hanging.was_asked.is_set():
            raise LockLost("it was lost")

    began = time.monotonic()
    with pytest.raises(LockLost):
        measure(Jobs(), gate(url=hanging.url, timeout=15), check=check)
    assert time.monotonic() - began < 10


def test_a_signal_ends_it_although_a_server_hangs(hanging, monkeypatch):
    monkeypatch.setattr(measurements, "BEAT", 15)
    hanging.also = lambda: os.kill(os.getpid(), signal.SIGINT)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        measure(Jobs(), gate(url=hanging.url, timeout=15))
    assert time.monotonic() - began < 10


# -- as a part of a deployment ----------------------------------------------------------------


def deploy(gates, analysis=True, lost=(), begun=lambda fleet: None):
    """Deploy beside what runs on three nodes, simulated; return the fleet, and what is raised."""
    nodes = ["a", "b", "c"]
    there = [instance(n) for n in nodes]
    fleet = Fleet(there, lost=lost)
    begun(fleet)
    app = make_app()
    strategy = Strategy(**{**app.strategy.__dict__, "analysis": gates, "min_healthy_time": 0})
    app = type(app)(**{**app.__dict__, "strategy": strategy})
    desired = Desired(app, NEW, 3, tuple(nodes), analysis=analysis)
    fleet.record = {"version": OLD, "nodes": {i.node: [i.id] for i in there}}
    fleet.journal, fleet.fleet = Journal(), fleet
    try:
        Case(fleet, app, desired, there, nodes).run(plan(desired, observe(*there)))
    except Failed as exc:
        return fleet, exc
    return fleet, None


def released(fleet):
    return sorted(one.split("_")[1] for _, one in fleet.instances)


def test_what_is_measured_well_is_deployed(web):
    web.answers["/"] = (200, {}, "1")
    fleet, problem = deploy((gate(url=web.url, count=2),))
    assert problem is None and released(fleet) == [NEW] * 3
    assert len(web.asked) == 4, "two measurements in each of two waves"


def test_what_is_measured_badly_is_reverted_and_nothing_old_was_retired(web):
    web.answers["/"] = (200, {}, "6")
    fleet, problem = deploy((gate(url=web.url),))
    assert type(problem) is Failed and str(problem).startswith("analysis errors failed: measured 6,")
    assert released(fleet) == [OLD] * 3 and fleet.record["version"] == OLD
    assert [phase for phase, _ in fleet.ran] == ["install", "start", "publish", "stop"]


def test_a_later_wave_that_is_measured_badly_brings_the_old_ones_back(web):
    numbers = iter([1, 6])
    web.answers["/"] = lambda: (200, {}, str(next(numbers)))
    fleet, problem = deploy((gate(url=web.url, count=1),))
    assert type(problem) is Failed and released(fleet) == [OLD] * 3 and all(fleet.instances.values())


def test_what_does_not_stay_healthy_while_it_is_measured_is_reverted(web):
    def sicken():
        for there, one in fleets[0].instances:
            if NEW in one:
                fleets[0].instances[there, one] = False
        return 200, {}, "1"

    fleets, web.answers["/"] = [], sicken
    fleet, problem = deploy((gate(url=web.url, count=1),), begun=fleets.append)
    assert type(problem) is Failed
    assert (
        str(problem)
        == "did not stay healthy in discovery while it was measured: shop_2.0_101 on a (not in the catalog of Consul:"
        " see the log of its agent on a)"
    )
    assert released(fleet) == [OLD] * 3


def test_a_lock_that_is_lost_meanwhile_leaves_all_as_it_is(web):
    web.answers["/"] = (200, {}, "1")
    fleet, problem = deploy((gate(url=web.url),), lost=[3])
    assert type(problem) is NotReverted and "the lock was lost" in str(problem)
    assert released(fleet) == [OLD] * 3 + [NEW]


def test_what_goes_back_is_not_measured(nobody):
    fleet, problem = deploy((gate(url=nobody),), analysis=False)
    assert problem is None and released(fleet) == [NEW] * 3
