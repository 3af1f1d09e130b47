"""Data that an app keeps on its nodes: it stays where it is, so its instances do. Pure."""

from __future__ import annotations

from .errors import Refused


def empty(desired, observed, kept, start):
    """Return the nodes on which an app with data starts without any: the first time, or as one more.

    :param kept: instances of the release that stay; ``start``: node -> how many are started there.
    :raises Refused: a node that has data would be left for one that has none, and nobody confirmed that.
    """
    if not desired.app.data:
        return ()
    bare = tuple(node for node in start if node not in observed.data)
    left = sorted(set(observed.data) - {i.node for i in kept} - set(start))
    if bare and left and not desired.move:
        app = desired.app.name
        raise Refused(
            f"{app} would start without its data on {', '.join(bare)}: its data is on {_listed(observed, left)},"
            f" where none of it would run.{_why(observed, left)} Copy the data there, or say move=True to start"
            f" {app} with an empty data folder."
        )
    return bare


def of_all(observed):
    """Say where the data of an app is; empty if there is none."""
    return _listed(observed, sorted(observed.data))


def _listed(observed, nodes):
    return ", ".join(f"{node} ({folder})" if (folder := observed.data[node]) else node for node in nodes)


def _why(observed, nodes):
    reasons = [observed.barred[node] for node in nodes if node in observed.barred]
    return "".join(f" {reason}." for reason in reasons)
