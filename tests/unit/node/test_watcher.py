"""The parts of a watcher. test_portless has its work as a whole, beside a process."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import threading

import pytest
from saltdeploy.node import watcher

from tests.support.node import free_ports


def test_the_start_time_of_a_process_is_its_own_and_ends_with_it():
    with subprocess.Popen(["sleep", "60"]) as process:
        born = watcher.start_time(process.pid)
        assert born == watcher.start_time(process.pid) and born.isdigit() and born != watcher.start_time(1)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert watcher.start_time(process.pid) is None  # nobody has taken its exit code yet
    assert watcher.start_time(process.pid) is None


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this Python has no os.pidfd_open")
def test_the_end_of_a_process_wakes_its_watcher():
    with subprocess.Popen(["sleep", "60"]) as process:
        [end] = watcher.end_of(process.pid)
        assert select.select([end], [], [], 0)[0] == []
        process.kill()
        assert select.select([end], [], [], 10)[0] == [end]
        os.close(end)
    assert watcher.end_of(process.pid) == []


def test_a_port_that_another_process_has_is_tried_again_later():
    port = free_ports(1)
    with socket.create_server(("127.0.0.1", port)):
        assert watcher.listen("127.0.0.1", port) == []
    [server] = watcher.listen("127.0.0.1", port)
    server.close()


@pytest.mark.parametrize(
    "seconds, status, text",
    [
        (1.0, b"503 Service Unavailable", b"the process was started 1 s ago, healthy after 3 s"),
        (3.0, b"200 OK", b"the process was started 3 s ago"),
    ],
)
def test_a_process_is_healthy_after_its_time(seconds, status, text):
    [server] = watcher.listen("127.0.0.1", free_ports(1))
    with server, socket.create_connection(server.getsockname()) as client:
        client.sendall(b"GET /running HTTP/1.0\r\n\r\n")
        watcher.answer(server, seconds, 3.0)
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 " + status) and body == text
    assert f"Content-Length: {len(text)}".encode() in head


def test_a_client_that_says_nothing_does_not_hold_it_up(monkeypatch):
    monkeypatch.setattr(watcher, "PATIENCE", 0.1)
    [server] = watcher.listen("127.0.0.1", free_ports(1))
    with server, socket.create_connection(server.getsockname()):
        answering = threading.Thread(target=watcher.answer, args=(server, 1.0, 0.0))
        answering.start()
        answering.join(5)
        assert not answering.is_alive()
