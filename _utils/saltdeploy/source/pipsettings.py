"""The settings of a node for pip, as uv understands them."""

from __future__ import annotations

import configparser
import os
import stat
from collections.abc import Mapping
from pathlib import Path

# pip's settings that uv has, and the variables that it has them in.
KNOWN = {
    "index-url": "UV_DEFAULT_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "retries": "UV_HTTP_RETRIES",
}
# The setting of pip that is an option of uv, and the values by which it is on.
NO_INDEX, ON = "no-index", ("y", "yes", "t", "true", "on", "1")
# pip's settings that do not change the content of a virtualenv.
WITHOUT_EFFECT = {
    "break-system-packages",
    "cache-dir",
    "disable-pip-version-check",
    "no-cache-dir",
    "no-color",
    "no-input",
    "no-python-version-warning",
    "no-warn-script-location",
    "progress-bar",
    "quiet",
    "require-virtualenv",
    "root-user-action",
    "use-pep517",
    "verbose",
}
# The settings that may have several values, and the separator of uv.
LISTS = {"find-links": ",", "trusted-host": " "}
FILES = ("/etc/xdg/pip/pip.conf", "/etc/pip.conf")
OWN_FILES = (".pip/pip.conf", ".config/pip/pip.conf")


def for_uv(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]] | None:
    """Return pip's settings on this node as variables and options of uv, or None if uv cannot have the same settings.

    :param environment: the environment of pip, with its home.
    """
    files = _of_files(environment)
    if files is None:
        return None
    prefix = "PIP_"
    own = {_key(name[len(prefix) :]): value for name, value in environment.items() if name.startswith(prefix)}
    own.pop("config-file", None)
    found: dict[str, str] = {}
    options: list[str] = []
    for name, value in {**files, **own}.items():
        if name in KNOWN:
            found[KNOWN[name]] = LISTS[name].join(value.split()) if name in LISTS else value
        elif name == NO_INDEX:
            options += ["--no-index"] if value.strip().lower() in ON else []
        elif name not in WITHOUT_EFFECT:
            return None
    return found, options


def _of_files(environment: Mapping[str, str]) -> dict[str, str] | None:
    """Return the settings in pip's files, or None if not all of them can be read by everybody."""
    named = environment.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return {}
    home = Path(environment["HOME"])
    paths = [*map(Path, FILES), *(home / each for each in OWN_FILES), *([Path(named)] if named else [])]
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for path in paths:
        parser = configparser.RawConfigParser()
        try:
            # pip leaves out a file that its user may not read. This process may read any file.
            if not path.stat().st_mode & stat.S_IROTH:
                return None
            parser.read_string(path.read_text())
        except FileNotFoundError:
            continue
        except (OSError, ValueError, configparser.Error):
            return None
        for section, settings in sections.items():
            if parser.has_section(section):
                settings.update({_key(name): value for name, value in parser.items(section)})
    return {**sections["global"], **sections["install"]}


def _key(name: str) -> str:
    return name.lower().lstrip("-").replace("_", "-")
