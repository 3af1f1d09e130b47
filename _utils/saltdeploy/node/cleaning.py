"""Takes all apps off a node: instances, releases and the files of its jobs. The data of apps stay."""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from ..core import editions, hooks, names, records
from ..core.errors import Refused
from ..core.versions import argument
from ..core.words import joined
from ..discovery.registration import instance_of
from ..source import images, placement
from ..system import trees
from ..system.files import explained
from . import restoration, retirement, settings, turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from .host import Host
    from .lifecycle import Lifecycle

# The files of a node that belong to no single app.
SHARED = (".ansible", ".downloads", ".images", ".key", ".lock", ".packages", ".validated")
DATA = "data"


@dataclass
class Remains:
    """The parts of apps that are on a node: app -> ids of instances, app -> versions, and paths."""

    instances: dict[str, list[str]] = field(default_factory=dict)
    releases: dict[str, list[str]] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    data: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def clean(host: Host, connected: Callable[[], Lifecycle], test: bool = False) -> dict[str, object]:
    """Retire all instances on this node, remove all releases, and return both as :class:`Remains`, as plain data.

    :param host: the files of this node.
    :param connected: makes the Lifecycle of this node. It is not called if the node has nothing of ours but data.
    :param test: only say what would be done.
    :raises Refused: a deployment is not finished, or its record has instances on this node. Nothing was changed.
    """
    found = Remains(folders=[str(path) for path in _paths(host)], data=_data_in_root(host))
    if not _paths_of_apps(host):
        if not test:
            found.warnings = _remove_paths(host)
        return asdict(found)
    lifecycle = connected()
    apps = _apps(host, lifecycle)
    _refuse_needed(lifecycle, apps)
    found.data = sorted({*found.data, *_data_elsewhere(lifecycle, apps)})
    for app in apps:
        ids = sorted(i.id for i in lifecycle.inventory.instances(app))
        versions = host.releases.versions(app)
        found.instances.update({app: ids} if ids else {})
        found.releases.update({app: versions} if versions else {})
    if not test:
        remaining = _remove(host, lifecycle, apps)
        found.warnings = [*lifecycle.warnings, *remaining]
    return asdict(found)


def _remove(host: Host, lifecycle: Lifecycle, apps: Iterable[str]) -> list[str]:
    """Remove everything but the data of apps. Return a warning for each image that stays."""
    for app in apps:
        # Without ids, all instances are looked for again in the turn of this job.
        retirement.stop(lifecycle, app)
        for version in host.releases.versions(app):
            host.releases.remove(app, version)
    return _remove_paths(host)


def _remove_paths(host: Host) -> list[str]:
    # Also those of a release that cannot be read, or that could not be given back before.
    placement.release_all(host.root)
    claims, problems = host.root / images.FOLDER, images.tidy(host.root, set)
    with explained():
        for path in _paths(host):
            if path != claims or not problems:
                trees.remove(path)
        for home in homes(host):
            _remove_empty(home / "releases", home)
        _remove_empty(host.root)
    return [
        f"An image of saltdeploy stays in podman's storage ({problem}). Remove the container that uses it, then apply"
        f" app.clean again. {claims} says which images are saltdeploy's."
        for problem in problems
    ]


def _paths(host: Host) -> list[Path]:
    """Return the paths below the node's folder that jobs have made, without the data of apps."""
    return [*_paths_of_apps(host), *(p for p in (host.root / name for name in SHARED) if os.path.lexists(p))]


def _paths_of_apps(host: Host) -> list[Path]:
    found: list[Path] = []
    for home in homes(host):
        releases = home / "releases"
        # Files of somebody else stay.
        builds = sorted(p for p in releases.glob("*") if p.is_symlink() or p.name.startswith("."))
        found += [home / "instances", home / settings.FOLDER, *builds, *(home / name for name in turns.FILES)]
    return [path for path in found if os.path.lexists(path)]


def homes(host: Host) -> list[Path]:
    """Return the folders of apps on a node."""
    return sorted(p for p in host.root.glob("*") if names.is_app(p.name) and p.is_dir() and not p.is_symlink())


def _apps(host: Host, lifecycle: Lifecycle) -> list[str]:
    """Return the apps that files, the supervisor or discovery know on this node."""
    own = lifecycle.environment.name
    services = {i: e.meta.get("environment") for i, e in lifecycle.discovery.registered().items()}
    mine = {instance_of(i) for i, environment in services.items() if environment in (None, own)}
    ids = {i for i in {*mine, *lifecycle.runtime.states()} if names.is_instance(i)}
    return sorted({*(home.name for home in homes(host)), *(i.split("_", 1)[0] for i in ids)})


def _refuse_needed(lifecycle: Lifecycle, apps: Iterable[str]) -> None:
    """Raise Refused if clients or a deployment need instances on this node, or if that cannot be known."""
    problems = [problem for app in apps for problem in _needed(lifecycle, app)]
    if problems:
        raise Refused(joined(problems))


def _needed(lifecycle: Lifecycle, app: str) -> list[str]:
    node, environment = lifecycle.host.node, lifecycle.environment.name
    if restoration.is_locked(lifecycle, app):
        return [f"{app} is being deployed. Wait for the end of the deployment, then apply app.clean again."]
    record, wrong = restoration.read_record(lifecycle, app)
    if wrong or not record:
        return wrong
    unfinished = records.paused(app, environment, record) or hooks.frozen(app, environment, record)
    if unfinished:
        return [unfinished]
    ids = record["nodes"].get(node, [])
    if not ids:
        return []
    release = editions.release(record["version"])
    return [
        f"The record still has {', '.join(ids)} on {node}, so highstate would restore it. Give {node} a role that {app}"
        f" does not ask for, then run: salt-run deploy.app {app} {argument(release)} env={environment}."
        f" To end {app} everywhere: salt-run deploy.remove {app} env={environment} confirm=True."
    ]


def _data_in_root(host: Host) -> list[str]:
    return [str(home / DATA) for home in homes(host) if os.path.lexists(home / DATA)]


def _data_elsewhere(lifecycle: Lifecycle, apps: Iterable[str]) -> list[str]:
    """Return the existing data folders that definitions of ``apps`` name."""
    defined = [lifecycle.inventory.app(app) for app in apps]
    paths = [lifecycle.host.data.path(app) for app in defined if app.data]
    return [str(path) for path in paths if os.path.lexists(path)]


def _remove_empty(*folders: Path) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # it holds data, or files of somebody else
            folder.rmdir()
