"""What is measured of a release, on real servers, and what becomes of it."""

import http.server
import json
import logging
import math
import os
import signal
import socket
import threading
import time
from types import SimpleNamespace

import pytest
from saltdeploy import definition
from saltdeploy.core import analysis
from saltdeploy.core.analysis import Inconclusive, Measurement
from saltdeploy.core.errors import Failed, LockLost, NotReverted
from saltdeploy.core.model import Gate, Strategy
from saltdeploy.master.journal import Journal
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.rollout import measurements
from saltdeploy.planning.explain import lines
from saltdeploy.planning.planner import plan

from tests.support.definitions import mistake, pillar
from tests.support.fleet import NEW, OLD, Desired, instance, make_app, observe
from tests.support.rollout import Case
from tests.support.rollout import Fleet as Simulated

NOTHING = Measurement(None, "no data")
VALUES = {"app": "shop", "version": "1.0+b2", "environment": "test"}


def gate(kind="http", **more):
    limits = {} if {"maximum", "minimum"} & set(more) or kind == "command" else {"maximum": 5}
    return Gate("errors", kind, **{"interval": 0.01, "timeout": 5.0, **limits, **more})


def measured(*values):
    return [value if isinstance(value, Measurement) else Measurement(value) for value in values]


# -- the verdict ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values, options, over",
    [
        ([], {}, False),
        ([5, 5], {}, False),
        ([5, 5, 5], {}, True),
        ([5, 5], {"count": 2}, True),
        ([9, 5, 5], {"failure_limit": 1}, True),
        ([9, 5], {"failure_limit": 1}, False),
        ([NOTHING, 9, 1], {"failure_limit": 2}, True),
        ([2, 5, 3], {"minimum": 2, "maximum": 5}, True),
        ([-1, -2, -3], {"maximum": 0}, True),
    ],
)
def test_what_is_good_enough_so_far(values, options, over):
    assert analysis.verdict(gate(**options), measured(*values)) == ("" if over else None)


@pytest.mark.parametrize(
    "values, options, words",
    [
        ([5.000001], {}, "measured 5.000001, wanted is at most 5, 1 of 1 was not, and 0 may be"),
        ([1, NOTHING], {}, "measured 1, inconclusive (no data), wanted is at most 5, 1 of 2 was not, and 0 may be"),
        ([9, 1, 8], {"failure_limit": 1}, "measured 9, 1, 8, wanted is at most 5, 2 of 3 were not, and 1 may be"),
        ([1.9], {"minimum": 2}, "measured 1.9, wanted is at least 2, 1 of 1 was not, and 0 may be"),
        ([6], {"minimum": 2, "maximum": 5}, "wanted is at least 2 and at most 5, 1 of 1 was not"),
        ([-1], {"kind": "command"}, "measured -1, wanted is exit code 0, 1 of 1 was not"),
    ],
)
def test_a_failure_names_the_gate_the_values_and_the_condition(values, options, words):
    said = analysis.verdict(gate(**options), measured(*values))
    assert said.startswith("analysis errors failed: ") and words in said


def test_of_many_measurements_the_newest_are_shown():
    values = [*range(100), 1000]
    said = analysis.verdict(gate(count=200, maximum=500), measured(*values))
    assert "measured …, 91, 92, 93, 94, 95, 96, 97, 98, 99, 1000," in said


# -- what was answered ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document, pointer, value",
    [
        ({"a": {"b": 0.25}}, "/a/b", 0.25),
        ([{"x": 1}, {"x": 7}], "/1/x", 7),
        ({"a/b": {"~1": 3}}, "/a~1b/~01", 3),
        ({"": 4}, "/", 4),
        (5, "", 5),
    ],
)
def test_a_number_is_found_in_json(document, pointer, value):
    assert analysis.from_json(json.dumps(document), pointer) == value


@pytest.mark.parametrize(
    "text, pointer, words",
    [
        ("<html>", "/a", "the answer is not JSON: '<html>'"),
        ('{"a": 1}', "/b", "no data: the answer has nothing at /b"),
        ('{"a": 1}', "/a/b", "no data: the answer has nothing at /a/b"),
        ("[1]", "/1", "no data: the answer has nothing at /1"),
        ("[1]", "/x", "no data: the answer has nothing at /x"),
        ('{"a": true}', "/a", "at /a is True, not a number"),
        ('{"a": "1"}', "/a", "at /a is '1', not a number"),
        ('{"a": null}', "/a", "at /a is None, not a number"),
        ('{"a": NaN}', "/a", "measured nan, not a finite number"),
        ("1e999", "", "measured inf, not a finite number"),
        ("1" + "0" * 400, "", "the number is too large"),
    ],
)
def test_json_without_a_number_is_inconclusive(text, pointer, words):
    with pytest.raises(Inconclusive) as caught:
        analysis.from_json(text, pointer)
    assert words in str(caught.value)


def vector(*values):
    result = [{"metric": {"code": str(n)}, "value": [1435781451.781, v]} for n, v in enumerate(values)]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def answered(kind, result):
    return {"status": "success", "data": {"resultType": kind, "result": result}}


@pytest.mark.parametrize("answer", [vector("0.125"), answered("scalar", [1435781451.781, "0.125"])])
def test_prometheus_gives_a_number(answer):
    assert analysis.from_prometheus(json.dumps(answer)) == 0.125


@pytest.mark.parametrize(
    "answer, words",
    [
        (vector(), "no data: the query gave no series"),
        (vector("1", "2"), "the query gave 2 series. Make one of them, for example with sum()"),
        (vector("NaN"), "measured nan"),
        (vector("+Inf"), "measured inf"),
        (answered("matrix", [{"values": []}]), "the query gave a matrix"),
        ({"status": "error", "errorType": "bad_data", "error": "parse error"}, "bad_data: parse error"),
        ({}, "not an answer of Prometheus to a query: '{}'"),
        ([], "not an answer of Prometheus to a query: '[]'"),
        (answered("vector", [{}]), "not an answer of Prometheus"),
    ],
)
def test_prometheus_without_a_number_is_inconclusive(answer, words):
    with pytest.raises(Inconclusive) as caught:
        analysis.from_prometheus(json.dumps(answer))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "options, code, output, wanted",
    [
        ({}, 0, "fine\n", Measurement(0.0)),
        ({}, 3, "x\nno queue\n", Measurement(3.0, "no queue")),
        ({"maximum": 5}, 0, "warning: slow\n 4.5 \n", Measurement(4.5)),
    ],
)
def test_a_command_is_judged_by_its_exit_code_or_by_its_number(options, code, output, wanted):
    assert analysis.from_command(gate("command", **options), code, output) == wanted


@pytest.mark.parametrize(
    "options, code, output, words",
    [
        ({}, None, "`x` hangs: killed after 10s", "`x` hangs: killed after 10s"),
        ({"maximum": 5}, 1, "1", "the command ended with 1: 1"),
        ({"maximum": 5}, 0, "4 of 5", "is not a number: '4 of 5'"),
        ({"maximum": 5}, 0, "", "is not a number: ''"),
        ({"maximum": 5}, 0, "nan", "measured nan"),
    ],
)
def test_a_command_may_be_inconclusive(options, code, output, words):
    with pytest.raises(Inconclusive) as caught:
        analysis.from_command(gate("command", **options), code, output)
    assert words in str(caught.value)


# -- asking -----------------------------------------------------------------------------------


@pytest.fixture
def web():
    """Serve ``answers``, path to (status, headers, body) or a function that makes one; ``asked`` is what was asked."""

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

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site = SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}", answers={}, asked=[])
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
    one = gate(url=f"{web.url}/m?v={{version}}&e={{environment}}", pointer="/rate", headers={"X-Key": "secret"})
    assert measurements.ask(one, VALUES) == Measurement(0.5)
    [(path, headers)] = web.asked
    assert path == "/m?v=1.0%2Bb2&e=test"
    assert headers["X-Key"] == "secret"


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


# -- kinds ------------------------------------------------------------------------------------


def test_each_kind_asks_in_its_way():
    asked = []

    def get(url, params=None):
        asked.append((url, params))
        return 200, json.dumps(vector("0.5") if params else {"rate": 0.5})

    ways = analysis.Ways(get, lambda command: (0, f"{command}\n0.5"))
    gates = [
        gate("http", url="http://a/{version}", pointer="/rate"),
        gate("prometheus", url="http://b/", query="rate(x{app='{app}'})"),
        gate("command", command="./errors", maximum=5),
    ]
    assert [analysis.KINDS[g.kind].measure(g, VALUES, ways) for g in gates] == measured(0.5, 0.5, 0.5)
    assert asked == [("http://a/1.0%2Bb2", None), ("http://b/api/v1/query", {"query": "rate(x{app='shop'})"})]


@pytest.mark.parametrize(
    "kind, answer, words",
    [
        ("http", (302, ""), "status 302, expected 2xx"),
        ("prometheus", (502, "<html>"), "status 502, expected 200"),
        ("prometheus", (400, '{"status": "error", "errorType": "bad_data", "error": "x"}'), "bad_data: x"),
        ("command", None, "there is no instance to run the command at"),
    ],
)
def test_a_kind_without_a_number_is_inconclusive(kind, answer, words):
    with pytest.raises(Inconclusive, match=words):
        analysis.KINDS[kind].measure(gate(kind), VALUES, analysis.Ways(lambda *_: answer))


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


def named(name, one):
    return Gate(**{**one.__dict__, "name": name})


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
    fleet = Simulated(there, lost=lost)
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


def test_the_plan_says_what_is_measured():
    app = make_app()
    app = type(app)(**{**app.__dict__, "strategy": Strategy(analysis=(gate(), named("latency", gate())))})
    there = observe(*[instance(n) for n in ("a", "b")])
    desired = Desired(app, NEW, 2, ("a", "b"), analysis=True)
    told = lines(plan(desired, there), "shop", NEW)
    assert told[1:4] == [
        "wave 1: start, test and publish 1 on a",
        "wave 1: measure errors, latency",
        "wave 1: retire shop_1.0_100 on a",
    ]
    for other in ({"analysis": False}, {"publish": False}):
        unmeasured = plan(Desired(app, NEW, 2, ("a", "b"), **{"analysis": True, **other}), there)
        assert "measure" not in " ".join(lines(unmeasured, "shop", NEW))


# -- definitions ------------------------------------------------------------------------------

HTTP = {"url": "https://m.example.com/rate", "json": "/rate"}
PROMETHEUS = {"url": "http://prometheus:9090", "query": "sum(up)"}


def gates_of(analysis=None, of_environment=None):
    """Return a pillar with gates for an app without ports, and for its environment."""
    strategies = [
        {} if written is None else {"strategy": {"analysis": written}} for written in (analysis, of_environment)
    ]
    return pillar({"run": "x", **strategies[0]}, without="ports", **strategies[1])


def load(*gates):
    return definition.load(gates_of(*gates)).apps["shop"].strategy.analysis


def test_gates_are_read_with_their_defaults():
    assert load() == ()
    assert load([{"name": "errors", "http": HTTP, "max": 0.05}]) == (
        Gate("errors", "http", url=HTTP["url"], pointer="/rate", maximum=0.05),
    )
    written = {"prometheus": PROMETHEUS, "min": 1, "interval": "1m", "count": 5, "failure_limit": 2, "timeout": 3}
    settings = {"minimum": 1, "interval": 60.0, "count": 5, "failure_limit": 2, "timeout": 3.0}
    assert load([{"name": "up", **written}, {"name": "queue", "command": "./queue {node}"}]) == (
        Gate("up", "prometheus", url=PROMETHEUS["url"], query="sum(up)", **settings),
        Gate("queue", "command", command="./queue {node}"),
    )


def test_an_app_has_its_own_gates_in_place_of_the_environments():
    of_environment = [{"name": "a", "http": HTTP, "max": 1}]
    assert [g.name for g in load(None, of_environment)] == ["a"]
    assert [g.name for g in load([{"name": "b", "command": "x"}], of_environment)] == ["b"]
    assert load([], of_environment) == ()


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"max": 1}, ": needs exactly one of http, prometheus, command, found none"),
        ({"http": HTTP, "command": "x", "max": 1}, ": needs exactly one of http, prometheus, command, found http and"),
        ({"http": HTTP}, ": needs `max` or `min`, or both"),
        ({"prometheus": PROMETHEUS}, ": needs `max` or `min`, or both"),
        ({"http": HTTP, "max": "1"}, ":max: '1' is not a number. Write the number without quotes: 1."),
        ({"http": HTTP, "max": math.nan}, ":max: nan is not a number"),
        ({"http": HTTP, "max": 1, "min": 2}, ":min: 2 is more than `max` (1)."),
        ({"http": HTTP, "max": 1, "interval": 0}, ":interval: 0 is too short. Write more than 0"),
        ({"http": HTTP, "max": 1, "timeout": "0s"}, ":timeout: '0s' is too short. Write more than 0"),
        ({"http": HTTP, "max": 1, "timeout": "721h"}, ":timeout: '721h' is too long. Write more than 0 and at most 30"),
        ({"http": HTTP, "max": 1, "count": 0}, ":count: 0 is too small. Write at least 1."),
        ({"http": HTTP, "max": 1, "failure_limit": 3}, ":failure_limit: 3 is not less than `count` (3)"),
        ({"http": HTTP, "max": 1, "failures": 1}, ":failures: unknown key (did you mean `failure_limit`?)"),
        ({"http": {"url": "https://x"}, "max": 1}, ":http:json: is missing"),
        ({"http": {**HTTP, "json": "rate"}, "max": 1}, ":http:json: found text of another form. Write a JSON Pointer"),
        (
            {"http": {**HTTP, "url": "ftp://x/y"}, "max": 1},
            ":http:url: found text of another form. Write an http:// or https:// URL",
        ),
        (
            {"http": {**HTTP, "url": "http://me:pw@x/y"}, "max": 1},
            ":http:url: found text of another form. Write an http:// or",
        ),
        (
            {"http": {**HTTP, "url": "http://x/{verison}"}, "max": 1},
            ":http:url: unknown placeholder (did you mean `version`?). Allowed",
        ),
        (
            {"prometheus": {**PROMETHEUS, "url": "http://x/?y"}, "max": 1},
            ":prometheus:url: found text of another form. Write",
        ),
        ({"prometheus": {**PROMETHEUS, "query": "x{a='{port}'}"}, "max": 1}, ":prometheus:query: unknown placeholder"),
        (
            {"command": "x {nope}"},
            ":command: unknown placeholder {nope} (did you mean `node`?) at character 3. Allowed: ",
        ),
        (
            {"command": "x {port}"},
            ":command: unknown placeholder {port} at character 3. Allowed: address, version, release",
        ),
        ({"command": "x {"}, ":command: character 3 is a brace that belongs to no placeholder"),
        ({"command": "x 'y"}, ":command: the command cannot be split into words: No closing quotation"),
        ({"command": " "}, ":command: the command is empty"),
        (
            {"command": "x", "name": "Not A Label"},
            ":name: 'Not A Label' is not a name. Write a name of a-z, 0-9 and -: not-a-label.",
        ),
    ],
)
def test_a_mistake_is_named_by_its_key_path(wrong, words):
    message = mistake(gates_of([{"name": "fine", "command": "x"}, {"name": "errors", **wrong}]))
    assert message.startswith(f"apps:shop:strategy:analysis:1{words}")


def test_a_mistake_in_the_environments_strategy_is_named_there():
    path = "environments:test:strategy:analysis:0"
    unlimited, unknown = {"name": "a", "http": HTTP}, {"name": "a", "command": "x {verison}"}
    assert mistake(gates_of(None, [unlimited])).startswith(f"{path}: needs `max` or `min`")
    assert mistake(gates_of(None, [unknown])).startswith(f"{path}:command: unknown placeholder")


def test_the_newline_that_yaml_leaves_is_no_part_of_a_header():
    [one] = load([{"name": "a", "http": {**HTTP, "headers": {"Authorization": "Bearer x\n"}}, "max": 1}])
    assert one.headers == {"Authorization": "Bearer x"}


def test_a_header_that_is_refused_is_not_shown():
    message = mistake(gates_of([{"name": "a", "http": {**HTTP, "headers": {"X-Key": "sec\nret"}}, "max": 1}]))
    assert message.startswith("apps:shop:strategy:analysis:0:http:headers:X-Key: has")
    assert "ret" not in message.partition(": has")[2]


def test_two_gates_have_two_names():
    message = mistake(gates_of([{"name": "a", "command": "x"}, {"name": "a", "command": "y"}]))
    assert message.startswith("apps:shop:strategy:analysis:1:name: there is another `a`")
