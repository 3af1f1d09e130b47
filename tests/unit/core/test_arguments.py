"""Arguments of the command line, where more than their type is checked."""

import datetime

import pytest
from saltdeploy.core import arguments
from saltdeploy.core.environment import Environment, Node
from saltdeploy.core.errors import Refused
from saltdeploy.core.model import App, Source

from tests.support.fleet import make_app

NOW = 1_795_000_000.0


@pytest.mark.parametrize("given, before", [("30s", 30), ("10m", 600), ("1.5h", 5400), ("500ms", 0.5)])
def test_since_how_long(given, before):
    assert arguments.since(given) == given
    assert arguments.moment(given, NOW) == NOW - before


@pytest.mark.parametrize("given", ["2026-11-24 10:30", "2026-11-24T10:30:00", "2026-11-24 09:30+00:00", "2026-11-24"])
def test_since_when_is_the_same_time_everywhere(given):
    told = arguments.since(given)
    wanted = datetime.datetime.fromisoformat(given)
    assert datetime.datetime.fromisoformat(told).utcoffset() is not None
    assert arguments.moment(told, NOW) == wanted.timestamp()


def test_since_when_in_utc_as_others_write_it():
    assert arguments.moment("2026-11-24T10:30:00Z", NOW) == arguments.moment("2026-11-24T11:30:00+01:00", NOW)


def test_since_ever():
    assert arguments.moment(None, NOW) is None


@pytest.mark.parametrize("given", ["yesterday", "10 m", 630, "", "-5m"])
def test_since_what_is_no_time(given):
    with pytest.raises(Refused, match=r"how long ago \(30s, 10m, 1h\), or a time"):
        arguments.since(given)


@pytest.mark.parametrize("given, seconds", [(60, 60), (0.5, 0.5), ("2m", 120)])
def test_seconds(given, seconds):
    assert arguments.seconds("timeout", given) == seconds


@pytest.mark.parametrize("given", [0, -1, True, None, "long", "0s", float("nan"), 10**400, -(10**400)])
def test_what_is_no_number_of_seconds(given):
    with pytest.raises(Refused, match="timeout=.*: a number of seconds, or a number with a unit"):
        arguments.seconds("timeout", given)


def test_words():
    assert arguments.words("sh -c 'echo a'") == ["sh", "-c", "echo a"]


@pytest.mark.parametrize("command", ["", "  ", None, True, 7, ["a"]])
def test_a_command_is_text(command):
    with pytest.raises(Refused, match="which command"):
        arguments.words(command)


def test_a_command_with_an_open_quote():
    with pytest.raises(Refused, match="the command cannot be split into words: No closing quotation"):
        arguments.words("a 'b")


def test_nodes_are_named_and_patterns_refused():
    nodes = {name: Node(name, "10.0.0.1") for name in ("web1", "web2")}
    environment, app = Environment("e", nodes, {}), App("shop", Source("pip", "shop"), "run")
    assert arguments.nodes(environment, app, "web2,web1") == ("web1", "web2")
    with pytest.raises(Refused, match=r"nodes=web\*: patterns are not allowed. Name the nodes: nodes=web1,web2$"):
        arguments.nodes(environment, app, "web*")


def test_who_may_not_run_an_app_is_told_why():
    environment = Environment("e", {n: Node(n, n, roles) for n, roles in (("a", ("devpi",)), ("b", ()))}, {})
    app, why = make_app(), "a has the role devpi and not app: to run shop there, add app to its roles."
    assert arguments.nodes(environment, app, None) == ("b",)
    with pytest.raises(Refused, match=f"^nodes: {why} Eligible by role are b$"):
        arguments.nodes(environment, app, "a")
    environment.nodes.pop("b")
    with pytest.raises(Refused, match=rf"^no node of e may run shop: give one a role of its roles \(app\). {why}$"):
        arguments.nodes(environment, app, None)


def test_the_name_of_an_app_has_no_name_of_its_own():
    with pytest.raises(Refused, match="unknown argument app=.* The name of the app comes first, without `app=`"):
        arguments.unknown((), {"app": "shop"}, ["version", "env"])
