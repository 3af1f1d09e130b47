"""HAProxy's configuration, rendered by Salt and read by HAProxy."""

from __future__ import annotations

import subprocess

import pytest

from tests.support import balancer

SHOP = {"source": {"pip": "shop"}, "run": "./bin/shop {port}", "ports": "20000-20009"}


def pillar(frontend, **environment):
    nodes = {"lb1": {"address": "10.0.0.21", "roles": ["loadbalancer"]}, "web1": {"address": "fd00::11"}}
    site = {"nodes": nodes, "apps": {"shop": {"instances": 20, "frontend": frontend}}, **environment}
    return {"apps": {"shop": SHOP}, "environments": {"site": site}}


@pytest.fixture
def render(tmp_path):
    return lambda frontend, **environment: balancer.configuration(pillar(frontend, **environment), "lb1", tmp_path)


@pytest.mark.parametrize(
    "frontend",
    [
        {"port": 24080},
        {"port": 24080, "mode": "tcp"},
        {"port": 24080, "timeout": "24h", "trusted_proxies": ["10.0.0.5", "fd00::/64"]},
        {"port": 24080, "timeout": 24 * 86400},
    ],
)
def test_haproxy_reads_it(render, tmp_path, frontend):
    balancer.required()
    path = tmp_path / "haproxy.cfg"
    path.write_text(render(frontend))
    done = subprocess.run(["haproxy", "-c", "-f", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "WARNING" not in done.stderr, done.stderr


def test_it_has_what_the_definition_says(render):
    text = render({"port": 24080, "timeout": "90s", "trusted_proxies": ["10.0.0.5"]})
    assert "server-template shop- 80 _shop._tcp.service.consul" in text
    assert "timeout server 90000ms" in text and "timeout client 90000ms" in text
    assert "acl trusted src 10.0.0.5/32" in text
    assert "http-request del-header X-Forwarded-For unless trusted" in text
    assert "http-request del-header X-Forwarded-For\n" in render({"port": 24080})
    assert "http-request del-header" not in render({"port": 24080, "mode": "tcp"})


def test_haproxy_follows_coredns_without_its_weights(render, tmp_path):
    balancer.required()
    path = tmp_path / "haproxy.cfg"
    path.write_text(render({"port": 24080}, discovery={"skydns": {"etcd": ["http://10.0.0.1:2379"]}}))
    assert (
        "_shop._tcp.site.skydns.local resolvers discovery resolve-opts allow-dup-ip,ignore-weight" in path.read_text()
    )
    done = subprocess.run(["haproxy", "-c", "-f", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.parametrize(
    "frontend, key",
    [
        ({"port": "80\n    stats enable"}, "port"),
        ({"port": 80, "mode": "http\n    stats enable"}, "mode"),
        ({"port": 80, "trusted_proxies": ["10.0.0.5\n    stats enable"]}, "trusted_proxies"),
    ],
)
def test_no_value_is_more_than_a_value(render, frontend, key):
    with pytest.raises(Exception, match=f"frontend:{key}"):
        render(frontend)
