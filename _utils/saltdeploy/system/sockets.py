"""The TCP sockets of this node, from proc(5)'s ``/proc/net/tcp``.

psutil is not used, because it asks every process for its sockets. That takes a tenth of a second and more.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from dataclasses import dataclass

from ..core import addresses

# States of a socket.
ESTABLISHED, LISTENING = "01", "0A"


@dataclass(frozen=True)
class Socket:
    """A socket's own end. An IPv4 address is written as IPv4 also if the socket is IPv6.

    :param user: the id of the user that owns the socket.
    :param inode: the number by which its processes have it open.
    """

    address: str
    port: int
    user: int
    inode: int


def table(state: str) -> list[Socket]:
    """Return the Sockets that are in ``state``."""
    found = []
    for family, path in ((socket.AF_INET, "/proc/net/tcp"), (socket.AF_INET6, "/proc/net/tcp6")):
        with contextlib.suppress(FileNotFoundError), open(path) as lines:  # a kernel may be without IPv6
            for line in lines:
                words = line.split()
                if words[3] == state:
                    address, port = words[1].split(":")
                    parts = (int(address[i : i + 8], 16) for i in range(0, len(address), 8))
                    packed = b"".join(part.to_bytes(4, sys.byteorder) for part in parts)
                    its = addresses.canonical(socket.inet_ntop(family, packed))
                    found.append(Socket(its, int(port, 16), int(words[7]), int(words[9])))
    return found


def heard_at(address: str) -> set[str]:
    """Return the addresses of sockets that take connections to ``address``."""
    # A socket on all IPv6 addresses may take IPv4 connections, too. The other way round is impossible.
    return {addresses.canonical(address), "::"} | ({"0.0.0.0"} if ":" not in address else set())


def listening(address: str, port: int) -> list[Socket]:
    """Return the Sockets on which a connection to ``port`` of ``address`` may end."""
    here = heard_at(address)
    return [s for s in table(LISTENING) if s.port == port and s.address in here]
