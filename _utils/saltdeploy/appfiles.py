"""The files of apps, on the master: pillar SLS as Salt renders them, and what of them a node is given."""

from __future__ import annotations

import logging
from pathlib import Path

from . import advice, inheritance, rendering, words
from .environmentfiles import label
from .errors import DefinitionError
from .model import may_run

log = logging.getLogger(__name__)

# What a node is given of an app that may not run there: what load balancers, tests from a peer and templates that look
# for it need. No command, no file and no setting of the app is in it.
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


def render(folder, opts, functions, saltenv="base"):
    """Return ``(files, broken)``: what each ``*.sls`` of a folder holds, and ``{file: why}`` of what is left out.

    ``init.sls`` is none of them: it may include the others.

    :param opts: the options that pillar is made with; ``functions``: ``__salt__``.
    """
    import salt.loader

    folder = Path(folder)
    found, broken = {}, {}
    paths = [p for p in sorted([*folder.glob("*.sls"), *folder.glob("*/init.sls")]) if p != folder / "init.sls"]
    renderers = salt.loader.render(opts, functions) if paths else None
    for path in paths:
        # apps/shop.sls and apps/shop/init.sls are apps.shop.
        name = path.parent.name if path.name == "init.sls" else path.stem
        try:
            found[name] = _data(_compile(path, f"{folder.name}.{name}", renderers, opts, saltenv))
        except DefinitionError as exc:
            broken[label(path)] = str(exc)
        except Exception as exc:  # whatever a renderer, or a program, makes of somebody's mistake
            broken[label(path)] = rendering.mistake(exc)
    for file, why in broken.items():
        log.info("%s is left out of pillar: %s", file, why)
    _without_inner_includes(found, folder.name)
    return found, broken


def _compile(path, sls, renderers, opts, saltenv):
    from salt.template import compile_template

    lists = opts.get("renderer_blacklist"), opts.get("renderer_whitelist")
    with rendering.quiet():
        return compile_template(
            str(path), renderers, opts.get("renderer", "jinja|yaml"), *lists, saltenv, sls, _pillar_rend=True
        )


def _data(data):
    """Return what a file holds; DefinitionError where it has another shape than pillar."""
    data = data or {}
    if not isinstance(data, dict):
        raise DefinitionError(f"found {advice.kind(data)}. Write a mapping `apps`, of names to definitions")
    if not isinstance(data.get("apps", {}), dict):
        raise DefinitionError(f"apps: found {advice.kind(data['apps'])}. Write a mapping of name to definition")
    return dict(data)


def _without_inner_includes(files, folder):
    """Leave out includes of what is read anyway; name those that are relative from the top."""
    for data in files.values():
        includes = data.pop("include", None)
        if isinstance(includes, list):
            named = [f"{folder}{i}" if isinstance(i, str) and i.startswith(".") else i for i in includes]
            rest = [i for i in named if str(i).removeprefix(f"{folder}.") not in files]
            data.update({"include": rest} if rest else {})


def everything(files):
    """Return the pillar of all files together, for the master."""
    pillar = {}
    for data in files.values():
        pillar = _joined(pillar, data)
    return pillar


def _joined(pillar, data):
    includes = [*pillar.get("include", ()), *data.get("include", ())]
    return {**inheritance.merge(pillar, data), **({"include": includes} if includes else {})}


def share(files, environment, minion):
    """Return the pillar that a node is given, and its part of the environment's ``apps``.

    Whole are the apps that may run there. What else a file holds goes where one of its apps goes; a file without any
    app goes to all nodes.

    :param environment: the node's environment, resolved.
    """
    here = environment["nodes"].get(minion)
    placed, roles = inheritance.mapping(environment, "apps"), (here or {}).get("roles")
    defined = everything(files).get("apps") or {}
    mine = {app for app in placed if _may_run(defined.get(app), placed[app], roles)}
    pillar = {}
    for data in files.values():
        apps = data.get("apps") or {}
        own = {app: about if app in mine else elsewhere(about) for app, about in apps.items() if app in placed}
        whole = not apps or mine & set(apps)
        rest = {key: value for key, value in data.items() if key not in ("apps", "include")} if whole else {}
        includes = {"include": data["include"]} if whole and "include" in data else {}
        pillar = _joined(pillar, {**rest, **includes, **({"apps": own} if own else {})})
    # Of an app that is in no file, nothing is known: it is in a pillar of the site's own.
    apps = {a: s if a in mine or a not in defined else elsewhere(s) for a, s in placed.items()}
    return pillar, {a: unmeasured(s) for a, s in apps.items()}, sorted(map(words.name, mine))


def _may_run(defined, placed, roles):
    """Return whether an app, as a file and the environment have it, may run on a node with ``roles``."""
    wanted = [a["roles"] for a in (placed, defined) if isinstance(a, dict) and isinstance(a.get("roles"), list)]
    return may_run(wanted[0] if wanted else (), roles if isinstance(roles, list) else ())


def elsewhere(about):
    """Return what a node is given of an app that may not run there."""
    if not isinstance(about, dict):
        return about
    kept = {key: value for key, value in about.items() if key in ELSEWHERE}
    if isinstance(kept.get("tests"), list):
        kept["tests"] = [t for t in kept["tests"] if isinstance(t, dict) and t.get("from") == "peer"]
    return unmeasured(kept)


def unmeasured(about):
    """Return an app, or an environment, without its analysis: the master measures, with the headers that it needs."""
    if not isinstance(about, dict) or not isinstance(about.get("strategy"), dict):
        return about
    return {**about, "strategy": {key: value for key, value in about["strategy"].items() if key != "analysis"}}
