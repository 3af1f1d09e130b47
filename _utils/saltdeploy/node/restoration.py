"""Starts, publishes and weighs the instances that the record has for this node, so that they are as they were."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import TYPE_CHECKING

from ..core import editions, names, records, traffic
from ..core.errors import DiscoveryUnavailable, Failed, Refused
from ..core.instanceids import parts_of
from ..core.words import joined
from ..discovery import patiently
from . import preparation, publication, retirement, reweigh
from .turns import RESTORED

if TYPE_CHECKING:
    from ..core.model import App
    from .lifecycle import Lifecycle


def read_record(lifecycle: Lifecycle, name: str) -> tuple[records.Record | None, list[str]]:
    """Return the record of app ``name``, None if there is none, and its unusable parts in sentences."""
    return patiently(lambda: records.read(lifecycle.discovery, _prefix(lifecycle, name)))


def is_locked(lifecycle: Lifecycle, name: str) -> bool:
    """Return whether somebody holds the lock of app ``name`` in this environment."""
    return bool(lifecycle.discovery.read(records.lock_key(_prefix(lifecycle, name)))[2])


def find_missing(lifecycle: Lifecycle, name: str) -> tuple[list[str], str]:
    """Return the instances that the record has for this node and that do not serve here with the recorded weight.

    :returns: ``(ids, reason)``. The reason says why there is nothing to do, or is empty.
    """
    if is_locked(lifecycle, name):
        return [], f"{name} is being deployed: nothing is restored meanwhile"
    found, problems = read_record(lifecycle, name)
    if not found:
        environment = lifecycle.environment.name
        return [], joined([f"the record has nothing of {name} in {environment}", *problems])
    wanted = found["nodes"].get(lifecycle.host.node, [])
    if not wanted:
        return [], f"the record has no instance of {name} on this node"
    lost = lifecycle.inventory.find_lost(name, wanted)
    wrong = reweigh.find_wrong(lifecycle, name, {i: traffic.weight_of(found, i) for i in wanted})
    return [*lost, *(i for i in wrong if i not in lost)], ""


def find_warnings(lifecycle: Lifecycle, name: str) -> list[str]:
    """Return sentences on unusable parts of the record, and on serving instances that highstate leaves alone."""
    return [*read_record(lifecycle, name)[1], *lifecycle.inventory.warn_of_odd(name)]


def restore(lifecycle: Lifecycle, name: str, ids: Collection[str], after: str | None = None) -> list[str]:
    """Bring the instances ``ids`` back, if they do not serve, and give all of them the recorded weight.

    :param after: the deployment whose steps this step reverts.
    :returns: the ids of the instances that were brought back or weighed.
    :raises Failed: some instances do not come back. The other instances are back.
    """
    restored = _restore_lost(lifecycle, name, ids, after)
    found, _ = read_record(lifecycle, name)
    weighed = reweigh.weigh(lifecycle, name, {i: traffic.weight_of(found, i) for i in ids})
    return [*restored, *(i for i in weighed if i not in restored)]


def _restore_lost(lifecycle: Lifecycle, name: str, ids: Collection[str], after: str | None) -> list[str]:
    failures = []
    with lifecycle.host.turns.alone(name, after=after, patience=lifecycle.patience(name)):
        lost = lifecycle.inventory.find_lost(name, ids)
        for instance in lost:
            try:
                lifecycle.host.turns.refuse_overtaken(name, after)
                _restore(lifecycle, name, instance, after)
            except DiscoveryUnavailable:
                raise
            except (Failed, Refused) as exc:
                failures.append(str(exc))
    if failures:
        raise Failed(joined(failures))
    return lost


def _restore(lifecycle: Lifecycle, name: str, instance: str, after: str | None) -> None:
    state = lifecycle.runtime.states().get(instance)
    if state and state.running and any(i.id == instance and i.tested for i in lifecycle.host.instances.recorded(name)):
        publication.publish(lifecycle, name, [instance], as_before=True)  # only discovery has lost it
        return
    _, edition, slot = parts_of(instance)
    release = editions.release(edition)
    _refuse_slot(lifecycle, name, instance, slot)
    app, kept = lifecycle.app(name), lifecycle.host.settings.read(name, edition, slot)
    # Its data is where it was, even if the definition has changed since.
    app = kept.over(app) if kept else app
    _refuse_lost_data(lifecycle, app, instance)
    if after is None:
        _refuse_empty_data(lifecycle, app, instance)
    retirement.retire(lifecycle, name, [instance], drain=0)
    # The installed release is the release that ran, even if the definition has changed since.
    if release not in lifecycle.host.releases.versions(name):
        found, _ = read_record(lifecycle, name)
        digests = found.get("digests", {}) if found else {}
        lifecycle.install(name, release, digests.get(release, ""))
    lifecycle.warnings += filter(None, [preparation.lost(lifecycle, app, instance, edition)])
    result = lifecycle.start_installed(app, edition, 1, RESTORED, slots=[slot], as_before=True)
    if not result.ok:
        retirement.retire(lifecycle, name, [instance], drain=0)
        raise Failed(joined(result.failures))
    publication.publish(lifecycle, name, [instance])


def _refuse_slot(lifecycle: Lifecycle, name: str, instance: str, slot: int) -> None:
    """Raise Refused if the instance would take a port that its app does not have, and never had here."""
    ports, host = lifecycle.app(name).ports, lifecycle.host
    if ports and slot not in ports and not host.instances.folder(instance).exists():
        raise Refused(
            f"{instance} is not restored on {host.node}: its port is none of apps:{name}:ports ({ports})."
            f" `salt-run deploy.app {name} env={lifecycle.environment.name}` starts another one in its place."
        )


def _refuse_empty_data(lifecycle: Lifecycle, app: App, instance: str) -> None:
    """Raise Refused if the app had data here, by the record, and its data folder is empty."""
    name, host = app.name, lifecycle.host
    if not app.data or host.data.has_any(app):
        return
    found, _ = read_record(lifecycle, name)
    if found and host.node in found.get("data", ()):
        raise Refused(
            f"{instance} is not restored on {host.node}: {name} had data there, and {host.data.path(app)} is empty."
            f" Bring the data back, or mount it. To start it without data: `salt-run deploy.app {name} move=True"
            f" env={lifecycle.environment.name}`"
        )


def _refuse_lost_data(lifecycle: Lifecycle, app: App, instance: str) -> None:
    """Raise Refused if the folder with the data of the app is gone. The instance would serve without its data."""
    host = lifecycle.host
    if app.data and not os.path.lexists(host.data.path(app)):
        folder = host.data.path(app)
        raise Refused(
            f"{instance} is not restored on {host.node}: its data folder {folder} is gone. Bring the data back, or"
            f" mount it. To start it without data: install -d -m 750 -o {app.user} {folder}"
        )


def _prefix(lifecycle: Lifecycle, name: str) -> str:
    return records.prefix(lifecycle.environment.name, names.app(name))
