"""Files of a node: complete or unchanged, and never with a wider mode than the caller asked for."""

import os
import stat

import pytest
from saltdeploy.core.errors import Failed
from saltdeploy.system.files import explained, make_folder, write_file

from tests.support import files


@pytest.fixture(params=[0, 0o077], ids=["umask 000", "umask 077"])
def umask(request):
    with files.umask(request.param):
        yield


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o500])
def test_files_have_the_mode_asked_for(tmp_path, umask, mode):
    path = tmp_path / "file"
    write_file(path, "text", mode)
    assert path.read_text() == "text"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_secret_is_never_wider_than_asked_for(tmp_path, umask, monkeypatch):
    """Its mode is right before it is set, and also if an earlier job left a file with a wider one."""
    modes = []
    fchmod = os.fchmod
    monkeypatch.setattr(os, "fchmod", lambda fd, mode: (modes.append(os.fstat(fd).st_mode), fchmod(fd, mode)))
    write_file(tmp_path / "secret", "secret", 0o600)
    assert [stat.S_IMODE(m) & 0o077 for m in modes] == [0]
    (tmp_path / ".secret.partial").write_text("wide")
    (tmp_path / ".secret.partial").chmod(0o666)
    write_file(tmp_path / "secret", "secret", 0o600)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_files_are_given_to_their_owner(tmp_path):
    write_file(tmp_path / "file", "text", 0o600, (12345, 23456))
    owned = (tmp_path / "file").stat()
    assert (owned.st_uid, owned.st_gid, stat.S_IMODE(owned.st_mode)) == (12345, 23456, 0o600)


def test_a_file_that_cannot_be_written_stays_what_it_was(tmp_path):
    write_file(tmp_path / "file", "old")
    with pytest.raises(UnicodeEncodeError):
        write_file(tmp_path / "file", "new \udc80")
    assert (tmp_path / "file").read_text() == "old"


def test_files_are_on_the_disk_before_they_have_their_name(tmp_path, monkeypatch):
    done = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd)))
    write_file(tmp_path / "file", "text")
    assert done == [str(tmp_path / ".file.partial"), str(tmp_path)]


def test_a_descriptor_of_an_earlier_try_does_not_read_the_new_file(tmp_path):
    """The earlier try may have left a file that anybody could open."""
    earlier = tmp_path / ".secret.partial"
    earlier.write_text("")
    with earlier.open() as opened:
        write_file(tmp_path / "secret", "secret", 0o600)
        assert opened.read() == ""


def test_folders_are_made_for_all_to_enter(tmp_path):
    with files.umask(0o077):
        make_folder(tmp_path / "a/b")
        make_folder(tmp_path / "a/b")
    assert [stat.S_IMODE((tmp_path / p).stat().st_mode) for p in ("a", "a/b")] == [0o755, 0o755]


def test_an_error_names_the_path_and_the_way_out(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(Failed, match="file/inner: Not a directory. Move the file away") as found, explained():
        (tmp_path / "file/inner").mkdir()
    assert isinstance(found.value.__cause__, NotADirectoryError)
