"""Folders are removed whatever is in them."""

import contextlib
import itertools
import multiprocessing
import os
import stat

import pytest
from saltdeploy.system import trees

fork = multiprocessing.get_context("fork")


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


# Each of them is a moment at which another process may have done something.
CALLS = ("open", "chmod", "scandir", "rename", "unlink", "rmdir")


@pytest.mark.parametrize("moment", range(15))
def test_a_folder_that_becomes_a_link_meanwhile(tmp_path, monkeypatch, moment):
    """Whatever is called, just before it the folder ``a`` is moved away, and a link is in its place."""
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    for folder in (outside, outside / "a", tree / "a/b"):
        folder.mkdir(parents=True)
        (folder / "file").write_text("kept")
    for folder in (outside, outside / "a"):
        folder.chmod(0o755)
    calls, symlink = itertools.count(), os.symlink

    def swapping(call, rename=os.rename):
        def swap(*args, **kwargs):
            if next(calls) == moment and (tree / "a").is_dir():
                rename(tree / "a", tree / "moved")
                symlink(outside, tree / "a")
            return call(*args, **kwargs)

        return swap

    for name in CALLS:
        monkeypatch.setattr(trees.os, name, swapping(getattr(os, name)))
    with contextlib.suppress(OSError):
        trees.remove(tree)
    monkeypatch.undo()
    trees.remove(tree)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == [
        "outside",
        "outside/a",
        "outside/a/file",
        "outside/file",
    ]
    assert [stat.S_IMODE(p.stat().st_mode) for p in (outside, outside / "a")] == [0o755, 0o755]


def _swap(tree, outside, begun):
    """Put a link to ``outside`` in the place of each folder in ``tree``, the last one first."""
    begun.set()
    for number in range(FOLDERS - 1, -1, -1):
        with contextlib.suppress(OSError):
            (tree / str(number)).rename(tree / f"moved{number}")
            (tree / str(number)).symlink_to(outside)


FOLDERS = 300


def test_a_process_that_puts_links_in_the_place_of_folders(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    outside.chmod(0o755)
    (outside / "file").write_text("kept")
    tree = tmp_path / "tree"
    for _ in range(5):
        for number in range(FOLDERS):
            (tree / str(number)).mkdir(parents=True)
        begun = fork.Event()
        swapper = fork.Process(target=_swap, args=[tree, outside, begun])
        swapper.start()
        begun.wait()
        with contextlib.suppress(OSError):  # what changes meanwhile may stay
            trees.remove(tree)
        swapper.join()
        trees.remove(tree)
        assert not os.path.lexists(tree)
        assert os.listdir(outside) == ["file"] and stat.S_IMODE(outside.stat().st_mode) == 0o755


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
