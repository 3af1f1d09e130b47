"""A YAML file, read as strictly as Salt reads its own."""

from __future__ import annotations

import pytest
import yaml
from saltdeploy.core import bounds
from saltdeploy.core.errors import DefinitionError
from saltdeploy.definition import yamlfile

SEALED = "-----BEGIN PGP MESSAGE-----\nabc"


@pytest.fixture
def load(tmp_path):
    def load(text):
        path = tmp_path / "test.sls"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return yamlfile.load(path)

    return load


def test_data_is_plain(load):
    assert load("a: 2026-01-02\nb: 2026-01-02 03:04:05\nc: [1, 1.5, true, null]\n") == {
        "a": "2026-01-02",
        "b": "2026-01-02 03:04:05",
        "c": [1, 1.5, True, None],
    }
    assert load("") is None
    assert load("\ufeffa: 1") == {"a": 1}


def test_other_loaders_still_read_timestamps():
    assert yaml.safe_load("2026-01-02").year == 2026


def test_a_key_replaces_a_merged_key(load):
    assert load("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\n")["y"] == {"a": 1, "b": 3}


@pytest.mark.parametrize(
    "text, message",
    [
        ("a: 1\nb: 2\na: 3\n", "is not YAML: line 3: found the key 'a' a second time"),
        ("x: &x {a: 1}\ny: {<<: *x, b: 1, b: 2}\n", "is not YAML: line 2: found the key 'b' a second time"),
        ("a: {", "is not YAML: line 2: "),
        ("a: *geheim", "is not YAML: line 1: found undefined alias."),
        ("a: !!int geheim", "is not YAML: a value is not as its tag says."),
        ("a: {{ geheim }}", "is not YAML: line 1 has Jinja, and a file of environments is plain YAML."),
        ("a: " + "[" * 17, "line 1: more than 16 mappings and lists deep"),
        ("x: &x 1\ny: [" + "*x, " * 1001 + "]", "line 2: more than 1000 aliases"),
        ("x: &x {}\ny: {<<: [" + "*x, " * 11 + "]}", "`<<` merges more than 10 mappings"),
        (b"a: \xff", "is not UTF-8: invalid start byte at byte 3"),
        ("#" * (bounds.FILE + 1), "has more than 1048576 bytes"),
    ],
    ids=lambda given: str(given)[:20],
)
def test_a_file_that_cannot_be_read_is_named(load, tmp_path, text, message):
    with pytest.raises(DefinitionError) as caught:
        load(text)
    assert str(caught.value).startswith(f"{tmp_path}/test.sls: ") and message in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DefinitionError, match="gone.sls: cannot be read: No such file or directory"):
        yamlfile.load(tmp_path / "gone.sls")


@pytest.mark.parametrize(
    "text, renderers",
    [("#!yaml|gpg\na: 1", "yaml|gpg"), ("# !yaml", ""), ("", ""), ("#! jinja | yaml \n", "jinja | yaml")],
)
def test_the_renderers_in_the_first_line(tmp_path, text, renderers):
    path = tmp_path / "test.sls"
    path.write_text(text)
    assert yamlfile.shebang(path) == renderers
    assert yamlfile.shebang(tmp_path / "gone.sls") == ""


def test_ciphertext_is_found_wherever_it_is():
    found = yamlfile.ciphertexts({"a": [1, {"b": SEALED}], "c": SEALED, "d": "plain"})
    assert list(found) == [("a", 1, "b"), ("c",)]
    assert not yamlfile.is_ciphertext(b"-----BEGIN PGP MESSAGE-----")
