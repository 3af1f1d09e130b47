"""The version of an app that is meant."""

import pytest
from saltdeploy.core import versions
from saltdeploy.core.errors import Refused

from tests.support.definitions import ARCHIVE, shop


@pytest.mark.parametrize("given", [None, ""])
def test_the_definition_s_version_is_the_default(given):
    assert versions.check(shop(placed={"version": "1.4.2"}), given) == "1.4.2"


def test_no_version_anywhere():
    with pytest.raises(Refused, match="which version of shop"):
        versions.check(shop(), None)


@pytest.mark.parametrize("version", ["1", "1.5.0-rc1", "2.0~beta+git.1_2", "v" + "1" * 62])
def test_usable_versions(version):
    assert versions.check(shop(), version) == version


@pytest.mark.parametrize("version", ["../1", "1/2", "-1", "1 2", "1.0\n", "ü", "1" * 64, ["1"], True])
def test_unusable_versions(version):
    with pytest.raises(Refused, match="is not usable. Write a version: letters, digits"):
        versions.check(shop(), version)


def test_a_version_that_was_read_as_a_number():
    """What was typed is not known any more, so nothing is advised that may be another version."""
    with pytest.raises(Refused, match="version 3.1 was read as a number, and digits may be lost") as raised:
        versions.check(shop(), 3.10)
    assert "'3.1'" not in str(raised.value)
    known = shop({"source": {**ARCHIVE, "sha256": dict.fromkeys(("3.1", "3.10", "3.2", "next"), "0" * 64)}})
    with pytest.raises(Refused, match="Quote it twice: version=\"'3.1'\" or version=\"'3.10'\".$"):
        versions.check(known, 3.10)


def test_a_version_without_a_digest():
    app = shop({"source": {"pip": "shop", "sha256": {"1.4.2": "a" * 64}}})
    assert versions.check(app, "1.4.2") == "1.4.2"
    with pytest.raises(Refused, match=r"unknown version 1.4.3 of shop \(did you mean `1.4.2`\?\): no digest"):
        versions.check(app, "1.4.3")


def folder(**placed):
    return shop({"source": {"path": "/srv/shop"}}, placed)


@pytest.mark.parametrize("placed", [{}, {"version": "working-copy"}])
def test_the_content_of_a_folder_is_its_version(placed):
    app = folder(**placed)
    assert app.version == "" and all(versions.is_open(app, unsaid) for unsaid in (None, "", "working-copy"))
    assert not versions.is_open(app, "wc-0123456789ab") and not versions.is_open(folder(version="1.0"), None)
    assert not versions.is_open(shop(), None)
    with pytest.raises(
        Refused, match="which version of shop[?] Its source is a folder: salt-run deploy.plan shop shows"
    ):
        versions.check(app, None)
    assert versions.check(app, "wc-0123456789ab") == "wc-0123456789ab"


@pytest.mark.parametrize("ref, moving", [("main", True), ("release/{version}", False), ("{version}", False)])
def test_a_branch_determines_the_version_too(ref, moving):
    app = shop({"source": {"git": "https://host/shop.git", "ref": ref}})
    assert versions.is_branch(app.source) is versions.is_open(app, None) is moving
    assert not versions.is_open(app, "1.0") and not versions.is_open(app, "working-copy")
    with pytest.raises(Refused, match="Its source is a branch" if moving else "which version of shop[?] Say version"):
        versions.check(app, None)


def test_a_word_that_only_a_folder_has():
    assert shop(placed={"version": "working-copy"}).version == "working-copy"


def test_names_of_content():
    version = versions.of_content("0123456789abcdef" * 4)
    assert version == "wc-0123456789ab" and versions.is_of_content(version)
    assert not any(map(versions.is_of_content, ("wc-0123456789a", "wc-0123456789abc", "wc-0123456789AB", "1.0")))
