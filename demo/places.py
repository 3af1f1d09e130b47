"""Where everything of the demo is."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tooling.files import write

# The path of a unix socket may have 107 bytes, and the longest of ours takes this much below the state folder.
SOCKET_PATH, BELOW = 107, len("/nodes/webN/salt/run/minion_event_0123456789_pull.ipc")


class Places:
    """The folders of one demo.

    :param repository: the repository's root; the state folder is ``.demo`` in it.
    """

    def __init__(self, repository):
        self.repository = Path(repository).resolve()
        self.state = self.repository / ".demo"
        self.venv = self.state / "venv"
        self.etc = self.state / "etc"
        self.log = self.state / "log"
        self.bin = self.state / "bin"
        self.pillar = self.state / "pillar"
        self.files = self.state / "files"
        self._alias_record = self.state / "short-path"
        self._path_record = self.state / "path"

    def node(self, name):
        """Return the folder of a node."""
        return self.state / "nodes" / name

    def moved_from(self):
        """Return the path that the state folder was used at last if it is another one, else None."""
        recorded = Path(self._path_record.read_text()) if self._path_record.exists() else self.state
        return None if recorded == self.state else recorded

    def settle(self):
        """Remove what holds the path that the state folder had, and remember the one that it has."""
        if self.moved_from():
            shutil.rmtree(self.state / "nodes", ignore_errors=True)
            self._alias_record.unlink(missing_ok=True)
        write(self._path_record, str(self.state))

    def short(self):
        """Return a path of the state folder that is short enough for sockets below it.

        Its own, else a link to it in the temporary folder, remembered in the state folder.
        """
        if len(os.fsencode(self.state)) + BELOW <= SOCKET_PATH:
            return self.state
        recorded = Path(self._alias_record.read_text()) if self._alias_record.exists() else None
        if recorded and recorded.is_symlink() and os.readlink(recorded) == str(self.state):
            return recorded
        alias = Path(tempfile.mkdtemp(prefix="saltdeploy-", dir="/tmp")) / "demo"
        alias.symlink_to(self.state)
        self._alias_record.write_text(str(alias))
        return alias

    def remove_short(self):
        """Remove the link, if there is one."""
        if self._alias_record.exists():
            folder = Path(self._alias_record.read_text()).parent
            if folder.name.startswith("saltdeploy-") and folder.is_dir() and folder.stat().st_uid == os.geteuid():
                shutil.rmtree(folder)
            self._alias_record.unlink()
