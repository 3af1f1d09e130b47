"""A folder of pillar, read without a master: its environments and apps, and the file of each."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import appfiles, environmentfiles

# The folders below a folder of pillar.
ENVIRONMENTS, APPS = "environments", "apps"


@dataclass(frozen=True)
class Contents:
    """The definitions in a folder of pillar.

    :param broken: file -> why it is left out.
    :param environment_files: environment -> the path of its file.
    :param app_files: app -> the paths of its files.
    """

    apps: dict[str, Any]
    environments: dict[str, Any]
    broken: dict[str, str]
    environment_files: dict[str, Path] = field(default_factory=dict)
    app_files: dict[str, list[Path]] = field(default_factory=dict)

    @property
    def pillar(self) -> dict[str, Any]:
        """The definitions as the master's pillar has them."""
        return {"apps": self.apps, "environments": self.environments, "saltdeploy_broken": self.broken}


def folders(opts: Mapping[str, Any]) -> list[Path]:
    """Return the folders of pillar of a master that have environments.

    :param opts: the master's options.
    """
    roots = opts.get("pillar_roots") or {}
    found = roots.get(opts.get("saltenv") or "base") or []
    return [Path(root) for root in found if (Path(root) / ENVIRONMENTS).is_dir()]


def read(root: Path, opts: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]] | None = None) -> Contents:
    """Return the definitions below the folder ``root``. Nothing is written, and nobody is asked.

    :param opts: the options that pillar is made with.
    :param functions: ``__salt__``. None loads Salt's modules.
    """
    saltenv = opts.get("saltenv") or "base"
    # Jinja imports from this folder, and not from that of a master.
    opts = {**opts, "pillar_roots": {saltenv: [str(root)]}}
    if functions is None:
        import salt.loader

        functions = salt.loader.minion_mods(dict(opts))
    folder = root / ENVIRONMENTS
    environments, broken = environmentfiles.read(folder)
    environments = {n: environmentfiles.decrypt(e, opts, functions) for n, e in environments.items()}
    files, unread = appfiles.render(root / APPS, opts, functions, saltenv) if (root / APPS).is_dir() else ({}, {})
    app_files: dict[str, list[Path]] = {}
    for name, data in files.items():
        for app in data.get("apps") or {}:
            app_files.setdefault(app, []).append(appfiles.path_of(root / APPS, name))
    return Contents(
        apps=dict(appfiles.everything(files).get("apps") or {}),
        environments=environments,
        broken={**broken, **unread},
        environment_files=environmentfiles.places(folder),
        app_files=app_files,
    )


@contextlib.contextmanager
def offline() -> Iterator[dict[str, Any]]:
    """Yield the options to read pillar with where there is no master. Nothing of this machine's Salt is used."""
    import salt.config
    import salt.loader

    with tempfile.TemporaryDirectory(prefix="saltdeploy-") as private:
        opts = dict(salt.config.DEFAULT_MINION_OPTS)
        opts.update(id="validate", file_client="local", root_dir=private, cachedir=private)
        opts.update(extension_modules=private, conf_file=f"{private}/minion", gpg_keydir=f"{private}/gpgkeys")
        # The keys are elsewhere.
        opts["gpg_decrypt_must_succeed"] = False
        opts["grains"] = salt.loader.grains(opts)
        yield opts
