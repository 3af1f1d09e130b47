"""A minion's process has the bundle for its jobs, and no job gets what has changed since."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.support.site import REPOSITORY

# A minion with the bundle in a folder of its own; a job is a fork of it.
MINION = """
import json, os, pathlib, sys, time
import salt.config, salt.loader
words = pathlib.Path({utils!r}, "saltdeploy/core/words.py")
opts = salt.config.DEFAULT_MINION_OPTS.copy()
opts.update(id="n1", grains={{}}, cachedir={cache!r}, extension_modules={cache!r}, grains_dirs=[{grains!r}])
opts.update(__cli={cli!r}, enable_gpu_grains=False, enable_fqdns_grains=False, conf_file='/nowhere/minion', **{settings!r})

def look():
    names = [name for name in salt.loader.grain_funcs(opts) if name.startswith("saltdeploy_preload.")]
    assert names == ["saltdeploy_preload.preload"], names
    assert "saltdeploy_preload" not in salt.loader.grains(opts)
    assert not [name for name in sys.modules if name.split(".")[0] == "saltdeploy"]
    assert {utils!r} not in sys.path

def kept():
    return [finder for finder in sys.meta_path if getattr(finder, "package", "") == "saltdeploy"]

def job(code):
    if not os.fork():
        sys.path.append({utils!r})
        exec(code, globals())
        sys.stdout.flush()
        os._exit(0)
    assert os.wait()[1] == 0

READ = '''
had = kept()[0].modules if kept() else {{}}
from saltdeploy.core import words
from saltdeploy import node
from saltdeploy.node import from_salt
import saltdeploy
same = [sys.modules[name] is had.get(name) for name in ("saltdeploy", "saltdeploy.core.words", "saltdeploy.node.from_salt")]
print("kept" if all(same) else "read" if not any(same) else same, getattr(words, "MARK", None), len(kept()))
assert saltdeploy.node is node and saltdeploy.__spec__.origin == saltdeploy.__file__
import saltdeploy.pillar
'''

def change(mark):
    words.write_text(words.read_text() + f"\\nMARK = {{mark}}\\n")

{steps}
"""


@pytest.fixture
def minion(tmp_path):
    """Runs a minion's steps; returns what its jobs print."""
    shutil.copytree(
        REPOSITORY / "_utils/saltdeploy",
        tmp_path / "cache/utils/saltdeploy",
        ignore=shutil.ignore_patterns("__pycache__"),
    )

    def run(steps, cli="salt-minion", settings=None):
        places = {"utils": str(tmp_path / "cache/utils"), "cache": str(tmp_path / "cache")}
        code = MINION.format(
            **places, grains=str(REPOSITORY / "_grains"), steps=steps, cli=cli, settings=settings or {}
        )
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    return run


def test_jobs_get_what_the_minion_has_until_a_file_changes(minion):
    steps = (
        "look(); job(READ); look(); job(READ); change(1); job(READ); job(READ); look(); job(READ); change(2); job(READ)"
    )
    assert minion(steps) == [
        *("kept None 0", "kept None 0"),
        *("read 1 0", "read 1 0"),
        *("kept 1 0", "read 2 0"),
    ]


def test_a_file_that_is_gone_and_a_bundle_that_does_not_load(minion):
    """A job imports what there is, and tells what is wrong with it."""
    steps = "look(); words.unlink(); job('''\ntry:\n    from saltdeploy.core import words\nexcept ImportError as exc:\n    print(exc)\n''')"
    [said] = minion(steps)
    assert said.startswith("cannot import name 'words'")
    assert minion("look(); print(kept())") == ["[]"]


@pytest.mark.parametrize(
    ("cli", "settings"),
    [
        ("salt-call", {}),
        ("salt-run", {}),
        ("salt-minion", {"saltdeploy_preload": False}),
        ("salt-minion", {"multiprocessing": False}),
    ],
)
def test_it_is_for_a_minion_that_wants_it(minion, cli, settings):
    assert minion("look(); job(READ)", cli, settings) == ["read None 0"]
