"""The parts that the execution modules share, built from the objects that Salt's loader gives to each module."""

from __future__ import annotations

import os
import pwd
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import salt.exceptions
import salt.fileclient
import salt.pillar
import salt.utils.url

from ..core import limits
from ..core.errors import Failed
from ..definition import templateerrors
from .host import Host
from .lifecycle import Lifecycle

if TYPE_CHECKING:
    from ..core.model import App

# How long Salt itself waits until a minion has loaded its pillar, in seconds.
REFRESH = 30.0
# The kinds of sources whose installation may run the package manager.
INSTALLING = ("ansible", "package")
# The minion's options, its pillar, and ``__salt__``.
Options = Mapping[str, Any]
Pillar = Mapping[str, Any]
Functions = Mapping[str, Callable[..., Any]]


def lifecycle(opts: Options, pillar: Pillar, functions: Functions) -> Lifecycle:
    """Return the Lifecycle of this node."""
    settings = _settings(opts, pillar)
    return Lifecycle(opts["id"], pillar, settings, partial(_fetch, opts, functions), partial(_render, functions))


def host(opts: Options, pillar: Pillar) -> Host:
    """Return the Host of this node, which need not be a node of an environment."""
    settings = _settings(opts, pillar)
    return Host(opts["id"], **({"root": settings["root"]} if "root" in settings else {}))


def _settings(opts: Options, pillar: Pillar) -> Mapping[str, Any]:
    """Return the node's ``saltdeploy`` settings from the places that ``config.get`` looks into, in this order.

    ``config.get`` would take the minion's pillar, which may be older than ``pillar``, and loads Salt's cloud modules.
    """
    grains: Mapping[str, Any] = opts.get("grains") or {}
    return opts.get("saltdeploy") or grains.get("saltdeploy") or pillar.get("saltdeploy") or {}


def packages(functions: Functions, names: Sequence[str]) -> Mapping[str, str]:
    """Return package -> its version, empty if it is not installed."""
    # With a single name, Salt returns a text.
    found = functions["pkg.version"](*names) if names else {}
    return found if isinstance(found, dict) else {names[0]: found}


def needs(app: App) -> dict[str, Any]:
    """Return the needs of an app's releases on this node, as plain data: ``packages``, ``user`` and ``states``."""
    user = app.user if os.geteuid() == 0 and app.user != "root" else ""
    return {"packages": list(app.packages), "user": user, "states": list(app.states)}


def prepared(lifecycle: Lifecycle, name: str, functions: Functions) -> bool:
    """Return whether this node has what the state ``app.release`` sets up before an installation of app ``name``.

    Nobody can tell whether further states have anything to do, nor what packages a source installs by itself: a state
    run waits for another one, which may be installing packages.
    """
    app = lifecycle.environment.apps.get(name)
    if app is None or app.source is None or app.source.kind in INSTALLING:
        return False
    wanted = needs(app)
    if wanted["states"] or not _has_user(wanted["user"]):
        return False
    try:
        return all(packages(functions, wanted["packages"]).values())
    except (salt.exceptions.CommandExecutionError, KeyError):  # the state run tells what is wrong
        return False


def _has_user(name: str) -> bool:
    try:
        return not name or bool(pwd.getpwnam(name))
    except KeyError:
        return False


def refresh(opts: Options, pillar: Pillar, functions: Functions) -> dict[str, Any]:
    """Return this node's pillar as the master has it now, and have the minion load it if it has changed.

    ``saltutil.refresh_pillar`` loads all modules again before it asks for the pillar. That takes longer than all of
    this.

    :param pillar: the pillar that the minion has.
    :raises Failed: the master does not send the pillar, or the minion does not load it in time.
    """
    uncached = {**opts, "pillar_cache": False}
    compiler = salt.pillar.get_pillar(
        uncached, opts["grains"], opts["id"], opts["saltenv"], pillarenv=opts.get("pillarenv")
    )
    try:
        fresh: dict[str, Any] = compiler.compile_pillar()
    except salt.exceptions.SaltException as exc:
        raise Failed(f"the master does not send its pillar to {opts['id']}: {exc}") from exc
    finally:
        compiler.destroy()
    if _without_schedule(fresh) != _without_schedule(pillar) and not _load(functions):
        # The next job, for example a state run, would have the old pillar.
        raise Failed(
            f"the minion of {opts['id']} did not take in its new pillar within {REFRESH:g} s."
            f" Run: salt {opts['id']} saltutil.refresh_pillar wait=True"
        )
    return fresh


def _load(functions: Functions) -> bool:
    """Have the minion load its pillar and return whether it did so in time. Salt returns True in any case."""
    began = time.monotonic()
    return bool(functions["saltutil.refresh_pillar"](wait=True)) and time.monotonic() - began < REFRESH


def _without_schedule(pillar: Pillar) -> dict[str, Any]:
    """Return a pillar without the key that the minion adds to it."""
    return {key: value for key, value in dict(pillar).items() if key != "schedule"}


def part(opts: Options, value: Any) -> Any:
    """Return this node's part of ``value``. A job for many nodes has a mapping of minion id to value."""
    return value.get(opts["id"], []) if isinstance(value, dict) else value


def _fetch(opts: Options, functions: Functions, url: str, path: Path | None) -> int | None:
    """Bring a ``salt://`` file, or a folder, as :class:`saltdeploy.source.base.Fetch` describes it."""
    if url.partition("?")[0].endswith("/"):
        _fetch_folder(opts, functions, url, path)
        return None
    if not (functions["cp.get_file"](url, str(path)) if path else functions["cp.hash_file"](url)):
        raise Failed(f"{url}: is not on the master: see its file_roots.")
    return None if path else _size(opts, url)


def _fetch_folder(opts: Options, functions: Functions, url: str, path: Path | None) -> None:
    """Bring all files below a ``salt://`` folder. Without a ``path`` only see whether it has any."""
    folder, environment = salt.utils.url.split_env(url)
    environment = environment or opts.get("saltenv") or "base"
    prefix = folder[len("salt://") :].strip("/") + "/"
    names = [name for name in functions["cp.list_master"](environment, prefix) if name.startswith(prefix)]
    if not names:
        raise Failed(f"{url}: the master has no files there: see its file_roots.")
    if len(names) > limits.FOLDER_FILES:
        raise Failed(f"{url}: has {len(names)} files, more than {limits.FOLDER_FILES}: refused.")
    for name in names if path else ():
        target = Path(path or "", name[len(prefix) :])
        target.parent.mkdir(parents=True, exist_ok=True)
        _fetch(opts, functions, salt.utils.url.create(name, environment), target)


def _size(opts: Options, url: str) -> int | None:
    """Return the size of an existing ``salt://`` file. Some file servers, for example git's, give only its mode."""
    path, environment = salt.utils.url.split_env(url)
    with salt.fileclient.get_file_client(opts) as client:
        found = client.hash_and_stat_file(path, environment or opts.get("saltenv") or "base")[1]
    return found[stat.ST_SIZE] if found and len(found) > stat.ST_SIZE else None


def _render(functions: Functions, template: str, path: Path, context: Mapping[str, object]) -> None:
    problem = ""
    try:
        with templateerrors.quiet():
            done = functions["cp.get_template"](template, str(path), template="jinja", **context)
    except salt.exceptions.SaltRenderError as exc:
        done, problem = "", templateerrors.mistake(exc)
    if not done:
        # Salt returns the same for a missing file and for an error in a template.
        there = problem or functions["cp.hash_file"](template)
        problem = problem or (
            "cannot be rendered: see the minion's log" if there else "is not on the master: see its file_roots"
        )
        raise Failed(f"{template}: {problem}.")
