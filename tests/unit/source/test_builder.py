"""The user of a build, and the way of files to it and back."""

import os

import pytest
from saltdeploy.source import builder
from saltdeploy.system import commands


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_folder_is_given_away_after_all_that_is_in_it(tmp_path, monkeypatch):
    """Its new owner could put a link in the place of an entry that is still to come."""
    for path in ("a/b/c", "d"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "a/b/file").touch()
    (tmp_path / "link").symlink_to("/etc/passwd")
    given, chown = [], os.chown

    def spy(path, *args, **kwargs):
        assert kwargs == {"follow_symlinks": False}
        given.append(os.path.relpath(path, tmp_path))
        chown(path, *args, **kwargs)

    monkeypatch.setattr(os, "chown", spy)
    builder.hand_over(tmp_path, builder.choose("", "make"))
    assert sorted(given) == sorted([".", "a", "a/b", "a/b/c", "a/b/file", "d", "link"])
    for number, path in enumerate(given):
        assert not any(later.startswith(f"{path}/") for later in given[number:])
    assert given[-1] == "." and os.stat("/etc/passwd").st_uid == 0
    assert {(tmp_path / path).lstat().st_uid for path in given} == {builder.choose("", "make").uid}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("namespaces", [True, False])
def test_foreign_code_has_no_further_groups_and_a_session(tmp_path, monkeypatch, namespaces):
    if namespaces and not builder.has_namespaces():
        pytest.skip("needs namespaces")
    monkeypatch.setattr(builder, "has_namespaces", lambda: namespaces)
    monkeypatch.setattr(os, "getgrouplist", lambda *_: [4, 6])
    words, execute = [], commands.execute
    monkeypatch.setattr(commands, "execute", lambda *args, **more: (words.extend(args[0]), execute(*args, **more))[1])
    nobody = builder.choose("", "make")
    code = "import os; print(os.getuid(), os.getgid(), os.getgroups(), os.getpgrp() > 0, os.getsid(0) > 0)"
    found = builder.execute(["/usr/bin/python3", "-c", code], tmp_path, {}, nobody, 30.0, tmp_path)
    assert found == (0, f"{nobody.uid} {nobody.gid} [] True True\n")
    assert "--init-groups" not in words
