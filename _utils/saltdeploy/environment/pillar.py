"""Pillar, made on the master from the files of apps and environments: all of it for the master, a part for a node.

A mistake in one file stops nothing else: the file is left out, and ``saltdeploy_broken`` says why.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import bounds
from ..core.errors import DefinitionError, Failed
from ..definition import inheritance, platforms, validation
from ..definition.origins import FILES, leaves
from . import appfiles, environmentfiles

if TYPE_CHECKING:
    from . import secretstore

Functions = Mapping[str, Callable[..., Any]]

# Each environment's digest and its mistakes: they are the same for all its nodes.
_PROBLEMS: dict[str, tuple[str, str]] = {}


def all_environments(
    folder: str | os.PathLike[str],
    opts: Mapping[str, Any] | None = None,
    functions: Functions | None = None,
    saltenv: str = "base",
) -> dict[str, Any]:
    """Return ``{"environments", "apps", …}`` of every file: plain YAML ``*.sls`` in ``folder``, SLS in ``../apps``.

    A file whose first line is ``#!py`` is a program, not an environment.

    :param opts: the master's options, for its keys and secrets. None means environments only, without secrets.
    :param functions: ``__salt__``.
    """
    environments, broken = environmentfiles.read(folder)
    broken = dict(broken)
    places = {name: environmentfiles.label(path) for name, path in environmentfiles.places(folder).items()}
    if not opts:
        return _pillar({"environments": environments, FILES: {"environments": places, "apps": {}}}, broken)
    environments = {n: environmentfiles.decrypt(e, opts, functions or {}) for n, e in environments.items()}
    # All of them before any is changed, because an environment may be based on another.
    computed = {}
    for name in environments:
        try:
            computed[name] = _discovery_of_master(environments, name, opts)
        except DefinitionError as exc:
            # Another environment may be based on this one, so it stays. A verb for it gets this reason.
            broken[inheritance.unusable(name)] = str(exc)
    stated = {name: environments[name].get("discovery") for name, found in computed.items() if found}
    added = {name: _added(environments, name, discovery) for name, discovery in computed.items() if discovery}
    for name, discovery in computed.items():
        if discovery:
            environments[name]["discovery"] = discovery
    files, unread = _apps(folder, opts, functions, saltenv)
    labels: dict[str, list[str]] = {}
    for file, data in files.items():
        for app in data.get("apps") or {}:
            labels.setdefault(app, []).append(appfiles.label_of(folder, file))
    apps = {app: " and ".join(some) for app, some in labels.items()}
    found = {**appfiles.everything(files), "environments": environments}
    of_files = {"environments": places, "apps": apps, "computed": added, "discovery": stated}
    return _pillar({**found, FILES: of_files}, {**broken, **unread})


def own_environment(
    folder: str | os.PathLike[str],
    minion: str,
    opts: Mapping[str, Any] | None = None,
    functions: Functions | None = None,
    saltenv: str = "base",
) -> dict[str, Any]:
    """Return the pillar of ``minion``: the only environment in ``folder`` that lists it, resolved, and its apps.

    If highstate sets up Consul or SkyDNS there, ``saltdeploy_consul`` or ``saltdeploy_skydns`` is beside it, with all
    data that this node needs for that.
    Of apps that may not run there, the pillar has only the keys that other nodes need, and no secret.

    The minion's id decides, for which the minion has a key. Its grains never do, because the minion sets them itself.

    :param opts: the master's options, see :func:`all_environments`.
    """
    name, environment, broken = environmentfiles.own(folder, minion)
    if name is None:
        return _pillar({"environments": {}}, broken)
    files, unread = _apps(folder, opts, functions, saltenv) if opts else ({}, {})
    pillar, placed, mine = appfiles.share(files, environment, minion, unread)
    if "apps" in environment:
        environment["apps"] = placed
    environment = appfiles.unmeasured(environment)
    if opts:
        environment = environmentfiles.decrypt(environment, opts, functions or {})
    problem = _problem(name, environment)
    if problem:
        return _pillar({"environments": {}}, {**broken, f"environment {name}": problem})
    found = {**pillar, "environments": {name: environment}}
    platform = platforms.of(environment)
    if opts and platform:
        identities = platform.identities(name, environment)
        try:
            kept = _secrets(opts, name, identities, placed, minion)
        except DefinitionError as exc:
            return _pillar({"environments": {}}, {**broken, f"environment {name}": str(exc)})
        computed = platform.discovery_of_node(environment, minion, kept)
        environment["discovery"] = inheritance.merge(computed, environment.get("discovery") or {})
        found[platform.PILLAR] = platform.node(name, environment, minion, kept, mine)
    return _pillar(found, {**broken, **unread})


def _pillar(found: Mapping[str, Any], broken: Mapping[str, str]) -> dict[str, Any]:
    return {**found, **({"saltdeploy_broken": broken} if broken else {})}


def _added(environments: Mapping[str, Any], name: str, discovery: Mapping[str, Any]) -> list[list[Any]]:
    """Return the key paths of the values of ``discovery`` that no file has."""
    stated = inheritance.resolve(environments, name).get("discovery") or {}
    written = {path for path, _ in leaves(stated)}
    return [["discovery", *path] for path, _ in leaves(discovery) if path not in written]


def _apps(
    folder: str | os.PathLike[str], opts: Mapping[str, Any], functions: Functions | None, saltenv: str
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return the files of apps beside the folder of environments, see appfiles.render."""
    apps = Path(folder).parent / "apps"
    if not apps.is_dir():
        return {}, {}
    if functions is None:  # A loader of an earlier version gives no functions.
        import salt.loader

        functions = salt.loader.minion_mods(opts)
    return appfiles.render(apps, opts, functions, saltenv)


def _problem(name: str, environment: Mapping[str, Any]) -> str:
    """Return the mistakes in a node's environment, which states render, without its apps, or an empty text."""
    rest = {key: value for key, value in environment.items() if key != "apps"}
    digest = validation.digest(rest)
    if name not in _PROBLEMS or _PROBLEMS[name][0] != digest:
        _PROBLEMS[name] = (digest, _sought(name, rest))
    return _PROBLEMS[name][1]


def _sought(name: str, environment: Mapping[str, Any]) -> str:
    try:
        found = validation.problems_again({"apps": {}, "environments": {name: environment}}) or {}
        platform = platforms.of(environment)
        if platform and not found:
            platform.identities(name, environment)
    except DefinitionError as exc:
        return str(exc)
    return validation.listed(found.get(validation.ENVIRONMENT, []))


def _discovery_of_master(environments: Mapping[str, Any], name: str, opts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return how the master reaches the discovery that highstate sets up for an environment, or None without it.

    :raises DefinitionError: its secrets cannot be used.
    """
    try:
        resolved = inheritance.resolve(environments, name)
        platform = platforms.of(resolved)
        if not platform:
            return None
        identities = platform.identities(name, resolved)
    except DefinitionError:
        return None  # A command for this environment reports its mistake.
    except bounds.WRONG_SHAPE:
        return None
    kept = _secrets(opts, name, identities, inheritance.mapping(resolved, "apps"), "")
    computed = platform.discovery_of_master(resolved, kept, _store(opts).authority(name))
    return inheritance.merge(computed, resolved.get("discovery") or {})


def _secrets(
    opts: Mapping[str, Any],
    name: str,
    identities: secretstore.Identities,
    apps: Mapping[str, Any],
    node: str,
) -> platforms.Secrets:
    """Return the secrets of an environment, see secretstore.Secrets.get.

    :raises DefinitionError: they cannot be read, or cannot be written. No other environment needs them.
    """
    try:
        return _store(opts).get(name, identities, platforms.named(apps), node=node)
    except DefinitionError:
        raise
    except Failed as exc:  # Another process holds them for too long.
        raise DefinitionError(str(exc)) from None
    except bounds.WRONG_SHAPE as exc:
        # The text of the exception may hold a part of the file.
        raise DefinitionError(
            f"{_store(opts).folder}/{name}.json holds the secrets of discovery and is damaged ({type(exc).__name__})."
            " Restore it from your backup of the master's keys."
        ) from None


def _store(opts: Mapping[str, Any]) -> secretstore.Secrets:
    from . import secretstore  # the master has its libraries, a node may not.

    return secretstore.Secrets(secretstore.folder(opts))
