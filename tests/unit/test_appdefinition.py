"""The settings of an app that its definition describes, and a message for each mistake in it."""

import pytest
from saltdeploy import definition, placeholders
from saltdeploy.model import PortRange, Probe, Stop

from tests.support.definitions import ARCHIVE, mistake, pillar, shop


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
    "written, ports",
    [(80, PortRange(80, 80)), ("20000-20099", PortRange(20000, 20099)), ("1-65535", PortRange(1, 65535))],
)
def test_ports(written, ports):
    assert shop({"ports": written}).ports == ports


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


def test_doubled_braces_are_braces():
    app = shop({"env": {"JSON": '{{"port": {port}}}'}})
    assert placeholders.fill(app.env["JSON"], {"port": 80}) == '{"port": 80}'


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


def test_the_error_of_an_environment_s_strategy_points_there():
    message = mistake(pillar(strategy={"min_healthy": "10m"}))
    assert message.startswith("environments:test:strategy: min_healthy (600s)")


def test_a_name_too_long_for_a_user():
    given = pillar()
    given["apps"]["s" * 29] = given["apps"].pop("shop")
    given["environments"]["test"]["apps"] = {"s" * 29: {}}
    assert mistake(given).startswith(f"apps:{'s' * 29}:user: set it")


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


# -- the login of a source --------------------------------------------------------------------


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


# -- data -------------------------------------------------------------------------------------


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


# -- placeholders -----------------------------------------------------------------------------


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


@pytest.mark.parametrize("key, value", [("run", "a {data}"), ("env", {"A": "{data}"})])
def test_a_placeholder_of_data_needs_data(key, value):
    assert "apps:shop:data: is missing, and " in mistake(pillar({key: value}))
    assert shop({key: value, "data": True})


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
