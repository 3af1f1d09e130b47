"""Asks a Consul agent by DNS, as clients do, once or every 20 milliseconds."""

from __future__ import annotations

import contextlib
import socket
import time

from tests.support.background import beside


def a_records(agents, name):
    """Return the A records that web1's agent answers for ``name``."""
    question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
    question += b"".join(bytes([len(p)]) + p.encode() for p in name.split(".")) + b"\0\x00\x01\x00\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(question, (agents.nodes["web1"], 8600))
        answer = client.recv(4096)
    # Each answer: a pointer to the name, type A, class, TTL, length 4, address.
    records = answer[len(question) :].split(b"\xc0\x0c\x00\x01\x00\x01")[1:]
    return {".".join(map(str, r[6:10])) for r in records}


@contextlib.contextmanager
def watched(agents, name):
    """Ask for ``name`` every 20 milliseconds. Yield the sets of addresses that were found, without repetitions."""
    found = []

    def ask(over):
        while not over.is_set():
            seen = a_records(agents, name)
            if not found or found[-1] != seen:
                found.append(seen)
            time.sleep(0.02)

    with beside(ask):
        yield found
