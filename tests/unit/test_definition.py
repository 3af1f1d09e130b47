"""Pillar in, validated definitions out; and what each mistake in pillar is answered with."""

import copy
import sys

import pytest
from saltdeploy import definition, inheritance, placeholders, words
from saltdeploy.errors import DefinitionError, Refused
from saltdeploy.model import Environment, Node, PortRange, Probe, Source, Stop, Strategy

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


def mistake(wrong, app=None, **options):
    """Return what is said of the environment, or of its only app that is wrong."""
    with pytest.raises(DefinitionError) as caught:
        environment = definition.load(wrong, **options)
        definition.find_app(environment, app or next(iter(environment.broken), "shop"))
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
        Probe("tcp", "", interval=2.0, timeout=5.0),
    )
    assert app.tests == (
        Probe("http", "/", origin="peer", status=404, contains="gone", timeout=10.0),
        Probe("command", "./selftest {port}", timeout=10.0),
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
    raw = inheritance.resolve(environments(apps={"shop": {"version": "1.1"}}, strategy={"drain": "1s"}), "test")
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
    assert inheritance.resolve(given, "test")["apps"]["shop"]["instances"] == scaled


def test_scale_leaves_instances_alone_that_the_environment_states_itself():
    given = environments(scale=0.1, apps={"shop": {"instances": 9}})
    assert inheritance.resolve(given, "test")["apps"]["shop"]["instances"] == 9


def test_scales_multiply_along_the_chain():
    given = environments(scale=2)
    given["laptop"] = {"based_on": "test", "scale": 0.5, "nodes": {}}
    assert inheritance.resolve(given, "laptop")["apps"]["shop"]["instances"] == 3


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
    own = inheritance.own_environment(given, "t1")
    assert list(own["environments"]) == ["test"]
    assert "10.1.0.1" not in str(own)
    apps = {"shop": SHOP, "cart": {"source": {"pip": "cart"}, "run": "cart"}}
    assert definition.load({"apps": apps, **own}) == definition.load({"apps": apps, "environments": given}, "test")


def test_a_stranger_gets_no_environment():
    assert inheritance.own_environment(environments(), "stranger") == {"environments": {}}


def test_a_node_of_two_environments():
    given = environments()
    given["production"]["nodes"]["t1"] = {"address": "10.2.0.1"}
    with pytest.raises(DefinitionError, match="t1 is a node of both production and test: keep it in one"):
        inheritance.own_environment(given, "t1")


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
    with pytest.raises(Refused, match="is not usable. Write a version: letters, digits"):
        definition.check_version(shop(), version)


def test_a_version_that_was_read_as_a_number():
    """What was typed is not known any more, so nothing is advised that may be another version."""
    with pytest.raises(Refused, match="version 3.1 was read as a number, and digits may be lost") as raised:
        definition.check_version(shop(), 3.10)
    assert "'3.1'" not in str(raised.value)
    known = shop({"source": {**ARCHIVE, "sha256": dict.fromkeys(("3.1", "3.10", "3.2", "next"), "0" * 64)}})
    with pytest.raises(Refused, match="Quote it twice: version=\"'3.1'\" or version=\"'3.10'\".$"):
        definition.check_version(known, 3.10)


# -- URLs and logins of a source --------------------------------------------------------------

ARCHIVE = {"archive": "https://host/shop-{version}.tar", "sha256": "0" * 64}


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


def test_urls_elsewhere_may_have_a_password():
    """An app's own settings are not readable by others."""
    assert shop({"env": {"source": "https://joe:hunter2@host/x"}}).env["source"].endswith("host/x")


def test_a_source_may_authenticate_itself():
    source = shop({"source": {**ARCHIVE, "headers": {"X-Team": "hunter2\n"}, "token_file": "/etc/token"}}).source
    assert (source.headers, source.token_file) == ({"X-Team": "hunter2"}, "/etc/token")
    assert "hunter2" not in repr(source)
    assert shop({"source": {"pip": "shop", "netrc": "/etc/netrc", "index": "https://i/simple"}}).source.index


@pytest.mark.parametrize(
    "source, told",
    [
        ({**ARCHIVE, "token_file": "/t", "netrc": "/n"}, "source:token_file: netrc is given too"),
        ({**ARCHIVE, "netrc": "/n", "headers": {"authorization": "hunter2"}}, "netrc: headers:authorization is given"),
        ({"pip": "shop", "headers": {"X": "hunter2"}}, "source:headers: has no meaning with `pip`"),
        ({"pip": "shop", "token_file": "/t"}, "source:token_file: has no meaning with `pip`"),
        ({**ARCHIVE, "index": "https://i/simple"}, "source:index: has no meaning with `archive`"),
        ({"archive": "salt://x", "sha256": "0" * 64, "netrc": "/n"}, "source:netrc: has no meaning with an archive"),
        ({**ARCHIVE, "headers": {"X": "hunter2\nY: z"}}, "source:headers:X"),
        ({**ARCHIVE, "headers": {"X": ["hunter2"]}}, "source:headers:X"),
        ({**ARCHIVE, "headers": {"hunter2 x": "a"}}, "source:headers"),
        ({**ARCHIVE, "headers": "hunter2"}, "source:headers"),
        ({**ARCHIVE, "token_file": "relative"}, "source:token_file"),
    ],
)
def test_what_is_wrong_with_a_login_is_told_without_it(source, told):
    found = mistake(pillar({"source": source}))
    assert told in found and "hunter2" not in found


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
        ({"run": 5}, "apps:shop:run: found a number. Write text: quote a number."),
        ({"run": ""}, "apps:shop:run: the text is empty. Write at least 1 character."),
        ({"instances": 0}, "apps:shop:instances: 0 is too small. Write at least 1."),
        ({"instances": "3"}, "apps:shop:instances: '3' is not a whole number. Write the number without quotes: 3."),
        ({"instances": 3.0}, "apps:shop:instances: 3.0 is not a whole number. Write a whole number: 3."),
        (
            {"version": 1.4},
            "apps:shop:version: 1.4 was read as a number, and digits may be lost (3.10 becomes 3.1). Write the",
        ),
        (
            {"version": "1.0\n"},
            "apps:shop:version: '1.0\\n' is not a version. Write a version: letters, digits and . _ + ~ -, at",
        ),
        (
            {"ports": "80"},
            "apps:shop:ports: '80' is not a port or a range of ports. Write the port without quotes: 80.",
        ),
        ({"ports": "30-20"}, "apps:shop:ports: `30-20` is not a range"),
        ({"ports": "1-65536"}, "apps:shop:ports: `1-65536` is not a range"),
        (
            {"env": {"A B": "1"}},
            "apps:shop:env: 'A B' is not the name of a variable. Write letters, digits and _, for example",
        ),
        (
            {"env": {1: "1"}},
            "apps:shop:env: 1 is not the name of a variable. Write letters, digits and _, for example LOG_LEVEL.",
        ),
        (
            {"env": {"A": ["1"]}},
            "apps:shop:env:A: found a list. Write text, a number, true or false.",
        ),
        (
            {"config": {"../x": "salt://x"}},
            "apps:shop:config: '../x' is not a path. Write a path below the instance's folder, without .., for",
        ),
        (
            {"config": {"etc/..": "salt://x"}},
            "apps:shop:config: 'etc/..' is not a path. Write a path below the instance's folder, without .., for",
        ),
        (
            {"config": {"/etc/x": "salt://x"}},
            "apps:shop:config: '/etc/x' is not a path. Write a path below the instance's folder, without .., for",
        ),
        (
            {"config": {"x": "/etc/x"}},
            "apps:shop:config:x: found text of another form. Write a salt:// URL of a template.",
        ),
        (
            {"user": "Root"},
            "apps:shop:user: 'Root' is not a user. Write a user of the system: a-z, 0-9, _ and -, at most 32",
        ),
        ({"requires": "postgres"}, "apps:shop:requires: found text. Write a list."),
        (
            {"strategy": {"drain": "soon"}},
            "apps:shop:strategy:drain: 'soon' is not a duration. Write a number of seconds, or a number with a",
        ),
        ({"strategy": {"keep_releases": 0}}, "apps:shop:strategy:keep_releases: 0 is too small. Write at least 1."),
        ({"stop": {"signal": "KILL"}}, "apps:shop:stop:signal: 'KILL' is not allowed here. Write one of TERM, INT"),
        ({"stop": {"timeout": "0s"}}, "apps:shop:stop:timeout: found '0s', allowed is 1s to 1h"),
        ({"stop": {"timeout": "61m"}}, "apps:shop:stop:timeout: found '61m', allowed is 1s to 1h"),
        (
            {"config": {"instance.json": "salt://a"}},
            "apps:shop:config: found 'instance.json', but saltdeploy has a file",
        ),
        ({"config": {"./start": "salt://a"}}, "apps:shop:config: found './start', but saltdeploy has a file start of"),
        ({"config": {"log": "salt://a"}}, "apps:shop:config: found 'log', but saltdeploy has a file log of its own"),
        ({"config": {"log.1": "salt://a"}}, "apps:shop:config: found 'log.1', but saltdeploy has a file log.1 of its"),
        ({"config": {".start.partial": "salt://a"}}, "apps:shop:config: found '.start.partial', but saltdeploy has"),
        ({"config": {".watcher.py": "salt://a"}}, "apps:shop:config: found '.watcher.py', but saltdeploy has a file"),
        ({"config": {".": "salt://a"}}, "apps:shop:config: found '.', which is the instance's folder itself"),
        (
            {"config": {"a/b": "salt://a", "a//b": "salt://b"}},
            "apps:shop:config: 'a/b' and 'a//b' are the same file. Keep one.",
        ),
        ({"config": {"a": "salt://a", "a/b": "salt://b"}}, "apps:shop:config: 'a' is a file, and 'a/b' is in it."),
        (
            {"strategy": {"keep_releases": "5"}},
            "apps:shop:strategy:keep_releases: '5' is not a whole number. Write the number without quotes: 5.",
        ),
        (
            {"strategy": {"drain": -1}},
            "apps:shop:strategy:drain: -1 is not a duration. Write a number of seconds, or a number with a unit:",
        ),
        (
            {"strategy": {"drain": float("inf")}},
            "apps:shop:strategy:drain: inf is not a duration. Write a number of seconds, or a number with a",
        ),
        (
            {"strategy": {"waves": ["0%"]}},
            "apps:shop:strategy:waves:0: '0%' is not a number of nodes or a percentage. Write a number of nodes,",
        ),
        (
            {"strategy": {"replace": "in-place"}},
            "apps:shop:strategy:replace: 'in-place' is not allowed here. Write in_place.",
        ),
        (
            {"strategy": {"auto_revert": "no"}},
            "apps:shop:strategy:auto_revert: 'no' is not true or false. Write true or false, without quotes.",
        ),
        ({"checks": [{"tcp": False}]}, "apps:shop:checks:0:tcp: found true or false. Write true."),
        (
            {"tests": [{"tcp": True, "from": "moon"}]},
            "apps:shop:tests:0:from: 'moon' is not allowed here. Write one of node, peer, master.",
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
        (
            {"source": {"archive": "ftp://a"}},
            "apps:shop:source:archive: found text of another form. Write a URL (https://, http://, salt://,",
        ),
        (
            {"source": {"archive": "/a", "sha256": "a" * 64, "python": "p"}},
            "apps:shop:source:python: has no meaning with `archive`",
        ),
        ({"source": {"pip": "a", "strip": 1}}, "apps:shop:source:strip: has no meaning with `pip`"),
        ({"source": {"pip": "a", "sha256": "a" * 64}}, "apps:shop:source:sha256: with `pip` it is a mapping"),
        (
            {"source": {"pip": "a", "sha256": {"1": "short"}}},
            "apps:shop:source:sha256:1: found text of another form. Write a SHA-256: 64 hexadecimal digits.",
        ),
        (
            {"source": {"pip": "a", "sha256": {1.4: "a" * 64}}},
            "apps:shop:source:sha256: 1.4 was read as a number, and digits may be lost (3.10 becomes 3.1). Write",
        ),
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
            "apps:shop:run: unknown placeholder {prot} (did you mean `port`?) at character 3. Allowed: address,",
        ),
        (
            {"run": "x {}"},
            "apps:shop:run: unknown placeholder at character 3. Allowed: address, port, version, release,",
        ),
        (
            {"run": "x {port.real}"},
            "apps:shop:run: at character 3, write the placeholder as {port}, with nothing else inside the",
        ),
        (
            {"run": "x {address:d}"},
            "apps:shop:run: at character 3, write the placeholder as {address}, with nothing else inside the",
        ),
        (
            {"run": "x {port"},
            "apps:shop:run: character 3 is a brace that belongs to no placeholder. Write a brace of your own",
        ),
        ({"run": "x 'y"}, "apps:shop:run: the command cannot be split into words: No closing quotation."),
        ({"run": "  "}, "apps:shop:run: the command is empty."),
        (
            {"env": {"A": "{nope}"}},
            "apps:shop:env:A: unknown placeholder (did you mean `node`?) at character 1. Allowed: address, port,",
        ),
        ({"tests": [{"command": "x {nope}"}]}, "apps:shop:tests:0:command: unknown placeholder {nope}"),
        ({"tests": [{"command": " "}]}, "apps:shop:tests:0:command: the command is empty."),
        (
            {"ports": None},
            "apps:shop:ports: None is not a port or a range of ports. Write a port, or a range first-last, for",
        ),
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
    assert mistake(given).startswith(f"apps: {words.shown(name)} is not a name. Write a name")


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
    assert message.startswith("environments:test:discovery:consul:token: found ")
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
    assert mistake(pillar(nodes=nodes)).endswith(
        "nodes:web2:zone: 2 is not a name. Write a name: a-z, 0-9 and -, at most 53 characters, for example shop. Quote a number."
    )


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


def test_the_one_environment_that_has_an_app():
    found = pillar()
    found["environments"]["production"] = {"nodes": NODES, "apps": {"blog": {}}}
    assert definition.only_with(found, "shop") == "test" and definition.only_with(found, "blog") == "production"
    assert definition.only_with(found, "other") is None
    found["environments"]["staging"] = {"nodes": NODES, "based_on": "test"}
    assert definition.only_with(found, "shop") is None
    found["environments"]["staging"] = {"nodes": NODES, "based_on": "nothing"}
    assert definition.only_with(found, "shop") == "test", "a broken environment is in nobody's way"


def test_how_an_app_is_stopped():
    pillar = {
        "apps": {"shop": {"source": {"pip": "shop"}, "run": "a", "stop": {"timeout": "20s"}}},
        "environments": {
            "e": {"nodes": {"n": {"address": "192.0.2.1"}}, "apps": {"shop": {"stop": {"signal": "INT"}}}}
        },
    }
    assert definition.load(pillar).apps["shop"].stop == Stop("INT", 20.0)


def test_files_of_the_app_s_own_may_be_called_as_it_likes():
    config = {".env": "salt://a", "etc/start": "salt://b", "log.conf": "salt://c"}
    pillar = {
        "apps": {"shop": {"source": {"pip": "shop"}, "run": "a", "config": config}},
        "environments": {"e": {"nodes": {"n": {"address": "192.0.2.1"}}, "apps": {"shop": {}}}},
    }
    assert definition.load(pillar).apps["shop"].config == config


@pytest.mark.parametrize("data", [True, False, "/srv/shop", "/data", "/var/lib/shop/"])
def test_data(data):
    assert shop({"data": data}).data == (data.rstrip("/") if isinstance(data, str) else data)


@pytest.mark.parametrize(
    "data, problem",
    [
        ("srv/shop", "apps:shop:data: 'srv/shop' is not a place for data"),
        ("/srv/../etc", "apps:shop:data: '/srv/../etc' is not a place for data"),
        ("/srv/my shop", "apps:shop:data: '/srv/my shop' is not a place for data"),
        (1, "apps:shop:data: 1 is not a place for data"),
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
