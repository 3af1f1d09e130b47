"""An environment's hosts, from its file in the pillar: what the lab boots, and what a Vagrantfile must."""

from __future__ import annotations

import contextlib
from pathlib import Path

import yaml
from saltdeploy.core.errors import Refused
from saltdeploy.definition import inheritance
from saltdeploy.environment import pillar

from tooling import ToolError

MASTER = "master"


def machines(folder, *names):
    """Return ``{node: {"address", "roles"}}`` of the environments ``names``, in the order of their files.

    :param folder: the pillar's folder of environments.
    :raises ToolError: there is no such environment, or not exactly one of the nodes has the role ``master``.
    """
    nodes = {}
    for name in names:
        here = _resolved(folder, name)["nodes"]
        taken = {node["address"] for node in nodes.values()} & {node["address"] for node in here.values()}
        twice = [*(set(nodes) & set(here)), *taken]
        if twice:
            raise ToolError(f"environments {', '.join(names)}: {', '.join(sorted(twice))} is there twice")
        nodes.update(here)
    found = {n: {"address": node["address"], "roles": list(node.get("roles", []))} for n, node in nodes.items()}
    masters = [n for n, node in found.items() if MASTER in node["roles"]]
    if len(masters) != 1:
        which = f"environment {', '.join(names)}"
        raise ToolError(f"{which}: give the role `{MASTER}` to the one node that runs the Salt master")
    return found


def versions(folder, name, program):
    """Return the versions of ``consul``, or of CoreDNS (``skydns``), that an environment has set up: one, or none."""
    wanted = _resolved(folder, name).get(program)
    return [wanted["version"]] if wanted else []


def pip_requirements(pillar_root, name):
    """Return, for each app of an environment that pip installs, its requirements: a list of lists.

    Only apps whose files are plain YAML are seen. A lock file is not read. Builds need setuptools and wheel.
    """
    found = {}
    for path in sorted((Path(pillar_root) / "apps").glob("*.sls")):
        with contextlib.suppress(yaml.YAMLError):
            found.update((yaml.safe_load(path.read_text()) or {}).get("apps") or {})
    here = _resolved(Path(pillar_root) / "environments", name).get("apps") or {}
    apps = {app: inheritance.merge(found.get(app, {}), settings or {}) for app, settings in here.items()}
    return [
        _requirements(app["source"], app["version"])
        for app in apps.values()
        if "pip" in app.get("source", {}) and "version" in app
    ]


def _requirements(source, version):
    given = source.get("requirements", ())
    tools = ["setuptools", "wheel"] if source.get("sdists") else []
    return [f"{source['pip']}=={version}", *([] if isinstance(given, str) else given), *tools]


def _resolved(folder, name):
    try:
        environments = pillar.all_environments(Path(folder))["environments"]
        if name in environments:
            return inheritance.resolve(environments, name)
    except (Refused, KeyError) as exc:
        raise ToolError(f"environment {name}: {exc}") from exc
    raise ToolError(f"no environment {name!r} in {folder}. Defined: {', '.join(sorted(environments)) or 'none'}")
