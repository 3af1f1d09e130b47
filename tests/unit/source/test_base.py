"""The record of a release tells whether a definition still describes it."""

import pytest
from saltdeploy.core.model import Source
from saltdeploy.source import KINDS, choose


def test_a_kind_is_chosen_by_the_definition():
    names = {"archive": "Archive", "git": "Git", "path": "Folder", "pip": "Pip"}
    names |= {"package": "Package", "ansible": "Ansible", "container": "Image"}
    assert {kind: type(choose(Source(kind, "shop"))).__name__ for kind in KINDS} == names


def test_origin_names_what_this_version_comes_from():
    source = Source("archive", "http://a/{version}.tgz", sha256={"1.0": "x", "1.1": "y"}, strip=1)
    assert choose(source).origin("1.1") == {
        "kind": "archive",
        "location": "http://a/1.1.tgz",
        "sha256": "y",
        "strip": 1,
        "unpack": True,
        "requirements": [],
        "python": "",
        "index": "",
        "wheelhouse": "",
    }


@pytest.mark.parametrize("kind", KINDS)
def test_origin_has_no_secrets(kind):
    url = "https://joe:hunter2@host/shop?token=hunter2"
    source = Source(kind, url, sha256=url, headers={"X": "hunter2"}, token_file="/hunter2", netrc="/hunter2")
    assert "hunter2" not in repr(choose(source).origin("1.0"))


@pytest.mark.parametrize(
    "change",
    [
        {"unpack": False},
        {"location": "b"},
        {"sha256": {"1": "z"}},
        {"requirements": ("gevent",)},
        {"kind": "archive"},
        {"strip": 2},
        {"index": "https://i"},
        {"wheelhouse": "salt://wheels"},
    ],
)
def test_a_change_of_the_definition_is_named(change):
    source = {"kind": "pip", "location": "a", "sha256": {"1": "x"}}
    recorded = {"origin": choose(Source(**source)).origin("1"), "artifact": ""}
    assert choose(Source(**source)).changes("1", recorded) == []
    assert choose(Source(**{**source, **change})).changes("1", recorded) == list(change)


def test_a_digest_that_the_mapping_does_not_have_any_more_is_no_change():
    recorded = {"origin": choose(Source("pip", "a", sha256={"1": "x"})).origin("1")}
    assert choose(Source("pip", "a", sha256={"2": "y"})).changes("1", recorded) == []


def test_a_record_without_a_key_contradicts_nothing():
    assert (
        choose(Source("pip", "a", index="https://i")).changes("1", {"origin": {"kind": "pip", "location": "a"}}) == []
    )
