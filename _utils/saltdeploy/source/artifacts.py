"""Archives that a node fetched over HTTP once for all its apps, kept as long as the releases made of them.

::

    <root>/.downloads/<sha256>                complete and verified.
    <root>/.downloads/<sha256>.partial        the part of it that is here.
    <root>/.downloads/<sha256>.partial.from   the URL of that part, and the server's validator of the file.
    <root>/.downloads/<sha256>.app            the app that wants it.
    <root>/.downloads/<sha256>.lock           held while it is fetched, and until its release is made.

No app can have the name of the folder, because names of apps are DNS labels.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Container
from pathlib import Path

from ..core import limits
from ..system import disk, filelocks
from . import downloads, web

FOLDER = ".downloads"
# The seconds after which a part is removed if its app has not continued the download.
STALE = 7 * 24 * 3600
# How long an installation waits for an archive that another app's installation fetches, in seconds. It is half of the
# time that an installation has by default (the strategy's ``progress_deadline``).
PATIENCE = 300.0


def lock(root: Path, digest: str) -> Path:
    """Return the path of the lock of the artifact with this digest, on the node whose folder is ``root``."""
    return root / FOLDER / f"{digest}.lock"


class Artifacts:
    """The downloads of a node, for one app.

    :param root: the node's folder.
    :param app: the app's name.
    :param releases: the folder where its releases will be.

    As a context manager it keeps other jobs away from the archives of :meth:`get` until releases are made of them.
    """

    def __init__(self, root: Path, app: str, releases: Path) -> None:
        self.root, self.folder, self.app, self.releases = root, root / FOLDER, app, releases
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Artifacts:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def get(self, url: str, digest: str, login: web.Login = web.NO_LOGIN, seconds: float = limits.DOWNLOAD) -> Path:
        """Return the path of the archive whose SHA-256 is ``digest``, from ``url`` if it is not here.

        :param login: for the server of ``url`` only.
        :param seconds: the time for the download.
        :raises Failed: it could not be fetched, or it has another digest.
        :raises OSError: it cannot be written, for example because of :class:`saltdeploy.system.disk.NoRoom`.
        """
        self.hold(digest)
        whole = self._path(digest)
        if whole.exists():
            if downloads.sha256(whole) == digest:
                return whole
            whole.unlink()
        self._path(digest, ".app").write_text(self.app)
        partial = self._path(digest, ".partial")
        terms = downloads.Terms(self.require, disk.Meter(self.folder).take, login, seconds)
        downloads.fetch_verified(url, partial, digest, terms)
        partial.rename(whole)
        return whole

    def hold(self, digest: str) -> None:
        """Keep other jobs away from the artifact with this digest, as long as this context lasts."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._held.enter_context(filelocks.hold(lock(self.root, digest), PATIENCE))

    def here(self, digest: str) -> tuple[int, bool]:
        """Return how many bytes of an archive are here, and whether it is complete."""
        for path, whole in ((self._path(digest), True), (self._path(digest, ".partial"), False)):
            with contextlib.suppress(FileNotFoundError):
                return path.stat().st_size, whole
        return 0, False

    def require(self, size: int, have: int = 0) -> None:
        """Do nothing if there is room for an archive and for its content, which is at least as large.

        :param size: the size of the archive, in bytes.
        :param have: how many bytes of it are here.
        :raises saltdeploy.system.disk.NoRoom: there is too little room.
        """
        disk.require([disk.Need(self.folder, max(0, size - have)), disk.Need(self.releases, size)])

    def tidy(self, used: Callable[[], Container[str]], parts: bool = True) -> None:
        """Remove archives of which no release is made, and the parts that this app will not continue.

        :param used: returns the digests of the archives of which a release is made. It is asked under each lock,
            because the job that held the lock may have made a release.
        :param parts: False leaves the parts, because an installation failed and the next installation continues them.
        """
        names = os.listdir(self.folder) if self.folder.is_dir() else ()
        for digest in {name.partition(".")[0] for name in names} - {""}:
            # If the lock is held, another job uses the archive. The next call tidies all that this call cannot.
            with contextlib.suppress(OSError, filelocks.Held), filelocks.hold(self._path(digest, ".lock"), 0):
                self._tidy(digest, digest in used(), parts)
                self._path(digest, ".lock").unlink()

    def _tidy(self, digest: str, used: bool, parts: bool) -> None:
        if not used:
            self._path(digest).unlink(missing_ok=True)
        partial, wanting = self._path(digest, ".partial"), self._path(digest, ".app")
        if not partial.exists() or (parts and self._given_up(partial, wanting)):
            downloads.discard(partial)
            wanting.unlink(missing_ok=True)

    def _given_up(self, partial: Path, wanting: Path) -> bool:
        """Return whether nobody continues a part: its app has just installed something else, or has had its time."""
        app = wanting.read_text() if wanting.exists() else ""
        return app in ("", self.app) or time.time() - partial.stat().st_mtime > STALE

    def _path(self, digest: str, suffix: str = "") -> Path:
        return self.folder / f"{digest}{suffix}"
