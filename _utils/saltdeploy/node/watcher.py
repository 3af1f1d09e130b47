"""Answers over HTTP whether a process runs: the health check of an app that has no port of its own.

A copy of this file is in the folder of each such instance. It runs as the app's user, by the node's Python (3.6 or
newer), so it imports the standard library only::

    watcher.py PID ADDRESS PORT SECONDS

It is neither a child nor a parent of the process. It takes no signal but SIGKILL, and ends when the process does.
"""

import contextlib
import os
import select
import signal
import socket
import sys
import time

# How often it looks whether the process has ended, and tries again to listen, in seconds.
POLL = 0.5
# How long somebody who has connected may take to ask, in seconds: they come one after the other.
PATIENCE = 1.0


def main(pid: int, address: str, port: int, settle: float) -> None:
    """Answer for as long as the process ``pid`` runs.

    :param settle: how long it must have run to be healthy, in seconds.
    """
    for number in range(1, signal.NSIG):
        # A signal to the whole process group is for the process: how it ends is its own affair. SIGKILL and SIGSTOP
        # cannot be ignored, nor those that the C library has for itself.
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)
    # A supervisor would wait for the output of a process that has ended.
    os.dup2(os.open(os.devnull, os.O_RDWR), 2)
    began, born = time.monotonic(), start_time(pid)
    servers: list[socket.socket] = []
    ends = end_of(pid)
    while born is not None and start_time(pid) == born:
        servers = servers or listen(address, port)
        watched: list[socket.socket | int] = [*servers, *ends]
        ready, _, _ = select.select(watched, [], [], POLL)
        if start_time(pid) == born:
            for server in servers:
                if server in ready:
                    answer(server, time.monotonic() - began, settle)


def start_time(pid: int) -> "bytes | None":
    """Return the start time of the process in the kernel's ticks, or None if it has ended (proc(5), /proc/PID/stat)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else fields[19]


def end_of(pid: int) -> "list[int]":
    """Return a list of a descriptor that is readable once the process has ended.

    The list is empty before Python 3.9 and before Linux 5.3.
    """
    if not hasattr(os, "pidfd_open"):
        return []
    try:
        return [os.pidfd_open(pid)]
    except OSError:
        return []


def listen(address: str, port: int) -> "list[socket.socket]":
    """Return a list of a listening socket, empty while another process has the port."""
    server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen(16)
    except OSError:
        server.close()
        return []
    server.settimeout(PATIENCE)
    return [server]


def answer(server: socket.socket, seconds: float, settle: float) -> None:
    """Answer one request of any kind."""
    healthy = seconds >= settle
    status = "200 OK" if healthy else "503 Service Unavailable"
    text = f"the process was started {seconds:.0f} s ago" + ("" if healthy else f", healthy after {settle:g} s")
    head = f"HTTP/1.0 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\n\r\n"
    with contextlib.suppress(OSError):  # who asked has gone
        connection, _ = server.accept()
        with connection:
            connection.settimeout(PATIENCE)
            connection.recv(4096)
            connection.sendall((head + text).encode())


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
