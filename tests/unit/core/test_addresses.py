"""Addresses have one spelling, and get brackets where a port follows; what no client can connect to is refused."""

import pytest
from saltdeploy import definition
from saltdeploy.core import addresses, placeholders
from saltdeploy.core.errors import DefinitionError
from saltdeploy.core.model import Instance
from saltdeploy.node.host import Host
from saltdeploy.node.launch import Launch

SHOP = {"source": {"pip": "shop"}, "run": "./bin/shop --bind {host}:{port}", "ports": "20000-20009"}


def pillar(*nodes, **environment):
    named = {f"web{number}": {"address": address} for number, address in enumerate(nodes, 1)}
    return {"apps": {"shop": SHOP}, "environments": {"test": {"nodes": named, "apps": {"shop": {}}, **environment}}}


@pytest.mark.parametrize(
    "spelled, canonical",
    [
        ("10.0.0.1", "10.0.0.1"),
        ("FD00:0:0::0011", "fd00::11"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::FFFF:a00:1", "10.0.0.1"),
        ("2001:db8::192.0.2.1", "2001:db8::c000:201"),
        ("db.example.com", "db.example.com"),
    ],
)
def test_two_spellings_are_one_address(spelled, canonical):
    assert addresses.canonical(spelled) == canonical == addresses.canonical(canonical)


def test_an_address_with_a_port():
    assert addresses.join("10.0.0.1", 80) == "10.0.0.1:80"
    assert addresses.join("fd00::1", 80) == "[fd00::1]:80"
    assert addresses.join("db.example.com", 5432) == "db.example.com:5432"
    assert [addresses.join("fd00::1", none) for none in (None, 0)] == ["fd00::1"] * 2


@pytest.mark.parametrize(
    "text, found",
    [
        ("10.0.0.53", ("10.0.0.53", None)),
        ("10.0.0.53:5353", ("10.0.0.53", 5353)),
        ("FD00::53", ("fd00::53", None)),
        ("[fd00::53]", ("fd00::53", None)),
        ("[fd00::53]:5353", ("fd00::53", 5353)),
        ("1.1.1.1:65535", ("1.1.1.1", 65535)),
    ],
)
def test_a_server_with_or_without_a_port(text, found):
    assert addresses.server(text, "x") == found


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "dns.lan",
            "10.0.0",
            "1.1.1.1:",
            "1.1.1.1:0",
            "1.1.1.1:65536",
            "1.1.1.1:5\u0663",
            "1.1.1.1#53",
            "1.1.1.1@53",
        ),
        *("[fd00::53", "[fd00::53]x", "[fd00::53]:", "[1.1.1.1:53", "1.1.1.1\nserver=::", "fe80::1%e\nserver=::"),
    ],
)
def test_what_is_no_server(text):
    with pytest.raises(DefinitionError, match="^dns:upstream:0: found .*, allowed is an IP address, and a port"):
        addresses.server(text, "dns:upstream:0")


def test_networks_of_proxies():
    assert addresses.network("10.1.2.3/16", "x") == "10.1.0.0/16"
    assert addresses.network("10.0.0.5", "x") == "10.0.0.5/32"
    assert addresses.network("FD00::/64", "x") == "fd00::/64"
    for wrong in ("proxy.lan", "10.0.0.0/33", "10.0.0.1\n", "fe80::1%eth0", ""):
        with pytest.raises(DefinitionError, match="^x: found .*, allowed is an IP address or a network"):
            addresses.network(wrong, "x")


# -- in a definition --------------------------------------------------------------------------


def test_nodes_have_one_spelling():
    environment = definition.load(pillar("FD00:0::0011", "::ffff:10.0.0.1", "10.0.0.2"))
    assert [node.address for node in environment.nodes.values()] == ["fd00::11", "10.0.0.1", "10.0.0.2"]


@pytest.mark.parametrize("first, second", [("fd00::11", "FD00:0::0011"), ("10.0.0.1", "::ffff:10.0.0.1")])
def test_two_nodes_at_one_address_are_found_out_in_any_spelling(first, second):
    told = rf"^environments:test:nodes:web2:address: {first} is the address of web1, too"
    with pytest.raises(DefinitionError, match=told):
        definition.load(pillar(first, second))


@pytest.mark.parametrize("address, host", [("FD00:0::0011", "[fd00::11]"), ("10.0.0.1", "10.0.0.1")])
def test_commands_get_an_address_that_a_port_can_follow(tmp_path, address, host):
    environment = definition.load(pillar(address))
    app, node = environment.apps["shop"], environment.nodes["web1"]
    instance = Instance("shop_1_20000", "web1", "shop", "1", 20000, node.address, 20000)
    values = Launch(app, instance, Host("web1", tmp_path), "test").values
    assert placeholders.fill(app.run, values) == f"./bin/shop --bind {host}:20000"


@pytest.mark.parametrize(
    "address, told",
    [
        ("web1.example.com", "allowed is an IP address. A name is not resolved: write the address that `getent ahosts"),
        ("localhost", "A name is not resolved"),
        ("10.0.0.256", "allowed is an IP address: four numbers up to 255"),
        ("10.0.0.1:80", "allowed is an IP address."),
        ("fe80::1%eth0", "a link-local address is good on one link only"),
        ("fe80::1", "a link-local address is good on one link only"),
        ("::", "this stands for all addresses of a host"),
        ("0.0.0.0", "this stands for all addresses of a host"),
        ("::ffff:0.0.0.0", "this stands for all addresses of a host"),
        ("ff02::1", "this is the address of no single host"),
        ("224.0.0.1", "this is the address of no single host"),
        ("255.255.255.255", "this is the address of no single host"),
    ],
)
def test_what_no_client_can_connect_to_is_refused(address, told):
    with pytest.raises(DefinitionError) as caught:
        definition.load(pillar("10.0.0.9", address))
    assert str(caught.value).startswith(f"environments:test:nodes:web2:address: found '{address}', ")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "consul",
    [{"agent": "http://[{address}]:8500"}, {"servers": ["http://::1:8500"]}, {"servers": ["http://[::1:8500"]}],
)
def test_brackets_of_urls(consul):
    """The address of a node gets its brackets by itself; those of a server are written."""
    definition.load(pillar("::1", discovery={"consul": {"servers": ["http://[::1]:8500"]}}))
    with pytest.raises(DefinitionError, match="^environments:test:discovery:consul:.* is no URL"):
        definition.load(pillar("::1", discovery={"consul": consul}))


def test_name_servers_are_taken_apart():
    upstream = ["10.0.0.53", "[fd00::53]:5353"]
    environment = definition.load(pillar("10.0.0.1", dns={"upstream": upstream}))
    assert environment.upstream == (("10.0.0.53", None), ("fd00::53", 5353))
    with pytest.raises(DefinitionError, match="^environments:test:dns:upstream:1: 'one.dns.lan' is not the address"):
        definition.load(pillar("10.0.0.1", dns={"upstream": ["10.0.0.53", "one.dns.lan"]}))


def test_an_address_with_a_leading_zero():
    with pytest.raises(DefinitionError, match="four numbers up to 255, and none begins with a 0"):
        addresses.of_node("010.0.0.1", "at")
