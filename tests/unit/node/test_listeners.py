"""The ports on which a process listens, for a check that finds its own port closed."""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import replace

import pytest
from saltdeploy.node import listeners

from tests.support.fleet import instance
from tests.support.site import until

# Listens on a free port, and then runs a child that listens on another.
LISTEN = """
import socket, subprocess, sys, time
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
if len(sys.argv) > 1:
    subprocess.Popen([sys.executable, "-c", sys.argv[1]])
time.sleep(60)
"""


HERE = ("127.0.0.1", 100)


@pytest.mark.parametrize(
    "found, said",
    [
        (None, ""),
        ([HERE], ""),
        ([("0.0.0.0", 100)], ""),
        ([("127.0.0.1", 99), ("::", 100)], ""),
        ([], "the process listens on no TCP port"),
        ([("::1", 99), ("10.0.0.1", 98)], "the process listens on [::1]:99, 10.0.0.1:98, and {port} is 100"),
        ([("10.0.0.1", 100)], "the process listens on 10.0.0.1:100, and {address} is 127.0.0.1"),
    ],
)
def test_the_hint(found, said):
    assert listeners.hint(replace(instance("a"), address="127.0.0.1", port=100), found) == said


def test_a_process_that_has_ended_listens_nowhere_one_can_see():
    process = subprocess.Popen(["true"])
    process.wait()
    assert listeners.of(process.pid) is None


def test_a_process_and_its_descendants_listen():
    with subprocess.Popen(
        [sys.executable, "-c", LISTEN, LISTEN], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            ports = {int(process.stdout.readline()) for _ in range(2)}
            until(lambda: len(listeners.of(process.pid)) == 2, 10, "the child to listen")
            assert listeners.of(process.pid) == sorted(("127.0.0.1", port) for port in ports)
        finally:
            subprocess.run(["pkill", "-KILL", "-s", str(process.pid)], check=True)


def test_a_process_without_sockets_listens_nowhere():
    with subprocess.Popen(["sleep", "60"]) as process, socket.create_server(("127.0.0.1", 0)):
        try:
            assert listeners.of(process.pid) == []
        finally:
            process.kill()
