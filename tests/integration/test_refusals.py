"""Bad input. It is refused, or fails with all as before, and the message says what to do."""

from __future__ import annotations

import socket
import tarfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests
import yaml

from tests.support.site import Cli
from tests.support.target import NAME, PORTS

OLD, NEW = "1.0", "1.1"


@pytest.fixture(scope="module", autouse=True)
def users(target):
    """Users of the old release, all the time; whatever was done here, the next good run succeeds."""
    target.define()
    target.start_over(OLD)
    with target.users() as users:
        yield users
        assert "was already published, nothing was done" in target.deploy(OLD)
        assert "is published" in target.deploy(NEW)
        assert users.wait_for(NEW, 10)
    assert users.failures == []
    assert target.traces().clean


@pytest.fixture(autouse=True)
def untouched(target, users):
    """The old release is published and answers, and nothing else is there, after the test as before it."""
    before = target.traces()
    assert before.versions == [OLD] * 3 and before.clean
    yield
    assert target.traces() == before
    assert users.wait_for(OLD, 5)
    target.define()


def refused(target, *arguments, cli=None):
    code, output = (cli or target.cli).deploy("app", *arguments)
    assert code == 3, output
    assert "\nrefused, nothing was changed: " in f"\n{output}", output
    return output


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((), "which app? Say its name first"),
        (("shpo",), "unknown app 'shpo' in environment site (did you mean `shop`?). Apps there: shop"),
        ((NAME, "env=sit"), "unknown environment 'sit' (did you mean `site`?). Defined: site"),
        ((NAME, "version='1.11'"), "unknown version 1.11 of shop (did you mean `1.1`?): no digest of it"),
        ((NAME, "version=1.1"), "version 1.1 was read as a number, and digits may be lost"),
        ((NAME, "version='../1'"), "version '../1' is not usable. Write a version: letters"),
        ((NAME, "verison='1.1'"), "unknown argument verison= (did you mean `version`?)"),
        ((NAME, "'1.1'", "site", *"7" * 30), "too many arguments, from 7 on"),
        ((NAME, "'1.1'", "version='1.0'"), "multiple values for argument 'version'"),
        ((NAME, "instances=0"), "instances=0: a whole number from 1 is allowed"),
        ((NAME, "publish=maybe"), "publish='maybe': True or False is allowed"),
        ((NAME, "nodes=web1,wbe2"), "site has no node 'wbe2' (did you mean `web2`?)"),
    ],
)
def test_arguments(target, arguments, words):
    assert words in refused(target, *arguments)


def test_a_number_quoted_as_the_message_says_is_a_version(target):
    output = refused(target, NAME, "version=1.1")
    advice = output.partition("Quote it twice: ")[2].split(".\n")[0].strip().removesuffix(".")
    assert advice == "version=\"'1.1'\""
    assert target.cli.deploy("plan", NAME, advice.replace('"', ""))[0] == 0


@pytest.mark.parametrize(
    "definition, words",
    [
        ({"app": {"chekcs": []}}, "apps:shop:chekcs: unknown key (did you mean `checks`?). Allowed here: "),
        (
            {"app": {"run": "./bin/serve {adress}"}},
            "apps:shop:run: unknown placeholder {adress} (did you mean `address`?)",
        ),
        ({"app": {"run": None}}, "apps:shop:run: found nothing. Write text"),
        ({"app": {"source": {"archive": "/tmp/x"}}}, "apps:shop:source:sha256: is missing"),
        ({"app": {"requires": ["postgres"]}}, "shop requires postgres, which discovery does not have healthy"),
        ({"strategy": {"wavs": [1]}}, "environments:site:strategy:wavs: unknown key (did you mean `waves`?)"),
        (
            {"strategy": {"drain": "1 day"}},
            "environments:site:strategy:drain: '1 day' is not a duration. Write 24h.",
        ),
        (
            {"apps": {NAME: {"instances": "3"}}},
            "environments:site:apps:shop:instances: '3' is not a whole number. Write the number without quotes: 3.",
        ),
        (
            {"apps": {"shpo": {}, NAME: {}}},
            "shpo (environments:site:apps:shpo: there is no such app (did you mean `shop`?)",
        ),
        ({"apps": {NAME: {}}}, "which version of shop? Say version=…, or set `version`"),
    ],
)
def test_definitions(target, definition, words):
    target.define(**definition)
    assert words in refused(target, NAME)


@pytest.mark.parametrize(
    "file, text, words",
    [
        ("environments/of_test.sls", "environments: {site: [", ("environments/of_test.sls: is not YAML: line 2",)),
        ("environments/of_test.sls", "nodes: {}", ("environments/of_test.sls: must hold a mapping `environments`",)),
        ("environments/of_test.sls", "environments: {}", ("no environments", "'salt_master'", "pillar/top.sls")),
        ("environments/of_test.sls", "environments:\n  {{ x }}: {}", ("of_test.sls: is not YAML: line 2 has Jinja",)),
        ("apps/of_test.sls", "apps: {shop: [", ("shop: there is no such app", "apps/of_test.sls: ", "line 2")),
        ("apps/of_test.sls", "apps: {{ nix }}", ("apps/of_test.sls: line 1: Jinja variable 'nix' is undefined",)),
    ],
)
def test_pillar_files(target, file, text, words):
    (target.pillar.folder / file).write_text(text)
    output = refused(target, NAME)
    assert [word for word in words if word not in output] == [], output


@pytest.mark.parametrize(
    "ports, foreign, words",
    [
        (PORTS[0], (), ("ports 23000 have free 0 on web1, 0 on web2, 0 on web3", "a range of ports")),
        (
            f"{PORTS[0]}-{PORTS[0] + 1}",
            ("web1", "web3"),
            ("free 0 on web1, 1 on web2, 0 on web3", "widen apps:shop:ports"),
        ),
    ],
    ids=["too small", "taken by others"],
)
def test_ports(target, ports, foreign, words):
    target.define(app={"ports": ports})
    with ExitStack() as stack:
        for node in foreign:
            listener = stack.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # an app may have been there just now
            listener.bind((target.agents.nodes[node], PORTS[0] + 1))
            listener.listen()
        output = refused(target, NAME, "version='1.1'")
    assert "no room for 3 more of shop 1.1 beside the running instances" in output
    assert [word for word in words if word not in output] == [], output


def test_nodes_of_which_none_is_a_minion_of_the_master(target):
    target.define(nodes={"web8": {"address": "127.0.1.18"}, "web9": {"address": "127.0.1.19"}})
    assert "web8, web9: the Salt master has no minion of this name" in refused(target, NAME, "version='1.1'")


class Stranger:
    """Puts services under the app's name into discovery, that no client gets just now; takes them out again."""

    def __init__(self, target):
        self.url, self.address = target.agents.url("web1"), target.agents.nodes["web1"]

    def put(self, path, **body):
        requests.put(f"{self.url}/v1/{path}", json=body or None, timeout=10).raise_for_status()

    @contextmanager
    def registered(self, one, **meta):
        """Have web1's agent register it."""
        check = {"TTL": "1h", "Status": "critical"}
        self.put("agent/service/register", ID=one, Name=NAME, Address=self.address, Port=9, Meta=meta, Check=check)
        try:
            yield
        finally:
            self.put(f"agent/service/deregister/{one}")

    @contextmanager
    def ghost(self, one, **meta):
        """Have it in the catalog only, as an agent that lost its data leaves it: no agent removes it."""
        service = {"ID": one, "Service": NAME, "Address": self.address, "Port": 9, "Meta": meta}
        check = {"CheckID": one, "Name": "x", "ServiceID": one, "Status": "critical"}
        self.put("catalog/register", Node="lost", Address=self.address, Service=service, Check=check)
        try:
            yield
        finally:
            self.put("catalog/deregister", Node="lost")


def test_what_else_has_the_name_of_the_app_in_discovery(target):
    stranger, ours = Stranger(target), {"app": NAME, "version": OLD, "minion": "other1"}
    with stranger.registered("legacy"), stranger.registered("shop_1.0_9", **ours, environment="other"):
        output = refused(target, NAME, f"version='{NEW}'")
        assert "Clients of shop get legacy on web1, which saltdeploy did not register." in output
        assert "Environment other has shop in the same Consul: shop_1.0_9 on other1." in output
        output = target.run("status")
        assert "not registered by saltdeploy" in output and "of environment other" in output
        assert "Environment other has shop" in target.run("check", f"version='{NEW}'", code=3)
        # It goes back all the same, and says so.
        assert "warning: legacy on web1: it is registered as `shop`" in target.run("abort", code=3)
    with stranger.registered("legacy"):
        target.run("plan", f"version='{NEW}'", "keep=True")


def test_an_instance_that_its_own_agent_does_not_have(target):
    facts = {"app": NAME, "version": OLD, "minion": "web1", "environment": "site"}
    with Stranger(target).ghost("shop_1.0_23019", **facts):
        output = refused(target, NAME, f"version='{NEW}'")
    assert "Discovery shows shop_1.0_23019 on web1, which the Consul agent there does not have" in output
    assert 'PUT /v1/catalog/deregister {"Node": "lost"}' in output


def test_junk_in_the_record_and_in_the_history_is_named_and_left_out(target):
    prefix, url = f"deploy/site/{NAME}", f"{target.agents.url('web1')}/v1/kv/deploy/site/{NAME}"
    record = target.traces().record
    bad = {**record, "nodes": {**record["nodes"], "web1": [*record["nodes"]["web1"], "../x"]}, "warm": 5}
    keys = [f"history/{n}" for n in ("junk", "99990101-000000-ffff")]
    try:
        requests.put(f"{url}/{keys[0]}", data="{no json", timeout=10)
        requests.put(f"{url}/{keys[1]}", json={"version": "9.9", "retcode": 0, "record": None}, timeout=10)
        requests.put(f"{url}/current", json=bad, timeout=10)
        output = target.run("history")
        assert all(f"{prefix}/{key}: " in output for key in keys) and "deploy" in output
        output = target.run("status")
        assert f"{prefix}/current: web1 cannot have '../x'. It is left out." in output and "warm: found 5" in output
        assert f"{prefix}/{keys[0]}: found '{{no json'" in target.cli.deploy("rollback", NAME, "test=True")[1]
        code, output = target.cli.run("salt", "web1", "state.single", "app.deployed", NAME)
        assert code == 0 and "runs here as the record says" in output and "web1 cannot have '../x'" in output
    finally:
        requests.put(f"{url}/current", json=record, timeout=10)
        for key in keys:
            requests.delete(f"{url}/{key}", timeout=10)


def test_without_a_salt_master(target, tmp_path):
    config = yaml.safe_load(Path(target.cli.config_dir, "master").read_text())
    (tmp_path / "run").mkdir()
    config.update(sock_dir=str(tmp_path / "run"), ret_port=1, publish_port=2)
    (tmp_path / "master").write_text(yaml.safe_dump(config))
    output = refused(target, NAME, "version='1.1'", cli=Cli(tmp_path))
    assert "the Salt master does not answer: is salt-master running?" in output


def fails(target, version, *words):
    """Deploy a release that is wrong: all is as before."""
    output = target.deploy(version, code=1)
    assert (
        f"shop {version} was not deployed in site, and all is as before (3 instances of 1.0 on web1, web2, web3): "
        in output
    )
    assert [word for word in words if word not in output] == [], output


def test_a_wrong_digest(target):
    target.archives.digests[target.archives.make("wrong-digest")] = "0" * 64
    target.define()
    words = "install on web1, web2, web3: ", "wrong digest: sha256 is ", "the definition says 00000000"
    fails(target, "wrong-digest", *words)


@pytest.mark.parametrize(
    "name, link, shown",
    [("../../out", "", "../../out"), ("/tmp/out", "", "/tmp/out"), ("out", "/etc", "link out -> /etc")],
    ids=["upwards", "absolute", "link"],
)
def test_an_archive_that_escapes(target, request, name, link, shown):
    member = tarfile.TarInfo(name)
    if link:
        member.type, member.linkname = tarfile.SYMTYPE, link
    version = target.archives.make(request.node.callspec.id, member)
    target.define()
    words = "install on web1, web2, web3: ", f"the archive would write outside its folder, at {shown}: refused"
    fails(target, version, *words)


def only(origin="node", **test):
    return {"tests": [{"http": {"path": "/selftest", "contains": "release"}, "from": origin, "timeout": "1s", **test}]}


COMMAND = {"tests": [{"command": "sleep 60", "timeout": "1s"}]}
BROKEN, SLOW = {"status/selftest": 500}, {"delay/selftest": 60}


@pytest.mark.parametrize(
    "version, behaviour, app, strategy, words",
    [
        ("no-start", {"exit": 1}, {}, {}, ("start on web1: shop_", "cannot start: the database is missing")),
        ("node", BROKEN, only(), {}, ("start on web1: shop_", "`http /selftest` failed", "status 500, expected 200")),
        ("peer", BROKEN, only("peer"), {}, ("@web1: test `http /selftest from peer` failed", "status 500")),
        (
            "master",
            BROKEN,
            only("master"),
            {},
            ("test from master: shop_", "@web1: test `http /selftest", "status 500"),
        ),
        ("hangs", SLOW, only(), {}, ("test `http /selftest` failed:", "no whole answer within 1s")),
        ("command-hangs", {}, COMMAND, {}, ("test `command sleep 60` failed:", "hangs: killed after 1s")),
        (
            "not-ready",
            {"status/health": 503},
            {},
            {"healthy_deadline": "2s"},
            ("is not ready after 2s: check `http /health`",),
        ),
        # Whether it was found healthy at all depends on when its agent checks it first.
        ("sickens", {"consul": 503}, {}, {"min_healthy_time": "3s"}, ("healthy in discovery ", "s: shop_sickens_")),
    ],
)
def test_a_release_that_does_not_work(target, version, behaviour, app, strategy, words):
    target.archives.make(version, **behaviour)
    target.define(app=app, strategy=strategy)
    fails(target, version, *words)
