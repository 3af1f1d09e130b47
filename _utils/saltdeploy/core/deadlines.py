"""Deadlines that a node keeps and the master counts on, in seconds. Pure."""

from __future__ import annotations

# How long the catalog may take to follow the agent, in seconds. An election takes up to 13.5. An agent that reached no
# server tries again after 15 to 30 (Consul's agent/ae/ae.go).
CATALOG = 60.0
# How long the kernel may take to end a process that was killed, in seconds: it writes its memory out, or waits for NFS.
KILL = 10.0
# How many instances a node stops at once.
STOPPED_AT_ONCE = 32


def ending(timeout: float, count: int) -> float:
    """Return how long a node may take to end ``count`` instances, in seconds.

    :param timeout: the longest time that an instance may take. It has this time twice: for the process that the
        supervisor started, and for the processes that are left then.
    """
    rounds = max(1, -(-count // STOPPED_AT_ONCE))
    return rounds * 2 * (timeout + KILL)
