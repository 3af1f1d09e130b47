"""The plain data of service discovery."""

import pytest
from saltdeploy.discovery import Endpoint


@pytest.mark.parametrize("address, host", [("10.0.0.1", "10.0.0.1"), ("fd00::11", "[fd00::11]")])
def test_the_host_of_an_endpoint_fits_into_a_url(address, host):
    assert Endpoint("s1", "shop", "n1", address, 80).host == host


def test_the_minion_is_the_node_if_another_tool_published_the_endpoint():
    assert Endpoint("s1", "shop", "n1", "10.0.0.1", 80).minion == "n1"
    assert Endpoint("s1", "shop", "n1", "10.0.0.1", 80, meta={"minion": "web1"}).minion == "web1"
