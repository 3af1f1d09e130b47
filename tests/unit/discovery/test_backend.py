"""The plain data of service discovery."""

from dataclasses import replace

import pytest
from saltdeploy.core.model import Probe
from saltdeploy.discovery import Endpoint, Service

CHECK = Probe("http", "/health", interval=0.5, timeout=3.0)
SERVICE = Service("shop_1_80", "shop", "10.0.0.1", 80, ("test", "1"), {"app": "shop"}, (CHECK,))


def test_digest_is_of_the_whole_registration():
    assert SERVICE.digest == replace(SERVICE).digest
    changes = [
        {"id": "x"},
        {"name": "x"},
        {"address": "x"},
        {"port": 81},
        {"tags": ("test",)},
        {"meta": {"app": "x"}},
        {"checks": (replace(CHECK, interval=1.0),)},
        {"expires": 1.0},
        {"weight": 2},
    ]
    digests = {replace(SERVICE, **change).digest for change in changes}
    assert len(digests | {SERVICE.digest}) == len(changes) + 1


def test_digest_does_not_depend_on_the_order_of_meta():
    one, other = (dict.fromkeys(keys, "v") for keys in ("ab", "ba"))
    assert replace(SERVICE, meta=one).digest == replace(SERVICE, meta=other).digest


@pytest.mark.parametrize("address, host", [("10.0.0.1", "10.0.0.1"), ("fd00::11", "[fd00::11]")])
def test_the_host_of_an_endpoint_fits_into_a_url(address, host):
    assert Endpoint("s1", "shop", "n1", address, 80).host == host


def test_the_minion_is_the_node_if_another_tool_published_the_endpoint():
    assert Endpoint("s1", "shop", "n1", "10.0.0.1", 80).minion == "n1"
    assert Endpoint("s1", "shop", "n1", "10.0.0.1", 80, meta={"minion": "web1"}).minion == "web1"
