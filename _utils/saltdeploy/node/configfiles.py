"""The files of ``config`` that running instances take in by a reload: written as they are now, or as they were."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..core.errors import Failed
from ..core.words import joined
from ..definition import instancefiles
from ..system.files import explained, write_file
from . import nodefiles, reloading, retirement
from .launch import Launch

if TYPE_CHECKING:
    from pathlib import Path

    from ..core.model import App, Instance
    from .lifecycle import Lifecycle

    Note = dict[str, Any]


def renew(
    lifecycle: Lifecycle,
    name: str,
    ids: Collection[str] | None = None,
    deployment: str | None = None,
    after: str | None = None,
    back: bool = False,
) -> list[str]:
    """Write the files of ``config`` that a reload takes in, and reload, one instance after the other. Return their ids.

    An instance whose files have not changed is not reloaded.

    :param ids: instances of app ``name``. None takes all.
    :param deployment: the deployment of this step.
    :param after: the deployment whose steps this step reverts.
    :param back: write the files as they were before the step of ``after``.
    :raises Refused: the app's definition does not say how to reload, or an instance is not here.
    :raises Failed: a template cannot be rendered, a file cannot be written, or the reload fails, as for
        :func:`reloading.reload`.
    """
    app = lifecycle.app(name)
    problems: list[str] = []
    with lifecycle.alone(name, deployment, after):
        app = lifecycle.host.settings.begun(app, deployment) if deployment else app
        chosen = lifecycle.select(name, ids)
        for instance in chosen:
            try:
                if back:
                    _bring_back(lifecycle, app, instance, after)
                else:
                    _take_in(lifecycle, app, instance, deployment)
            except Failed as exc:
                problems.append(str(exc))
                # Forward, the others stay as they are. On the way back, each gets its files.
                if not back:
                    break
    if problems:
        raise Failed(joined(problems))
    return [i.id for i in chosen]


def is_unfinished(lifecycle: Lifecycle, instance: str) -> bool:
    """Return whether a run was killed while an instance, given its id, took in files: nobody knows which it has."""
    return bool((_read(_path(lifecycle, instance)) or {}).get("unfinished"))


def _take_in(lifecycle: Lifecycle, app: App, instance: Instance, deployment: str | None) -> None:
    host, path = lifecycle.host, _path(lifecycle, instance.id)
    way, kept = reloading.way(lifecycle, app), host.settings.read(app.name, instance.version, instance.slot)
    if kept is None:
        raise Failed(f"{instance.id}: its settings are not kept, so its files stay. Restart it: deploy.restart")
    launch = Launch(app, instance, host, lifecycle.environment.name)
    texts = {target: launch.text(target, lifecycle.render) for target in way.files if target in kept.config}
    if texts.items() <= kept.config.items() and not is_unfinished(lifecycle, instance.id):
        return
    before = _read(path)
    if before is None or before.get("deployment") != deployment:
        before = {"deployment": deployment, "config": {target: kept.config[target] for target in texts}}
    _write(path, {**before, "unfinished": True})
    launch.write_config(texts)
    reloading.one(lifecycle, app, instance, deployment)
    _finish(lifecycle, instance, before, texts)


def _bring_back(lifecycle: Lifecycle, app: App, instance: Instance, deployment: str | None) -> None:
    """Write the files as they were before ``deployment``, and reload. If that fails, restart."""
    path = _path(lifecycle, instance.id)
    before = _read(path)
    if before is None or before.get("deployment") != deployment:
        return
    _write(path, {**before, "unfinished": True})
    lifecycle.launch(app, instance).write_config(before["config"])
    try:
        # The tests may be as new as the files.
        reloading.one(lifecycle, app, instance, tests=False)
    except Failed as exc:
        lifecycle.warnings.append(f"{exc}. It is restarted with its former files.")
        retirement.restart_one(lifecycle, replace(app, tests=()), instance)
    _finish(lifecycle, instance, before, before["config"])


def _finish(lifecycle: Lifecycle, instance: Instance, before: Note, texts: Mapping[str, str]) -> None:
    """Keep the files that an instance has taken in. This comes last, so that nobody trusts a step that was killed."""
    lifecycle.host.settings.renew(instance.app, instance.version, instance.slot, texts)
    _write(_path(lifecycle, instance.id), {**before, "unfinished": False})


def _read(path: Path) -> Note | None:
    """Return the note on the files before the last deployment that changed them. None if there is none."""
    found = nodefiles.read(path)
    return found if isinstance(found, dict) and isinstance(found.get("config"), dict) else None


@explained()
def _write(path: Path, note: Note) -> None:
    write_file(path, json.dumps(note), 0o600)


def _path(lifecycle: Lifecycle, instance: str) -> Path:
    return lifecycle.host.instances.folder(instance) / instancefiles.CONFIG_BEFORE
