"""The files of apps, on the master: pillar SLS as Salt renders them, and the parts of them that a node gets."""

from __future__ import annotations

import copy
import json
import logging
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from ..core import advice, bounds, words
from ..core.environment import may_run
from ..core.errors import DefinitionError
from ..definition import inheritance, schema, templateerrors
from .environmentfiles import label

# The data in each file.
Files = Mapping[str, dict[str, Any]]

log = logging.getLogger(__name__)

# Salt's default renderer.
RENDERER = "jinja|yaml"
# The files of plain YAML that were rendered before: path -> (their text then, their data and the mistake in it). Each
# node's pillar needs all files, to find those of its apps. So a refresh of all nodes would render each file as often as
# there are nodes.
_RENDERED: dict[Path, tuple[str, tuple[dict[str, Any], str]]] = {}

# The keys that a node gets of an app that may not run there. Load balancers, tests from a peer, and templates that look
# for the app need them. No command, no file and no setting of the app is in them.
ELSEWHERE = (
    "ports",
    "user",
    "resources",
    "frontend",
    "requires",
    "roles",
    "checks",
    "tests",
    "strategy",
    "stop",
    "data",
    "version",
    "instances",
)
# The keys that only the definition of an app has.
OF_DEFINITIONS = {"source", "run"}


def path_of(folder: Path, name: str) -> Path:
    """Return the path of a file of apps in ``folder`` by its name: ``shop.sls`` or ``shop/init.sls``."""
    plain = folder / f"{name}.sls"
    return plain if plain.exists() else folder / name / "init.sls"


def label_of(environments: str | os.PathLike[str], name: str) -> str:
    """Return how a message names the file of apps called ``name``, beside the folder ``environments``."""
    apps = Path(environments).parent / "apps"
    return f"{apps.name}/{path_of(apps, name).relative_to(apps)}"


def render(
    folder: str | os.PathLike[str],
    opts: Mapping[str, Any],
    functions: Mapping[str, Callable[..., Any]],
    saltenv: str = "base",
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return ``(files, broken)``: the data in each ``*.sls`` of a folder, and ``{file: why}`` of the files left out.

    ``init.sls`` is none of them: it may include the others.

    :param opts: the options that pillar is made with.
    :param functions: ``__salt__``.
    """
    import salt.loader

    folder, plain = Path(folder), _renders_plain(opts)
    found: dict[str, dict[str, Any]] = {}
    broken: dict[str, str] = {}
    paths = [p for p in sorted([*folder.glob("*.sls"), *folder.glob("*/init.sls")]) if p != folder / "init.sls"]
    renderers = salt.loader.render(opts, functions) if paths else None
    for path in paths:
        # apps/shop.sls and apps/shop/init.sls are apps.shop.
        name = path.parent.name if path.name == "init.sls" else path.stem
        try:
            text = _plain(path) if plain else None
            kept = _RENDERED.get(path)
            if kept and kept[0] == text:
                found[name], wrong = copy.deepcopy(kept[1])
            else:
                found[name], wrong = _usable(_data(_compile(path, f"{folder.name}.{name}", renderers, opts, saltenv)))
                # Somebody may have written the file meanwhile.
                if text is not None and text == _plain(path):
                    _RENDERED[path] = (text, copy.deepcopy((found[name], wrong)))
            if wrong:
                broken[label(path)] = wrong
        except DefinitionError as exc:
            broken[label(path)] = str(exc)
        except Exception as exc:  # Any exception of a renderer, or of a program, on a mistake.
            broken[label(path)] = templateerrors.mistake(exc)
    for file, why in broken.items():
        log.info("%s is left out of pillar: %s", file, why)
    _without_inner_includes(found, folder.name)
    return found, broken


def _renders_plain(opts: Mapping[str, Any]) -> bool:
    """Return whether a file without Jinja's marks is rendered to the same data each time."""
    return opts.get("renderer", RENDERER) == RENDERER and not (opts.get("jinja_env") or opts.get("jinja_sls_env"))


def _plain(path: Path) -> str | None:
    """Return the text of a file of plain YAML. None if it is a program or a template, or cannot be read."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError):
        return None
    return None if text.startswith("#!") or any(mark in text for mark in ("{{", "{%", "{#")) else text


def _compile(path: Path, sls: str, renderers: Any, opts: Mapping[str, Any], saltenv: str) -> Any:
    from salt.template import compile_template

    lists = opts.get("renderer_blacklist"), opts.get("renderer_whitelist")
    with templateerrors.quiet():
        return compile_template(
            str(path), renderers, opts.get("renderer", RENDERER), *lists, saltenv, sls, _pillar_rend=True
        )


def _data(data: Any) -> dict[str, Any]:
    """Return the data in a file, or raise DefinitionError if it has another shape than pillar."""
    data = data or {}
    if not isinstance(data, dict):
        raise DefinitionError(f"found {advice.kind(data)}. Write a mapping `apps`, of names to definitions")
    if not isinstance(data.get("apps", {}), dict):
        raise DefinitionError(f"apps: found {advice.kind(data['apps'])}. Write a mapping of name to definition")
    for key, value in data.items():
        if key != "apps" and isinstance(value, dict) and any(map(_is_definition, (value, *value.values()))):
            # All nodes would get it, as they get all data that belongs to no app.
            raise DefinitionError(f"{words.name(key)}: is an app's definition, and not below `apps`. Write it there")
    return dict(data)


def _is_definition(value: object) -> bool:
    return isinstance(value, dict) and set(value) >= OF_DEFINITIONS


def _usable(data: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return a file without the apps that could not be sent to a node, and the mistake in the first of them.

    :raises DefinitionError: the rest of the file could not be sent.
    """
    try:
        json.dumps({key: value for key, value in data.items() if key != "apps"}, default=repr, skipkeys=True)
    except (ValueError, RecursionError):
        raise DefinitionError("a mapping or a list is too deep, or holds itself") from None
    wrong = {}
    for app, about in (data.get("apps") or {}).items():
        try:
            bounds.check({"apps": {app: about}})
        except DefinitionError as exc:
            wrong[app] = str(exc)
    apps = {app: about for app, about in (data.get("apps") or {}).items() if app not in wrong}
    return {**data, **({"apps": apps} if wrong else {})}, next(iter(wrong.values()), "")


def _without_inner_includes(files: Files, folder: str) -> None:
    """Leave out includes of files that are read anyway, and name relative includes from the top."""
    for data in files.values():
        includes = data.pop("include", None)
        if isinstance(includes, list):
            named = [f"{folder}{i}" if isinstance(i, str) and i.startswith(".") else i for i in includes]
            rest = [i for i in named if str(i).removeprefix(f"{folder}.") not in files]
            data.update({"include": rest} if rest else {})


def everything(files: Files) -> dict[str, Any]:
    """Return the pillar of all files together, for the master."""
    pillar: dict[str, Any] = {}
    for data in files.values():
        pillar = _joined(pillar, data)
    return pillar


def _joined(pillar: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    includes = [*pillar.get("include", ()), *data.get("include", ())]
    return {**inheritance.merge(pillar, data), **({"include": includes} if includes else {})}


def share(
    files: Files, environment: Mapping[str, Any], minion: str, unread: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Return a node's pillar, its part of the environment's ``apps``, and the names of the apps that may run there.

    The apps that may run there are complete. The other data in a file goes to the nodes of its apps. A file without any
    app goes to all nodes. Any app may have any shape here: nobody has validated it.

    :param environment: the node's environment, resolved.
    :param unread: the files of apps that are left out. Nobody knows which apps are defined in them.
    """
    roles = inheritance.mapping(environment["nodes"], minion).get("roles")
    placed = inheritance.mapping(environment, "apps")
    defined = everything(files).get("apps") or {}
    known = placed if not unread else [app for app in placed if app in defined]
    mine = {app for app in known if _may_run(defined.get(app), placed[app], roles)}
    pillar: dict[str, Any] = {}
    for data in files.values():
        apps = data.get("apps") or {}
        own = {app: about if app in mine else elsewhere(about) for app, about in apps.items() if app in placed}
        whole = not apps or mine & set(apps)
        rest = {key: value for key, value in data.items() if key not in ("apps", "include")} if whole else {}
        includes = {"include": data["include"]} if whole and "include" in data else {}
        pillar = _joined(pillar, {**rest, **includes, **({"apps": own} if own else {})})
    apps = {app: _placed(app, about, mine, defined, unread) for app, about in placed.items()}
    return pillar, {app: unmeasured(about) for app, about in apps.items()}, sorted(map(words.name, mine))


def _placed(app: str, about: Any, mine: Collection[str], defined: Mapping[str, Any], unread: Collection[str]) -> Any:
    """Return the part that a node gets of an app's settings in the environment."""
    if app in mine:
        return about
    if app in defined:
        return elsewhere(about)
    # Nobody knows an app that is in no file. It is in a pillar of the site's own, or in a file that is left out.
    return inheritance.WITHHELD if unread else about


def _may_run(defined: Any, placed: Any, roles: Any) -> bool:
    """Return whether an app, as a file and the environment have it, may run on a node with ``roles``.

    An app whose roles are wrong may run nowhere.
    """
    wanted: Any = next(
        (a["roles"] for a in (placed, defined) if isinstance(a, dict) and a.get("roles") is not None), []
    )
    if not _are_texts(wanted):
        return False
    return may_run(wanted, roles if _are_texts(roles) else ())


def _are_texts(roles: object) -> bool:
    return isinstance(roles, list) and all(isinstance(role, str) for role in roles)


def elsewhere(about: Any) -> Any:
    """Return the part that a node gets of an app that may not run there, without misplaced keys."""
    if not isinstance(about, dict):
        return None  # It is refused on the node, too.
    known = schema.APPS["additionalProperties"]["properties"]
    kept = {key: _known(value, known[key]) for key, value in about.items() if key in ELSEWHERE}
    if isinstance(kept.get("tests"), list):
        kept["tests"] = [t for t in kept["tests"] if isinstance(t, dict) and t.get("from") == "peer"]
    if isinstance(kept.get("checks"), list):
        # A script is a command.
        checks = (c for c in kept["checks"] if not (isinstance(c, dict) and "script" in c))
        kept["checks"] = [_without_login(check) for check in checks]
    return unmeasured(kept)


def _known(value: Any, part: Mapping[str, Any]) -> Any:
    """Return ``value`` without the keys that the schema ``part`` does not have: a secret may be below them."""
    parts = [part, *part.get("anyOf", ())]
    if isinstance(value, dict):
        known = {key: inner for each in parts for key, inner in each.get("properties", {}).items()}
        return {key: _known(inner, known[key]) for key, inner in value.items() if key in known}
    if isinstance(value, list):
        items: Mapping[str, Any] = next((each["items"] for each in parts if "items" in each), {})
        return [_known(inner, items) for inner in value]
    return value


def _without_login(check: Any) -> Any:
    """Return a check without the parts of its request that may be secret. Only nodes of the app register it."""
    if not isinstance(check, dict):
        return check
    return {
        key: {k: v for k, v in value.items() if k not in ("headers", "body")} if isinstance(value, dict) else value
        for key, value in check.items()
    }


def unmeasured(about: Any) -> Any:
    """Return an app, or an environment, without its analysis: the master measures, with the headers that it needs."""
    if not isinstance(about, dict) or not isinstance(about.get("strategy"), dict):
        return about
    return {**about, "strategy": {key: value for key, value in about["strategy"].items() if key != "analysis"}}
