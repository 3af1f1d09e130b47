"""The settings of instances: all that they were started from, besides their release. They never leave the node.

Each is a file for root only, because it may hold secrets: ``<root>/<app>/settings/<release>/<number>-<slot>.json``. It
stays as long as its release is installed, also when the instance is gone. Beside the releases is a file with the
settings that the definition had when the current deployment began.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..core import changes, editions, names
from ..core.changes import Changes
from ..core.model import App, Stop
from ..definition import stops
from ..system import trees
from ..system.files import explained, make_folder, write_file
from . import nodefiles

FOLDER, BEGUN = "settings", "begun.json"
FILE = re.compile(r"(?P<number>[0-9]{1,5})-(?P<slot>[0-9]{1,5})\.json")
# The keys of a definition whose values are compared as a whole, and the fields of which ``resources`` are made.
WHOLE, RESOURCES = ("run", "unit", "user", "data"), ("memory", "cpu")


@dataclass(frozen=True)
class Settings:
    """The part of a definition that reaches the process of an instance.

    :param config: path below the instance's folder -> text of the rendered file.
    :param watched: whether a watcher runs beside the process. It is as the definition has it at each start.
    """

    run: str = field(repr=False)
    env: dict[str, str] = field(repr=False)
    config: dict[str, str] = field(repr=False)
    user: str = ""
    data: bool | str = False
    memory: str = ""
    cpu: str = ""
    stop: Stop = field(default_factory=Stop)
    watched: bool = False
    unit: str = ""

    def over(self, app: App) -> App:
        """Return ``app`` with these settings in place of those of its definition."""
        return replace(app, **{key: getattr(self, key) for key in DEFINED})

    def differences(self, other: Settings) -> Changes:
        """Return the keys of a definition in which ``other`` differs."""
        parts = {
            "env": changes.between(self.env, other.env),
            "config": changes.between(self.config, other.config),
            "resources": [key for key in RESOURCES if getattr(self, key) != getattr(other, key)],
            "stop": changes.between(asdict(self.stop), asdict(other.stop)),
        }
        whole: Changes = {key: [] for key in WHOLE if getattr(self, key) != getattr(other, key)}
        if self.watched != other.watched:
            whole["watcher"] = []
        return {**whole, **{key: names for key, names in parts.items() if names}}


# The fields that are as the definition has them. A file of an older version lacks the later fields.
LATER = ("watched", "unit")
DEFINED = [f.name for f in fields(Settings) if f.name not in ("config", "watched")]


def of(app: App, config: Mapping[str, str]) -> Settings:
    """Return the Settings that ``app`` defines, with the texts of its rendered ``config``."""
    defined = {key: getattr(app, key) for key in DEFINED}
    return Settings(config=dict(config), watched=app.is_watched, **defined)


class Store:
    """The settings of all apps on a node, in its folder ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def keep(self, app: str, edition: str, slot: int, settings: Settings, deployment: str) -> None:
        """Keep the settings of an instance, unless they are kept already.

        :param deployment: the deployment that brings them in.
        :raises Failed: the file cannot be written.
        """
        path = self._path(app, edition, slot)
        found = nodefiles.read(path)
        kept = _parsed(found)
        if kept == settings:
            return
        if kept and replace(kept, watched=settings.watched) == settings:
            # A start brings in no watcher of its own: that is as the definition has it.
            deployment = found["deployment"]
        with explained():
            make_folder(path.parent)
            path.parent.chmod(0o700)
            write_file(path, json.dumps({**asdict(settings), "deployment": deployment}), 0o600)

    def renew(self, app: str, edition: str, slot: int, config: Mapping[str, str]) -> None:
        """Keep other texts of files of ``config`` that an instance has taken in without a restart.

        :raises Failed: the file cannot be written.
        """
        path = self._path(app, edition, slot)
        found = nodefiles.read(path)
        if _parsed(found):
            with explained():
                write_file(path, json.dumps({**found, "config": {**found["config"], **config}}), 0o600)

    def begin(self, name: str, app: App | None, deployment: str) -> None:
        """Keep the settings of app ``name`` as they are defined now, for the instances that ``deployment`` starts.

        See :meth:`begun`.

        :param app: its definition. None keeps nothing, also of an earlier deployment.
        :raises Failed: the file cannot be written, or removed.
        """
        path = self._folder(name) / BEGUN
        with explained():
            if app is None:
                path.unlink(missing_ok=True)
                return
            make_folder(path.parent)
            path.parent.chmod(0o700)
            write_file(path, json.dumps({**asdict(of(app, app.config)), "deployment": deployment}), 0o600)

    def begun(self, app: App, deployment: str) -> App:
        """Return ``app`` as it was defined when ``deployment`` began here, or as it is if nobody kept that.

        A definition may change during a deployment. Its waves have the same settings all the same, and so the same
        number. Templates of ``config`` are rendered when an instance starts.
        """
        found = nodefiles.read(self._folder(app.name) / BEGUN)
        kept = _parsed(found)
        if kept is None or found["deployment"] != deployment:
            return app
        return replace(kept.over(app), config=kept.config)

    def read(self, app: str, edition: str, slot: int) -> Settings | None:
        """Return the settings of an instance. None if they are lost, or incomplete after a power failure."""
        return _parsed(nodefiles.read(self._path(app, edition, slot)))

    def slots(self, app: str) -> dict[str, list[int]]:
        """Return edition -> slots of all settings that are kept of ``app``, and can be read."""
        found: dict[str, list[int]] = {}
        for path in self._files(app):
            match = FILE.fullmatch(path.name)
            if match and names.is_version(path.parent.name):
                edition, slot = editions.of(path.parent.name, int(match["number"])), int(match["slot"])
                if self.read(app, edition, slot):
                    found.setdefault(edition, []).append(slot)
        return found

    def forget(self, app: str, release: str) -> None:
        """Remove all settings of a release.

        :raises Failed: they cannot be removed.
        """
        folder = self._folder(app)
        with explained():
            if (folder / names.version(release)).exists():
                trees.remove(folder / release)
            if folder.is_dir() and not {path.name for path in folder.iterdir()} - {BEGUN}:
                trees.remove(folder)

    def forget_of(self, app: str, deployment: str) -> None:
        """Remove the settings that ``deployment`` has brought in, which is reverted.

        :raises Failed: they cannot be removed.
        """
        with explained():
            for path in (*self._files(app), self._folder(app) / BEGUN):
                found = nodefiles.read(path)
                if isinstance(found, dict) and found.get("deployment") == deployment:
                    path.unlink(missing_ok=True)

    def _files(self, app: str) -> list[Path]:
        return sorted(self._folder(app).glob("*/*.json"))

    def _folder(self, app: str) -> Path:
        return self.root / names.app(app) / FOLDER

    def _path(self, app: str, edition: str, slot: int) -> Path:
        release, number = editions.release(names.edition(edition)), editions.settings(edition)
        return self._folder(app) / release / f"{number}-{slot}.json"


def _parsed(found: Any) -> Settings | None:
    """Return the Settings in the data of a file, or None if it has none."""
    if not isinstance(found, dict) or set(found) - set(LATER) != {*DEFINED, "config", "deployment"} - set(LATER):
        return None
    found = {key: value for key, value in found.items() if key != "deployment"}
    stop = found["stop"]
    if not (
        all(_are_texts([*found[key], *found[key].values()]) for key in ("env", "config") if _is_mapping(found[key]))
        and all(_is_mapping(found[key]) for key in ("env", "config", "stop"))
        and _are_texts(found[key] for key in ("run", "user", "memory", "cpu"))
        and isinstance(found["data"], (bool, str))
        and isinstance(found.get("unit", ""), str)
        and isinstance(found.get("watched", False), bool)
        and _are_texts([stop.get("signal")])
        and isinstance(stop.get("timeout"), (int, float))
        and 0 <= stop["timeout"] <= stops.MOST
    ):
        return None
    return Settings(**{**found, "stop": Stop(stop["signal"], float(stop["timeout"]))})


def _is_mapping(value: object) -> bool:
    return isinstance(value, dict)


def _are_texts(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) for value in values)
