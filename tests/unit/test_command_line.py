"""``python -m saltdeploy``: for a pre-commit hook and the CI of a repository with pillar."""

from __future__ import annotations

import subprocess
import sys

import pytest
from saltdeploy import __main__ as command

from tests.support.site import REPOSITORY


def test_the_example_has_no_mistake(capsys):
    assert command.main(["validate", str(REPOSITORY / "pillar")]) == 0
    assert capsys.readouterr() == ("", "0 mistakes found\n")


def test_a_mistake_is_printed_and_ends_with_1(tmp_path):
    (tmp_path / "environments").mkdir()
    (tmp_path / "environments/test.sls").write_text("environments: {test: {nodes: {a: {adress: 10.0.0.1}}}}\n")
    done = subprocess.run(
        [sys.executable, "-m", "saltdeploy", "validate", tmp_path],
        cwd=REPOSITORY / "_utils",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and done.stderr == "2 mistakes found\n"
    first, second = done.stdout.splitlines()
    assert first.startswith("environments/test.sls:1: environments:test:nodes:a:address: is missing.")
    assert second.startswith("environments/test.sls:1: environments:test:nodes:a:adress: unknown key")


@pytest.mark.parametrize(
    "arguments", [[], ["validate"], ["nonsense"], ["validate", "/nowhere"], ["validate", "a", "b"]]
)
def test_what_cannot_begin_ends_with_3(arguments, capsys):
    assert command.main(arguments) == 3
    assert capsys.readouterr().err


def test_help_is_no_mistake(capsys):
    assert command.main(["--help"]) == 0 and "PILLAR_ROOT" in capsys.readouterr().out


def test_a_fault_of_ours_is_no_mistake_of_theirs(monkeypatch, capsys, tmp_path):
    from saltdeploy.environment import findings

    (tmp_path / "environments").mkdir()
    monkeypatch.setattr(findings, "find", lambda *args, **kwargs: 1 / 0)
    assert command.main(["validate", str(tmp_path)]) == 3
    assert capsys.readouterr().err.startswith("Internal error in saltdeploy (ZeroDivisionError")
