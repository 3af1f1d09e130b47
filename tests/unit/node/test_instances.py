"""Instances on a node: their records, broken or another node's, and ports without a race."""

import errno
import json
import multiprocessing
import socket
from dataclasses import replace

import pytest
from saltdeploy.core.errors import Failed, Refused
from saltdeploy.core.model import Instance
from saltdeploy.node import nodefiles

from tests.support.files import assert_all_may_enter, umask
from tests.support.node import ADDRESS, free_ports, ported

fork = multiprocessing.get_context("fork")


def test_an_allocated_instance_is_known(node, app):
    shop = ported(app, 2)
    instance = node.instances.allocate(shop, "1.0_b", ADDRESS, "d1")
    first = shop.ports.first
    assert instance == Instance(f"shop_1.0_b_{first}", "web1", "shop", "1.0_b", first, ADDRESS, first, "d1")
    assert node.instances.recorded() == node.instances.recorded("shop") == [instance]
    assert node.instances.recorded("other") == []
    assert node.instances.folder(instance.id) == node.root / "shop/instances" / instance.id


def test_the_instances_of_a_release_have_any_settings(node, app):
    made = [node.instances.allocate(app, edition, ADDRESS, "d1").id for edition in ("1.0", "1.0@7", "1.1@7")]
    assert node.instances.of_release("shop", "1.0") == made[:2]
    (node.instances.folder(made[1]) / "instance.json").write_text("{")
    assert sorted(node.instances.of_release("shop", "1.0")) == sorted(made[:2])


def test_a_saved_instance_is_read_back(node, app):
    instance = replace(node.instances.allocate(app, "1.0", ADDRESS, "d1"), tested=True, held=True)
    node.instances.save(instance)
    assert node.instances.recorded("shop") == [instance]


def test_a_record_of_a_later_saltdeploy_is_read(node, app):
    instance = node.instances.allocate(app, "1.0", ADDRESS, "d1")
    path = node.instances.folder(instance.id) / "instance.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "new_field": 1}))
    assert node.instances.recorded() == [instance]


def test_an_instance_that_vanishes_meanwhile_is_not_there(node, app, monkeypatch):
    """Another job may stop it between the list of the folders and the look at its record."""
    first, second = (node.instances.allocate(app, "1.0", ADDRESS, "d1") for _ in range(2))
    read = nodefiles.instance

    def slow_read(path):
        node.instances.forget(second.id)
        return read(path)

    monkeypatch.setattr(nodefiles, "instance", slow_read)
    assert node.instances.recorded() == [first]


def test_forgetting_frees_the_port(node, app):
    shop = ported(app, 1)
    instance = node.instances.allocate(shop, "1.0", ADDRESS, "d1")
    with pytest.raises(Failed):
        node.instances.allocate(shop, "1.0", ADDRESS, "d1")
    node.instances.forget(instance.id)
    assert node.instances.allocate(shop, "1.0", ADDRESS, "d2").port == instance.port


@pytest.mark.parametrize("mask", [0o027, 0o077])
def test_the_folder_of_an_instance_can_be_entered_whatever_the_umask(node, app, mask):
    with umask(mask):
        instance = node.instances.allocate(app, "1.0", ADDRESS, "d1")
    assert_all_may_enter(node.instances.folder(instance.id), node.root)


def test_forgetting_what_is_not_there(node):
    node.instances.forget("shop_1.0_1")


# -- ports ------------------------------------------------------------------------------------


def _allocate(node, apps, results, barrier):
    barrier.wait()
    for shop in apps:
        results.put(node.instances.allocate(shop, "1.0", ADDRESS, "d1").port)


def test_many_processes_and_two_apps_never_get_one_port_twice(node, app):
    shop = ported(app, 16)
    cart = replace(shop, name="cart")
    results, barrier = fork.SimpleQueue(), fork.Barrier(8)
    processes = [fork.Process(target=_allocate, args=[node, [shop, cart], results, barrier]) for _ in range(8)]
    for process in processes:
        process.start()
    ports = [results.get() for _ in range(16)]
    for process in processes:
        process.join()
    assert sorted(ports) == list(shop.ports)


@pytest.mark.parametrize("listening", [ADDRESS, "0.0.0.0", "::", f"::ffff:{ADDRESS}"])
def test_a_port_something_listens_on_is_passed_over(node, app, listening):
    if ":" in listening and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    shop = ported(app, 2)
    with socket.socket(socket.AF_INET6 if ":" in listening else socket.AF_INET) as server:
        if ":" in listening:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind((listening, shop.ports.first))
        server.listen()
        assert shop.ports.first in node.instances.ports_taken(ADDRESS)
        assert node.instances.allocate(shop, "1.0", ADDRESS, "d1").port == shop.ports.last
    assert shop.ports.first not in node.instances.ports_taken(ADDRESS)


def test_a_listener_on_another_address_is_no_matter(node, app):
    shop = ported(app, 1)
    with socket.create_server(("127.0.0.2", shop.ports.first)):
        assert node.instances.allocate(shop, "1.0", ADDRESS, "d1").port == shop.ports.first


def test_a_port_that_is_bound_without_listening_is_passed_over(node, app):
    shop = ported(app, 2)
    with socket.socket() as bound:
        bound.bind((ADDRESS, shop.ports.first))
        assert shop.ports.first not in node.instances.ports_taken(ADDRESS)
        assert node.instances.allocate(shop, "1.0", ADDRESS, "d1").port == shop.ports.last


def test_ports_of_instances_are_taken_though_nothing_listens(node, app):
    shop = ported(app, 2)
    taken = {node.instances.allocate(shop, v, ADDRESS, "d1").port for v in ("1.0", "2.0")}
    assert taken == set(shop.ports)
    assert taken <= node.instances.ports_taken(ADDRESS)


def test_an_exhausted_range(node, app):
    shop = ported(app, 1)
    node.instances.allocate(shop, "1.0", ADDRESS, "d1")
    told = f"no port of {shop.ports} is free on web1 for shop. Widen apps:shop:ports, or stop a process that uses one"
    with pytest.raises(Failed, match=told):
        node.instances.allocate(shop, "2.0", ADDRESS, "d1")
    assert len(node.instances.recorded()) == 1


def test_a_port_that_was_asked_for(node, app):
    shop = ported(app, 3)
    wanted = shop.ports.first + 1
    assert node.instances.allocate(shop, "1.0", ADDRESS, "d1", slot=wanted).port == wanted
    with pytest.raises(Failed, match=f"^port {wanted} is not free on web1 for shop. Stop the process that uses it"):
        node.instances.allocate(shop, "2.0", ADDRESS, "d1", slot=wanted)


@pytest.mark.parametrize("address", ["203.0.113.1", "2001:db8::1"])
def test_an_address_that_is_not_the_node_s(node, app, address):
    with pytest.raises(
        Failed, match=f"{address} is not an address of this node. Correct it in the nodes of the environment"
    ):
        node.instances.allocate(ported(app, 2), "1.0", address, "d1")


def test_an_ipv6_address_where_the_kernel_has_no_ipv6(node, app, monkeypatch):
    def none(*_):
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    shop = ported(app, 1)
    monkeypatch.setattr(socket, "socket", none)
    with pytest.raises(Failed, match="::1 is not an address of this node"):
        node.instances.allocate(shop, "1.0", "::1", "d1")


def test_what_a_killed_allocation_left_behind_is_used(node, app):
    shop = ported(app, 1)
    node.instances.folder(f"shop_1.0_{shop.ports.first}").mkdir(parents=True)
    assert node.instances.allocate(shop, "1.0", ADDRESS, "d1").port == shop.ports.first


def test_an_app_without_ports_gets_the_lowest_free_number(node, app):
    first, second, third = (node.instances.allocate(app, v, ADDRESS, "d1") for v in ("1.0", "1.0", "2.0"))
    assert [i.id for i in (first, second, third)] == ["shop_1.0_0", "shop_1.0_1", "shop_2.0_2"]
    assert first.port is None
    node.instances.forget(second.id)
    assert node.instances.allocate(app, "2.0", ADDRESS, "d1").slot == 1
    assert node.instances.allocate(app, "2.0", ADDRESS, "d1", slot=7).slot == 7
    with pytest.raises(Failed, match="slot 7 of shop is in use on web1. Stop that instance first"):
        node.instances.allocate(app, "2.0", ADDRESS, "d1", slot=7)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_listeners_and_connections_by_ipv6(node, app):
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        instance = Instance("shop_1_1", "web1", "shop", "1", 1, "::1", server.getsockname()[1])
        assert instance.port in node.instances.ports_taken("::1")
        assert node.instances.connections(instance) == 0
        with socket.create_connection(server.getsockname()[:2]):
            assert node.instances.connections(instance) == 1
            # The record may spell the address in another way.
            assert node.instances.connections(replace(instance, address="0:0:0:0:0:0:0:1")) == 1


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_an_ipv4_client_of_an_app_that_listens_on_ipv6_is_counted(node, app):
    """Linux shows it as an IPv4-mapped address, ::ffff:127.0.0.1."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        port = server.getsockname()[1]
        instance = Instance("shop_1_1", "web1", "shop", "1", 1, ADDRESS, port)
        with socket.create_connection((ADDRESS, port)), socket.create_connection(("::1", port)):
            assert node.instances.connections(instance) == 1
            assert node.instances.connections(replace(instance, address="::1")) == 1


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("listening", ["::1", "::"])
def test_a_port_something_listens_on_by_ipv6_is_passed_over(node, app, listening):
    shop = ported(app, 2)
    with socket.create_server((listening, shop.ports.first), family=socket.AF_INET6):
        assert node.instances.allocate(shop, "1.0", "::1", "d1").port == shop.ports.last


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_a_listener_by_ipv4_takes_no_port_of_ipv6(node, app):
    shop = ported(app, 1)
    with socket.create_server(("0.0.0.0", shop.ports.first)):
        assert shop.ports.first not in node.instances.ports_taken("::1")
        assert node.instances.allocate(shop, "1.0", "::1", "d1").port == shop.ports.first


def test_open_connections_are_counted(node, app):
    port = free_ports(1)
    with socket.create_server((ADDRESS, port)) as server, socket.create_server(("127.0.0.2", port)) as other:
        instance = Instance("shop_1_1", "web1", "shop", "1", 1, ADDRESS, port)
        assert node.instances.connections(instance) == 0
        with socket.create_connection(server.getsockname()), socket.create_connection(other.getsockname()):
            assert node.instances.connections(instance) == 1
            with socket.create_connection(server.getsockname()):
                assert node.instances.connections(instance) == 2


# -- broken records ---------------------------------------------------------------------------


BROKEN = {
    "empty": ("", "instance.json is empty"),
    "torn": ('{"id": "shop', "instance.json is no JSON"),
    "a list": ("[]", "instance.json is no mapping"),
    "bare": ("{}", "some of it is missing"),
    "wrong types": (
        '{"id": "shop_1.0_0", "node": "web1", "app": "shop", "version": "1.0", "slot": "0"}',
        "its `slot` is a str",
    ),
    "another's": (
        '{"id": "till_1.0_0", "node": "web1", "app": "till", "version": "1.0", "slot": 0}',
        "not the record of this instance",
    ),
    "nested": ("[" * 100_000, "instance.json is no record"),
    "not text": (b"\xff\xfe", "instance.json is no JSON"),
}


@pytest.mark.parametrize("content, told", BROKEN.values(), ids=BROKEN)
def test_a_broken_record_is_named_and_blocks_nothing(node, app, content, told):
    broken, good = (node.instances.allocate(app, "1.0", ADDRESS, "d1") for _ in range(2))
    till = node.instances.allocate(replace(app, name="till"), "1.0", ADDRESS, "d1")
    path = node.instances.folder(broken.id) / "instance.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert node.instances.recorded() == [good, till]
    assert (
        list(node.instances.broken()) == list(node.instances.broken("shop")) == [broken.id]
        and node.instances.broken("till") == {}
    )
    assert told in node.instances.broken()[broken.id] and str(path) in node.instances.broken()[broken.id]
    # Before it is stopped, no other instance gets its number, and its release stays.
    assert node.instances.allocate(app, "1.0", ADDRESS, "d1").slot == 2
    with pytest.raises(Refused, match=f"in use on web1 by .*{broken.id}"):
        node.releases.remove("shop", "1.0")
    node.instances.forget(broken.id)
    assert node.instances.broken() == {}


def test_a_record_that_cannot_be_read_is_named(node, app):
    broken = node.instances.allocate(app, "1.0", ADDRESS, "d1")
    path = node.instances.folder(broken.id) / "instance.json"
    path.unlink()
    path.mkdir()
    assert node.instances.recorded() == [] and "Is a directory" in node.instances.broken()[broken.id]


def test_the_port_of_a_broken_instance_is_taken(node, app):
    shop = ported(app, 2)
    broken = node.instances.allocate(shop, "1.0", ADDRESS, "d1")
    (node.instances.folder(broken.id) / "instance.json").write_text("")
    assert broken.port in node.instances.ports_taken(ADDRESS)
    assert node.instances.allocate(shop, "1.0", ADDRESS, "d1").port != broken.port


# -- whose an instance is ---------------------------------------------------------------------


def kept(host, one="shop_1.0_100", **changes):
    """Make the folder of an instance, with a true record but for ``changes``. Return the folder."""
    said = {"id": one, "node": "web1", "app": "shop", "version": "1.0", "slot": 100, "port": 100, "address": ADDRESS}
    folder = host.root / "shop/instances" / one
    folder.mkdir(parents=True)
    (folder / "instance.json").write_text(json.dumps({**said, **changes}))
    return folder


def test_an_instance_is_what_its_folder_and_its_file_agree_on(node):
    kept(node, tested=True, colour="red")
    assert [(i.id, i.node, i.tested) for i in node.instances.recorded("shop")] == [("shop_1.0_100", "web1", True)]
    assert node.instances.strays("shop") == []


@pytest.mark.parametrize(
    "changes",
    [
        {"node": "web3"},
        {"id": "shop_1.0_101"},
        {"app": "till"},
        {"version": "1.1"},
        {"slot": 101},
        {"slot": "100"},
        {"port": 101},
        {"version": None},
    ],
    ids=lambda changes: str(next(iter(changes.items()))),
)
def test_a_file_that_does_not_agree_is_nobodys(node, changes):
    kept(node, **changes)
    assert node.instances.recorded("shop") == node.instances.recorded() == [] and node.instances.strays() == [
        "shop_1.0_100"
    ]


def test_neither_is_one_that_is_lost_or_unreadable(node):
    for number, text in enumerate(["", "[]", "{", "null", None]):
        path = kept(node, one=f"shop_1.0_{number}") / "instance.json"
        path.unlink() if text is None else path.write_text(text)
    kept(node, one="shop_1.0_99999")  # the folder in which hooks run
    (node.root / "shop/instances/lost+found").mkdir()
    assert node.instances.recorded("shop") == [] and node.instances.strays("shop") == [
        f"shop_1.0_{number}" for number in range(5)
    ]


def test_what_was_left_in_a_folder_is_not_taken_over(node, app):
    app = ported(app, 1)
    first = app.ports.first
    folder = kept(node, one=f"shop_1.0_{first}", node="web3", slot=first, port=first)
    (folder / "secret").write_text("another machine's")
    made = node.instances.allocate(app, "1.0", ADDRESS, "d")
    assert made.id == folder.name and [p.name for p in folder.iterdir()] == ["instance.json"]


def test_what_runs_without_a_file_keeps_its_number(node, app):
    assert node.instances.allocate(app, "1.0", ADDRESS, "d", avoid={0, 1}).slot == 2
