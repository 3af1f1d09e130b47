"""Salt's loader finds the modules, and each names a library that is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from saltdeploy import loader

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("library", loader.PACKAGES)
def test_a_library_that_is_missing_is_named_by_each_module(library):
    """Salt asks ``__virtual__`` only of a module that it could import."""
    paths = [path for kind in loader.KINDS for path in sorted((ROOT / f"_{kind}").glob("*.py"))]
    paths = [str(path) for path in paths if "__virtual__" in path.read_text()]
    code = f"""
import importlib.util, sys
find = importlib.util.find_spec
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {library!r}:
            raise ModuleNotFoundError(f"No module named {{name}}", name=name)
sys.meta_path.insert(0, Hidden())
importlib.util.find_spec = lambda name, package=None: None if name == {library!r} else find(name, package)
for path in {paths}:
    spec = importlib.util.spec_from_file_location("module", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    print(path, module.__virtual__())
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "_utils"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    said = (False, f"Run `salt-pip install {loader.PACKAGES[library]}` on this machine.")
    assert done.stdout.splitlines() == [f"{path} {said}" for path in paths]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The packages that pip makes of the bundle's folders."""
    for name in (*(f"saltdeploy_{kind}" for kind in loader.KINDS), "saltdeploy_tree"):
        (tmp_path / name).mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_each_kind_of_module_has_its_folder(installed):
    assert loader.directories() == {kind: [str(installed / f"saltdeploy_{kind}")] for kind in loader.KINDS}
    assert [kind for kind in loader.KINDS if not (ROOT / f"_{kind}").is_dir()] == []


def test_the_state_tree_has_its_folder(installed):
    assert loader.tree() == str(installed / "saltdeploy_tree")


def test_a_package_that_is_not_there_is_named():
    with pytest.raises(ModuleNotFoundError, match="there is no package saltdeploy_nothing") as error:
        loader._folder("saltdeploy_nothing")
    assert error.value.name == "saltdeploy_nothing"


@pytest.mark.parametrize(
    "missing, said",
    [
        ({}, True),
        ({"nowhere": "py-nowhere"}, (False, "Run `salt-pip install py-nowhere` on this machine.")),
        ({"nowhere": "a", "nothing": "b"}, (False, "Run `salt-pip install a b` on this machine.")),
    ],
)
def test_all_packages_that_are_missing_are_named_at_once(monkeypatch, missing, said):
    monkeypatch.setattr(loader, "PACKAGES", {"json": "python", **missing})
    assert loader.virtual() == said
