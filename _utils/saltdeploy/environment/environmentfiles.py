"""The files of environments, on the master: plain YAML, which may hold gpg ciphertext."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..core import bounds, words
from ..core.errors import DefinitionError
from ..definition import inheritance, yamlfile

# Each environment, and why a file of environments is left out.
Environments = tuple[dict[str, Any], dict[str, str]]
# The same, and the path of the file of each environment.
Files = tuple[dict[str, Any], dict[str, str], dict[str, Path]]

log = logging.getLogger(__name__)

# The renderers that the first line of a file of plain YAML may name.
PLAIN = ("", "yaml", "yaml|gpg")
# The loaders of this folder are programs: their first line names this renderer.
PROGRAM = "py"
# The files that were read before: folder -> (their state then, their data). Each node's pillar needs all files, to find
# the file that lists the node. So a refresh of all nodes would read each file as often as there are nodes.
_READ: dict[Path, tuple[object, Files]] = {}


def read(folder: str | os.PathLike[str]) -> Environments:
    """Return ``(environments, broken)`` of every plain YAML ``*.sls`` in ``folder``.

    :returns: the mapping of all environments, which the caller may change, and ``{file: why}`` of the files left out.
    """
    environments, broken, _ = _kept(folder)
    return copy.deepcopy(environments), dict(broken)


def places(folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Return the path of the file of each environment in ``folder``."""
    return dict(_kept(folder)[2])


def _kept(folder: str | os.PathLike[str]) -> Files:
    """Return the same as :func:`read` and :func:`places`, but the caller must not change it."""
    folder = Path(folder)
    paths = sorted(folder.glob("*.sls"))
    looks = tuple(map(_look, paths))
    if folder not in _READ or _READ[folder][0] != looks:
        _READ[folder] = (looks, _read(paths))
    return _READ[folder][1]


def label(path: Path) -> str:
    """Return how a message names the file ``path``: with its folder, as people know it."""
    return f"{path.parent.name}/{path.name}"


def decrypt(value: Any, opts: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]) -> Any:
    """Return ``value`` (plain data) with its gpg ciphertext decrypted by Salt's own renderer, with the master's keys.

    Ciphertext that cannot be decrypted stays as it is: validation refuses it, by its key path.

    :param opts: the master's options.
    :param functions: ``__salt__``, or {} if there is none.
    """
    if not any(True for _ in yamlfile.ciphertexts(value)):
        return value
    import salt.loader

    try:
        render = salt.loader.render(opts, functions)["gpg"]
    except Exception as exc:  # Any exception of a loader on options that it does not know.
        log.error("Salt's gpg renderer cannot be loaded (%s): ciphertext stays as it is", type(exc).__name__)
        return value
    return _decrypted(value, render)


def _decrypted(value: Any, render: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {key: _decrypted(inner, render) for key, inner in value.items()}
    if isinstance(value, list):
        return [_decrypted(inner, render) for inner in value]
    if not yamlfile.is_ciphertext(value):
        return value
    try:
        return render(value)
    except Exception as exc:  # No gpg, or `gpg_decrypt_must_succeed`. Its text holds the ciphertext.
        log.error("A gpg ciphertext in a file of environments cannot be decrypted: %s", type(exc).__name__)
        return value


def _look(path: Path) -> tuple[object, ...]:
    """Return the name of a file, and values that change with its content."""
    try:
        stat = path.stat()
        return path.name, stat.st_mtime_ns, stat.st_size, stat.st_ino
    except OSError:
        return path.name, None


def _read(paths: Iterable[Path]) -> Files:
    environments: dict[str, Any] = {}
    files: dict[str, Path] = {}
    broken: dict[str, str] = {}
    for path in paths:
        try:
            found = _environments(path)
        except DefinitionError as exc:
            broken[label(path)] = str(exc).removeprefix(f"{path}: ")
            continue
        for name, environment in found.items():
            if name in files:  # Nobody knows which of them is meant.
                broken[label(path)] = (
                    f"environment {words.name(name)} is defined in {label(files[name])} too. Keep one."
                )
                environments.pop(name, None)
            else:
                environments[name], files[name] = environment, path
    return environments, broken, files


def _environments(path: Path) -> dict[str, Any]:
    """Return the environments of a file, or {} for a program."""
    renderers = yamlfile.shebang(path).replace(" ", "")
    if renderers == PROGRAM:
        return {}
    if renderers not in PLAIN:
        raise DefinitionError(
            f"the first line names {words.shown(renderers)}, and a file of environments is plain YAML. Allowed there"
            " is #!yaml|gpg, or nothing. Values that need a renderer belong to the app's file in apps/."
        )
    data = yamlfile.load(path)
    environments = data.get("environments") if isinstance(data, dict) else None
    if not isinstance(environments, dict):
        raise DefinitionError("must hold a mapping `environments`, of names to definitions.")
    bounds.check({"environments": environments})
    return environments


def own(folder: str | os.PathLike[str], minion: str) -> tuple[str | None, dict[str, Any], dict[str, str]]:
    """Return ``(name, environment, broken)`` of the only environment that lists ``minion``, resolved.

    :returns: the name is None if no environment lists it. ``broken`` is as in :func:`read`.
    """
    environments, broken, _ = _kept(folder)
    try:
        found = inheritance.own_environment(environments, minion)["environments"]
    except DefinitionError as exc:
        return None, {}, {**broken, "environments": str(exc)}
    return (*copy.deepcopy(next(iter(found.items()), (None, {}))), broken)
