"""Folders are removed whatever is in them, and made for all to enter."""

import os
import stat

import pytest
from saltdeploy import trees

from tests.support.files import umask


def deep(folder, depth):
    """Make folders within each other, deeper than a path can be long, each with a file in it."""
    folder.mkdir()
    at = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("nested", dir_fd=at)
        inner = os.open("nested", os.O_RDONLY, dir_fd=at)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at))
        os.close(at)
        at = inner
    os.close(at)


@pytest.mark.parametrize("depth", [3, 1100, 3000])
def test_folders_within_each_other(tmp_path, depth):
    deep(tmp_path / "tree", depth)
    trees.remove(tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []


def test_links_are_not_followed(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("kept")
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    (tree / "a/link").symlink_to(tmp_path / "outside")
    (tree / "loop").symlink_to(tree)
    trees.remove(tree)
    assert (tmp_path / "outside/file").read_text() == "kept"
    assert [p.name for p in tmp_path.iterdir()] == ["outside"]


@pytest.mark.parametrize("make", ["file", "link", "nothing"])
def test_what_is_no_folder(tmp_path, make):
    path = tmp_path / "it"
    if make == "file":
        path.write_text("x")
    elif make == "link":
        path.symlink_to(tmp_path)
    trees.remove(path)
    assert list(tmp_path.iterdir()) == []


def test_folders_that_nobody_may_write_to(tmp_path):
    (tmp_path / "tree/a/b").mkdir(parents=True)
    (tmp_path / "tree/a/b").chmod(0)
    (tmp_path / "tree/a").chmod(0o555)
    trees.remove(tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_removed_is_told_and_the_rest_is_removed(tmp_path, monkeypatch):
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    for name in ("a/1", "stuck", "2"):
        (tree / name).write_text("x")
    unlink = os.unlink

    def stuck(path, *args, **kwargs):
        if os.path.basename(path) == "stuck":
            raise PermissionError(1, "Operation not permitted")
        unlink(path, *args, **kwargs)

    monkeypatch.setattr(trees.os, "unlink", stuck)
    with pytest.raises(OSError, match="Operation not permitted"):
        trees.remove(tree)
    assert [p.name for p in tmp_path.rglob("*")] == ["tree", "stuck"]
    monkeypatch.undo()
    trees.remove(tree)


def test_what_an_earlier_removal_left_is_in_nobody_s_way(tmp_path):
    (tmp_path / "tree/a/b").mkdir(parents=True)
    (tmp_path / "tree.0").mkdir()
    trees.remove(tmp_path / "tree")
    assert [p.name for p in tmp_path.iterdir()] == ["tree.0"]


def test_folders_are_made_for_all_to_enter(tmp_path):
    with umask(0o077):
        trees.make(tmp_path / "a/b")
        trees.make(tmp_path / "a/b")
    assert [stat.S_IMODE((tmp_path / p).stat().st_mode) for p in ("a", "a/b")] == [0o755, 0o755]
