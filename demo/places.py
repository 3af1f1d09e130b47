"""Where everything of the demo is: its nodes and its folders."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tooling.files import write

ENVIRONMENT = "demo"
NODES = {"web1": "127.0.0.11", "web2": "127.0.0.12", "web3": "127.0.0.13"}
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
        self._discovery_record = self.state / "discovery"

    def node(self, name):
        """Return the folder of a node."""
        return self.state / "nodes" / name

    def moved_from(self):
        """Return the path that the state folder was used at last if it is another one, else None."""
        recorded = Path(self._path_record.read_text()) if self._path_record.exists() else self.state
        return None if recorded == self.state else recorded

    def discovery(self):
        """Return the service discovery that was used at last, None if there was none."""
        if self._discovery_record.exists():
            return self._discovery_record.read_text()
        # An older demo had Consul, and recorded nothing.
        return "consul" if (self.state / "nodes").exists() else None

    def settle(self, discovery):
        """Remove what holds the path that the state folder had, and remember the one that it has.

        :param discovery: the service discovery from now on. Nodes that had another are removed, too.
        """
        if self.moved_from():
            self._alias_record.unlink(missing_ok=True)
        if self.moved_from() or self.discovery() not in (None, discovery):
            shutil.rmtree(self.state / "nodes", ignore_errors=True)
        write(self._path_record, str(self.state))
        write(self._discovery_record, discovery)

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
