"""The source kind pip, against the real package index."""

from __future__ import annotations

import subprocess

import pytest
from saltdeploy import sources
from saltdeploy.errors import Failed
from saltdeploy.model import Source

VERSION = "1.17.0"
# Of six-1.17.0-py2.py3-none-any.whl, as the package index has it.
DIGEST = "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274"


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def test_an_exact_version_with_its_digest_in_a_virtualenv_of_its_own(target):
    sources.build(Source("pip", "six", sha256={VERSION: DIGEST}), VERSION, target, None)
    code = "import six, sys; print(six.__version__, sys.prefix)"
    assert subprocess.check_output([target / "bin/python", "-c", code], text=True).split() == [VERSION, str(target)]


def test_another_digest_is_refused(target):
    with pytest.raises(Failed, match="(?s)pip install six==1.17.0.*hash"):
        sources.build(Source("pip", "six", sha256={VERSION: "0" * 64}), VERSION, target, None)


def test_a_version_that_does_not_exist(target):
    with pytest.raises(Failed, match="(?i)pip install six==999.*no matching distribution"):
        sources.build(Source("pip", "six"), "999", target, None)
