"""Who may do what: each tried, for real, from a host of the environment or from outside of it."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from lab import hosts
from tests.lab.environment.conftest import BALANCER, CLIENT, NAME, STRANGER, WEBS

pytestmark = pytest.mark.skipif(bool(hosts.lacking()) and "CI" not in os.environ, reason=hosts.lacking())

REGISTER, RECORD = "/v1/agent/service/register", f"/v1/kv/deploy/site/{NAME}/current"
# Runs on a host: one request to its agent. Prints the status and what was answered.
ASK = """\
import json, sys, urllib.error, urllib.request
method, path, token, body = sys.argv[1:]
request = urllib.request.Request("http://127.0.0.1:8500" + path, method=method, data=body.encode() or None)
if token:
    request.add_header("X-Consul-Token", token)
try:
    answer = urllib.request.urlopen(request, timeout=10)
    print(answer.status, answer.read().decode())
except urllib.error.HTTPError as exc:
    print(exc.code, exc.read().decode())
"""


@pytest.fixture(scope="module")
def ask(serving):
    """Ask the agent of a host that runs apps; return the status."""
    tokens = serving.secrets["tokens"]

    def run(method, path, token="", body=None):
        secret = tokens["apps"][token[4:]] if token.startswith("app:") else tokens.get(token, token)
        text = json.dumps(body) if body else ""
        printed = serving.host(WEBS[0]).run("python3", "-c", ASK, method, path, secret, text)
        return int(printed.split()[0])

    return run


def test_an_apps_token_publishes_this_app_and_no_other(ask, serving):
    token = f"app:{NAME}"
    assert ask("PUT", REGISTER, token, {"Name": "httpbin", "ID": "false", "Port": 1}) == 403
    assert ask("PUT", REGISTER, "", {"Name": NAME, "ID": "false", "Port": 1}) == 403
    assert ask("PUT", "/v1/agent/service/deregister/" + sorted(serving.published("httpbin"))[0][1], token) == 403
    assert ask("PUT", REGISTER, token, {"Name": NAME, "ID": "true", "Port": 1, "Check": {"TTL": "1h"}}) == 200
    assert ask("PUT", "/v1/agent/service/deregister/true", token) == 200


def test_the_record_is_the_deployers_to_write_and_the_nodes_to_read(ask, serving):
    for token, read, write in (
        ("", 403, 403),
        (f"app:{NAME}", 403, 403),
        ("dns", 403, 403),
        ("nodes", 200, 403),
        ("deployer", 200, 200),
    ):
        assert ask("GET", RECORD, token) == read, token
        assert ask("PUT", f"/v1/kv/deploy/site/{NAME}/tried", token, {"x": 1}) == write, token
    assert ask("PUT", "/v1/kv/deploy/other/shop/tried", "deployer", {"x": 1}) == 403
    assert ask("DELETE", f"/v1/kv/deploy/site/{NAME}/tried", "deployer") == 200


def test_only_management_makes_tokens(ask, serving):
    for token in ("", "nodes", "deployer", f"app:{NAME}"):
        assert ask("PUT", "/v1/acl/token", token, {"Description": "mine"}) == 403, token
        assert ask("GET", "/v1/acl/tokens", token) == 403, token
    assert ask("PUT", "/v1/acl/bootstrap", "", {}) == 403
    assert ask("GET", "/v1/acl/tokens", "management") == 200


def test_without_the_key_nobody_joins_the_gossip(serving):
    """An agent of the same program, on a host in the same network, with another key, or none."""
    client, consul = serving.host(CLIENT), f"/opt/consul/{serving.version}/consul"
    target = client.root / "root/consul"
    target.write_bytes((serving.host(WEBS[0]).root / consul.lstrip("/")).read_bytes())
    target.chmod(0o755)
    for key in ([], ["-encrypt=" + client.run("/root/consul", "keygen").strip()]):
        common = ("-data-dir=/tmp/data", f"-bind={client.address}", f"-join={serving.host(WEBS[0]).address}")
        command = ("timeout", "20", "/root/consul", "agent", *common, *key)
        with client.popen(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as agent:
            refused = any("failed to join" in line.lower() for line in agent.stdout)
            client.attempt("pkill", "-x", "consul")
        assert refused
    assert serving.members() == 5


def test_tls_is_refused_without_our_authority(serving):
    """The servers' RPC asks for a certificate of ours; their HTTPS shows one that only our authority vouches for."""
    address, client = serving.host(WEBS[0]).address, serving.host(CLIENT)
    client.run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "openssl")
    new = "req -x509 -newkey rsa:2048 -nodes -subj /CN=server.dc1.consul -keyout /tmp/k.pem -out /tmp/c.pem -days 1"
    client.run("openssl", *new.split())
    # The byte that begins TLS on Consul's RPC port, then a handshake with a certificate that nobody knows.
    code, output = client.attempt("python3", "-c", HANDSHAKE, address)
    assert (code, output.strip()) == (0, "refused"), output
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(f"https://{address}:8501/v1/status/leader", timeout=10)
    ours = ssl.create_default_context(cafile=serving.site.master.root / "etc/salt/pki/master/saltdeploy/site-ca.pem")
    assert urllib.request.urlopen(f"https://{address}:8501/v1/status/leader", timeout=10, context=ours).status == 200


HANDSHAKE = """\
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.load_cert_chain("/tmp/c.pem", "/tmp/k.pem")
plain = socket.create_connection((sys.argv[1], 8300), 10)
plain.sendall(bytes([3]))
try:
    secure = context.wrap_socket(plain)
    secure.sendall(bytes([1]))
    print("let in" if secure.recv(1) else "refused")
except (ssl.SSLError, ConnectionError):
    print("refused")
"""


def test_the_agent_listens_to_its_own_host_only(serving):
    for node in (BALANCER, WEBS[0]):
        listening = serving.host(node).run("ss", "--listening", "--tcp", "--udp", "--numeric", "--no-header")
        local = [line.split()[4] for line in listening.splitlines()]
        assert {"127.0.0.1:8500", "127.0.0.1:8600"} <= set(local)
        assert not [address for address in local if address.endswith((":8500", ":8600")) and "127.0.0.1" not in address]


def test_a_minion_has_the_pillar_of_its_own_environment_only(serving):
    def pillar(node):
        """Return all that a node is sent; Salt 3008 masks it where it is merely shown."""
        text = "{{ pillar | json }}"
        return json.loads(
            serving.site.salt("slsutil.renderer", f"string={text}", "default_renderer=jinja", names=[node])[node]
        )

    assert list(pillar(STRANGER)["environments"]) == ["other"] and "saltdeploy_consul" not in pillar(STRANGER)
    own = pillar(WEBS[1])
    assert list(own["environments"]) == ["site"]
    tokens, text = serving.secrets["tokens"], json.dumps(own)
    assert tokens["nodes"] in text and tokens["agents"][WEBS[1]] in text
    others = [tokens["management"], tokens["deployer"], tokens["agents"][WEBS[2]], serving.secrets["ca"]["key"]]
    assert [secret for secret in others if secret in text or json.dumps(secret) in text] == []


def test_a_minion_that_says_it_is_another_gets_nothing_of_it(serving):
    """With its own key under the other's name it is refused; as itself it gets its own pillar, whatever it asks for."""

    def ask(which):
        words = ("timeout", "60", sys.executable, "-c", PILLAR, which, WEBS[0])
        return serving.host(STRANGER).attempt(*words)[1]

    assert "asked as other1: ['other'] False" in ask("other1")
    answer = ask(WEBS[0])
    assert "rejected this minion's public key" in answer and "asked" not in answer


# Runs with a minion's own Python: asks the master, as the first argument, for the pillar of the second.
PILLAR = """\
import sys, salt.config, salt.minion, salt.pillar
me, other = sys.argv[1:]
opts = salt.config.minion_config("/etc/salt/minion")
opts.update(id=me, auth_tries=1, auth_timeout=5, acceptance_wait_time=1, acceptance_wait_time_max=1)
opts.update(salt.minion.resolve_dns(opts))
found = salt.pillar.RemotePillar(opts, {}, other, "base").compile_pillar()
print(f"asked as {me}:", list(found["environments"]), "saltdeploy_consul" in found)
"""


def test_no_secret_is_world_readable_or_on_a_command_line(serving):
    secrets = [serving.secrets["gossip"], *map(str, serving.secrets["tokens"]["agents"].values())]
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    for node in (WEBS[0], BALANCER):
        host = serving.host(node)
        search = [word for secret in secrets for word in ("-e", secret)]
        _, found = host.attempt(
            *nobody,
            "grep",
            "--recursive",
            "--no-messages",
            "--files-with-matches",
            "--fixed-strings",
            *search,
            "/etc",
            "/opt",
            "/srv",
            "/tmp",
            "/var/lib",
            "/var/cache",
            "/var/log",
        )
        assert found == ""
        shown = host.run("ps", "axww", "-o", "args")
        assert not [secret for secret in secrets if secret in shown]
