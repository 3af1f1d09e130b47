"""A pillar in, an Environment out, and a message for each mistake in pillar."""

import copy

import pytest
from saltdeploy import definition
from saltdeploy.core.environment import Node
from saltdeploy.core.errors import DefinitionError, Refused
from saltdeploy.core.model import PortRange, Source, Strategy
from saltdeploy.definition import appdefinition

from tests.support.definitions import ARCHIVE, NODES, SHOP, mistake, pillar, shop


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


# -- which environment ------------------------------------------------------------------------


def test_skydns_knows_its_environment_and_gives_the_names_of_services():
    given = pillar(discovery={"skydns": {"etcd": ["http://10.0.0.1:2379"]}})
    environment = definition.load(given)
    assert environment.discovery == {
        "skydns": {"etcd": ["http://10.0.0.1:2379"], "domain": "skydns.local", "environment": "test"}
    }
    assert environment.domain == environment.apps["shop"].domain == "test.skydns.local"
    assert definition.load(pillar()).apps["shop"].domain == "service.consul"


def test_the_health_agent_of_skydns_asks_nothing_by_grpc():
    discovery = {"skydns": {"etcd": ["http://10.0.0.1:2379"]}}
    app = {"checks": [{"http": "/"}, {"grpc": True}]}
    assert mistake(pillar(app, discovery=discovery)).startswith("apps:shop:checks:1:grpc: only Consul's agents ask")
    assert shop(app).checks[1].kind == "grpc"


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
        options["consul"] = {"version": "1.22.3", "source": url}
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
