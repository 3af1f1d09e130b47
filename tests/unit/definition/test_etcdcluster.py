"""The SkyDNS of an environment: its members' configuration, and who gets which secret."""

from __future__ import annotations

import datetime
import json

import pytest
from saltdeploy import definition
from saltdeploy.core.environment import Environment, Node
from saltdeploy.core.errors import DefinitionError
from saltdeploy.definition import etcdcluster, platforms
from saltdeploy.environment.secretstore import Secrets

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
NODES = {
    "web1": {"address": "FD00:0::0011", "roles": ["etcd-server", "app"]},
    "web2": {"address": "10.0.0.12", "roles": ["etcd-server", "app"]},
    "lb1": {"address": "10.0.0.21", "roles": ["loadbalancer"]},
}
SITE = {"nodes": NODES, "skydns": {"version": "1.12.4"}, "apps": {"shop": {}}}


@pytest.fixture
def secrets(tmp_path):
    return Secrets(tmp_path).get("site", etcdcluster.identities("site", SITE), ["shop"], NOW)


def test_members_and_their_addresses(secrets):
    config = etcdcluster.node("site", SITE, "web1", secrets, ())["config"]
    assert config["initial-cluster"] == "web1=https://[fd00::11]:2380,web2=https://10.0.0.12:2380"
    assert config["listen-client-urls"] == "https://[fd00::11]:2379,https://127.0.0.1:2379"
    assert config["peer-transport-security"]["client-cert-auth"] and config["enable-grpc-gateway"]
    known = etcdcluster.discovery_of_master(SITE, secrets, "ca.pem")["skydns"]
    assert known["etcd"] == ["https://[fd00::11]:2379", "https://10.0.0.12:2379"]
    assert platforms.of(SITE) is etcdcluster and platforms.services(SITE) == []


@pytest.mark.parametrize("node, number", [("web1", 5), ("web2", 1), ("lb1", 1)])
def test_a_node_is_given_its_own_secrets_and_no_others(secrets, node, number):
    """The first member has those of all users, for access control."""
    tokens = secrets["tokens"]
    about = etcdcluster.node("site", SITE, node, secrets, ())
    own = {**about, "dns": None, "discovery": etcdcluster.discovery_of_node(SITE, node, secrets)}
    known = [*tokens["agents"].values(), tokens["deployer"], tokens["management"]]
    assert sum(token in json.dumps(own) for token in known) == number
    assert about["dns"]["password"] == tokens["dns"]
    assert ("key" in about) == ("config" in about) == (node != "lb1")


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"nodes": {"lb1": NODES["lb1"]}}, "`skydns` is given, and no node has the role `etcd-server`"),
        (
            {"skydns": {"version": "1.12.3"}},
            r"skydns:version: 1\.12\.3 lets clients .*CVE-2025-58063.* Write 1\.12\.4 or newer",
        ),
        ({"skydns": {"version": "0.99.99"}}, r"site:skydns:version: 0\.99\.99 lets clients"),
        ({"consul": {"version": "1.22.3"}}, "skydns: has no meaning with Consul"),
        (
            {"discovery": {"skydns": {"etcd": ["https://10.9.9.9:2379"]}}},
            "discovery:skydns: etcd cannot be beside `skydns`",
        ),
        (
            {
                "discovery": {
                    "skydns": {"ttl": 1, "user": "x", "password": "s3cret", "cert": "/c", "key": "/k", "ca": "/a"}
                }
            },
            "site:discovery:skydns: ca, cert, key, password, user cannot be beside",
        ),
        ({"skydns": {"version": "1.12.4", "source": "https://x.test/c.tgz"}}, "site:skydns:sha256: is missing"),
        ({"discovery": {"consul": {}}}, "skydns: has no meaning with Consul"),
        ({"skydns": None, "discovery": {"skydns": {"ttl": 1}}}, "discovery:skydns: `etcd` is missing"),
    ],
)
def test_a_wrong_environment_is_refused(changes, problem):
    site = {key: value for key, value in {**SITE, "apps": {}, **changes}.items() if value is not None}
    with pytest.raises(DefinitionError, match=problem):
        definition.load({"apps": {}, "environments": {"site": site}})


@pytest.mark.parametrize(
    "discovery, found, kind", [("consul", ["a"], "Consul servers"), ("skydns", ["b"], "members of etcd")]
)
def test_the_role_of_the_other_discovery_makes_no_server(discovery, found, kind):
    nodes = {"a": Node("a", "10.0.0.1", roles=("consul-server",)), "b": Node("b", "10.0.0.2", roles=("etcd-server",))}
    environment = Environment("site", nodes, {}, discovery={discovery: {}})
    assert (platforms.servers(environment), platforms.kind(environment)) == (found, kind)


def test_the_access_that_we_compute_is_accepted(secrets):
    """A node loads the environment with it, and with the keys that a definition may have."""
    stated = {"domain": "sky.lan", "ttl": 1, "agent": "http://{address}:8501", "token": "t"}
    for computed in (
        etcdcluster.discovery_of_node(SITE, "lb1", secrets),
        etcdcluster.discovery_of_master(SITE, secrets, "/etc/ca.pem"),
    ):
        skydns = {**computed["skydns"], **stated}
        site = {**SITE, "apps": {}, "discovery": {"skydns": skydns}}
        found = definition.load({"apps": {}, "environments": {"site": site}}).discovery["skydns"]
        assert found == {**skydns, "environment": "site"}
        with pytest.raises(DefinitionError, match="cert, etcd cannot be beside"):
            etcdcluster.identities(
                "site", {**site, "discovery": {"skydns": {**skydns, "cert": "/c", "etcd": ["https://10.9.9.9:2379"]}}}
            )
