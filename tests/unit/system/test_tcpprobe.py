"""TCP probes against real listeners."""

import socket

from saltdeploy.system import probes

from tests.unit.system.probing import ADDRESS, ok, probe, problem


def test_tcp(web):
    values, _, _ = web
    result = probes.run(probe("tcp"), values)
    assert ok(result) == "connected"


def test_tcp_refused():
    assert "127.0.0.1:1: Connection refused" in problem(probes.run(probe("tcp"), {"address": ADDRESS, "port": 1}))


def test_tcp_gives_up_where_nobody_accepts():
    """A listener whose queue is full answers no further handshake."""
    with socket.socket() as server:
        server.bind((ADDRESS, 0))
        server.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(server.getsockname())
        result = probes.run(probe("tcp", timeout=0.3), {"address": ADDRESS, "port": server.getsockname()[1]})
        for one in waiting:
            one.close()
    assert "timed out" in problem(result, at_most=2)
