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


def of(pid: int) -> list[tuple[str, int]] | None:
    """Return ``(address, port)`` of each socket on which the process ``pid`` or a descendant of it listens.

    None means that the process has ended, or belongs to a user whose files this process may not read.
    """
    try:
        own = _sockets(pid)
    except OSError:
        return None
    found = set(own)
    for descendant in _descendants(pid):
        try:
            found |= _sockets(descendant)
        except OSError:  # it has ended meanwhile
            continue
    return sorted({(s.address, s.port) for s in sockets.table(sockets.LISTENING) if s.inode in found})


def hint(instance: Instance, found: Sequence[tuple[str, int]] | None) -> str:
    """Return the problem with the ports on which the processes of ``instance`` listen, empty if there is none.

    :param found: the result of :func:`of`.
    """
    here = sockets.heard_at(instance.address)
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


def _descendants(pid: int) -> list[int]:
    """Return the process ids of all descendants of ``pid``."""
    children: dict[int, list[int]] = {}
    for process in processes.running().values():
        children.setdefault(process.parent, []).append(process.pid)
    found: list[int] = []
    left = [pid]
    while left:
        more = children.get(left.pop(), [])
        found += more
        left += more
    return found
