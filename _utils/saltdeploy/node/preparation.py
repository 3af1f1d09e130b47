"""Prepares the start of an instance: with the settings that it had, or with those that its definition has now."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..core import changes, editions
from ..core.errors import Failed
from ..core.instanceids import instance_id
from ..core.model import Instance
from . import settings
from .launch import Launch

if TYPE_CHECKING:
    from ..core.model import App
    from .lifecycle import Lifecycle


def write(lifecycle: Lifecycle, app: App, instance: Instance, as_before: bool) -> Launch:
    """Write the files that ``instance`` is started from, keep its settings, and return its launch.

    :param as_before: whether it gets the settings that are kept of its edition, and not those of the definition.
    :raises Refused: this node has no such user, or the app's data folder belongs to another user. Or a path in
        ``config`` leaves the folder of the instance.
    :raises Failed: a template cannot be rendered, or a file cannot be written.
    """
    kept = _kept(lifecycle, app, instance) if as_before else None
    launch = _launch(lifecycle, app, instance, kept)
    config = kept.config if kept else launch.rendered(lifecycle.render)
    launch.write(config)
    lifecycle.host.settings.keep(
        app.name, instance.version, instance.slot, settings.of(launch.app, config), instance.deployment
    )
    return launch


def lost(lifecycle: Lifecycle, app: App, instance: str, edition: str) -> str:
    """Return the sentence that this node has not kept the settings of ``edition``, an empty text if it has."""
    if edition in lifecycle.host.settings.slots(app.name):
        return ""
    return (
        f"{instance} starts with the settings of now: {lifecycle.host.node} has not kept those of {app.name}"
        f" {editions.told(edition)}."
    )


def _kept(lifecycle: Lifecycle, app: App, instance: Instance) -> settings.Settings | None:
    """Return the settings that are kept for ``instance``, or those of its edition in another slot."""
    exact = lifecycle.host.settings.read(app.name, instance.version, instance.slot)
    if exact:
        return exact
    for slot in lifecycle.host.settings.slots(app.name).get(instance.version, ()):
        kept = lifecycle.host.settings.read(app.name, instance.version, slot)
        if kept:
            return replace(kept, config=_moved(lifecycle, app, instance, slot, kept))
    return None


def _moved(lifecycle: Lifecycle, app: App, instance: Instance, slot: int, kept: settings.Settings) -> dict[str, str]:
    """Return the texts of ``config`` of settings that are kept for another ``slot``.

    A file in which the slot makes no difference stays as it is kept. Any other is rendered as its template is now, if
    that is possible.
    """
    other, port = instance_id(app.name, instance.version, slot), slot if app.ports else None
    stand_in = Instance(other, instance.node, app.name, instance.version, slot, instance.address, port)
    try:
        there = _launch(lifecycle, app, stand_in, kept).rendered(lifecycle.render)
        here = _launch(lifecycle, app, instance, kept).rendered(lifecycle.render)
    except Failed as exc:
        # The way back from a broken template must not need it.
        lifecycle.warnings.append(f"{instance.id} starts with the config of {other}: {exc}")
        return kept.config
    moving = changes.between(there, here)
    changed = [target for target in moving if there.get(target) != kept.config.get(target)]
    if changed:
        lifecycle.warnings.append(
            f"{instance.id} starts with the config of now ({', '.join(changed)} changed since): that of"
            f" {app.name} {editions.told(instance.version)} is kept for other ports only."
        )
    return {**kept.config, **{target: here[target] for target in moving}}


def _launch(lifecycle: Lifecycle, app: App, instance: Instance, kept: settings.Settings | None) -> Launch:
    return Launch(app, instance, lifecycle.host, lifecycle.environment.name, kept)
