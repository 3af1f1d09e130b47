"""The gates of a strategy: how they are written, what an answer is worth, and the verdict."""

from __future__ import annotations

import json
import math

import pytest
from saltdeploy import definition
from saltdeploy.core import analysis
from saltdeploy.core.analysis import Inconclusive, Measurement
from saltdeploy.core.httprequests import Request
from saltdeploy.core.model import Gate

from tests.support.definitions import mistake, pillar
from tests.support.gates import VALUES, gate, vector

NOTHING = Measurement(None, "no data")


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


def test_other_statuses_may_be_right():
    ways = analysis.Ways(lambda *_: (404, "0"))
    assert analysis.KINDS["http"].measure(gate(status=(200, 404)), VALUES, ways) == Measurement(0.0)
    with pytest.raises(Inconclusive, match="status 404, expected 200 or 5xx"):
        analysis.KINDS["http"].measure(gate(status=(200, "5xx")), VALUES, ways)


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


def test_a_gate_has_the_request_of_a_test():
    asks = {
        "method": "POST",
        "body": "{}",
        "headers": {"X": "a\n"},
        "host": "b",
        "redirects": True,
        "status": [404, "2xx"],
    }
    found, prometheus = load(
        [
            {"name": "hits", "http": {**HTTP, **asks, "ca": "/etc/ca.pem"}, "max": 1},
            {"name": "up", "prometheus": {"url": "https://p:9090", "query": "up", "insecure": True}, "min": 1},
        ]
    )
    assert found.request == Request("b", "POST", {"X": "a"}, "{}", True, "/etc/ca.pem", False)
    assert found.status == (404, "2xx") and prometheus.request == Request(insecure=True)


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
    assert one.request.headers == {"Authorization": "Bearer x"}


@pytest.mark.parametrize(
    "gate, message",
    [
        (
            {"http": {**HTTP, "url": "http://m/", "ca": "/etc/ca.pem"}, "max": 1},
            "http:ca: has no meaning without TLS. Write a URL with https, or remove it.",
        ),
        (
            {"prometheus": {**PROMETHEUS, "insecure": True}, "max": 1},
            "prometheus:insecure: has no meaning without TLS. Write a URL with https, or remove it.",
        ),
        (
            {"http": {**HTTP, "method": "HEAD"}, "max": 1},
            "http:json: an answer to HEAD has no text. Write another `method`.",
        ),
        (
            {"http": {**HTTP, "headers": {"Host": "a"}}, "max": 1},
            "http:headers:Host: is made from `host`. Write that, and not the header.",
        ),
    ],
)
def test_keys_of_a_request_that_cannot_be_together_are_named(gate, message):
    assert mistake(gates_of([{"name": "a", **gate}])) == f"apps:shop:strategy:analysis:0:{message}"


def test_a_header_that_is_refused_is_not_shown():
    message = mistake(gates_of([{"name": "a", "http": {**HTTP, "headers": {"X-Key": "sec\nret"}}, "max": 1}]))
    assert message.startswith("apps:shop:strategy:analysis:0:http:headers:X-Key: has")
    assert "ret" not in message.partition(": has")[2]


def test_two_gates_have_two_names():
    message = mistake(gates_of([{"name": "a", "command": "x"}, {"name": "a", "command": "y"}]))
    assert message.startswith("apps:shop:strategy:analysis:1:name: there is another `a`")
