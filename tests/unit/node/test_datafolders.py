"""The data folder of an app: made once, for the app's user, and never in the place of something else."""

import os
import stat
from dataclasses import replace

import pytest
from saltdeploy.core.errors import Refused
from saltdeploy.node.datafolders import DataFolders


@pytest.fixture
def folders(tmp_path):
    return DataFolders("web1", tmp_path / "srv")


def test_the_data_folder_is_made_once_and_is_the_users_own(folders, app, tmp_path):
    for data, path in ((True, folders.root / "shop/data"), (str(tmp_path / "far/away"), tmp_path / "far/away")):
        app = replace(app, data=data)
        assert folders.path(app) == path and not folders.has_any(app)
        folders.make(app, (os.geteuid(), os.getegid()))
        assert stat.S_IMODE(path.stat().st_mode) == 0o750 and not folders.has_any(app)
        (path / "state").write_text("kept")
        path.chmod(0o700)
        folders.make(app, (os.geteuid(), os.getegid()))
        assert (path / "state").read_text() == "kept" and stat.S_IMODE(path.stat().st_mode) == 0o700
        assert folders.has_any(app) and not folders.has_any(replace(app, data=False))
    assert [p.name for p in (tmp_path / "far").iterdir()] == ["away"]


def test_what_is_in_its_place_is_left_alone(folders, app, tmp_path):
    app = replace(app, data=str(tmp_path / "data"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        Refused, match="data on web1 is not a folder, so shop cannot keep its data there. Move it away, or"
    ):
        folders.make(app)
    (tmp_path / "data").unlink()
    (tmp_path / "data").write_text("a file")
    assert not folders.has_any(app)
    with pytest.raises(Refused, match="data on web1 is not a folder"):
        folders.make(app)
    (tmp_path / "data").unlink()
    (tmp_path / "data").mkdir()
    with pytest.raises(Refused, match="data on web1 is not owned by app-shop, .* chown -R app-shop "):
        folders.make(replace(app, user="app-shop"), (os.geteuid() + 1, os.getegid()))
