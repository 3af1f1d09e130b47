"""The source kind pip, against the real package index."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from saltdeploy.core.errors import Failed
from saltdeploy.core.model import Source

from tests.support.sources import install

VERSION = "1.17.0"
# Of six-1.17.0-py2.py3-none-any.whl, as the package index has it.
DIGEST = "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274"


@pytest.fixture
def target():
    """A release's folder that other users may enter: pip does not run as root."""
    path = Path(tempfile.mkdtemp(prefix="sd-", dir="/tmp"))
    path.chmod(0o755)
    (path / "files").mkdir()
    yield path / "files"
    shutil.rmtree(path)


def test_an_exact_version_with_its_digest_in_a_virtualenv_of_its_own(target):
    made = install(Source("pip", "six", sha256={VERSION: DIGEST}), target, VERSION)
    assert made == {"artifact": "", "packages": [f"six=={VERSION}"]}
    assert {p.lstat().st_uid for p in (target, *target.rglob("*"))} == {os.geteuid()}
    assert [p.name for p in target.parent.iterdir() if p.name.startswith("home.")] == []
    code = "import six, sys; print(six.__version__, sys.prefix)"
    assert subprocess.check_output([target / "bin/python", "-c", code], text=True).split() == [VERSION, str(target)]


def test_another_digest_is_refused(target):
    with pytest.raises(Failed, match="(?s)pip install six==1.17.0.*hash"):
        install(Source("pip", "six", sha256={VERSION: "0" * 64}), target, VERSION)


def test_a_version_that_does_not_exist(target):
    with pytest.raises(Failed, match="(?i)pip install six==999.*no matching distribution"):
        install(Source("pip", "six"), target, "999")
