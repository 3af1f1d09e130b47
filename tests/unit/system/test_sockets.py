"""The sockets of this machine, against sockets that the tests open."""

import os
import socket

import pytest
from saltdeploy.system import sockets

needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")


def test_a_socket_that_listens_is_found_with_its_user_and_its_inode():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        [found] = sockets.listening("127.0.0.1", port)
        assert (found.address, found.port, found.user) == ("127.0.0.1", port, os.geteuid())
        assert os.readlink(f"/proc/self/fd/{server.fileno()}") == f"socket:[{found.inode}]"
    assert sockets.listening("127.0.0.1", port) == []


def test_a_socket_at_another_address_takes_no_connection():
    with socket.create_server(("127.0.0.2", 0)) as server:
        port = server.getsockname()[1]
        assert sockets.listening("127.0.0.1", port) == []
        assert len(sockets.listening("127.0.0.2", port)) == 1


def test_a_socket_at_all_addresses_takes_it():
    with socket.create_server(("0.0.0.0", 0)) as server:
        assert len(sockets.listening("127.0.0.1", server.getsockname()[1])) == 1


@needs_ipv6
def test_a_socket_at_all_ipv6_addresses_takes_both_kinds():
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        port = server.getsockname()[1]
        assert [s.address for s in sockets.listening("127.0.0.1", port)] == ["::"]
        assert [s.address for s in sockets.listening("::1", port)] == ["::"]


@needs_ipv6
def test_an_ipv4_address_in_ipv6_is_written_as_ipv4():
    with socket.socket(socket.AF_INET6) as server:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind(("::ffff:127.0.0.1", 0))
        server.listen()
        [found] = sockets.listening("127.0.0.1", server.getsockname()[1])
        assert found.address == "127.0.0.1"


def test_a_socket_with_a_connection_is_in_another_state():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), server.accept()[0]:
            ports = [s.port for s in sockets.table(sockets.ESTABLISHED)]
            assert ports.count(port) == 1 and len(sockets.listening("127.0.0.1", port)) == 1
