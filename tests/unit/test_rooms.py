"""Who may import whom: rooms are packages of saltdeploy, and imports go down only."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import saltdeploy
from saltdeploy.core import model
from saltdeploy.discovery.backend import Backend
from saltdeploy.discovery.consul import Consul
from saltdeploy.runtime.base import Runtime
from saltdeploy.runtime.supervisord import Supervisord
from saltdeploy.runtime.systemd import Systemd
from saltdeploy.source import KINDS, choose
from saltdeploy.source.base import Source

ROOT = Path(saltdeploy.__file__).parent
# Each room, and the rooms that it may import.
ROOMS = {
    "core": (),
    "definition": ("core",),
    "system": ("core",),
    "planning": ("core",),
    "discovery": ("core",),
    "source": ("core", "system"),
    "runtime": ("core", "system"),
    "environment": ("core", "definition", "system"),
    "health": ("core", "system", "discovery"),
    "node": ("core", "definition", "system", "discovery", "source", "runtime"),
    "master": ("core", "definition", "system", "discovery", "planning", "environment"),
}
# Modules that stand before the rooms: Salt, the pillar's files and people know them by these names.
DOORS = ("loader", "pillar", "__main__")
# The most rooms that stand on each other.
FLOORS = 6


def statements(tree, types):
    """Yield the nodes below ``tree``. Without ``types``, leave out the imports that only a type checker does."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not types:
            continue
        yield node
        yield from statements(node, types)


def imports(path, package, types):
    """Return the modules of saltdeploy that the file ``path`` imports, by their dotted names below saltdeploy.

    :param package: the dotted name of the package that the file is in.
    :param types: whether imports count that only a type checker does.
    """
    found = set()
    for statement in statements(ast.parse(path.read_text()), types):
        if isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            relative = "." * statement.level + (statement.module or "")
            base = importlib.util.resolve_name(relative, package)
            names = [f"{base}.{alias.name}" for alias in statement.names]
        else:
            continue
        for name in names:
            top, _, below = name.partition(".")
            if top == "saltdeploy":
                found.add(module(below))
    return found - {""}


def module(name):
    """Return the dotted name of the module that ``name`` is, or is in."""
    while name:
        path = ROOT.joinpath(*name.split("."))
        if path.with_suffix(".py").exists() or path.is_dir():
            return name
        name = name.rpartition(".")[0]
    return name


@cache
def graph(types=True):
    """Return ``{module: the modules that it imports}`` for all of saltdeploy."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        package = ".".join(["saltdeploy", *parts[:-1]])
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = imports(path, package, types)
    return found


def room(name):
    return name.partition(".")[0]


def wrong(modules):
    """Return the imports in ``modules`` that no room may have."""
    return [
        f"{name} imports {other}"
        for name, others in sorted(modules.items())
        for other in sorted(others)
        if room(name) in ROOMS and room(other) != room(name) and room(other) not in ROOMS[room(name)]
    ]


def test_each_module_is_in_a_room():
    assert {room(name) for name in graph()} - {"", *DOORS} == set(ROOMS)
    assert all((ROOT / name / "__init__.py").exists() for name in ROOMS)


def test_imports_go_down_only():
    assert wrong(graph()) == []


def test_an_import_that_goes_up_is_noticed():
    assert wrong({"core.model": {"node.host"}, "node.host": {"core.model"}}) == ["core.model imports node.host"]
    assert wrong({"node.host": {"master.lock"}, "master.lock": {"node.host"}}) == [
        "master.lock imports node.host",
        "node.host imports master.lock",
    ]


def test_each_room_needs_the_rooms_that_it_may_import():
    used = {name: set() for name in ROOMS}
    for name, others in graph().items():
        if room(name) in ROOMS:
            used[room(name)] |= {room(other) for other in others} - {room(name)}
    assert used == {name: set(below) for name, below in ROOMS.items()}


def test_rooms_stand_on_few_floors(record_property):
    @cache
    def floor(name):
        return 1 + max((floor(below) for below in ROOMS[name]), default=0)

    floors = max(map(floor, ROOMS))
    record_property("floors", floors)
    print(f"{floors} floors:", {name: floor(name) for name in ROOMS})
    assert floors <= FLOORS


def test_no_module_imports_itself_by_way_of_others():
    done = set()

    def visit(name, way):
        if name in way:
            pytest.fail(" -> ".join([*way[way.index(name) :], name]))
        if name not in done:
            for other in sorted(graph(types=False).get(name, ())):
                visit(other, [*way, name])
            done.add(name)

    for name in graph(types=False):
        visit(name, [])


@pytest.mark.parametrize(
    "protocol, kinds",
    [
        (Backend, [Consul]),
        (Runtime, [Systemd, Supervisord]),
        (Source, [type(choose(model.Source(kind, "shop"))) for kind in KINDS]),
    ],
    ids=["backend", "runtime", "source"],
)
def test_each_kind_keeps_its_protocol(protocol, kinds):
    for kind in kinds:
        for name, function in inspect.getmembers(protocol, inspect.isfunction):
            if not name.startswith("_"):
                wanted = list(inspect.signature(function).parameters.values())
                found = list(inspect.signature(getattr(kind, name)).parameters.values())
                assert [(p.name, p.default) for p in found] == [(p.name, p.default) for p in wanted], (kind, name)


def test_tools_stand_alone_and_nobody_uses_the_demo_as_a_library():
    def tops(path):
        found = set()
        for statement in ast.walk(ast.parse(path.read_text())):
            if isinstance(statement, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in statement.names}
            elif isinstance(statement, ast.ImportFrom) and not statement.level:
                found.add(statement.module.partition(".")[0])
        return found

    repository = ROOT.resolve().parents[1]
    mine = {"saltdeploy", "demo", "lab", "tests", "benchmarks", "tooling"}
    for path in (repository / "tooling").glob("*.py"):
        assert not tops(path) & mine - {"tooling"}, path
    others = [path for name in ("lab", "tests", "benchmarks") for path in (repository / name).rglob("*.py")]
    assert [path for path in others if "demo" in tops(path) and path.parent.name != "demo"] == []


def test_each_module_of_a_node_can_be_imported_first():
    """In a job it may be. The minions of the integration tests have imported all of them before."""
    rooms = ("core", "definition", "discovery", "node", "runtime", "source", "system")
    paths = [path.relative_to(ROOT).with_suffix("") for room in rooms for path in (ROOT / room).rglob("*.py")]
    names = [".".join(path.parts).removesuffix(".__init__") for path in paths]
    names.remove("source.ansibleevents")  # Ansible imports it, in its own Python
    # What is not the bundle's is imported once: that took nine tenths of the time.
    code = """
import importlib, os, sys
for name in sys.argv[1:]:
    importlib.import_module("saltdeploy." + name)
for name in [name for name in sys.modules if name.partition(".")[0] == "saltdeploy"]:
    del sys.modules[name]
for name in sys.argv[1:]:
    if not os.fork():
        importlib.import_module("saltdeploy." + name)
        os._exit(0)
    if os.wait()[1]:
        sys.exit(name)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT.parent), "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", code, *names]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert len(names) > 80 and (done.returncode, done.stderr) == (0, "")
