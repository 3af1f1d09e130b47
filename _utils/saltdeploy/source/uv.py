"""uv, which installs Python packages as pip does, in a fraction of the time."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from . import pipsettings

# Variables that keep uv to pip's settings. It reads no file of its own, and fetches no Python.
OWN = {
    "UV_NO_CONFIG": "1",
    "UV_NO_PROGRESS": "1",
    "UV_PYTHON_DOWNLOADS": "never",
    "UV_SYSTEM_CERTS": "1",
    # Nothing compiles the files later. The app may not write to its release.
    "UV_COMPILE_BYTECODE": "1",
}


@dataclass(frozen=True)
class Uv:
    """uv with the settings that pip has on this node.

    :param options: its options for each installation.
    """

    program: str
    environment: Mapping[str, str]
    options: tuple[str, ...] = ()

    def copied(self, path: Path) -> Uv:
        """Return uv with a copy of its program at ``path``."""
        shutil.copy(self.program, path)
        return replace(self, program=str(path))


def find(of_pip: Mapping[str, str], private: Path, requirements: Sequence[str], index: str) -> Uv | None:
    """Return uv, or None if it is not on this node, or cannot have pip's settings.

    :param of_pip: the environment of pip.
    :param private: a folder for the build's own files.
    :param requirements: the lines to install. An option among them may mean something else to uv.
    :param index: the package index of the definition, if any.
    """
    program, settings = _program(of_pip["PATH"]), pipsettings.for_uv(of_pip)
    if not program or settings is None or any(line.lstrip().startswith("-") for line in requirements):
        return None
    variables, options = settings
    kept = {name: value for name, value in of_pip.items() if not name.startswith("PIP_")}
    if "REQUESTS_CA_BUNDLE" in kept:
        kept["SSL_CERT_FILE"] = kept["REQUESTS_CA_BUNDLE"]
    if index:
        variables["UV_DEFAULT_INDEX"] = index
    # pip asks for all hashes as soon as one is given.
    if any("--hash=" in line for line in requirements):
        options.append("--require-hashes")
    # uv links the files of its cache into the virtualenv. So no other build may have the same cache.
    return Uv(program, {**kept, **variables, **OWN, "UV_CACHE_DIR": str(private / "uv-cache")}, tuple(options))


def _program(path: str) -> str:
    """Return the path of uv, of Salt's own Python or else on ``path``. Empty if there is none."""
    try:
        return str(importlib.import_module("uv").find_uv_bin())
    except (ImportError, FileNotFoundError):
        return shutil.which("uv", path=path) or ""
