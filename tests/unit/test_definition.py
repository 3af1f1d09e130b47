"""Pillar in, validated definitions out; and what each mistake in pillar is answered with."""

import copy
import sys

import pytest
from saltdeploy import definition, placeholders, words
from saltdeploy.errors import DefinitionError, Refused
from saltdeploy.model import Environment, Node, PortRange, Probe, Source, Strategy

SHOP = {"source": {"pip": "shop"}, "run": "{release}/bin/shop --port {port}", "ports": "20000-20009"}
NODES = {"web1": {"address": "10.0.0.1"}, "web2": {"address": "10.0.0.2"}}


def pillar(app=None, placed=None, **environment):
    """Return a pillar with the app ``shop`` in the environment ``test``."""
    return {
        "apps": {"shop": {**SHOP, **(app or {})}},
        "environments": {"test": {"nodes": NODES, "apps": {"shop": placed or {}}, **environment}},
    }


def shop(app=None, placed=None, **environment):
    return definition.load(pillar(app, placed, **environment)).apps["shop"]


def mistake(wrong, **options):
    with pytest.raises(DefinitionError) as caught:
        definition.load(wrong, **options)
    return str(caught.value)


# -- what is loaded ---------------------------------------------------------------------------


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
        {"env": {"LOG": "debug"}, "version": "1.1", "instances": 3, "strategy": {"grace": "1s"}},
        strategy={
            "drain": "30s",
            "min_healthy": "500ms",
            "auto_revert": False,
            "waves": [1, "50%"],
            "keep_releases": 2,
        },
    )
    assert app.env == {"LOG": "debug", "MODE": "fast"}
    assert (app.version, app.instances) == ("1.1", 3)
    times = {"min_healthy": 0.5, "drain": 5.0, "grace": 1.0}
    assert app.strategy == Strategy(waves=(1, "50%"), auto_revert=False, keep_releases=2, **times)


def test_loading_leaves_the_pillar_as_it_was():
    given = pillar({"env": {"A": "1"}}, {"env": {"B": "2"}, "instances": 4}, scale=0.5)
    before = copy.deepcopy(given)
    definition.load(given)
    assert given == before


def test_environment_values_are_text():
    assert shop({"env": {"N": 1, "ON": True, "OFF": False, "T": "x"}}).env == {
        "N": "1",
        "ON": "true",
        "OFF": "false",
        "T": "x",
    }


def test_checks_and_tests_become_probes():
    app = shop(
        {
            "checks": [{"http": "/health", "interval": "1s", "timeout": 3}, {"tcp": True}],
            "tests": [
                {"http": {"path": "/", "status": 404, "contains": "gone"}, "from": "peer"},
                {"command": "./selftest {port}"},
            ],
        }
    )
    assert app.checks == (
        Probe("http", "/health", interval=1.0, timeout=3.0),
        Probe("tcp", "", interval=2.0, timeout=10.0),
    )
    assert app.tests == (
        Probe("http", "/", origin="peer", status=404, contains="gone"),
        Probe("command", "./selftest {port}"),
    )


@pytest.mark.parametrize(
    "written, seconds",
    [(3, 3.0), (0.5, 0.5), ("500ms", 0.5), ("10s", 10.0), ("1.5m", 90.0), ("2h", 7200.0)],
)
def test_duration(written, seconds):
    assert definition.duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written, ports",
    [(80, PortRange(80, 80)), ("20000-20099", PortRange(20000, 20099)), ("1-65535", PortRange(1, 65535))],
)
def test_ports(written, ports):
    assert shop({"ports": written}).ports == ports


def test_port_range_counts_both_ends():
    ports = PortRange(20, 22)
    assert (list(ports), len(ports), str(ports), str(PortRange(80, 80))) == ([20, 21, 22], 3, "20-22", "80")


def test_an_app_of_another_environment_may_be_broken():
    given = pillar()
    given["apps"]["other"] = {"nonsense": True}
    given["environments"]["elsewhere"] = {"nodes": {}, "apps": {"other": {}}}
    assert list(definition.load(given, "test").apps) == ["shop"]
    assert "apps:other:" in mistake(given, env="elsewhere")


@pytest.mark.parametrize(
    "app_roles, eligible",
    [((), ["plain", "app"]), (("db",), ["db", "both"]), (("db", "web"), ["web", "db", "both"])],
)
def test_eligible_nodes_have_a_role_of_the_app(app_roles, eligible):
    roles = {"plain": (), "web": ("web",), "db": ("db",), "both": ("x", "db"), "app": ("app",)}
    environment = Environment("e", {n: Node(n, n, r) for n, r in roles.items()}, {})
    app = definition.load(pillar({"roles": list(app_roles)})).apps["shop"]
    assert environment.eligible(app) == eligible


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


# -- based_on and scale -----------------------------------------------------------------------


def environments(**test):
    return {
        "production": {
            "nodes": {"p1": {"address": "10.1.0.1"}},
            "discovery": {"consul": {"datacenter": "dc1", "token": "t"}},
            "apps": {"shop": {"version": "1.0", "instances": 3, "env": {"LOG": "warning"}}, "cart": {}},
            "strategy": {"drain": "30s", "grace": "1s"},
        },
        "test": {"based_on": "production", "nodes": {"t1": {"address": "10.2.0.1"}}, **test},
    }


def test_based_on_takes_all_but_the_nodes():
    raw = definition.resolve(environments(apps={"shop": {"version": "1.1"}}, strategy={"drain": "1s"}), "test")
    assert raw == {
        "nodes": {"t1": {"address": "10.2.0.1"}},
        "discovery": {"consul": {"datacenter": "dc1", "token": "t"}},
        "apps": {"shop": {"version": "1.1", "instances": 3, "env": {"LOG": "warning"}}, "cart": {}},
        "strategy": {"drain": "1s", "grace": "1s"},
    }


@pytest.mark.parametrize(
    "scale, instances, scaled",
    [(0.5, 3, 2), (0.1, 3, 1), (1 / 3, 3, 1), (2, 3, 6), (0.07, 100, 7), (0.34, 3, 1)],
)
def test_scale_rounds_inherited_instances(scale, instances, scaled):
    given = environments(scale=scale)
    given["production"]["apps"]["shop"]["instances"] = instances
    assert definition.resolve(given, "test")["apps"]["shop"]["instances"] == scaled


def test_scale_leaves_instances_alone_that_the_environment_states_itself():
    given = environments(scale=0.1, apps={"shop": {"instances": 9}})
    assert definition.resolve(given, "test")["apps"]["shop"]["instances"] == 9


def test_scales_multiply_along_the_chain():
    given = environments(scale=2)
    given["laptop"] = {"based_on": "test", "scale": 0.5, "nodes": {}}
    assert definition.resolve(given, "laptop")["apps"]["shop"]["instances"] == 3


def test_based_on_in_a_circle():
    given = environments()
    given["production"]["based_on"] = "test"
    message = mistake({"apps": {}, "environments": given}, env="test")
    assert "based_on: goes round in a circle: test > production > test" in message


@pytest.mark.parametrize("base, hint", [("prodution", "did you mean `production`?"), (["production"], "Defined:")])
def test_based_on_something_unknown(base, hint):
    message = mistake({"apps": {}, "environments": environments(based_on=base)}, env="test")
    assert message.startswith(f"environments:test:based_on: there is no environment {base!r}")
    assert hint in message


def test_a_node_gets_its_own_environment_resolved_and_no_other():
    given = environments(scale=0.5, apps={"shop": {"env": {"LOG": "debug"}}})
    own = definition.own_environment(given, "t1")
    assert list(own["environments"]) == ["test"]
    assert "10.1.0.1" not in str(own)
    apps = {"shop": SHOP, "cart": {"source": {"pip": "cart"}, "run": "cart"}}
    assert definition.load({"apps": apps, **own}) == definition.load({"apps": apps, "environments": given}, "test")


def test_a_stranger_gets_no_environment():
    assert definition.own_environment(environments(), "stranger") == {"environments": {}}


def test_a_node_of_two_environments():
    given = environments()
    given["production"]["nodes"]["t1"] = {"address": "10.2.0.1"}
    with pytest.raises(DefinitionError, match="t1 is a node of both production and test: keep it in one"):
        definition.own_environment(given, "t1")


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


# -- app and version --------------------------------------------------------------------------


def test_unknown_app_names_the_nearest():
    environment = definition.load(pillar())
    assert definition.find_app(environment, "shop") is environment.apps["shop"]
    answer = r"unknown app 'shpo' in environment test \(did you mean `shop`\?\). Apps there: shop"
    with pytest.raises(Refused, match=answer):
        definition.find_app(environment, "shpo")


@pytest.mark.parametrize("given", [None, ""])
def test_the_definition_s_version_is_the_default(given):
    assert definition.check_version(shop(placed={"version": "1.4.2"}), given) == "1.4.2"


@pytest.mark.parametrize("version", ["1", "1.5.0-rc1", "2.0~beta+git.1_2", "v" + "1" * 62])
def test_usable_versions(version):
    assert definition.check_version(shop(), version) == version


@pytest.mark.parametrize("version", ["../1", "1/2", "-1", "1 2", "1.0\n", "ü", "1" * 64, ["1"], True])
def test_unusable_versions(version):
    with pytest.raises(Refused, match="is not usable: allowed is"):
        definition.check_version(shop(), version)


def test_a_version_that_was_read_as_a_number():
    with pytest.raises(Refused, match="version 1.1 was read as a number.*quote it twice, version=\"'1.1'\""):
        definition.check_version(shop(), 1.10)


def test_no_version_anywhere():
    with pytest.raises(Refused, match="which version of shop"):
        definition.check_version(shop(), None)


def test_a_version_without_a_digest():
    app = shop({"source": {"pip": "shop", "sha256": {"1.4.2": "a" * 64}}})
    assert definition.check_version(app, "1.4.2") == "1.4.2"
    with pytest.raises(Refused, match=r"unknown version 1.4.3 of shop \(did you mean `1.4.2`\?\): no digest"):
        definition.check_version(app, "1.4.3")


# -- mistakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "app, message",
    [
        ({"prots": 80}, "apps:shop:prots: unknown key (did you mean `ports`?). Allowed here: checks, config,"),
        (
            {"checks": [{"http": "/", "intervall": 1}]},
            "apps:shop:checks:0:intervall: unknown key (did you mean `interval`?)",
        ),
        ({"run": 5}, "apps:shop:run: found 5, allowed is text (quote a number)"),
        ({"run": ""}, "apps:shop:run: found '', allowed is text of at least 1 character"),
        ({"instances": 0}, "apps:shop:instances: found 0, allowed is at least 1"),
        ({"instances": "3"}, "apps:shop:instances: found '3', allowed is a whole number"),
        ({"instances": 3.0}, "apps:shop:instances: found 3.0, allowed is a whole number"),
        ({"version": 1.4}, "apps:shop:version: found 1.4, allowed is text (quote a number)"),
        ({"version": "1.0\n"}, r"apps:shop:version: found '1.0\n', allowed is text matching ^[A-Za-z0-9]"),
        ({"ports": "80"}, "apps:shop:ports: found '80', allowed is a port, or a range first-last"),
        ({"ports": "30-20"}, "apps:shop:ports: `30-20` is not a range"),
        ({"ports": "1-65536"}, "apps:shop:ports: `1-65536` is not a range"),
        ({"env": {"A B": "1"}}, "apps:shop:env: found the name 'A B', allowed is text matching"),
        ({"env": {1: "1"}}, "apps:shop:env: found the name 1, allowed is text (quote a number)"),
        (
            {"env": {"A": ["1"]}},
            "apps:shop:env:A: found ['1'], allowed is text (quote a number) or a number or true or false",
        ),
        ({"config": {"../x": "salt://x"}}, "apps:shop:config: found the name '../x', allowed is text matching"),
        ({"config": {"etc/..": "salt://x"}}, "apps:shop:config: found the name 'etc/..', allowed is"),
        ({"config": {"/etc/x": "salt://x"}}, "apps:shop:config: found the name '/etc/x', allowed is"),
        ({"config": {"x": "/etc/x"}}, "apps:shop:config:x: found '/etc/x', allowed is text matching ^salt://"),
        ({"user": "Root"}, "apps:shop:user: found 'Root', allowed is text matching"),
        ({"requires": "postgres"}, "apps:shop:requires: found 'postgres', allowed is a list"),
        ({"strategy": {"drain": "soon"}}, "apps:shop:strategy:drain: found 'soon', allowed is a number of seconds, or"),
        ({"strategy": {"keep_releases": 0}}, "apps:shop:strategy:keep_releases: found 0, allowed is at least 1"),
        (
            {"strategy": {"keep_releases": "5"}},
            "apps:shop:strategy:keep_releases: found '5', allowed is a whole number",
        ),
        ({"strategy": {"drain": -1}}, "apps:shop:strategy:drain: found -1, allowed is a number of seconds, or"),
        (
            {"strategy": {"drain": float("inf")}},
            "apps:shop:strategy:drain: found inf, allowed is a number of seconds, or",
        ),
        (
            {"strategy": {"waves": ["0%"]}},
            "apps:shop:strategy:waves:0: found '0%', allowed is a number of nodes, or a percentage",
        ),
        (
            {"strategy": {"replace": "in-place"}},
            "apps:shop:strategy:replace: found 'in-place', allowed is one of beside, in_place",
        ),
        ({"strategy": {"auto_revert": "no"}}, "apps:shop:strategy:auto_revert: found 'no', allowed is true or false"),
        ({"checks": [{"tcp": False}]}, "apps:shop:checks:0:tcp: found False, allowed is true"),
        (
            {"tests": [{"tcp": True, "from": "moon"}]},
            "apps:shop:tests:0:from: found 'moon', allowed is one of node, peer, master",
        ),
    ],
)
def test_schema_mistakes(app, message):
    assert mistake(pillar(app)).startswith(message)


@pytest.mark.parametrize(
    "app, message",
    [
        ({"source": {}}, "apps:shop:source: needs exactly one of `archive` and `pip`, found neither"),
        (
            {"source": {"pip": "a", "archive": "/a"}},
            "apps:shop:source: needs exactly one of `archive` and `pip`, found archive and pip",
        ),
        ({"source": {"archive": "/a"}}, "apps:shop:source:sha256: is missing"),
        ({"source": {"archive": "ftp://a"}}, "apps:shop:source:archive: found 'ftp://a', allowed is text matching"),
        (
            {"source": {"archive": "/a", "sha256": "a" * 64, "python": "p"}},
            "apps:shop:source:python: has no meaning with `archive`",
        ),
        ({"source": {"pip": "a", "strip": 1}}, "apps:shop:source:strip: has no meaning with `pip`"),
        ({"source": {"pip": "a", "sha256": "a" * 64}}, "apps:shop:source:sha256: with `pip` it is a mapping"),
        (
            {"source": {"pip": "a", "sha256": {"1": "short"}}},
            "apps:shop:source:sha256: found {'1': 'short'}, allowed is a digest, ",
        ),
        ({"source": {"pip": "a", "sha256": {1.4: "a" * 64}}}, "apps:shop:source:sha256: found {1.4: 'aaaa"),
        ({"checks": [{}]}, "apps:shop:checks:0: needs exactly one of http, tcp and command, found none"),
        (
            {"tests": [{"http": "/", "tcp": True}]},
            "apps:shop:tests:0: needs exactly one of http, tcp and command, found http and tcp",
        ),
        (
            {"tests": [{"command": "x", "from": "peer"}]},
            "apps:shop:tests:0:from: a command runs where the release is installed",
        ),
        ({"checks": [{"tcp": True, "interval": 0}]}, "apps:shop:checks:0:interval: found 0, allowed is more than 0"),
        ({"tests": [{"tcp": True, "timeout": "0s"}]}, "apps:shop:tests:0:timeout: found '0s', allowed is more than 0"),
        ({"strategy": {"min_healthy": "10m"}}, "apps:shop:strategy: min_healthy (600s) < healthy_deadline (300s)"),
        (
            {"strategy": {"healthy_deadline": "20m"}},
            "apps:shop:strategy: min_healthy (10s) < healthy_deadline (1200s) <= progress",
        ),
        ({"strategy": {"waves": [2, 1]}}, "apps:shop:strategy:waves: [2, 1]: sizes are cumulative and must grow"),
        (
            {"strategy": {"waves": [1, "50%", "25%"]}},
            "apps:shop:strategy:waves: [1, '50%', '25%']: sizes are cumulative",
        ),
        (
            {"strategy": {"replace": "in_place"}},
            "apps:shop:strategy:replace: in_place is for an app with one port, and shop has 20000-20009: say `beside`",
        ),
    ],
)
def test_mistakes_of_meaning(app, message):
    assert mistake(pillar(app)).startswith(message)


@pytest.mark.parametrize(
    "app, message",
    [
        (
            {"run": "x {prot}"},
            "apps:shop:run: unknown placeholder {prot} (did you mean `port`?). Allowed: address, port,",
        ),
        ({"run": "x {}"}, "apps:shop:run: unknown placeholder {}"),
        ({"run": "x {port.real}"}, "apps:shop:run: unknown placeholder {port.real}"),
        ({"run": "x {address:d}"}, "apps:shop:run: 'x {address:d}': Unknown format code 'd'"),
        ({"run": "x {port"}, "apps:shop:run: 'x {port': "),
        ({"run": "x 'y"}, 'apps:shop:run: "x \'y": No closing quotation'),
        ({"run": "  "}, "apps:shop:run: '  ': is empty"),
        ({"env": {"A": "{nope}"}}, "apps:shop:env:A: unknown placeholder {nope}"),
        ({"tests": [{"command": "x {nope}"}]}, "apps:shop:tests:0:command: unknown placeholder {nope}"),
        ({"tests": [{"command": " "}]}, "apps:shop:tests:0:command: ' ': is empty"),
        ({"ports": None}, "apps:shop:ports: found None"),
    ],
)
def test_placeholders(app, message):
    assert mistake(pillar(app)).startswith(message)


@pytest.mark.parametrize(
    "app, message",
    [
        ({}, "apps:shop:ports: is missing, and run uses {port}"),
        ({"run": "x", "env": {"P": "{port}"}}, "apps:shop:ports: is missing, and env:P uses {port}"),
        (
            {"run": "x", "tests": [{"http": "/"}]},
            "apps:shop:ports: is missing, and the http check or test needs a port",
        ),
    ],
)
def test_a_port_is_used_and_none_is_given(app, message):
    given = pillar(app)
    del given["apps"]["shop"]["ports"]
    assert mistake(given).startswith(message)


def test_doubled_braces_are_braces():
    app = shop({"env": {"JSON": '{{"port": {port}}}'}})
    assert placeholders.fill(app.env["JSON"], {"port": 80}) == '{"port": 80}'


@pytest.mark.parametrize("name", ["Shop", "my_shop", "-shop", "shop-", "shop\n", "s" * 54, "sh.op"])
def test_app_names_are_dns_labels(name):
    given = pillar()
    given["apps"][name] = given["apps"].pop("shop")
    given["environments"]["test"]["apps"] = {name: {}}
    assert mistake(given).startswith(f"apps: found the name {words.shown(name)}, allowed is text matching")


def test_the_longest_app_name_leaves_room_for_its_candidate():
    given = pillar({"user": "shop"})
    given["apps"]["s" * 53] = given["apps"].pop("shop")
    given["environments"]["test"]["apps"] = {"s" * 53: {}}
    (app,) = definition.load(given).apps.values()
    assert len(app.candidate) == 63


def test_a_name_too_long_for_a_user():
    given = pillar()
    given["apps"]["s" * 29] = given["apps"].pop("shop")
    given["environments"]["test"]["apps"] = {"s" * 29: {}}
    assert mistake(given).startswith(f"apps:{'s' * 29}:user: set it")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"apps": [{"shop": SHOP}]}, "apps: found [{'shop'"),
        ({"apps": "shop"}, "apps: found 'shop', allowed is a mapping of name to definition"),
        ({"apps": {8080: SHOP}}, "apps: found the name 8080, allowed is text (quote a number)"),
        ({"apps": {"shop": None}}, "apps:shop: found None, allowed is a mapping"),
        ({"environments": [{"test": {}}]}, "environments: found [{'test': {}}], allowed is a mapping"),
        ({"environments": {"test": None}}, "environments:test: found None, allowed is a mapping"),
        ({"environments": {"test": {"apps": {}}}}, "environments:test:nodes: is missing"),
        ({"environments": {"test": {"nodes": {"w": {}}}}}, "environments:test:nodes:w:address: is missing"),
        ({"environments": {"test": {"nodes": ["w"]}}}, "environments:test:nodes: found ['w'], allowed is a mapping"),
        (
            {"environments": {"test": {"nodes": {}, "apps": ["shop"]}}},
            "environments:test:apps: found ['shop'], allowed is a mapping",
        ),
        (
            {"environments": {"test": {"nodes": {}, "apps": {"shop": "1.0"}}}},
            "environments:test:apps:shop: found '1.0', allowed is a mapping",
        ),
        (
            {"environments": {"test": {"nodes": {}, "apps": {"shpo": {}}}}},
            "environments:test:apps:shpo: there is no such app (did you mean `shop`?)",
        ),
        (
            {"environments": {"test": {"nodes": {}, "scale": 0}}},
            "environments:test:scale: found 0, allowed is more than 0",
        ),
        (
            {"environments": {"test": {"nodes": {}, "discovery": {"consul": {"servers": []}}}}},
            "environments:test:discovery:consul:servers: found [], allowed is a list of at least 1",
        ),
    ],
)
def test_malformed_pillar(change, message):
    assert mistake({**pillar(), **change}).startswith(message)


def test_further_mistakes_are_counted():
    assert mistake(pillar({"instances": 0, "user": "Root"})).endswith("(1 more like it)")


def test_no_app_is_named_as_the_candidates_of_another():
    both = pillar()
    both["apps"]["shop-candidate"] = both["apps"]["shop"]
    both["environments"]["test"]["apps"]["shop-candidate"] = {}
    assert mistake(both).startswith("environments:test:apps:shop-candidate: candidates of shop have this name")
    del both["environments"]["test"]["apps"]["shop"]
    assert list(definition.load(both).apps) == ["shop-candidate"]


@pytest.mark.parametrize("token", ["geheim\n", 4711])
def test_a_token_that_is_wrong_is_not_shown(token):
    message = mistake(pillar(discovery={"consul": {"token": token}}))
    assert message.startswith("environments:test:discovery:consul:token: found what is not shown")
    assert "geheim" not in message and "4711" not in message


def test_a_test_from_a_peer_needs_a_peer():
    tests = {"tests": [{"tcp": True, "from": "peer"}]}
    assert len(definition.load(pillar(tests)).nodes) == 2
    message = mistake(pillar(tests, nodes={"web1": {"address": "10.0.0.1"}}))
    assert message.startswith("apps:shop:tests: a test is `from: peer`, but environment test has one node")


def test_the_error_of_an_environment_s_strategy_points_there():
    message = mistake(pillar(strategy={"min_healthy": "10m"}))
    assert message.startswith("environments:test:strategy: min_healthy (600s)")


def test_a_node_may_be_in_a_zone():
    nodes = {"web1": {"address": "10.0.0.1", "zone": "a"}, "web2": {"address": "10.0.0.2"}}
    assert definition.load(pillar(nodes=nodes)).zones == {"web1": "a", "web2": ""}
    nodes["web2"]["zone"] = 2
    assert mistake(pillar(nodes=nodes)).endswith("nodes:web2:zone: found 2, allowed is text (quote a number)")


def test_in_place_is_for_an_app_with_one_port():
    app = shop({"ports": 8080, "strategy": {"replace": "in_place"}})
    assert app.in_place and app.ports == PortRange(8080, 8080)
    assert not shop({"ports": 8080}).in_place
    message = mistake(pillar(strategy={"replace": "in_place"}))
    assert message.startswith("environments:test:strategy:replace: in_place is for an app with one port, and shop has")
    assert "(apps:shop:strategy:replace)" in message
    none = pillar({"run": "a", "strategy": {"replace": "in_place"}})
    del none["apps"]["shop"]["ports"]
    assert "and shop has none" in mistake(none)


def test_jsonschema_is_needed_on_the_master_only(monkeypatch):
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(Refused, match="jsonschema is not installed on the master"):
        definition.load(pillar())
    assert definition.load_own("web1", pillar()).apps["shop"].ports == PortRange(20000, 20009)


@pytest.mark.parametrize("data", [True, False, "/srv/shop", "/data", "/var/lib/shop/"])
def test_data(data):
    assert shop({"data": data}).data == (data.rstrip("/") if isinstance(data, str) else data)


@pytest.mark.parametrize(
    "data, problem",
    [
        ("srv/shop", "apps:shop:data: found 'srv/shop'"),
        ("/srv/../etc", "apps:shop:data: found '/srv/../etc'"),
        ("/srv/my shop", "apps:shop:data: found '/srv/my shop'"),
        (1, "apps:shop:data: found 1"),
        ("/usr/local/shop", "apps:shop:data: systemd protects /usr/local/shop from apps, or clears it: name a folder"),
        ("/home/shop", "systemd protects /home/shop"),
        ("/var/tmp/shop", "systemd protects /var/tmp/shop"),
        ("/var", "systemd protects /var from"),
        ("/./", "systemd protects / from"),
    ],
)
def test_data_where_it_cannot_be(data, problem):
    assert problem in mistake(pillar({"data": data}))


def test_data_of_one_app_is_no_other_apps():
    wrong = pillar({"data": "/srv/one"})
    wrong["apps"]["till"] = {**SHOP, "data": "/srv/one/"}
    wrong["environments"]["test"]["apps"]["till"] = {}
    assert mistake(wrong) == "apps:till:data: /srv/one is the data folder of shop, too"


@pytest.mark.parametrize("key, value", [("run", "a {data}"), ("env", {"A": "{data}"})])
def test_a_placeholder_of_data_needs_data(key, value):
    assert "apps:shop:data: is missing, and " in mistake(pillar({key: value}))
    assert shop({key: value, "data": True})


def test_who_may_not_run_an_app_is_told_with_what_would_let_it():
    nodes = {
        "web1": Node("web1", "a", ("devpi", "db")),
        "web2": Node("web2", "b", ("devpi", "app")),
        "web3": Node("web3", "c"),
    }
    environment, app = Environment("e", nodes, {}), shop()
    assert environment.eligible(app) == ["web2", "web3"]
    assert environment.barred(app) == {
        "web1": "web1 has the roles devpi, db and not app: to run shop there, add app to its roles"
    }
    special = shop({"roles": ["gpu", "db"]})
    assert environment.barred(special)["web3"] == (
        "web3 has no roles and not gpu or db: to run shop there, add gpu to its roles"
    )
