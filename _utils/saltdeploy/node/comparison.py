"""Compares the settings that instances were started with with those that they would be started with now."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..core import editions
from ..core.errors import Failed, Refused
from ..core.model import Instance, instance_id
from . import settings
from .launch import Launch

if TYPE_CHECKING:
    from ..core.model import App
    from .host import Host
    from .launch import Render

# How long to wait between two renderings of a template, in seconds: a time in it has another second then.
APART = 1.1


class Comparison:
    """The comparison of the editions of ``app`` on ``host`` with the definition of now.

    :param address: the address of this node.
    :param environment: the name of its environment.

    ``warnings`` has sentences for the operator.
    """

    def __init__(self, app: App, host: Host, address: str, environment: str, render: Render) -> None:
        self.app, self.host, self.address, self.environment, self.render = app, host, address, environment, render
        self.warnings: list[str] = []
        self._unstable: dict[str, bool] = {}

    def editions(self, running: Iterable[Instance], release: str) -> dict[str, str]:
        """Return edition -> the keys that differ now, as text: ``env: LOG_LEVEL; run``. Empty if none does.

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
        found = {edition: self._differences(edition, some) for edition, some in slots.items()}
        return {edition: "; ".join(dict.fromkeys(parts)) for edition, parts in found.items()}

    def _differences(self, edition: str, slots: Iterable[int]) -> list[str]:
        found = []
        for slot in slots:
            kept = self.host.settings.read(self.app.name, edition, slot)
            if kept is None:
                found.append(settings.UNKNOWN)
            else:
                found += kept.differences(settings.of(self.app, kept.config))
                found += self._of_config(edition, slot, kept)
        return found

    def _of_config(self, edition: str, slot: int, kept: settings.Settings) -> list[str]:
        """Return the files of ``config`` that would have other texts now."""
        name, port = self.app.name, slot if self.app.ports else None
        one = Instance(instance_id(name, edition, slot), self.host.node, name, edition, slot, self.address, port)
        launch = Launch(self.app, one, self.host, self.environment)
        try:
            differing = settings.changed(kept.config, launch.rendered(self.render))
            differing = [target for target in differing if not self._is_unstable(target, launch)]
        except (Failed, Refused) as exc:
            return [f"config ({exc})"]
        return [f"config: {', '.join(differing)}"] if differing else []

    def _is_unstable(self, target: str, launch: Launch) -> bool:
        """Return whether a file of ``config`` is another text each time, for example because it has the time."""
        if target not in self._unstable:
            before = launch.rendered(self.render).get(target)
            time.sleep(APART)
            self._unstable[target] = launch.rendered(self.render).get(target) != before
            if self._unstable[target]:
                self.warnings.append(
                    f"config:{target} of {self.app.name} is another text each time that it is rendered, so nobody can"
                    " tell whether it has changed. Take what changes out of its template, for example the time."
                )
        return self._unstable[target]
