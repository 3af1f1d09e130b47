"""Probes, and the results that tests want of them."""

import time

from saltdeploy.core.httprequests import Request
from saltdeploy.core.model import Probe

ADDRESS, CERTIFIED = "127.0.0.1", "127.0.0.2"


def probe(kind, target="", timeout=5.0, **more):
    return Probe(kind, target, timeout=timeout, **more)


def requesting(kind, target="/", timeout=5.0, status=200, contains="", **request):
    """Return an HTTP probe with these keys of a request."""
    return Probe(kind, target, timeout=timeout, status=status, contains=contains, request=Request(**request))


def ok(result):
    assert result["ok"], result
    return result["detail"]


def problem(result, at_most=None):
    assert result["ok"] is False, result
    if at_most:
        assert result["seconds"] < at_most
    return result["detail"]


def wait_until(true):
    deadline = time.monotonic() + 10
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return true()


def converse(server, talk):
    try:
        with server.accept()[0] as connection:
            connection.recv(10000)
            talk(connection)
    except OSError:
        pass


def drip(connection, first):
    """Send ``first``, then a byte now and then for as long as anybody listens."""
    connection.sendall(first)
    while True:
        time.sleep(0.02)
        connection.sendall(b"x")


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
