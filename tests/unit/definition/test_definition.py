"""A pillar in, an Environment out, and a message for each mistake in pillar."""

import copy
import sys

import pytest
from saltdeploy import definition
from saltdeploy.core import words
from saltdeploy.core.errors import DefinitionError, Refused
from saltdeploy.core.model import Node, PortRange, Source, Strategy
from saltdeploy.definition import appdefinition

from tests.support.definitions import ARCHIVE, NODES, SHOP, complaint, mistake, pillar, shop


def test_load_fills_in_defaults():
    environment = definition.load(pillar())
    app = environment.apps["shop"]
    assert environment.name == "test"
    assert environment.nodes["web2"] == Node("web2", "10.0.0.2")
    assert environment.discovery == {"consul": {}}
    assert app.source == Source("pip", "shop")
    assert app.ports == PortRange(20000, 20009)
    assert (app.user, app.instances, app.version, app.strategy) == ("app-shop", 1, "", Strategy())
    assert app.candidate == "shop-candidate"


def test_environment_settings_are_laid_over_the_definition():
    app = shop(
        {"env": {"LOG": "info", "MODE": "fast"}, "strategy": {"drain": 5}, "version": "1.0"},
        {"env": {"LOG": "debug"}, "version": "1.1", "instances": 3, "strategy": {"deregister_delay": "1s"}},
        strategy={
            "drain": "30s",
            "min_healthy_time": "500ms",
            "auto_revert": False,
            "waves": [1, "50%"],
            "keep_releases": 2,
        },
    )
    assert app.env == {"LOG": "debug", "MODE": "fast"}
    assert (app.version, app.instances) == ("1.1", 3)
    times = {"min_healthy_time": 0.5, "drain": 5.0, "deregister_delay": 1.0}
    assert app.strategy == Strategy(waves=(1, "50%"), auto_revert=False, keep_releases=2, **times)


def test_loading_leaves_the_pillar_as_it_was():
    given = pillar({"env": {"A": "1"}}, {"env": {"B": "2"}, "instances": 4}, scale=0.5)
    before = copy.deepcopy(given)
    definition.load(given)
    assert given == before


def test_a_node_may_be_in_a_zone():
    nodes = {"web1": {"address": "10.0.0.1", "zone": "a"}, "web2": {"address": "10.0.0.2"}}
    assert definition.load(pillar(nodes=nodes)).zones == {"web1": "a", "web2": ""}
    nodes["web2"]["zone"] = 2
    assert mistake(pillar(nodes=nodes)).endswith(
        "nodes:web2:zone: 2 is not a name. Write a name: a-z, 0-9 and -, at most 53 characters, for example shop. Quote a number."
    )


def test_jsonschema_is_needed_on_the_master_only(monkeypatch):
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(Refused, match="jsonschema is not installed on the master"):
        definition.load(pillar())
    assert definition.load_own("web1", pillar()).apps["shop"].ports == PortRange(20000, 20009)


# -- which environment ------------------------------------------------------------------------


def test_the_only_environment_needs_no_name():
    assert definition.choose_environment({"environments": {"test": {}}}) == "test"


def test_a_named_environment_is_taken():
    assert definition.choose_environment({"environments": {"test": {}, "production": {}}}, "production") == "production"


@pytest.mark.parametrize("empty", [{}, {"environments": None}, {"environments": {}}])
def test_no_environment(empty):
    with pytest.raises(Refused, match="no environment is defined.*pillar/top.sls"):
        definition.choose_environment(empty)


def test_several_environments_and_none_named():
    with pytest.raises(Refused, match="which environment.*env=NAME, one of: production, test"):
        definition.choose_environment({"environments": {"test": {}, "production": {}}})


def test_unknown_environment_names_the_nearest():
    with pytest.raises(Refused, match=r"'prodction' \(did you mean `production`\?\). Defined: production, test"):
        definition.choose_environment({"environments": {"test": {}, "production": {}}}, "prodction")


def test_the_one_environment_that_has_an_app():
    found = pillar()
    found["environments"]["production"] = {"nodes": NODES, "apps": {"blog": {}}}
    assert definition.only_with(found, "shop") == "test" and definition.only_with(found, "blog") == "production"
    assert definition.only_with(found, "other") is None
    found["environments"]["staging"] = {"nodes": NODES, "based_on": "test"}
    assert definition.only_with(found, "shop") is None
    found["environments"]["staging"] = {"nodes": NODES, "based_on": "nothing"}
    assert definition.only_with(found, "shop") == "test", "a broken environment is in nobody's way"


# -- a node's own pillar ----------------------------------------------------------------------


def test_load_own():
    assert definition.load_own("web1", pillar()) == definition.load(pillar())


@pytest.mark.parametrize(
    "own, message",
    [
        ({"_errors": ["Rendering SLS apps failed"]}, "pillar of web9 has errors: Rendering SLS apps failed"),
        ({}, "web9 is a node of no environment"),
        (pillar(), "web9 is not a node of environment test"),
    ],
)
def test_load_own_refuses(own, message):
    with pytest.raises(Refused, match=message):
        definition.load_own("web9", own)


# -- finding an app ---------------------------------------------------------------------------


def test_unknown_app_names_the_nearest():
    environment = definition.load(pillar())
    assert definition.find_app(environment, "shop") is environment.apps["shop"]
    answer = r"unknown app 'shpo' in environment test \(did you mean `shop`\?\). Apps there: shop"
    with pytest.raises(Refused, match=answer):
        definition.find_app(environment, "shpo")


def test_an_app_of_another_environment_may_be_broken():
    given = pillar()
    given["apps"]["other"] = {"nonsense": True}
    given["environments"]["elsewhere"] = {"nodes": {}, "apps": {"other": {}}}
    assert list(definition.load(given, "test").apps) == ["shop"]
    assert "apps:other:" in mistake(given, env="elsewhere")


# -- URLs -------------------------------------------------------------------------------------


def with_secret(place):
    """Return a pillar with a password in the URL at ``place``."""
    url = "https://joe:hunter2@host/x"
    source, options = {"pip": "shop"}, {}
    if place == "archive":
        source = {**ARCHIVE, "archive": url}
    elif place == "sha256":
        source = {**ARCHIVE, "sha256": url}
    elif place == "requirements":
        source["requirements"] = ["six", f"--extra-index-url {url}"]
    elif place == "index":
        source["index"] = url
    elif place == "wrong type":
        source = {"archive": [url], "sha256": {"x": {"y": url}}}
    elif place == "wrong scheme":
        source = {**ARCHIVE, "archive": "ftp://joe:hunter2@host/x"}
    elif place == "servers":
        options["discovery"] = {"consul": {"servers": ["http://a:8500", url]}}
    elif place == "agent":
        options["discovery"] = {"consul": {"agent": "http://joe:hunter2@{address}:8500"}}
    elif place == "consul":
        options["consul"] = {"version": "1.8.7", "source": url}
    return pillar({"source": source}, **options)


@pytest.mark.parametrize(
    "place",
    ["archive", "sha256", "requirements", "index", "wrong type", "wrong scheme", "servers", "agent", "consul"],
)
def test_a_password_in_a_url_is_refused_and_not_shown(place):
    told = mistake(with_secret(place))
    assert "the URL has a user or password (it is not shown)" in told and "Take it out" in told
    assert "hunter2" not in told and "joe" not in told


def test_a_password_in_a_url_of_an_environment_s_app_is_refused_too():
    told = mistake(pillar({}, {"source": {"pip": "shop", "index": "https://hunter2@host/simple"}}))
    assert told.startswith("environments:test:apps:shop:source:index: the URL has a user or password")
    assert "source:netrc" in told and "hunter2" not in told


SECRET_COMMAND = "psql postgres://joe:hunter2@db/x"
GATES = {"analysis": [{"name": "errors", "command": SECRET_COMMAND}]}


@pytest.mark.parametrize(
    "key, app",
    [
        ("run", {"run": SECRET_COMMAND}),
        ("run:0", {"run": [SECRET_COMMAND]}),
        ("hooks:before_start", {"hooks": {"before_start": SECRET_COMMAND}}),
        ("hooks:before_start:1", {"hooks": {"before_start": ["true", SECRET_COMMAND]}}),
        ("hooks:after_retire:command", {"hooks": {"after_retire": {"command": SECRET_COMMAND, "once": True}}}),
        ("hooks:after_retire:0:command", {"hooks": {"after_retire": [{"command": SECRET_COMMAND}]}}),
        ("tests:0:command", {"tests": [{"command": SECRET_COMMAND}]}),
        ("strategy:analysis:0:command", {"strategy": GATES}),
    ],
)
@pytest.mark.parametrize("placed", [False, True], ids=["app", "environment's app"])
@pytest.mark.parametrize("read", ["master", "node without jsonschema"])
def test_a_password_in_a_url_of_a_command_is_refused_and_not_shown(key, app, placed, read):
    given = pillar({} if placed else app, app if placed else {})
    if read == "master":
        broken = definition.load(given).broken
    else:
        broken = definition.load_own("web1", given, problems=lambda definitions: None).broken
    where = "environments:test:apps:shop" if placed else "apps:shop"
    told = broken["shop"]
    assert told.startswith(f"{where}:{key}: a URL has a password or a token (it is not shown).")
    assert "Put it into `env` or into a file on the node." in told
    assert "hunter2" not in told and "joe" not in told


def test_a_password_in_a_command_of_an_environment_s_gate_is_refused():
    told = mistake(pillar(strategy=GATES))
    assert told.startswith("environments:test:strategy:analysis:0:command: a URL has a password")
    assert "hunter2" not in told


def test_a_command_may_take_its_password_from_env():
    found = shop({"hooks": {"before_start": "sh -c 'psql postgres://joe:$PASSWORD@db/x'"}, "env": {"PASSWORD": "x"}})
    assert found.hooks["before_start"][0].command.startswith("sh -c")


def test_urls_elsewhere_may_have_a_password():
    """An app's own settings are not readable by others."""
    assert shop({"env": {"source": "https://joe:hunter2@host/x"}}).env["source"].endswith("host/x")


# -- mistakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "app, message",
    [
        ({"prots": 80}, "prots: unknown key (did you mean `ports`?). Allowed here: checks, config,"),
        ({"checks": [{"http": "/", "intervall": 1}]}, "checks:0:intervall: unknown key (did you mean `interval`?)"),
        ({"run": 5}, "run: found a number. Write text: quote a number."),
        ({"run": ""}, "run: the text is empty. Write at least 1 character."),
        ({"instances": 0}, "instances: 0 is too small. Write at least 1."),
        ({"instances": "3"}, "instances: '3' is not a whole number. Write the number without quotes: 3."),
        ({"instances": 3.0}, "instances: 3.0 is not a whole number. Write a whole number: 3."),
        ({"version": 1.4}, "version: 1.4 was read as a number, and digits may be lost (3.10 becomes 3.1). Write the"),
        (
            {"version": "1.0\n"},
            "version: '1.0\\n' is not a version. Write a version: letters, digits and . _ + ~ -, at",
        ),
        ({"ports": "80"}, "ports: '80' is not a port or a range of ports. Write the port without quotes: 80."),
        (
            {"env": {"A B": "1"}},
            "env:key number 1: found text of another form. Write the name of a variable: letters, digits",
        ),
        (
            {"env": {1: "1"}},
            "env:key number 1: found a number. Write the name of a variable: letters, digits and _. Quote",
        ),
        ({"env": {"A": ["1"]}}, "env:A: found a list. Write text, a number, true or false."),
        (
            {"config": {"../x": "salt://x"}},
            "config: '../x' is not a path. Write a path below the instance's folder, without .., for",
        ),
        (
            {"config": {"etc/..": "salt://x"}},
            "config: 'etc/..' is not a path. Write a path below the instance's folder, without .., for",
        ),
        (
            {"config": {"/etc/x": "salt://x"}},
            "config: '/etc/x' is not a path. Write a path below the instance's folder, without .., for",
        ),
        ({"config": {"x": "/etc/x"}}, "config:x: found text of another form. Write a salt:// URL of a template."),
        ({"user": "Root"}, "user: 'Root' is not a user. Write a user of the system: a-z, 0-9, _ and -, at most 32"),
        ({"requires": "postgres"}, "requires: found text. Write a list."),
        (
            {"strategy": {"drain": "soon"}},
            "strategy:drain: 'soon' is not a duration. Write a number of seconds, or a number with a",
        ),
        ({"strategy": {"keep_releases": 0}}, "strategy:keep_releases: 0 is too small. Write at least 1."),
        ({"stop": {"signal": "KILL"}}, "stop:signal: 'KILL' is not allowed here. Write one of TERM, INT"),
        (
            {"strategy": {"keep_releases": "5"}},
            "strategy:keep_releases: '5' is not a whole number. Write the number without quotes: 5.",
        ),
        (
            {"strategy": {"drain": -1}},
            "strategy:drain: -1 is not a duration. Write a number of seconds, or a number with a unit:",
        ),
        (
            {"strategy": {"drain": float("inf")}},
            "strategy:drain: inf is not a duration. Write a number of seconds, or a number with a",
        ),
        (
            {"strategy": {"waves": ["0%"]}},
            "strategy:waves:0: '0%' is not a number of nodes or a percentage. Write a number of nodes,",
        ),
        ({"strategy": {"type": "in-place"}}, "strategy:type: 'in-place' is not allowed here. Write recreate."),
        ({"strategy": {"type": "beside"}}, "strategy:type: 'beside' is not allowed here. Write rolling."),
        (
            {"strategy": {"canary_weight": "candidate", "pause": 1}},
            "strategy:canary_weight: 'candidate' is not a canary's traffic. Write none.",
        ),
        ({"strategy": {"replace": "in_place"}}, "strategy:replace: unknown key. Write `type: recreate`."),
        ({"strategy": {"replace": "blue_green"}}, "strategy:replace: unknown key. Write `type`."),
        ({"strategy": {"canary": "candidate"}}, "strategy:canary: unknown key. Write `canary_weight: none`."),
        ({"strategy": {"canary": "5%"}}, "strategy:canary: unknown key. Write `canary_weight`."),
        ({"strategy": {"min_healthy": 5}}, "strategy:min_healthy: unknown key. Write `min_healthy_time`."),
        ({"strategy": {"grace": 5}}, "strategy:grace: unknown key. Write `deregister_delay`."),
        ({"strategy": {"warm": 5}}, "strategy:warm: unknown key. Write `keep_old`."),
        (
            {"strategy": {"auto_revert": "no"}},
            "strategy:auto_revert: 'no' is not true or false. Write true or false, without quotes.",
        ),
        ({"checks": [{"tcp": False}]}, "checks:0:tcp: found true or false. Write true."),
        (
            {"tests": [{"tcp": True, "from": "moon"}]},
            "tests:0:from: 'moon' is not allowed here. Write one of node, peer, master.",
        ),
        (
            {"source": {"archive": "ftp://a"}},
            "source:archive: found text of another form. Write a URL (https://, http://, salt://,",
        ),
        (
            {"source": {"pip": "a", "sha256": {"1": "short"}}},
            "source:sha256:1: found text of another form. Write a SHA-256: 64 hexadecimal digits.",
        ),
        (
            {"source": {"pip": "a", "sha256": {1.4: "a" * 64}}},
            "source:sha256: 1.4 was read as a number, and digits may be lost (3.10 becomes 3.1). Write",
        ),
        ({"ports": None}, "ports: None is not a port or a range of ports. Write a port, or a range first-last, for"),
    ],
)
def test_schema_mistakes(app, message):
    assert complaint(app).startswith(message)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"apps": [{"shop": SHOP}]}, "apps: found a list. Write a mapping of name to definition."),
        ({"apps": "shop"}, "apps: found text. Write a mapping of name to definition."),
        ({"apps": {8080: SHOP}}, "apps: the name 8080 is not text. Quote it."),
        ({"apps": {"shop": None}}, "apps:shop: found nothing. Write a mapping."),
        ({"environments": [{"test": {}}]}, "environments: found a list. Write a mapping of name to definition."),
        ({"environments": {"test": None}}, "environments:test: found nothing. Write a mapping."),
        ({"environments": {"test": {"apps": {}}}}, "environments:test:nodes: is missing"),
        ({"environments": {"test": {"nodes": {"w": {}}}}}, "environments:test:nodes:w:address: is missing"),
        ({"environments": {"test": {"nodes": ["w"]}}}, "environments:test:nodes: found a list. Write a mapping."),
        (
            {"environments": {"test": {"nodes": {}, "apps": ["shop"]}}},
            "environments:test:apps: found a list. Write a mapping.",
        ),
        (
            {"environments": {"test": {"nodes": {}, "apps": {"shop": "1.0"}}}},
            "environments:test:apps:shop: found text. Write a mapping.",
        ),
        (
            {"environments": {"test": {"nodes": {}, "apps": {"shpo": {}}}}},
            "environments:test:apps:shpo: there is no such app (did you mean `shop`?)",
        ),
        (
            {"environments": {"test": {"nodes": {}, "scale": 0}}},
            "environments:test:scale: 0 is too small. Write more than 0.",
        ),
        (
            {"environments": {"test": {"nodes": {}, "discovery": {"consul": {"servers": []}}}}},
            "environments:test:discovery:consul:servers: the list is empty. Write at least 1.",
        ),
    ],
)
def test_malformed_pillar(change, message):
    assert mistake({**pillar(), **change}).startswith(message)


def test_all_mistakes_are_told_each_on_its_line():
    """Whatever their kind; several unknown keys too."""
    message = mistake(pillar({"instances": 0, "user": "Root", "prots": 80, "evn": {}}))
    assert [line.partition(": ")[0] for line in message.splitlines()] == [
        "apps:shop:evn",
        "apps:shop:prots",
        "apps:shop:instances",
        "apps:shop:user",
    ]
    assert mistake(pillar({"env": {f"A{n:03}": [] for n in range(50)}})).endswith(
        "A011: found a list. Write text, a number, true or false.\n… and 38 more"
    )


def paths(message):
    return [line.partition(": ")[0] for line in message.splitlines()]


def test_all_mistakes_in_the_meaning_of_an_app_are_told():
    wrong = {
        "source": {"archive": "https://host/shop.tar", "index": "https://i/simple", "netrc": "/n", "token_file": "/t"},
        "run": "./shop {prot}",
        "env": {"A": "{nope}", "B": "{port"},
        "ports": "30-20",
        "checks": [{"http": "/{version}"}, {}],
        "tests": [{"http": "/", "tcp": True}, {"command": " "}, {"tcp": True, "timeout": "0s"}],
        "config": {"log": "salt://a", "start": "salt://b"},
        "hooks": {"before_start": [{"command": "a", "timeout": 0}, {"command": "b", "timeout": 0}]},
        "strategy": {"min_healthy_time": "10m", "waves": [2, 1], "analysis": [{"name": "a"}, {"name": "a"}]},
        "stop": {"timeout": "2h"},
        "data": "/etc/shop",
        "frontend": {"port": 80, "timeout": 0, "trusted_proxies": ["x", "10.0.0.1", "y"]},
    }
    message = definition.load(pillar(wrong)).broken["shop"]
    assert message.endswith("more") and len(message.splitlines()) == 13
    with pytest.raises(DefinitionError) as caught:
        appdefinition.parse("shop", {**SHOP, **wrong}, {}, "environments:test")
    assert sorted(paths(str(caught.value))) == sorted(
        f"apps:shop:{key}"
        for key in (
            "source:sha256",
            "source:index",
            "source:token_file",
            "run",
            "env:A",
            "env:B",
            "ports",
            "checks:0:http",
            "checks:1",
            "tests:0",
            "tests:1:command",
            "tests:2:timeout",
            "config",
            "config",
            "hooks:before_start:0:timeout",
            "hooks:before_start:1:timeout",
            "strategy",
            "strategy:waves",
            "strategy:analysis:0",
            "strategy:analysis:1",
            "strategy:analysis:1:name",
            "stop:timeout",
            "data",
            "frontend:timeout",
            "frontend:trusted_proxies:0",
            "frontend:trusted_proxies:2",
        )
    )


@pytest.mark.parametrize(
    "app, wrong",
    [
        ({"ports": "30-20", "checks": [{"tcp": True}]}, "ports"),
        ({"ports": "30-20", "strategy": {"type": "recreate"}}, "ports"),
        ({"ports": "30-20", "strategy": {"type": "blue_green"}}, "ports"),
        ({"data": "/etc/x", "env": {"A": "{data}"}}, "data"),
        ({"checks": [{"http": "/", "tcp": True}]}, "checks:0"),
        ({"strategy": {"type": "blue_green", "keep_old": "5m", "min_healthy_time": "10m"}}, "strategy"),
        ({"strategy": {"min_healthy_time": "800h"}}, "strategy:min_healthy_time"),
        ({"run": "x {data}", "env": {"A": "{data}"}}, "data"),
    ],
)
def test_what_only_follows_from_a_mistake_is_no_mistake(app, wrong):
    assert paths(mistake(pillar(app))) == [f"apps:shop:{wrong}"]


def test_the_mistakes_of_an_environment_are_told_together_and_with_those_of_the_app_that_is_asked_for():
    twice = {"web1": {"address": "10.0.0.1"}, "web2": {"address": "10.0.0.1"}, "web3": {"address": "10.0.0.300"}}
    given = pillar(
        {"run": "x {prot}"},
        nodes=twice,
        discovery={"consul": {"servers": ["http://:1", "http://:2"]}},
        notify={"webhook": {"url": "https://:80/"}},
        dns={"upstream": ["10.0.0.53:99999"]},
    )
    given["apps"]["till"] = {**SHOP, "run": "x {porrt}"}
    given["environments"]["test"]["apps"]["till"] = {}
    at = "environments:test:"
    environment = [
        f"{at}discovery:consul:servers:1",
        f"{at}nodes:web2:address",
        f"{at}discovery:consul:servers:0",
        f"{at}nodes:web3:address",
        f"{at}notify:webhook:url",
        f"{at}dns:upstream:0",
    ]
    assert sorted(paths(mistake(given))) == sorted(environment)
    with pytest.raises(DefinitionError) as caught:
        definition.load(given, app="shop")
    assert paths(str(caught.value))[-1] == "apps:shop:run" and len(paths(str(caught.value))) == len(environment) + 1
    # What the schema finds in both is told together, too.
    given["environments"]["test"]["strategy"], given["apps"]["shop"]["prots"] = {"wavs": [1]}, 80
    with pytest.raises(DefinitionError) as caught:
        definition.load(given, app="shop")
    assert {f"{at}strategy:wavs", "apps:shop:prots"} <= set(paths(str(caught.value)))
    assert "porrt" not in str(caught.value)


def test_a_password_in_a_url_hides_no_other_mistake():
    url = "https://joe:hunter2@host/x"
    source = {"pip": "shop", "requirements": [f"--extra-index-url {url}", f"dep @ {url}"]}
    secrets = {"apps:shop:source:requirements:0", "apps:shop:source:requirements:1"}
    assert set(paths(mistake(pillar({"source": source, "run": "x {prot}"})))) == {*secrets, "apps:shop:run"}
    assert set(paths(mistake(pillar({"source": source, "prots": 80})))) == {*secrets, "apps:shop:prots"}


@pytest.mark.parametrize("name", ["Shop", "my_shop", "-shop", "shop-", "shop\n", "s" * 54, "sh.op"])
def test_app_names_are_dns_labels(name):
    given = pillar()
    given["apps"][name] = given["apps"].pop("shop")
    given["environments"]["test"]["apps"] = {name: {}}
    assert mistake(given).startswith(f"apps: {words.shown(name)} is not a name. Write a name")


def test_the_longest_app_name_leaves_room_for_its_candidate():
    given = pillar({"user": "shop"})
    given["apps"]["s" * 53] = given["apps"].pop("shop")
    given["environments"]["test"]["apps"] = {"s" * 53: {}}
    (app,) = definition.load(given).apps.values()
    assert len(app.candidate) == 63


def test_no_app_is_named_as_the_candidates_of_another():
    both = pillar()
    both["apps"]["shop-candidate"] = both["apps"]["shop"]
    both["environments"]["test"]["apps"]["shop-candidate"] = {}
    why = (
        "environments:test:apps:shop-candidate: candidates of shop have this name in discovery. Rename shop-candidate."
    )
    assert definition.load(both).clashing == {"shop-candidate": why, "shop": why}
    del both["environments"]["test"]["apps"]["shop"]
    assert list(definition.load(both).apps) == ["shop-candidate"]


def test_data_of_one_app_is_no_other_apps():
    wrong = pillar({"data": "/srv/one"})
    wrong["apps"]["till"] = {**SHOP, "data": "/srv/one/"}
    wrong["environments"]["test"]["apps"]["till"] = {}
    assert definition.load(wrong).clashing == {
        "till": "apps:till:data: /srv/one is the data folder of shop, too. Name another folder.",
        "shop": "apps:shop:data: /srv/one is the data folder of till, too. Name another folder.",
    }


@pytest.mark.parametrize("token", ["geheim\n", 4711])
def test_a_token_that_is_wrong_is_not_shown(token):
    message = mistake(pillar(discovery={"consul": {"token": token}}))
    assert message.startswith("environments:test:discovery:consul:token: found ")
    assert "geheim" not in message and "4711" not in message


def test_a_test_from_a_peer_needs_a_peer():
    tests = {"tests": [{"tcp": True, "from": "peer"}]}
    assert len(definition.load(pillar(tests)).nodes) == 2
    message = mistake(pillar(tests, nodes={"web1": {"address": "10.0.0.1"}}))
    assert message.startswith("apps:shop:tests: a test is `from: peer`, but environment test has one node")


@pytest.mark.parametrize(
    "source, way",
    [
        (
            {"archive": "https://u:geheim@h/a.tar", "sha256": "0" * 64},
            "use source:headers, or a file on the node: source:",
        ),
        ({"pip": "shop", "index": "https://u:geheim@h/simple"}, "use a file on the node: source:netrc."),
        ({"pip": "shop", "requirements": ["a @ https://u:geheim@h/a.whl"]}, "use a file on the node: source:netrc."),
    ],
)
def test_a_login_in_a_url_is_told_a_way_that_its_source_has(source, way):
    said = definition.load(pillar({**SHOP, "source": source})).broken["shop"]
    assert f"Take it out and {way}" in said and "geheim" not in said
