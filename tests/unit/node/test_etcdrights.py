"""The rights of each user at etcd."""

from __future__ import annotations

from saltdeploy.discovery.etcdaccess import READ, READWRITE
from saltdeploy.node import etcdrights

NODES = {
    "web1": {"address": "10.0.0.11", "roles": ["etcd-server", "app"]},
    "Web_2.lan": {"address": "10.0.0.12", "roles": ["app"]},
}
APP = {"source": {"archive": "salt://shop.tar.gz", "sha256": "0" * 64}, "run": "run", "ports": "20000-20009"}


def pillar(**skydns):
    site = {
        "nodes": NODES,
        "skydns": {"version": "1.12.4", **skydns},
        "discovery": {"skydns": {"domain": "sky.lan"}},
        "apps": {"shop": {"version": "1.0"}},
    }
    return {"apps": {"shop": APP}, "environments": {"site": site}}


def test_a_node_writes_keys_with_its_own_name_only():
    found = etcdrights.rights("web1", pillar(services=["postgres"]))
    assert list(found) == [
        "saltdeploy-deployer",
        "saltdeploy-dns",
        "saltdeploy-node-web1",
        "saltdeploy-node-Web_2.lan",
    ]
    written = {user: {right.key for right in some if right.kind == READWRITE} for user, some in found.items()}
    assert written["saltdeploy-deployer"] == {"/saltdeploy/site/values/", "/saltdeploy/site/locks/"}
    assert written["saltdeploy-dns"] == set()
    services = ("postgres", "shop", "shop-candidate")
    assert written["saltdeploy-node-web1"] == {
        "/saltdeploy/site/agents/web1",
        *(f"/saltdeploy/site/services/{name}/web1/" for name in services),
        *(f"/skydns/lan/sky/site/{name}/web1/" for name in services),
    }
    # Its label in DNS is another word than its name.
    assert not written["saltdeploy-node-web1"] & written["saltdeploy-node-Web_2.lan"]
    assert {right.kind for some in found.values() for right in some} == {READ, READWRITE}
