"""The files of ``config`` that running instances take in by a reload: written as they are now, or as they were."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from ..core.errors import Failed
from ..definition import instancefiles
from ..system.files import explained, write_file
from . import nodefiles, reloading
from .launch import Launch

if TYPE_CHECKING:
    from pathlib import Path

    from ..core.model import App, Instance
    from .lifecycle import Lifecycle


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
    with lifecycle.alone(name, deployment, after):
        app = lifecycle.host.settings.begun(app, deployment) if deployment else app
        chosen = lifecycle.select(name, ids)
        for instance in chosen:
            if back:
                _bring_back(lifecycle, app, instance, after)
            else:
                _take_in(lifecycle, app, instance, deployment)
    return [i.id for i in chosen]


def _take_in(lifecycle: Lifecycle, app: App, instance: Instance, deployment: str | None) -> None:
    host = lifecycle.host
    way, kept = reloading.way(lifecycle, app), host.settings.read(app.name, instance.version, instance.slot)
    if kept is None:
        raise Failed(f"{instance.id}: its settings are not kept, so its files stay. Restart it: deploy.restart")
    launch = Launch(app, instance, host, lifecycle.environment.name)
    texts = {target: launch.text(target, lifecycle.render) for target in way.files if target in kept.config}
    changed = {target: text for target, text in texts.items() if text != kept.config[target]}
    if not changed:
        return
    if _before(_path(lifecycle, instance), deployment) is None:
        before = {"deployment": deployment, "config": {target: kept.config[target] for target in changed}}
        with explained():
            write_file(_path(lifecycle, instance), json.dumps(before), 0o600)
    launch.write_config(changed)
    reloading.one(lifecycle, app, instance)
    # This comes last, so that a run that was killed before it is not taken for one that has reloaded.
    _keep(lifecycle, instance, changed)


def _bring_back(lifecycle: Lifecycle, app: App, instance: Instance, deployment: str | None) -> None:
    """Write the files as they were before ``deployment``, and reload. If that fails, restart."""
    before = _before(_path(lifecycle, instance), deployment)
    if before is None:
        return
    lifecycle.launch(app, instance).write_config(before["config"])
    _keep(lifecycle, instance, before["config"])
    try:
        reloading.one(lifecycle, app, instance)
    except Failed as exc:
        lifecycle.warnings.append(f"{exc}. It is restarted with its former files.")
        lifecycle.restart_one(app, instance)


def _keep(lifecycle: Lifecycle, instance: Instance, texts: Mapping[str, str]) -> None:
    lifecycle.host.settings.renew(instance.app, instance.version, instance.slot, texts)


def _before(path: Path, deployment: str | None) -> dict[str, Any] | None:
    """Return the note on the files before ``deployment``. None if it did not change them."""
    found = nodefiles.read(path)
    is_its = isinstance(found, dict) and found.get("deployment") == deployment and isinstance(found.get("config"), dict)
    return found if is_its else None


def _path(lifecycle: Lifecycle, instance: Instance) -> Path:
    return lifecycle.host.instances.folder(instance.id) / instancefiles.CONFIG_BEFORE
