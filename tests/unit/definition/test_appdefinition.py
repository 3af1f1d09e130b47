"""The settings of an app that its definition describes, and a message for each mistake in it."""

import pytest
from saltdeploy.core import placeholders
from saltdeploy.core.httprequests import Request
from saltdeploy.core.model import CheckRestart, PortRange, Probe, Registration, Reload
from saltdeploy.definition import registrations
from saltdeploy.discovery import registration

from tests.support.definitions import ARCHIVE, complaint, mistake, pillar, shop
from tests.support.fleet import instance

GIT = {"git": "https://host/shop.git"}
SSH = {"git": "git@host:shop.git", "key_file": "/etc/key", "known_hosts": "host ssh-ed25519 AAAA"}


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


def test_doubled_braces_are_braces():
    app = shop({"env": {"JSON": '{{"port": {port}}}'}})
    assert placeholders.fill(app.env["JSON"], {"port": 80}) == '{"port": 80}'


def test_in_place_is_for_an_app_with_one_port():
    app = shop({"ports": 8080, "strategy": {"type": "recreate"}})
    assert app.recreate and app.ports == PortRange(8080, 8080)
    assert not shop({"ports": 8080}).recreate
    message = mistake(pillar(strategy={"type": "recreate"}))
    assert message.startswith("environments:test:strategy:type: recreate is for an app with one port, and shop has")
    assert "`rolling` in apps:shop:strategy:type" in message
    assert "and shop has none" in complaint({"run": "a", "strategy": {"type": "recreate"}}, without="ports")


def test_a_unit_is_in_place_of_a_command():
    def told(**app):
        given = pillar({**app, "strategy": {"type": "recreate"}, "ports": 80})
        given["apps"]["shop"].pop("run")
        return mistake(given)

    assert told() == "apps:shop:run: is missing."
    assert told(unit="shop.service") == "apps:shop:unit: has no meaning with `pip`. Write apps:shop:run."
    watched = {"source": {"package": "shop"}, "unit": "shop.service", "check_restart": {}}
    assert told(**watched).startswith("apps:shop:unit: no watcher runs beside a unit, so there is no check_restart")


@pytest.mark.parametrize(
    "app, told",
    [
        (
            {"run": "-c {release}/x"},
            "apps:shop:run: the release of a container is an image. It has no folder {release}",
        ),
        ({"env": {"HOME": "{release}"}}, "apps:shop:env:HOME: the release of a container is an image."),
        ({"env": {"KEY": "a\nb"}}, "apps:shop:env:KEY: has several lines, which no container can get."),
        ({"env": {"KEY": "€" * 20_001}}, "apps:shop:env:KEY: has more than 60000 bytes, which no container can get."),
    ],
)
def test_a_container_cannot_have_everything(app, told):
    source = {"container": "r.example/shop", "sha256": "a" * 64}
    good = {"source": source, "ports": "80-81", "run": "serve {port}", "env": {"KEY": "€" * 20_000}}
    assert shop(good).env["KEY"]
    assert mistake(pillar({**good, **app})).startswith(told)


def test_a_name_too_long_for_a_user():
    given = pillar()
    given["apps"]["s" * 29] = given["apps"].pop("shop")
    given["environments"]["test"]["apps"] = {"s" * 29: {}}
    assert mistake(given).startswith(f"apps:{'s' * 29}:user: the default `app-sss")


@pytest.mark.parametrize(
    "app, message",
    [
        (
            {"source": {}},
            "source: needs exactly one of `archive`, `git`, `path`, `pip`, `package`, `container` and `ansible`, found none",
        ),
        (
            {"source": {"pip": "a", "archive": "/a"}},
            "source: needs exactly one of `archive`, `git`, `path`, `pip`, `package`, `container` and `ansible`, found archive and pip",
        ),
        ({"source": {"archive": "/a"}}, "source:sha256: is missing"),
        (
            {"source": {"archive": "/a", "sha256": "a" * 64, "python": "p"}},
            "source:python: has no meaning with `archive`",
        ),
        ({"source": {"pip": "a", "unpack": False}}, "source:unpack: has no meaning with `pip`"),
        (
            {"source": {"archive": "/a.jar", "sha256": "a" * 64, "unpack": False, "strip": 1}},
            "source:strip: has no meaning with `unpack: false`",
        ),
        (
            {"source": {"archive": "https://a.example.com/", "sha256": "a" * 64, "unpack": False}},
            "source:archive: does not end with the name of a file, which the release needs with `unpack: false`. Write a"
            " place such as https://…/shop-{version}.jar",
        ),
        ({"source": {"pip": "a", "strip": 1}}, "source:strip: has no meaning with `pip`"),
        (
            {"source": {"pip": "a", "sha256": "a" * 64}},
            "source:sha256: one digest has no meaning with `pip`. Write a digest",
        ),
        ({"source": {"path": "/srv/../etc"}}, "source:path: '/srv/../etc' is no folder to copy"),
        ({"source": {"path": "/"}}, "source:path: '/' is no folder to copy"),
        ({"source": {"path": "/srv/shop", "sha256": "0" * 64}}, "source:sha256: has no meaning with `path`."),
        ({"source": {"path": "/srv/shop", "strip": 1}}, "source:strip: has no meaning with `path`."),
        ({"source": {"ansible": "/srv/shop"}}, "source:sha256: is missing. Only a folder on the master (salt://)"),
        ({"source": {"ansible": "salt://a", "strip": 1}}, "source:strip: has no meaning with a folder on the master."),
        ({"source": {"ansible": "salt://a", "playbook": "../b.yml"}}, "source:playbook: '../b.yml' leaves the folder"),
        ({"source": {"ansible": "salt://a", "collections": ["../b.tar.gz"]}}, "source:collections: '../b.tar.gz' leav"),
        ({"source": {"ansible": "salt://a", "vars": {"version": 1}}}, "source:vars:version: is a variable of saltdep"),
        (
            {"source": {"ansible": "salt://a", "requirements": ["ansible-core>=2.19"]}},
            "source:requirements:0: is no exact version, which Ansible needs here.",
        ),
        (
            {"source": {"ansible": "salt://a", "sha256": "0" * 64, "token_file": "/x"}},
            "source:token_file: has no meaning with an archive that does not come over HTTP.",
        ),
        ({"source": {"pip": "shop", "playbook": "x"}}, "source:playbook: has no meaning with `pip`."),
        *(
            ({"source": {**GIT, **changes}}, f"source:{message}")
            for changes, message in (
                ({"git": "ext::sh -c id"}, "git: found text of another form. Write a URL (https://, http://"),
                ({"git": "-oProxyCommand=id@host:x"}, "git: found text of another form"),
                ({"git": "https://host/shop.git?a=b"}, "git: found text of another form"),
                ({"ref": "--upload-pack=id"}, "ref: '--upload-pack=id' is not a tag or a branch. Write"),
                ({"ref": "v{versoin}"}, "ref: has a brace that is no placeholder. Write {version} once"),
                ({"ref": "{version}-{version}"}, "ref: has a brace that is no placeholder"),
                ({"sha256": "a" * 64}, "sha256: has no meaning with `git`"),
                ({"latest": "/x"}, "latest: has no meaning with `git`"),
                ({"key_file": "/k"}, "key_file: has no meaning with a repository that does not come over SSH"),
                ({"git": "git@host:shop.git", "key_file": "/k"}, "known_hosts: is missing. With SSH, a key opens"),
                ({"git": "git@host:shop.git", "known_hosts": "/k"}, "key_file: is missing. With SSH"),
                ({**SSH, "known_hosts": "SHA256:abc"}, "known_hosts: write a file of the node, or lines as"),
                ({**SSH, "netrc": "/n"}, "netrc: has no meaning with a repository that does not come over HTTP"),
                ({"build": "make '"}, "build: the command cannot be split into words"),
                ({"build": "make {port}"}, "build: unknown placeholder {port}"),
                ({"build_timeout": "1m"}, "build_timeout: has no meaning without `build`"),
                ({"build": "make", "build_timeout": 0}, "build_timeout: 0 is too short"),
            )
        ),
        ({"source": {"pip": "shop", "build": "make"}}, "source:build: has no meaning with `pip`."),
        ({"source": {"pip": "shop", "exclude": ["x"]}}, "source:exclude: has no meaning with `pip`."),
        ({"source": {"pip": "shop", "latest": "/x"}}, "source:latest: has no meaning with `pip`."),
        ({"source": {"pip": "shop", "version": "{version}"}}, "source:version: has no meaning with `pip`."),
        ({"source": {"package": "shop", "sha256": "a" * 64}}, "source:sha256: has no meaning with `package`."),
        ({"source": {"package": "shop", "version": "5:1"}}, "source:version: has no {version}, or several. Write it"),
        (
            {"source": {"package": "shop"}},
            "strategy:type: shop is a package, and a node has one version of a package. Write `recreate`, so that the",
        ),
        ({"unit": "shop.service"}, "unit: has a command of its own, and there is apps:shop:run. Remove one."),
        ({"checks": [{}]}, "checks:0: needs exactly one of http, https, tcp, grpc, script and ttl, found none"),
        (
            {"tests": [{"http": "/", "tcp": True}]},
            "tests:0: needs exactly one of http, https, tcp and command, found http and tcp",
        ),
        ({"checks": [{"ttl": "5s"}, {"tcp": True}, {"ttl": "9s"}]}, "checks:2: an app has one `ttl` check at most."),
        ({"checks": [{"ttl": 0}]}, "checks:0:ttl: 0 is too short."),
        ({"checks": [{"ttl": "5s", "timeout": 1}]}, "checks:0:timeout: has no meaning with `ttl`"),
        ({"checks": [{"grpc": {"host": "a"}}]}, "checks:0:grpc:host: has no meaning without TLS. Write `tls: true`"),
        ({"checks": [{"script": "x {nope}"}]}, "checks:0:script: unknown placeholder {nope}"),
        ({"checks": [{"script": " "}]}, "checks:0:script: the command is empty."),
        ({"checks": [{"script": "x {data}"}]}, "data: is missing, and checks:0:script uses {data}."),
        (
            {"check_restart": {}, "checks": [{"ttl": "5s"}, {"grpc": True}]},
            "check_restart: needs a check that the node can run itself: http, https, tcp or script.",
        ),
        ({"check_restart": {"grace": 0}}, "check_restart:grace: 0 is too short."),
        ({"tests": [{"command": "x", "from": "peer"}]}, "tests:0:from: a command runs where the release is installed"),
        (
            {"checks": [{"tcp": True, "interval": 0}]},
            "checks:0:interval: 0 is too short. Write more than 0 and at most 30 days.",
        ),
        ({"tests": [{"tcp": True, "timeout": "0s"}]}, "tests:0:timeout: '0s' is too short. Write more than 0"),
        (
            {"strategy": {"type": "recreate"}},
            "strategy:type: recreate is for an app with one port, and shop has 20000-20009. Write `rolling`",
        ),
        ({"ports": "30-20"}, "ports: `30-20` is not a range"),
        ({"ports": "1-65536"}, "ports: `1-65536` is not a range"),
        (
            {"env": {"A": "{nope}"}},
            "env:A: unknown placeholder (did you mean `node`?) at character 1. Allowed: address, port,",
        ),
        ({"tests": [{"command": "x {nope}"}]}, "tests:0:command: unknown placeholder {nope}"),
        ({"tests": [{"command": " "}]}, "tests:0:command: the command is empty."),
        ({"reload": {}}, "reload: needs exactly one of signal and command, found none."),
        (
            {"reload": {"signal": "HUP", "command": "x"}},
            "reload: needs exactly one of signal and command, found signal and command.",
        ),
        ({"reload": {"command": "x {nope}"}}, "reload:command: unknown placeholder {nope}"),
        (
            {"config": {"etc/shop.ini": "salt://x"}, "reload": {"signal": "HUP", "files": ["etc/shop.in"]}},
            "reload:files:0: 'etc/shop.in' is no file of apps:shop:config (did you mean `etc/shop.ini`?).",
        ),
    ],
)
def test_mistakes_of_meaning(app, message):
    assert complaint(app).startswith(message)


def test_checks_of_all_kinds():
    tls = {"service": "shop.v1", "tls": True, "host": "shop.example.com", "insecure": True}
    raw = [{"grpc": True}, {"grpc": tls, "timeout": "3s", "failures_before_critical": 2}, {"script": "./check {port}"}]
    assert shop({"checks": [*raw, {"ttl": "1m"}]}).checks == (
        Probe("grpc", ""),
        Probe(
            "grpc",
            "shop.v1",
            timeout=3.0,
            request=Request(host="shop.example.com", insecure=True),
            failures_before_critical=2,
        ),
        Probe("script", "./check {port}"),
        Probe("ttl", "", interval=60.0, timeout=0.0),
    )


def test_restarts_without_ports_need_a_script():
    """There would be nothing to look at."""
    said = complaint({"run": "a", "checks": [], "tests": [], "check_restart": {}}, without="ports")
    assert said.startswith("check_restart: needs a check that the node can run itself: http, https, tcp or script.")


def test_a_watcher_is_beside_an_instance_that_needs_one():
    assert not shop({}).is_watched and shop({"checks": [{"script": "x"}]}).is_watched
    assert shop({"check_restart": {}}).is_watched and shop({"check_restart": {}}).check_restart == CheckRestart()
    given = {"after": 5, "grace": "2m", "most": 1}
    assert shop({"check_restart": given}).check_restart == CheckRestart(5, 120.0, 1)


def test_a_reload_is_a_signal_or_a_command():
    assert shop({}).reload is None
    assert shop({"reload": {"signal": "HUP"}}).reload == Reload("HUP")
    assert shop({"reload": {"command": "./ctl reload", "timeout": "5s"}}).reload == Reload("", "./ctl reload", 5.0)
    files = {"config": {"etc/shop.ini": "salt://shop.ini"}, "reload": {"signal": "HUP", "files": ["etc/shop.ini"]}}
    assert shop(files).reload == Reload("HUP", files=("etc/shop.ini",))


# -- the registration -------------------------------------------------------------------------


def test_metadata_up_to_the_limits_of_consul():
    meta = {f"k{n}": "v" for n in range(registrations.MOST_META - 2)}
    meta.update({"k" * 128: "\u00e9" * 256, "Consul-x": ""})
    assert shop({"service": {"tags": ["web"], "meta": meta}}).service == Registration(("web",), meta)


def test_a_registration_has_as_many_keys_as_consul_allows():
    app = shop({"service": {"meta": {f"k{n}": "v" for n in range(registrations.MOST_META)}}})
    service = registration.of(app, instance("web1", "1.0", 20001), "site", b"key")
    assert len(service.meta) == registrations.CONSUL_KEYS == 64


@pytest.mark.parametrize(
    "meta, message",
    [
        ({"digest": "x"}, "meta:digest: saltdeploy itself has this key. Choose another name."),
        (
            {"consul-x": "v"},
            "meta:consul-x: Consul reserves keys that begin with `consul-`. Choose another name.",
        ),
        ({"u": "\u00e9" * 257}, "meta:u: the text has 514 bytes in UTF-8. Write at most 512."),
        ({"u": "e" * 513}, "meta:u: the text has 513 bytes in UTF-8. Write at most 512."),
        ({"u": "a\n"}, "meta:u: 'a\\n' is not a text. Write a text on one line"),
        ({"k" * 129: "v"}, f"meta: '{'k' * 56}… is not a key. Write letters, digits, _ and -, at most 128"),
        (
            {f"k{n}": "v" for n in range(59)},
            "meta: has 59 keys. Write at most 58, because Consul takes 64 and saltdeploy itself has 6.",
        ),
    ],
)
def test_metadata_that_consul_refuses(meta, message):
    assert complaint({"service": {"meta": meta}}).startswith(f"service:{message}")


# -- requests of checks and tests -------------------------------------------------------------


def test_a_path_alone_has_no_details():
    app = shop({"checks": [{"http": "/health"}], "tests": [{"http": {"path": "/", "status": 204, "contains": "x"}}]})
    assert app.checks == (Probe("http", "/health"),)
    assert app.tests == (Probe("http", "/", status=204, contains="x", timeout=10.0),)
    assert shop({"checks": [{"http": {"path": "/health", "status": "2xx"}}]}).checks == app.checks


def test_the_request_of_a_check_and_of_a_test():
    request = {"host": "shop.example.com", "method": "POST", "headers": {"X-Token": "hunter2\n"}, "body": "b"}
    app = shop(
        {
            "checks": [
                {"https": {"path": "/health", **request, "insecure": True}, "failures_before_critical": 3},
                {"https": "/health"},
                {"tcp": True, "success_before_passing": 2},
            ],
            "tests": [
                {"https": {"path": "/", "ca": "/etc/ca.pem", "redirects": True, "status": [200, "3xx"]}},
                {"http": {"path": "/", "status": "2xx"}},
                {"http": {"path": "/", "status": "4xx"}},
            ],
        }
    )
    asked = Request("shop.example.com", "POST", {"X-Token": "hunter2"}, "b", insecure=True)
    assert app.checks == (
        Probe("https", "/health", request=asked, failures_before_critical=3),
        Probe("https", "/health", request=Request()),
        Probe("tcp", "", success_before_passing=2),
    )
    secure, *others = app.tests
    assert secure.request == Request(ca="/etc/ca.pem", redirects=True)
    assert [t.status for t in app.tests] == [(200, "3xx"), None, ("4xx",)] and not any(t.request for t in others)
    assert "hunter2" not in repr(app)


PATH = {"path": "/"}


@pytest.mark.parametrize(
    "app, message",
    [
        (
            {"checks": [{"http": {**PATH, "contains": "x"}}]},
            "checks:0:http:contains: Consul does not look for text in a check. Leave it out, or write a test with it.",
        ),
        ({"checks": [{"https": {**PATH, "status": [200]}}]}, "checks:0:https:status: Consul accepts each status of"),
        ({"checks": [{"https": {**PATH, "ca": "/ca"}}]}, "checks:0:https:ca: Consul verifies by the certificates of"),
        ({"tests": [{"http": {**PATH, "insecure": True}}]}, "tests:0:http:insecure: has no meaning without TLS. Write"),
        ({"tests": [{"http": {**PATH, "ca": "/ca"}}]}, "tests:0:http:ca: has no meaning without TLS. Write `https`"),
        (
            {"tests": [{"https": {**PATH, "ca": "/ca", "insecure": True}}]},
            "tests:0:https:insecure: accepts any certificate, so `ca` has no meaning.",
        ),
        (
            {"tests": [{"http": {**PATH, "contains": "x", "method": "HEAD"}}]},
            "tests:0:http:contains: an answer to HEAD has no text.",
        ),
        (
            {"tests": [{"http": {**PATH, "headers": {"host": "x"}}}]},
            "tests:0:http:headers:host: is made from `host`. Write that, and not the header.",
        ),
        (
            {"checks": [{"http": {**PATH, "headers": {"X": "gehe\u00ef1m"}}}]},
            "checks:0:http:headers:X: has a character that is not allowed. Write printable ASCII.",
        ),
        ({"checks": [{"https": "/{version}"}]}, "checks:0:https: the placeholder {version} is not filled in here."),
        ({"tests": [{"https": "/{release}"}]}, "tests:0:https: the placeholder {release} is not filled in here."),
        ({"tests": [{"http": {**PATH, "status": "2x"}}]}, "tests:0:http:status: '2x' is not a status. Write a status,"),
        ({"tests": [{"http": {**PATH, "status": []}}]}, "tests:0:http:status: the list is empty."),
        ({"tests": [{"http": {**PATH, "status": 99}}]}, "tests:0:http:status: 99 is not a status. Write a status,"),
        (
            {"tests": [{"http": {**PATH, "method": "get"}}]},
            "tests:0:http:method: 'get' is not allowed here. Write one of GET",
        ),
        (
            {"tests": [{"http": "/a b"}]},
            "tests:0:http: found text. Write a path that begins with /, without blanks, or a mapping",
        ),
        ({"checks": [{"http": {"path": "/a\nb"}}]}, "checks:0:http:path: found text of another form. Write a path"),
        (
            {"tests": [{"https": {**PATH, "ca": "/a\nb"}}]},
            "tests:0:https:ca: found text of another form. Write a path that begins with /, in one line.",
        ),
        ({"tests": [{"http": {**PATH, "host": "a b"}}]}, "tests:0:http:host: found text of another form. Write a host"),
        ({"tests": [{"https": {**PATH, "host": "a..b"}}]}, "tests:0:https:host: found text of another form."),
        ({"tests": [{"https": {**PATH, "host": "a" * 64}}]}, "tests:0:https:host: found text of another form."),
        ({"tests": [{"https": {"host": "a"}}]}, "tests:0:https:path: is missing."),
        ({"checks": [{"tcp": True, "failures_before_critical": 0}]}, "checks:0:failures_before_critical: 0 is too"),
        ({"tests": [{"tcp": True, "failures_before_critical": 2}]}, "tests:0:failures_before_critical: unknown key"),
    ],
)
def test_mistakes_in_a_request(app, message):
    assert complaint(app).startswith(message)


def test_an_https_check_needs_a_port():
    assert "ports: is missing, and the https check or test needs a port." in complaint(
        {"checks": [{"https": "/"}], "run": "./shop"}, without="ports"
    )


# -- a Git repository -------------------------------------------------------------------------


def test_a_repository_with_a_build():
    source = shop(
        {"source": {**GIT, **SSH, "ref": "v{version}", "build": "make {version}", "build_timeout": "5m"}}
    ).source
    assert (source.kind, source.location, source.ref) == ("git", "git@host:shop.git", "v{version}")
    assert (source.key_file, source.known_hosts) == ("/etc/key", "host ssh-ed25519 AAAA")
    assert (source.build, source.build_timeout, source.submodules) == ("make {version}", 300.0, False)
    assert shop({"source": {"path": "/srv/shop", "build": "make"}}).source.build_timeout == 600.0
    for url in ("ssh://git@host:2222/shop", "https://host:8443/a/shop.git", "file:///srv/shop", "git@[::1]:shop"):
        ssh = SSH if "@" in url else {"git": url}
        assert shop({"source": {**ssh, "git": url}}).source.location == url


# -- the login of a source --------------------------------------------------------------------


QUERY = "dep @ https://host/dep.whl?private_token=hunter2#sha256=00"


def test_a_source_may_authenticate_itself():
    source = shop({"source": {**ARCHIVE, "headers": {"X-Team": "hunter2\n"}, "token_file": "/etc/token"}}).source
    assert (source.headers, source.token_file) == ({"X-Team": "hunter2"}, "/etc/token")
    assert "hunter2" not in repr(source)
    assert shop({"source": {"pip": "shop", "netrc": "/etc/netrc", "index": "https://i/simple"}}).source.index
    pinned = "dep @ https://host/dep.whl#sha256=00"
    assert shop({"source": {"pip": "shop", "requirements": [pinned]}}).source.requirements == (pinned,)


@pytest.mark.parametrize(
    "source, told",
    [
        ({**ARCHIVE, "token_file": "/t", "netrc": "/n"}, "source:token_file: netrc is given too"),
        ({**ARCHIVE, "netrc": "/n", "headers": {"authorization": "hunter2"}}, "netrc: headers:authorization is given"),
        ({"pip": "shop", "headers": {"X": "hunter2"}}, "source:headers: has no meaning with `pip`"),
        ({"pip": "shop", "token_file": "/t"}, "source:token_file: has no meaning with `pip`"),
        ({**ARCHIVE, "index": "https://i/simple"}, "source:index: has no meaning with `archive`"),
        ({"archive": "salt://x", "sha256": "0" * 64, "netrc": "/n"}, "source:netrc: has no meaning with an archive"),
        ({**ARCHIVE, "key": "/k"}, "source:key: has no meaning without `cert`"),
        ({**ARCHIVE, "archive": "http://a", "cert": "/c"}, "source:cert: has no meaning with a server that is not"),
        ({"pip": "shop", "index": "http://a", "ca": "/c"}, "source:ca: has no meaning with a server that is not"),
        ({"path": "/srv/shop", "cert": "/c"}, "source:cert: has no meaning with `path`"),
        ({"pip": "shop", "requirements": ["six", QUERY]}, "source:requirements:1: the URL has a query"),
        (
            {"pip": "shop", "requirements": [f"--extra-index-url {QUERY[6:]}"]},
            "source:requirements:0: the URL has a query",
        ),
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


# -- packages and signatures ------------------------------------------------------------------


def test_requirements_are_a_list_or_a_lock_file():
    source = shop({"source": {"pip": "shop", "requirements": "salt://shop-{version}.txt", "sdists": ["six"]}}).source
    assert (source.requirements, source.lock, source.sdists) == ((), "salt://shop-{version}.txt", ("six",))
    source = shop({"source": {"pip": "shop", "requirements": ["six"]}}).source
    assert (source.requirements, source.lock, source.sdists) == (("six",), "", False)


@pytest.mark.parametrize(
    "requirement",
    [
        "six",
        "six [a, b] >= 1.0, < 2 ; python_version < '3.9'  # why",
        "six==1.17.0 --hash=sha256:00",
        "six @ https://host/six-1.0-py3-none-any.whl#sha256=00",
        "https://host/six-1.0-py3-none-any.whl ; python_version < '3.9'",
        "--extra-index-url https://host/simple",
        "# nothing",
    ],
)
def test_a_requirement_that_is_a_wheel(requirement):
    assert shop({"source": {"pip": "shop", "requirements": [requirement]}}).source.requirements == (requirement,)


@pytest.mark.parametrize(
    "requirement",
    ["six @ https://host/six.tar.gz", "git+https://host/six", "-e /srv/six", "./six", "-r x.whl", "--no-binary=six"],
)
def test_a_requirement_that_may_be_built(requirement):
    source = {"pip": "shop", "requirements": [requirement]}
    assert "source:requirements:0: may be built from its source" in mistake(pillar({"source": source}))
    assert shop({"source": {**source, "sdists": True}}).source.requirements == (requirement,)


@pytest.mark.parametrize(
    "source, told",
    [
        (
            {"pip": "a", "wheelhouse": "salt://w", "index": "https://i"},
            "source:index: has no meaning with `wheelhouse`",
        ),
        ({"pip": "a", "wheelhouse": "wheels"}, "source:wheelhouse"),
        ({"pip": "a", "requirements": "https://host/lock"}, "source:requirements"),
        ({"pip": "a", "signed_by": "/k"}, "source:signed_by: has no meaning with `pip`"),
        ({**ARCHIVE, "signature": "/s"}, "source:signature: has no meaning without the public key"),
        ({**ARCHIVE, "signed_by": "RWshort"}, "source:signed_by"),
        ({**ARCHIVE, "sdists": True}, "source:sdists: has no meaning with `archive`"),
    ],
)
def test_packages_and_signatures_that_are_wrong(source, told):
    assert told in mistake(pillar({"source": source}))


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
        ("/usr/local/shop", "apps:shop:data: systemd protects /usr/local/shop from apps, or clears it. Name another"),
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
    "run, message",
    [
        ("x {prot}", "unknown placeholder {prot} (did you mean `port`?) at character 3. Allowed: address,"),
        ("x {}", "unknown placeholder at character 3. Allowed: address, port, version, release,"),
        ("x {port.real}", "at character 3, write the placeholder as {port}, with nothing else inside the"),
        ("x {address:d}", "at character 3, write the placeholder as {address}, with nothing else inside the"),
        ("x {port", "character 3 is a brace that belongs to no placeholder. Write a brace of your own"),
        ("x 'y", "the command cannot be split into words: No closing quotation."),
        ("  ", "the command is empty."),
    ],
)
def test_placeholders_of_a_command(run, message):
    assert complaint({"run": run}).startswith(f"run: {message}")


@pytest.mark.parametrize("key, value", [("run", "a {data}"), ("env", {"A": "{data}"})])
def test_a_placeholder_of_data_needs_data(key, value):
    assert "apps:shop:data: is missing, and " in mistake(pillar({key: value}))
    assert shop({key: value, "data": True})


@pytest.mark.parametrize(
    "app, message",
    [
        ({}, "ports: is missing, and run uses {port}"),
        ({"run": "x", "env": {"P": "{port}"}}, "ports: is missing, and env:P uses {port}"),
        ({"run": "x", "tests": [{"http": "/"}]}, "ports: is missing, and the http check or test needs a port"),
    ],
)
def test_a_port_is_used_and_none_is_given(app, message):
    assert complaint(app, without="ports").startswith(message)


def test_the_name_of_a_service_needs_the_service_among_the_requirements():
    env = {"DB": "{service:postgres}"}
    assert shop({"env": env, "requires": ["postgres"]}).env == env
    said = complaint({"env": env, "requires": ["mysql"]})
    assert said.startswith("env:DB: {service:…} at character 1 names a service that is not in `requires`")
    assert complaint({"run": "./x {service:postgres}"}).startswith("run: {service:…} at character 5")
