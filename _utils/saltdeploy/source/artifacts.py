"""Archives that a node fetched over HTTP: once for all its apps, kept for as long as a release made of them.

::

    <root>/.downloads/<sha256>                whole and verified
    <root>/.downloads/<sha256>.partial        what is there of it
    <root>/.downloads/<sha256>.partial.from   what the server sent that from
    <root>/.downloads/<sha256>.app            the app that wants it
    <root>/.downloads/<sha256>.lock           held while it is fetched, and until its release is made

No app is named like the folder: names of apps are DNS labels.
"""

from __future__ import annotations

import contextlib
import os
import time

from ..core import limits
from ..system import disk, filelocks
from . import downloads

FOLDER = ".downloads"
# Seconds after which a part is removed whose app never came back for it.
STALE = 7 * 24 * 3600
# How long an archive is waited for that another app's installation fetches, in seconds: half of what an installation
# has by default (the strategy's ``progress_deadline``).
PATIENCE = 300.0


class Artifacts:
    """The downloads of a node, for one app.

    :param root: the node's folder.
    :param app: the app's name.
    :param releases: the folder where its releases will be.

    As a context manager it holds what :meth:`get` returned against other jobs, until a release is made of it.
    """

    def __init__(self, root, app, releases):
        self.folder, self.app, self.releases = root / FOLDER, app, releases
        self._held = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._held.close()

    def get(self, url, digest, secret=None, seconds=limits.DOWNLOAD):
        """Return the path of the archive whose SHA-256 is ``digest``, from ``url`` if it is not here.

        :param secret: headers that only the server of ``url`` may see.
        :param seconds: for the download.
        :raises Failed: it could not be fetched, or is not what its digest says.
        :raises OSError: among them :class:`saltdeploy.system.disk.NoRoom`: it cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._held.enter_context(filelocks.hold(self._path(digest, ".lock"), PATIENCE))
        whole = self._path(digest)
        if whole.exists():
            if downloads.sha256(whole) == digest:
                return whole
            whole.unlink()
        self._path(digest, ".app").write_text(self.app)
        partial = self._path(digest, ".partial")
        terms = downloads.Terms(self.require, disk.Meter(self.folder).take, secret or {}, seconds)
        downloads.fetch_verified(url, partial, digest, terms)
        partial.rename(whole)
        return whole

    def here(self, digest):
        """Return how many bytes of an archive are here, and whether these are all."""
        for path, whole in ((self._path(digest), True), (self._path(digest, ".partial"), False)):
            with contextlib.suppress(FileNotFoundError):
                return path.stat().st_size, whole
        return 0, False

    def require(self, size, have=0):
        """Do nothing if there is room for an archive and for what it unpacks to: at least as much as it has itself.

        :param size: of the archive, in bytes.
        :param have: how much of it is here.
        :raises saltdeploy.system.disk.NoRoom: there is not.
        """
        disk.require([disk.Need(self.folder, max(0, size - have)), disk.Need(self.releases, size)])

    def tidy(self, used, parts=True):
        """Remove archives of which no release is made, and the parts that this app will not go on with.

        :param used: the digests of those of which one is.
        :param parts: False leaves the parts: an installation failed, and the next one goes on with them.
        """
        names = os.listdir(self.folder) if self.folder.is_dir() else ()
        for digest in {name.partition(".")[0] for name in names} - {""}:
            # Held: somebody is at it. And whatever cannot be tidied now can the next time.
            with contextlib.suppress(OSError, filelocks.Held), filelocks.hold(self._path(digest, ".lock"), 0):
                self._tidy(digest, digest in used, parts)
                self._path(digest, ".lock").unlink()

    def _tidy(self, digest, used, parts):
        if not used:
            self._path(digest).unlink(missing_ok=True)
        partial, wanting = self._path(digest, ".partial"), self._path(digest, ".app")
        if not partial.exists() or (parts and self._given_up(partial, wanting)):
            downloads.discard(partial)
            wanting.unlink(missing_ok=True)

    def _given_up(self, partial, wanting):
        """Whether nobody goes on with a part: this app has just installed something else, others had their time."""
        app = wanting.read_text() if wanting.exists() else ""
        return app in ("", self.app) or time.time() - partial.stat().st_mtime > STALE

    def _path(self, digest, suffix=""):
        return self.folder / f"{digest}{suffix}"
