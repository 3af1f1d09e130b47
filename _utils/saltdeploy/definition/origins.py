"""The values of an environment as it is resolved, each with the place that it comes from. Pure: mappings only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..core import advice, urls, words
from ..core.redaction import HIDDEN
from . import inheritance
from .schema import APPS, ENVIRONMENTS
from .schema.keys import ROOTED

# The key of the master's pillar with the file of each environment and each app. ``computed`` has the key paths of the
# values that saltdeploy has computed, by environment, and ``discovery`` what the file of the environment has there.
FILES = "saltdeploy_files"
# Names of projects, which may also be URLs with a login.
PROJECTS = (("source", "pip"), ("source", "requirements"))
# The beginnings of places.
PLACES = ("http://", "https://", "salt://", "file://", "/")
# The origin of a value that no file has.
COMPUTED = "computed"
# A key path.
Path = tuple[Any, ...]


class Value(NamedTuple):
    """A value of a definition.

    :param key: its key path below the environment.
    :param value: the value, ``***`` if it may be secret.
    :param origin: the file that it is from, or the environment or app if nobody knows the file.
    """

    key: str
    value: Any
    origin: str


def values(pillar: Mapping[str, Any], name: str) -> list[Value]:
    """Return all values of the environment ``name`` with its apps, in the order of their definition.

    :param pillar: the master's own pillar.
    :raises DefinitionError: its bases are not there.
    """
    environments, apps = pillar["environments"], inheritance.mapping(pillar, "apps")
    links = inheritance.chain(environments, name)
    resolved = inheritance.resolve(environments, name)
    placed = resolved["apps"]
    whole = {**resolved, "apps": merged(apps, placed)}
    origins = _Origins(pillar, links, placed)
    return [
        Value(words.path(path, whole), shown(path, value), origins.of(path, value)) for path, value in leaves(whole)
    ]


def merged(apps: Mapping[str, Any], placed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the definitions of ``apps`` with their settings in an environment. An app of a wrong shape is left out."""
    return {
        app: inheritance.merge(apps.get(app) or {}, settings or {})
        for app, settings in placed.items()
        if isinstance(settings or {}, dict) and isinstance(apps.get(app) or {}, dict)
    }


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield the path of each value that is neither a mapping nor a list with mappings in it."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield from leaves(item, (*path, number))
    else:
        yield path, value


def shown(path: Path, value: Any) -> Any:
    """Return the part of ``value`` that is free of secrets, ``***`` for the rest."""
    form: Mapping[str, Any] = ENVIRONMENTS["additionalProperties"]
    keys = list(path)
    if keys[:1] == ["apps"] and len(keys) > 1:
        form, keys = APPS["additionalProperties"], keys[2:]
    for key in keys:
        form = below(form, key)
    if tuple(keys[:2]) in PROJECTS:
        form = {**form, "examples": ["shop"]} if "://" not in str(value) and "@" not in str(value) else form
    if isinstance(value, list):
        return [_public(item, below(form, 0) or form) for item in value]
    return _public(value, form)


def below(form: Mapping[str, Any], key: object) -> Mapping[str, Any]:
    """Return the schema of the value under ``key``, of any of the forms that a mapping or a list may have."""
    for each in (form, *form.get("anyOf", ())):
        items, properties, more = (each.get(name) for name in ("items", "properties", "additionalProperties"))
        if isinstance(key, int) and isinstance(items, dict):
            examples = each.get("examples") or form.get("examples")
            return {**items, **({"examples": examples} if examples else {})}
        if key in (properties or {}):
            return properties[key]
        if isinstance(more, dict):
            return more
    return {}


def _public(value: Any, form: Mapping[str, Any]) -> Any:
    """Return a single value as far as its schema says that it is free of secrets."""
    forms = (form, *form.get("anyOf", ()))
    if any(each.get("writeOnly") for each in forms):
        return HIDDEN
    if value in ({}, [], None) or isinstance(value, bool) or any(advice.may_be_shown(each, value) for each in forms):
        return value
    if isinstance(value, str) and (urls.has_secret(value) or urls.has_password(value)):
        return HIDDEN
    if isinstance(value, str) and any(each == ROOTED for each in forms) and re.match(ROOTED["pattern"], value):
        return HIDDEN.join(re.split(r"(?<=\?).*", value, maxsplit=1, flags=re.DOTALL)) if "?" in value else value
    # A text of any form may be anything, for example a variable. Of a URL, only a login and a query may be secret.
    if isinstance(value, str) and value.startswith(PLACES) and any("pattern" in each for each in forms):
        return re.split(r"[?#]", urls.public(value), maxsplit=1)[0]
    return HIDDEN


class _Origins:
    """The places that the values of an environment come from.

    :param links: the environment and its bases, itself first.
    :param placed: the settings of its apps, resolved.
    """

    def __init__(self, pillar: Mapping[str, Any], links: Sequence[str], placed: Mapping[str, Any]) -> None:
        self.environments, self.links, self.placed = pillar["environments"], links, placed
        files = inheritance.mapping(pillar, FILES)
        self.files = {kind: inheritance.mapping(files, kind) for kind in ("environments", "apps")}
        self.computed = inheritance.mapping(files, "computed").get(links[0]) or []
        self.discovery = inheritance.mapping(files, "discovery")

    def of(self, path: Path, value: Any) -> str:
        """Return the origin of the value at ``path``."""
        if list(path) in self.computed:
            return COMPUTED
        # An item of a list is from the place of the list.
        path = next((path[:n] for n, key in enumerate(path) if isinstance(key, int)), path)
        for number, link in enumerate(self.links):
            # A base keeps its nodes.
            if number and path[:1] == ("nodes",):
                break
            stated, is_there = _at(self._stated(link), path)
            if is_there:
                scaled = path[:1] == ("apps",) and path[2:] == ("instances",) and stated != value
                scale = ", ".join(f"scale {self._scale(n)}" for n in self.links[:number] if self._scale(n) != 1)
                return f"{self._file('environments', link)}{f' ({stated}, {scale})' if scaled else ''}"
        return self._file("apps", path[1]) if path[:1] == ("apps",) and len(path) > 1 else ""

    def _stated(self, link: str) -> Any:
        """Return an environment as its file has it."""
        raw, own = self.environments[link], self.discovery
        return {**raw, "discovery": own[link]} if link in own else raw

    def _scale(self, link: str) -> Any:
        return self.environments[link].get("scale", 1)

    def _file(self, kind: str, name: str) -> str:
        return str(self.files[kind].get(name) or f"{kind}:{words.name(name)}")


def _at(value: Any, path: Path) -> tuple[Any, bool]:
    """Return the value at ``path``, and whether there is one."""
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return None, False
        value = value[key]
    return value, True
