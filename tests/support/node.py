"""A node's folder for unit tests: small archives to install there, and ports that are free."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import socket
import tarfile
from dataclasses import replace

from saltdeploy.core.model import PortRange, Source

ADDRESS = "127.0.0.1"


def archive(path, text="app", name="app"):
    """Write a tar with one file. Return its Source."""
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text.encode()))
    return Source("archive", str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def free_ports(count):
    """Return the first of ``count`` consecutive ports that are free on every address."""
    for first in range(10000 + os.getpid() % 100 * 100, 32000, count):  # the kernel gives out the ports above
        with contextlib.suppress(OSError), contextlib.ExitStack() as bound:
            for port in range(first, first + count):
                bound.enter_context(socket.socket()).bind(("0.0.0.0", port))
            return first
    raise AssertionError("no free ports")


def ported(app, count):
    """Return ``app`` with a range of ``count`` free ports."""
    first = free_ports(count)
    return replace(app, ports=PortRange(first, first + count - 1))
