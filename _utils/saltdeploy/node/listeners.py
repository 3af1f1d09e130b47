"""The TCP ports on which the processes of an instance listen, for a check that finds its own port closed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..core import addresses
from ..system import processes, sockets

if TYPE_CHECKING:
    from ..core.model import Instance
# How many ports a message shows.
SHOWN = 5


def of(pid: int, folder: str | None = None) -> list[tuple[str, int]] | None:
    """Return ``(address, port)`` of each socket on which a process of an instance listens.

    :param pid: its main process.
    :param folder: its folder, the mark of its processes. podman's containers are no descendants of podman.

    None means that the process has ended, or belongs to a user whose files this process may not read.
    """
    try:
        own = _sockets(pid)
    except OSError:
        return None
    found = set(own)
    known = [main] if (main := processes.read(pid)) else []
    for process in processes.of(folder, known):
        try:
            found |= _sockets(process.pid)
        except OSError:  # it has ended meanwhile
            continue
    return sorted({(s.address, s.port) for s in sockets.table(sockets.LISTENING) if s.inode in found})


def hint(instance: Instance, found: Sequence[tuple[str, int]] | None) -> str:
    """Return the problem with the ports on which the processes of ``instance`` listen, empty if there is none.

    :param found: the result of :func:`of`.
    """
    here = sockets.heard_at(instance.address)
    # The port of the watcher is its own.
    found = None if found is None else [(address, port) for address, port in found if port != instance.watch]
    if found is None or any(address in here and port == instance.port for address, port in found):
        return ""
    if not found:
        return "the process listens on no TCP port"
    where = ", ".join(addresses.join(a, p) for a, p in found[:SHOWN])
    if any(port == instance.port for _, port in found):
        return f"the process listens on {where}, and {{address}} is {instance.address}"
    return f"the process listens on {where}, and {{port}} is {instance.port}"


def _sockets(pid: int) -> set[int]:
    """Return the numbers of the sockets that a process has open."""
    folder = f"/proc/{pid}/fd"
    numbers = set()
    for name in os.listdir(folder):
        try:
            target = os.readlink(f"{folder}/{name}")
        except FileNotFoundError:  # it has just been closed
            continue
        if target.startswith("socket:["):
            numbers.add(int(target[8:-1]))
    return numbers
