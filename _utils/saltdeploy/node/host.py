"""The folder of a node, with everything that saltdeploy keeps there.

::

    <root>/.lock                               held while a job chooses a port.
    <root>/.validated                          digest and mistakes of the definitions that were checked last.
    <root>/<app>/.lock                         held while a job publishes, stops or restores instances.
    <root>/<app>/.starting                     held while a job starts instances.
    <root>/<app>/.run, .ended                  the current run of the app, and the runs that ended last.
    <root>/<app>/releases/<version>            link to .<version>@<random>/files, complete or absent.
    <root>/<app>/instances/<id>/instance.json  release, port and deployment of an instance, and whether it is tested.
    <root>/<app>/settings/<release>/<n>-<slot>.json  the settings that an instance was started with, for root only.
    <root>/<app>/data/                         data of the app, unless its definition names another folder.
    <root>/.ansible/                           virtualenvs with Ansible, which releases share.
    <root>/.downloads/                         archives that came over HTTP (see artifacts).
    <root>/.packages/<package>.json            the app that has a Debian package, and how it was before (see placement).
    <root>/.key                                the key of digests that this node gives away, for root only.
"""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path

from ..system import filelocks
from ..system.files import explained, make_folder, write_file
from .datafolders import DataFolders
from .instances import Instances
from .mistakecache import NodeMistakes
from .releases import Releases
from .settings import Store
from .turns import Turns

KEY, LOCK = ".key", ".lock"
DEFAULT_ROOT = "/srv/saltdeploy"


class Host:
    """A node's folder, in parts.

    :param node: the minion's id.
    :param root: the folder, made when first needed.
    """

    def __init__(self, node: str, root: Path | str = DEFAULT_ROOT) -> None:
        self.node, self.root = node, Path(root)
        self.instances = Instances(node, self.root)
        self.settings = Store(self.root)
        self.releases = Releases(node, self.root, self.instances, self.settings)
        self.turns = Turns(node, self.root)
        self.data = DataFolders(node, self.root)
        self.mistakes = NodeMistakes(self.root)

    @property
    def key(self) -> bytes:
        """A random key that does not leave the node. It is made when first needed.

        With another key, all registrations differ from their digests, and the next deployment registers them again.
        """
        path = self.root / KEY
        with explained():
            with contextlib.suppress(FileNotFoundError):
                return path.read_bytes()
            make_folder(self.root)
            with filelocks.hold(self.root / LOCK):
                if not path.exists():
                    write_file(path, secrets.token_hex(32), 0o600)
                return path.read_bytes()
