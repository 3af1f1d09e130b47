"""The records in a node's folder, whatever a power failure or an editor has left in them."""

from __future__ import annotations

import json
from dataclasses import asdict, fields

import pytest
from saltdeploy.core.model import Instance
from saltdeploy.node import nodefiles

RECORD = asdict(Instance("shop_1.0_80", "web1", "shop", "1.0", 80, "10.0.0.11", 80, "d1"))


def test_each_field_of_an_instance_has_a_type_that_is_compared():
    assert {f.type for f in fields(Instance)} <= set(nodefiles.TYPES)


@pytest.fixture
def read(tmp_path):
    """Return what is read of the record of shop_1.0_80 with these changes."""
    path = tmp_path / "shop_1.0_80" / "instance.json"
    path.parent.mkdir()

    def read(**changes):
        path.write_text(json.dumps({**RECORD, **changes}))
        return nodefiles.instance(path)

    return read


def test_a_record_is_read_back(read):
    assert asdict(read()) == RECORD == asdict(read(later="a field of a later version"))


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"slot": "80"}, "its `slot` is a str"),
        ({"port": 81}, "its port is not its slot"),
        ({"version": "1.1"}, "not the record of this instance, but of another"),
    ],
)
def test_a_record_that_contradicts_itself_is_none(read, changes, problem):
    with pytest.raises(ValueError, match=problem):
        read(**changes)


def test_a_release_is_complete_with_its_files_and_its_record(tmp_path):
    link, build = tmp_path / "1.0", tmp_path / ".1.0@a"
    (build / "files").mkdir(parents=True)
    link.symlink_to(build / "files")
    assert nodefiles.release_problem(link).startswith(f"{build / 'release.json'}: No such file or directory")
    (build / "release.json").write_text("")
    assert nodefiles.release_problem(link) == f"{link}: release.json is empty."
    (build / "release.json").write_text("{}")
    assert nodefiles.release_problem(link) == f"{link}: its release.json does not say where it is from."
    (build / "release.json").write_text('{"origin": {}}')
    assert nodefiles.release_problem(link) == "" and nodefiles.release_record(link) == {"origin": {}}
    (build / "files").rmdir()
    assert nodefiles.release_problem(link) == f"{link}: its files are not there."


@pytest.mark.parametrize("content, value", [(None, None), ("", None), ('{"a"', None), (b"\xff", None), ("[1]", [1])])
def test_a_file_that_is_missing_or_torn_has_no_content(tmp_path, content, value):
    path = tmp_path / ".run"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert nodefiles.read(path) == value
