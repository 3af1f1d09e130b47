"""Room is looked for before anything is written, and said with all that somebody needs to make some."""

import errno
import os
import subprocess

import pytest
from saltdeploy.system import disk
from saltdeploy.system.disk import Need, NoRoom, Space

MB = 1_000_000


def test_what_must_stay_free_is_a_twentieth_of_a_small_disk_and_little_of_a_large_one():
    assert Space(0, total=2000).reserve == 100
    assert Space(0, total=1 << 40).reserve == 64 << 20


@pytest.mark.parametrize(
    "space, needed, files, lacking",
    [
        (Space(500, 1000), 450, 0, ""),
        (Space(500, 1000), 451, 0, "451 B are needed, 50 B must stay free, and 500 B are free"),
        (Space(0, 0), MB, 0, ""),
        (Space(MB, MB, files=3, most_files=9), 0, 3, ""),
        (Space(MB, MB, files=3, most_files=9), 0, 4, "4 files are needed, and there are inodes for 3 more"),
        (Space(MB, MB, files=0, most_files=0), 0, 4, ""),
    ],
)
def test_lacks(space, needed, files, lacking):
    assert space.lacks(needed, files) == lacking


def test_files_take_whole_blocks():
    assert Space(0, 0, block=100).footprint([0, 1, 100, 101]) == 100 + 100 + 100 + 200


@pytest.mark.parametrize(
    "size, text",
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (12 * MB, "12 MB"), (2500 * MB, "2.5 GB"), (10**13, "10000 GB")],
)
def test_human(size, text):
    assert disk.human(size) == text


def test_space_of_a_folder_that_is_not_there_yet(tmp_path):
    found = disk.space(tmp_path / "a" / "b")
    there = os.statvfs(tmp_path)
    assert (found.total, found.block) == (there.f_blocks * there.f_frsize, there.f_frsize)
    assert not (tmp_path / "a").exists()


def test_what_is_written_to_one_file_system_is_needed_together(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "space", lambda folder: Space(1000, 1000))
    disk.require([Need(tmp_path / "a", 900)])
    told = f"no room in {tmp_path}/a and {tmp_path}/b: 1.4 kB are needed, 50 B must stay free, and 1000 B are free"
    with pytest.raises(NoRoom) as raised:
        disk.require([Need(tmp_path / "a", 700), Need(tmp_path / "b", 700)])
    assert str(raised.value).startswith(told.replace("1000 B", "1.0 kB"))
    assert raised.value.errno == errno.ENOSPC and disk.is_full(raised.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_file_systems_are_looked_at_each_for_itself(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=10", "small", small], check=True)
    try:
        disk.require([Need(small / "x", MB // 2), Need(tmp_path, MB)])
        with pytest.raises(NoRoom, match=f"no room in {small}/x: 1.0 MB are needed, 52 kB must stay free, and 1.0 MB"):
            disk.require([Need(small / "x", MB), Need(tmp_path, MB)])
        with pytest.raises(NoRoom, match=f"no room in {small}: 20 files are needed, and there are inodes for 9 more"):
            disk.require([Need(small, 0, 20)])
    finally:
        subprocess.run(["umount", small], check=True)


# -- what nobody knows the size of ------------------------------------------------------------


def test_room_is_used_up_bit_by_bit(tmp_path, monkeypatch):
    """The disk is looked at again where what it had is used up: something may have been removed meanwhile."""
    spaces = [Space(1000, 1000, block=10), Space(1000, 1000, block=10), Space(200, 1000, block=10)]
    looked = []

    def space(folder):
        looked.append(folder)
        return spaces[min(len(looked), len(spaces)) - 1]

    monkeypatch.setattr(disk, "space", space)
    meter = disk.Meter(tmp_path)
    meter.take(900)
    assert len(looked) == 1
    with pytest.raises(NoRoom, match="180 B are needed, 50 B must stay free, and 200 B are free"):
        for _ in range(3):
            meter.take(175, 1)


def test_the_disk_is_looked_at_again_after_some_megabytes(tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr(disk, "space", lambda folder: looked.append(folder) or Space(1 << 40, 1 << 41))
    meter = disk.Meter(tmp_path)
    for _ in range(40):
        meter.take(1 << 20)
    assert 8 <= len(looked) <= 11
