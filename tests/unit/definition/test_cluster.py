"""The Consul of an environment: its configuration, who may do what, its secrets and certificates."""

from __future__ import annotations

import contextlib
import datetime
import errno
import http.server
import json
import socket
import ssl
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography import x509
from saltdeploy import definition, discovery
from saltdeploy.core.errors import DefinitionError, DiscoveryUnavailable, Refused
from saltdeploy.definition import cluster
from saltdeploy.environment import certificates, pillar, secretstore
from saltdeploy.environment.secretstore import Secrets

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
NODES = {
    "web1": {"address": "10.0.0.11", "roles": ["consul-server", "app"]},
    "web2": {"address": "10.0.0.12", "roles": ["consul-server", "app"]},
    "lb1": {"address": "10.0.0.21", "roles": ["loadbalancer"]},
}
SITE = {"nodes": NODES, "consul": {"version": "1.22.3", "services": ["postgres"]}, "apps": {"shop": {}, "blog": None}}
# The apps that may run on each node.
HERE = {"web1": ["blog", "shop"], "web2": ["blog", "shop"], "lb1": []}


@pytest.fixture
def secrets(tmp_path):
    return Secrets(tmp_path / "saltdeploy").get("site", cluster.identities("site", SITE), ["blog", "shop"], NOW)


def config(node, secrets):
    return cluster.node("site", SITE, node, secrets, ())["config"]


def test_servers_and_clients(secrets):
    server, client = config("web1", secrets), config("lb1", secrets)
    assert (server["server"], server["bootstrap_expect"]) == (True, 2)
    assert server["retry_join"] == ["10.0.0.12"] and client["retry_join"] == ["10.0.0.11", "10.0.0.12"]
    assert "server" not in client and "https" not in client["ports"]
    assert server["addresses"] == {"https": "10.0.0.11"} and server["client_addr"] == "127.0.0.1"
    for each in (server, client):
        assert each["acl"]["default_policy"] == "deny"
        assert each["tls"]["internal_rpc"] == {"verify_incoming": True, "verify_server_hostname": True}
        assert not [key for key in each if "script" in key]  # nothing of ours is a command that Consul runs


def test_a_node_is_given_its_own_secrets_and_no_others(secrets):
    tokens = secrets["tokens"]
    text = json.dumps(cluster.node("site", SITE, "lb1", secrets, HERE["lb1"]))
    assert tokens["agents"]["lb1"] in text
    others = [
        *(tokens[t] for t in ("management", "deployer", "nodes")),
        tokens["agents"]["web1"],
        *tokens["apps"].values(),
    ]
    assert [secret for secret in others if secret in text] == []
    assert json.dumps(secrets["ca"]["key"]) not in text
    web2 = json.dumps(cluster.node("site", SITE, "web2", secrets, HERE["web2"]))
    assert tokens["apps"]["shop"] in web2 and tokens["management"] not in web2


def test_one_server_keeps_access_control(secrets):
    assert cluster.node("site", SITE, "web1", secrets, HERE["web1"])["management"] == secrets["tokens"]["management"]
    acl = cluster.node("site", SITE, "web1", secrets, HERE["web1"])["acl"]
    rules = acl["policies"]["saltdeploy-nodes"]
    for service in ("shop", "shop-candidate", "blog", "postgres"):
        assert f'service "{service}" {{ policy = "write" }}' in rules
    assert 'key_prefix "deploy/site/" { policy = "read" }' in rules
    assert 'key_prefix "deploy/site/" { policy = "write" }' in acl["policies"]["saltdeploy-deployer"]
    assert "key" not in acl["policies"]["saltdeploy-dns"]
    rights = {t["description"]: t["rights"] for t in acl["tokens"]}
    assert rights["saltdeploy-app-shop"] == {"ServiceIdentities": [{"ServiceName": "shop"}]}
    assert rights["saltdeploy-agent-lb1"] == {"NodeIdentities": [{"NodeName": "lb1", "Datacenter": "dc1"}]}
    assert len({t["accessor"] for t in acl["tokens"]}) == len(acl["tokens"])
    assert not {t["accessor"] for t in acl["tokens"]} & {t["secret"] for t in acl["tokens"]}


def test_by_ipv6(tmp_path):
    """In the one spelling of each address, with brackets where a port may follow."""
    nodes = {
        "web1": {"address": "FD00:0::0011", "roles": ["consul-server"]},
        "web2": {"address": "fd00::12", "roles": ["consul-server"]},
        "db1": {"address": "::ffff:10.0.0.13", "roles": ["app"]},
    }
    site = {**SITE, "nodes": nodes}
    known = Secrets(tmp_path).get("site", cluster.identities("site", site), ["blog", "shop"], NOW)
    found = {node: cluster.node("site", site, node, known, ())["config"] for node in nodes}
    assert [each["bind_addr"] for each in found.values()] == ["fd00::11", "fd00::12", "10.0.0.13"]
    assert found["web1"]["addresses"] == {"https": "fd00::11"}
    assert found["db1"]["retry_join"] == ["[fd00::11]", "[fd00::12]"]
    assert names(known["certificates"]["web1"]["certificate"])[1] == {"fd00::11", "127.0.0.1"}
    urls = cluster.discovery_of_master(site, "token", "ca.pem")["consul"]["servers"]
    assert urls == ["https://[fd00::11]:8501", "https://[fd00::12]:8501"]


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_the_master_verifies_a_server_at_an_ipv6_address(tmp_path):
    site = {**SITE, "nodes": {"web1": {"address": "0::1", "roles": ["consul-server"]}}}
    store = Secrets(tmp_path)
    kept = store.get("site", cluster.identities("site", site), [])
    with serving(kept["certificates"]["web1"], tmp_path) as port:
        settings = {"servers": [f"https://[::1]:{port}"]}
        with discovery.connect({"consul": {**settings, "ca": str(store.authority("site"))}}) as consul:
            assert consul.keys("deploy/") == ["deploy/one"]
        with discovery.connect({"consul": settings}) as consul:
            with pytest.raises(DiscoveryUnavailable, match="certificate verify failed"):
                consul.keys("deploy/")


@contextlib.contextmanager
def serving(certificate, folder):
    """Serve, as a Consul would, by HTTPS at ::1 with this certificate; the block has the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'["deploy/one"]')

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6

        def handle_error(self, *_):
            pass  # a client that does not trust it

    (folder / "node.pem").write_text(certificate["certificate"] + certificate["key"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "node.pem")
    with Server(("::1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize(
    "nodes, words",
    [
        ({"web1": {"address": "10.0.0.11"}}, "no node has the role `consul-server`"),
        ({"web1": {"address": "web1.lan", "roles": ["consul-server"]}}, "nodes:web1:address: found 'web1.lan'"),
    ],
)
def test_what_cannot_be_set_up_is_said(nodes, words):
    with pytest.raises(DefinitionError, match=words):
        cluster.identities("site", {**SITE, "nodes": nodes})


def test_secrets_are_made_once_and_are_the_masters_own(tmp_path):
    store = Secrets(tmp_path / "saltdeploy")
    wanted = (cluster.identities("site", SITE), ["shop"], NOW)
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda _: store.get("site", *wanted), range(8)))
    assert all(each == found[0] for each in found)
    assert stat.S_IMODE((tmp_path / "saltdeploy").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "saltdeploy/site.json").stat().st_mode) == 0o600
    assert store.authority("site").read_text() == found[0]["ca"]["certificate"]
    assert store.get("other", *wanted)["gossip"] != found[0]["gossip"]


def test_what_comes_is_added_and_what_left_is_forgotten(tmp_path):
    store = Secrets(tmp_path)
    before = store.get("site", cluster.identities("site", SITE), ["shop"], NOW)
    nodes = {**{n: NODES[n] for n in ("web1", "web2")}, "web4": {"address": "10.0.0.14"}}
    after = store.get("site", cluster.identities("site", {**SITE, "nodes": nodes}), ["blog"], NOW)
    assert set(after["tokens"]["agents"]) == set(after["certificates"]) == {"web1", "web2", "web4"}
    assert after["certificates"]["web1"] == before["certificates"]["web1"]
    assert set(after["tokens"]["apps"]) == {"blog"} and after["ca"] == before["ca"]


def names(certificate):
    found = x509.load_pem_x509_certificate(certificate.encode())
    known = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(known.get_values_for_type(x509.DNSName)), {str(a) for a in known.get_values_for_type(x509.IPAddress)}


def test_only_servers_pass_for_servers(secrets):
    assert names(secrets["certificates"]["web1"]["certificate"]) == (
        {"server.dc1.consul", "localhost"},
        {"10.0.0.11", "127.0.0.1"},
    )
    assert "server.dc1.consul" not in names(secrets["certificates"]["lb1"]["certificate"])[0]


@pytest.mark.parametrize("days, same", [(0, True), (200, True), (250, False), (400, False)])
def test_a_certificate_is_made_anew_before_it_expires(tmp_path, days, same):
    store, identities = Secrets(tmp_path), cluster.identities("site", SITE)
    before = store.get("site", identities, [], NOW)["certificates"]["web1"]
    after = store.get("site", identities, [], NOW + datetime.timedelta(days=days))["certificates"]["web1"]
    assert (after == before) is same
    ends = certificates._end(x509.load_pem_x509_certificate(after["certificate"].encode()))
    assert ends > NOW + datetime.timedelta(days=days)


def test_a_certificate_is_made_anew_for_another_address(tmp_path):
    store = Secrets(tmp_path)
    before = store.get("site", cluster.identities("site", SITE), [], NOW)["certificates"]
    moved = {**NODES, "lb1": {"address": "10.0.0.22", "roles": ["loadbalancer"]}}
    after = store.get("site", cluster.identities("site", {**SITE, "nodes": moved}), [], NOW)["certificates"]
    assert after["lb1"] != before["lb1"] and after["web1"] == before["web1"]


@pytest.fixture
def environments(tmp_path):
    """Two environments, one based on the other, and the master's options."""
    production = "environments: {production: {nodes: {p1: {address: 10.0.0.1, roles: [consul-server]}}, consul: {version: 1.22.3}}}"
    test = "environments: {test: {based_on: production, nodes: {t1: {address: 10.0.1.1, roles: [consul-server]}}}}"
    own = "environments: {own: {nodes: {o1: {address: 10.0.2.1}}}}"
    for number, text in enumerate((production, test, own)):
        (tmp_path / f"{number}.sls").write_text(text)
    return tmp_path, {"pki_dir": str(tmp_path / "pki/master")}


def test_the_master_reaches_each_environments_own_servers(environments):
    found = pillar.all_environments(*environments)
    for name, address in (("production", "10.0.0.1"), ("test", "10.0.1.1")):
        consul = definition.load(found, name).discovery["consul"]
        assert consul["servers"] == [f"https://{address}:8501"]
        assert consul["ca"].endswith(f"/pki/master/saltdeploy/{name}-ca.pem")
    tokens = [found["environments"][name]["discovery"]["consul"]["token"] for name in ("production", "test")]
    assert len(set(tokens)) == 2
    assert definition.load(found, "own").discovery == {"consul": {}}


@pytest.mark.parametrize(
    "about, words",
    [
        ("nodes: {b1: {address: 10.0.3.1}}, consul: {version: 1.22.3}", "no node has the role `consul-server`"),
        (
            "nodes: {b1: {address: b1.example.com, roles: [consul-server]}}, consul: {version: 1.22.3}",
            "environments:broken:nodes:b1:address: found 'b1.example.com', allowed is an IP address",
        ),
    ],
)
def test_an_environment_that_cannot_be_set_up_is_wrong_for_nobody_else(environments, about, words):
    folder, opts = environments
    (folder / "broken.sls").write_text(f"environments: {{broken: {{{about}}}}}")
    found = pillar.all_environments(folder, opts)
    assert definition.load(found, "production").discovery["consul"]["token"]
    with pytest.raises(DefinitionError, match=words):
        definition.load(found, "broken")


def test_a_node_reaches_its_own_agent(environments):
    folder, opts = environments
    found = pillar.own_environment(folder, "t1", opts)
    assert list(found["environments"]["test"]["discovery"]["consul"]) == ["token"]
    assert found["saltdeploy_consul"]["config"]["node_name"] == "t1"
    assert "saltdeploy_consul" not in pillar.own_environment(folder, "o1", opts)
    assert pillar.own_environment(folder, "nobody", opts) == {"environments": {}}


@pytest.mark.parametrize("text", ["{", "[]", '{"tokens": 5}', '{"ca": {"certificate": "x"}, "tokens": {"dns": "geheim'])
def test_a_damaged_store_of_secrets_stops_its_own_environment_only(environments, text):
    folder, opts = environments
    pillar.all_environments(folder, opts)
    store = folder / "pki/master/saltdeploy/production.json"
    store.write_text(text)
    found, own = pillar.all_environments(folder, opts), pillar.own_environment(folder, "p1", opts)
    assert definition.load(found, "test").discovery["consul"]["token"]
    assert pillar.own_environment(folder, "t1", opts)["saltdeploy_consul"]
    for load in (lambda: definition.load(found, "production"), lambda: definition.load_own("p1", own)):
        with pytest.raises(Refused, match=f"{store} holds Consul's secrets and is damaged") as caught:
            load()
        assert "geheim" not in str(caught.value)
    assert own["environments"] == {} and "saltdeploy_consul" not in own
    assert store.read_text() == text


def test_a_full_disk_stops_no_environment_that_has_its_secrets(environments, monkeypatch):
    folder, opts = environments
    pillar.all_environments(folder, opts)
    (folder / "pki/master/saltdeploy/production.json").unlink()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(secretstore, "write_file", full)
    found = pillar.all_environments(folder, opts)
    assert definition.load(found, "test") and definition.load(found, "own")
    with pytest.raises(DefinitionError, match="cannot keep Consul's secrets in .*: No space left on device"):
        definition.load(found, "production")


def test_a_name_that_is_no_apps_is_in_no_policy(secrets):
    site = {**SITE, "apps": {8080: {}, 'x" { policy = "write" } key_prefix "': {}, "shop": {}}}
    assert cluster.acl("site", site, secrets["tokens"])["policies"]["saltdeploy-nodes"].count('policy = "write"') == 3
