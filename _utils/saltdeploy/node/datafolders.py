"""The folders in which apps keep their data on a node. saltdeploy makes such a folder, and never removes it."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core import names
from ..core.errors import Refused

if TYPE_CHECKING:
    from ..core.model import App


@dataclass
class DataFolders:
    """The data folders of apps on the minion ``node``. Its own folder is ``root``."""

    node: str
    root: Path

    def path(self, app: App) -> Path:
        """Return the path of the data folder of ``app``. It need not exist."""
        return Path(app.data) if isinstance(app.data, str) else self.root / names.app(app.name) / "data"

    def has_any(self, app: App) -> bool:
        """Return whether the data folder of ``app`` holds anything."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.path(app)) as entries:
            return bool(app.data) and any(entries)
        return False

    def make(self, app: App, owner: tuple[int, int] | None = None) -> None:
        """Make the data folder of ``app``, unless it exists.

        :param owner: ``(uid, gid)`` of the app's user, if this process may give files away.
        :raises Refused: the path exists, but is not a folder of that user.
        """
        folder = self.path(app)
        if not os.path.lexists(folder):
            partial = folder.with_name(f".{folder.name}.partial")
            partial.mkdir(parents=True, exist_ok=True)
            partial.chmod(0o750)
            if owner:
                os.chown(partial, *owner)
            partial.rename(folder)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise Refused(
                f"{folder} on {self.node} is not a folder, so {app.name} cannot keep its data there. Move it away, or"
                f" write another path into apps:{app.name}:data."
            )
        if owner and found.st_uid != owner[0]:
            raise Refused(
                f"{folder} on {self.node} is not owned by {app.user}, but {app.name} keeps its data there as that user."
                f" Look at the files, then run: chown -R {app.user} {folder}"
            )
