"""Compares the settings that instances were started with to those that they would be started with now."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..core import changes, editions
from ..core.changes import NOT_KEPT, Changes
from ..core.errors import DiscoveryUnavailable, Failed, Refused
from ..core.instanceids import instance_id
from ..core.model import Instance
from . import configfiles, settings, watching
from .launch import Launch

if TYPE_CHECKING:
    from ..core.model import App
    from .inventory import Observation
    from .lifecycle import Lifecycle

# How long to wait between two renderings of a template, in seconds: a time in it has another second then.
APART = 1.1


def observe(lifecycle: Lifecycle, name: str, release: str | None = None) -> Observation:
    """Return the state of app ``name`` on this node, with the settings that are kept here.

    :param release: the release whose settings are compared with the definition, besides those of the instances here.
        Empty compares those of the instances only, and None compares nothing.
    """
    seen = lifecycle.inventory.observe(name)
    found: dict[str, Changes | None] = dict.fromkeys(lifecycle.host.settings.slots(name))
    app = _app(lifecycle, name)
    if release is None or not app:
        return replace(seen, editions=found)
    comparison = Comparison(lifecycle, app, apart=True)
    compared = comparison.editions(seen.instances, release)
    instances = [replace(i, stale=", ".join(comparison.stale(i))) for i in seen.instances]
    warnings = [*seen.warnings, *comparison.warnings]
    return replace(seen, instances=instances, editions={**found, **compared}, warnings=warnings)


def compare(lifecycle: Lifecycle, name: str, release: str = "") -> tuple[dict[str, Changes], list[str]]:
    """Return edition -> the settings that differ from the definition of app ``name``, and warnings in sentences.

    :param release: the release whose settings are compared, besides those of the instances here. Empty means none.
    """
    app = _app(lifecycle, name)
    if not app:
        return {}, []
    comparison = Comparison(lifecycle, app)
    return comparison.editions(lifecycle.host.instances.recorded(name), release), comparison.warnings


def changed(lifecycle: Lifecycle, name: str) -> dict[str, Any]:
    """Return how the instances of app ``name`` here have changed since their start, as plain data.

    :returns: ``settings`` by edition and ``registrations`` by id, with the parts that differ from the definition, and
        ``restarts`` by id.
    """
    inventory, outdated, found = lifecycle.inventory, {}, {}
    # Without its agent, a status still has the catalog's.
    with contextlib.suppress(DiscoveryUnavailable):
        found = compare(lifecycle, name)[0]
        outdated = inventory.find_outdated(inventory.app(name), inventory.instances(name))
    return {
        "settings": found,
        "registrations": {i: parts for i, parts in outdated.items() if parts},
        "restarts": watching.find_restarts(lifecycle, name),
    }


def _app(lifecycle: Lifecycle, name: str) -> App | None:
    """Return the definition of app ``name``, None if this node does not know it because it may not run the app."""
    known = lifecycle.environment.apps.get(name)
    return lifecycle.app(name) if known is not None and known.source is not None else None


class Comparison:
    """The comparison of the editions of ``app`` on a node with the definition of now.

    ``warnings`` has sentences for the operator.

    :param apart: whether the files that a reload takes in are left out of the differences, because :meth:`stale` has
        them.
    """

    def __init__(self, lifecycle: Lifecycle, app: App, apart: bool = False) -> None:
        self.lifecycle, self.app, self.host, self.apart = lifecycle, app, lifecycle.host, apart
        self.warnings: list[str] = []
        self._found: dict[tuple[str, int], list[str]] = {}
        self._unstable: dict[str, bool] = {}

    def editions(self, running: Iterable[Instance], release: str) -> dict[str, Changes]:
        """Return edition -> the keys that differ now.

        :param running: the instances on this node.
        :param release: also compare the settings that are kept of this release. Empty compares those of ``running``.
        """
        slots: dict[str, list[int]] = {}
        for i in running:
            if i.recorded:
                slots.setdefault(i.version, []).append(i.slot)
        for edition, some in self.host.settings.slots(self.app.name).items():
            if edition not in slots and editions.release(edition) == release:
                slots[edition] = some
        return {
            edition: changes.union(self._differences(edition, slot) for slot in some) for edition, some in slots.items()
        }

    def _differences(self, edition: str, slot: int) -> Changes:
        kept = self.host.settings.read(self.app.name, edition, slot)
        if kept is None:
            return {NOT_KEPT: []}
        files = self._files(edition, slot, kept)
        if self.apart:
            files = [target for target in files if not self._is_reloaded(target, kept)]
        return {**kept.differences(settings.of(self.app, kept.config)), **({"config": files} if files else {})}

    def stale(self, instance: Instance) -> list[str]:
        """Return the files of ``config`` that have another text now, and that ``instance`` can take in by a reload."""
        kept = self.host.settings.read(self.app.name, instance.version, instance.slot) if instance.recorded else None
        if kept is None:
            return []
        files = self._files(instance.version, instance.slot, kept)
        return [target for target in files if self._is_reloaded(target, kept)]

    def _is_reloaded(self, target: str, kept: settings.Settings) -> bool:
        """Return whether an instance with the settings ``kept`` takes in a file of ``config`` by a reload.

        It must have had the file at its start.
        """
        return self.app.reload is not None and target in self.app.reload.files and target in kept.config

    def _files(self, edition: str, slot: int, kept: settings.Settings) -> list[str]:
        """Return the files of ``config`` that would have other texts now."""
        if (edition, slot) not in self._found:
            self._found[edition, slot] = self._find_files(edition, slot, kept)
        return self._found[edition, slot]

    def _find_files(self, edition: str, slot: int, kept: settings.Settings) -> list[str]:
        name, port = self.app.name, slot if self.app.ports else None
        address, environment = self.lifecycle.node.address, self.lifecycle.environment.name
        one = Instance(instance_id(name, edition, slot), self.host.node, name, edition, slot, address, port)
        launch = Launch(self.app, one, self.host, environment)
        found = {target for target in kept.config if target not in self.app.config}
        # Where a run was killed, nobody knows which files the process has.
        if configfiles.is_unfinished(self.lifecycle, one.id):
            found |= {target for target in kept.config if self._is_reloaded(target, kept)}
        return sorted(found | {target for target in self.app.config if self._differs(target, launch, kept)})

    def _differs(self, target: str, launch: Launch, kept: settings.Settings) -> bool:
        """Return whether a file of ``config`` would have another text now. A file that nobody can render differs."""
        try:
            now = launch.text(target, self.lifecycle.render)
            return now != kept.config.get(target) and not self._is_unstable(target, launch, now)
        except (Failed, Refused) as exc:
            self._warn(f"config:{target} of {self.app.name} cannot be compared: {exc}")
            return True

    def _is_unstable(self, target: str, launch: Launch, now: str) -> bool:
        """Return whether a file of ``config`` is another text each time, for example because it has the time."""
        if target not in self._unstable:
            time.sleep(APART)
            self._unstable[target] = launch.text(target, self.lifecycle.render) != now
            if self._unstable[target]:
                self._warn(
                    f"config:{target} of {self.app.name} is another text each time that it is rendered, so nobody can"
                    " tell whether it has changed. Take what changes out of its template, for example the time."
                )
        return self._unstable[target]

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)
