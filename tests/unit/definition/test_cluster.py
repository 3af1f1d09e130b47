"""The Consul of an environment: its configuration, the rights in it, and the names in its certificates."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import json
import socket
import ssl
import threading

import pytest
from cryptography import x509
from saltdeploy import definition, discovery
from saltdeploy.core.errors import DefinitionError, DiscoveryUnavailable
from saltdeploy.definition import cluster
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
    urls = cluster.discovery_of_master(site, known, "ca.pem")["consul"]["servers"]
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


@pytest.mark.parametrize("version, is_wrong", [("1.16.9", True), ("0.99.0", True), ("1.17.0", False), ("2.0.0", False)])
def test_a_consul_that_is_too_old_is_refused(version, is_wrong):
    site = {**SITE, "consul": {"version": version}}
    with (
        pytest.raises(DefinitionError, match="site:consul:version: .* Write 1.17.0")
        if is_wrong
        else contextlib.nullcontext()
    ):
        cluster.identities("site", site)


def test_a_program_from_a_web_server_needs_its_digest():
    """Salt takes no such file without it. One from the master or from the node needs none."""
    for source, is_wrong in (("http://x.test/c.zip", True), ("salt://c.zip", False), ("/srv/c.zip", False)):
        site = {**SITE, "apps": {}, "consul": {"version": "1.22.3", "source": source}}
        pillar = {"apps": {}, "environments": {"site": site}}
        if not is_wrong:
            definition.load(pillar)
            continue
        with pytest.raises(DefinitionError, match="environments:site:consul:sha256: is missing"):
            definition.load(pillar)
        site["consul"]["sha256"] = "0" * 64
        definition.load(pillar)


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


def test_a_name_that_is_no_apps_is_in_no_policy(secrets):
    site = {**SITE, "apps": {8080: {}, 'x" { policy = "write" } key_prefix "': {}, "shop": {}}}
    assert cluster.acl("site", site, secrets["tokens"])["policies"]["saltdeploy-nodes"].count('policy = "write"') == 3
