"""The releases of apps on a node. A release is complete or absent, and its content never changes."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from ..core import editions, limits, names, words
from ..core.errors import Failed, Refused
from ..source import Asking, Installation, choose
from ..system import disk, filelocks, files, trees
from ..system.files import explained, make_folder, write_file
from . import nodefiles, turns
from .instances import Instances
from .settings import Store

if TYPE_CHECKING:
    from ..core.model import App
    from ..source.artifacts import Artifacts
    from ..source.base import Newest
    from .launch import Fetch

LOCK = ".lock"

# Salt starts a process for each job. So the functions import those parts of sources that few jobs need.


class Room(TypedDict):
    """The content of a release that is installed, or that there is room for.

    ``digest`` is the SHA-256 of the archive or lock file, or the commit. ``now`` is the SHA-256 in the file of digests,
    or of the lock file, at this moment, or the commit of the tag. It is empty without these. ``packages`` are the
    packages that pip installed. ``warnings`` are sentences about a server that does not send the archive now.
    """

    installed: bool
    digest: str
    now: str
    packages: list[str]
    warnings: list[str]


@dataclass
class Releases:
    """The releases on the minion ``node``, in its folder ``root``. A release stays while an instance needs it.

    :param settings: the settings of its instances, which go with the release.
    """

    node: str
    root: Path
    instances: Instances
    settings: Store

    def path(self, app: str, version: str) -> Path:
        """Return the path of a release. It need not exist."""
        return self.root / names.app(app) / "releases" / names.version(version)

    def image(self, app: str, version: str) -> str:
        """Return the id of the image that a release is. Empty if it is none, or cannot be read."""
        with contextlib.suppress(OSError, ValueError):
            return str(nodefiles.release_record(self.path(app, version)).get("image", ""))
        return ""

    def versions(self, app: str) -> list[str]:
        """Return the versions of ``app`` that are installed completely, the oldest installation first."""
        return [p.name for p in self._links(app) if not nodefiles.release_problem(p)]

    def broken(self, app: str) -> dict[str, str]:
        """Return ``{version: sentence}``: why each incomplete release of ``app`` is incomplete."""
        found = {p.name: nodefiles.release_problem(p) for p in self._links(app)}
        return {version: wrong for version, wrong in found.items() if wrong}

    @explained()
    def _links(self, app: str) -> list[Path]:
        folder = self.root / names.app(app) / "releases"
        links = [p for p in folder.iterdir() if p.is_symlink()] if folder.is_dir() else []
        return sorted(links, key=lambda p: (p.lstat().st_mtime_ns, p.name))

    def installed(self, app: App, version: str, digest: str = "") -> bool:
        """Return whether a release is installed with the content that its definition names.

        :param digest: the SHA-256 that its archive must have. Empty: the definition decides.
        :raises Refused: other content is installed under this version.
        """
        if app.source is None:
            raise self._no_role(app)
        release = self.path(app.name, version)
        if nodefiles.release_problem(release):
            return False
        recorded = nodefiles.release_record(release)
        changed = choose(app.source).changes(version, recorded)
        if recorded.get("build", "") != app.source.build:
            changed = [*changed, "build"]
        if digest and recorded.get("artifact", digest) != digest:
            changed = ["sha256"]
        if changed:
            raise Refused(
                f"{app.name} {version} is installed on {self.node} from another source ({', '.join(changed)} changed)."
                " A release never changes. Give the new content a new version, or put the old source back. If no"
                f" instance has this one, `salt {self.node} app.remove {app.name} \"'{version}'\"` makes way for the"
                " new content."
            )
        return True

    def _no_role(self, app: App) -> Refused:
        return Refused(
            f"{self.node} may not run {app.name}. It has none of the roles of the app, and so none of its settings."
        )

    # -- installing ---------------------------------------------------------------------------

    def install(self, app: App, version: str, fetch: Fetch, digest: str = "") -> bool:
        """Install a release. Return False if it was installed already.

        :param digest: the SHA-256 of this deployment's archive. Empty: the definition decides.
        :raises Failed: it could not be installed. Nothing of the release is left. An unfinished download stays, unless
            the disk is full: the next installation continues it.
        """
        folder = self.path(app.name, version).parent
        with self._naming(app, version), files.readable_by_all():
            make_folder(folder)
            return self._install(app, version, folder, fetch, digest)

    def _install(self, app: App, version: str, folder: Path, fetch: Fetch, digest: str) -> bool:
        # A job that waits for the whole deadline of its deployment would have no time left to install.
        with filelocks.hold(folder / LOCK, app.strategy.progress_deadline / 2):
            if self.installed(app, version, digest):
                return False
            self._make_way(app.name, version)
            artifacts = self._artifacts(app.name, folder)
            build = Path(tempfile.mkdtemp(prefix=f".{version}@", dir=folder))
            try:
                with artifacts:
                    self._build(app, version, build, fetch, artifacts, digest)
            except BaseException as exc:
                with contextlib.suppress(OSError):  # the next installation tries again
                    trees.remove(build)
                if isinstance(exc, Exception):  # an interrupted installation continues later
                    self._tidy(artifacts, parts=False)
                raise
            self._tidy(artifacts)
        return True

    def _make_way(self, app: str, version: str) -> None:
        """Remove the remains of earlier installations of a release. Remains that cannot be removed do no harm."""
        release = self.path(app, version)
        if release.exists() and not release.is_symlink():
            raise Failed(f"{release} on {self.node} is not a release that saltdeploy installed. Move it away.")
        # A version holds no "@", so an installation of 1.0 never removes the release 1.0-rc1.
        current = _build_of(release) if self.instances.of_release(app, version) else None
        for left in release.parent.glob(f".{version}@*"):
            if left != current:  # instances run from it
                with contextlib.suppress(OSError):
                    trees.remove(left)

    def _build(self, app: App, version: str, build: Path, fetch: Fetch, artifacts: Artifacts, digest: str) -> None:
        unpacked = build / "files"
        unpacked.mkdir()
        for folder in (build, unpacked):
            folder.chmod(0o755)
        source = choose(app.source)
        seconds = _seconds(app)
        installation = Installation(version, unpacked, fetch, artifacts, app.user, digest, seconds)
        until = time.monotonic() + seconds
        made = source.install(installation)
        units = made.get("placed", {}).get("units", [])
        if app.unit and app.unit not in units:
            raise Refused(
                f"unit: {app.name} {version} has no {app.unit}{words.nearest(app.unit, units)}."
                f" Its units: {words.listed(units)}."
            )
        record = {"app": app.name, "version": version, "origin": source.origin(version), **made}
        if app.source.build:
            from ..source import buildcommand

            record["build"] = app.source.build
            buildcommand.run(app.source, installation, until - time.monotonic())
        write_file(build / "release.json", json.dumps(record, indent=1))
        os.sync()
        link = build / "link"
        link.symlink_to(Path(build.name) / "files")
        link.rename(self.path(app.name, version))

    def room(self, app: App, version: str, fetch: Fetch) -> Room:
        """Check that there is room for a release, and return its content. This changes nothing.

        :raises Failed: there is no room for it, or its artifact cannot be fetched.
        """
        artifacts = self._artifacts(app.name, self.path(app.name, version).parent)
        warnings: list[str]
        with self._naming(app, version), tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)  # git does not run as root
            if not self.installed(app, version):
                warnings = []
                digest = choose(app.source).check(version, Path(folder), fetch, artifacts, warnings.append)
                return {"installed": False, "digest": digest, "now": digest, "packages": [], "warnings": warnings}
            now = ""
            with contextlib.suppress(Failed, Refused):  # an installed release does not need its source any more
                now = choose(app.source).current_digest(version, Path(folder), fetch)
        recorded = nodefiles.release_record(self.path(app.name, version))
        digest, packages = recorded.get("artifact", ""), recorded.get("packages", [])
        return {"installed": True, "digest": digest, "now": now, "packages": packages, "warnings": []}

    def preview(self, app: App, version: str, fetch: Fetch) -> list[str]:
        """Return the changes that the playbook of a release would make on this node, as texts. This changes nothing.

        Other sources only make the files of a release, and have none.

        :raises Failed: the playbook fails in check mode.
        """
        if app.source is None or app.source.kind != "ansible" or self.installed(app, version):
            return []
        from ..source import ansible
        from ..source.artifacts import Artifacts

        releases = self.path(app.name, version).parent
        with self._naming(app, version), files.readable_by_all(), tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)  # pip does not run as root
            target = Path(folder) / "files"
            target.mkdir()
            with Artifacts(Path(folder), app.name, releases) as artifacts:
                there = Installation(version, target, fetch, artifacts, app.user, "", _seconds(app))
                return ansible.Ansible(app.source).preview(there, self.root)

    def newest(self, app: App, fetch: Fetch, above: str, known: Mapping[str, str]) -> Newest:
        """Return the newest version that the source of ``app`` has. This changes nothing.

        :param above: the deployed version, empty if nothing is deployed.
        :param known: stamp -> version, of earlier answers.
        """
        if app.source is None:
            raise self._no_role(app)
        with explained(), tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)  # pip does not run as root
            return choose(app.source).newest(Asking(Path(folder), fetch, app.user, above, known))

    @contextlib.contextmanager
    def _naming(self, app: App, version: str) -> Iterator[None]:
        """Turn an OSError into Failed, with the names of the release and the node."""
        try:
            yield
        except OSError as exc:
            raise Failed(f"{app.name} {version} cannot be installed on {self.node}: {self._reason(exc)}") from exc

    def _reason(self, exc: OSError) -> str:
        if isinstance(exc, disk.NoRoom) or not disk.is_full(exc):
            return str(exc)
        free = disk.human(disk.space(self.root).free)
        return f"{exc}. The unfinished files are removed, and {free} are free in {self.root}. Make room there."

    def _artifacts(self, app: str, folder: Path) -> Artifacts:
        from ..source.artifacts import Artifacts

        return Artifacts(self.root, app, folder)

    def _tidy(self, artifacts: Artifacts, parts: bool = True) -> None:
        """Remove the archives and the images of which no release is made. See Artifacts.tidy for ``parts``."""
        from ..source import images

        images.tidy(self.root, self._digests)
        artifacts.tidy(self._digests, parts)

    def _digests(self) -> set[str]:
        """Return the SHA-256 of every archive or image that a release of any app on this node is made of."""
        found = set()
        for link in self.root.glob("*/releases/*"):
            # The entry may also be a stranger's file, or broken, or a release that another job just removed.
            if not nodefiles.release_problem(link):
                found.add(nodefiles.release_record(link).get("artifact", ""))
        return found

    # -- putting in place ---------------------------------------------------------------------

    def put_in_place(self, app: str, version: str, seconds: float) -> None:
        """Put a release in its place, if it does not run from its own folder. An instance of it is about to start.

        :param seconds: how long this may take.
        :raises Refused: an instance of another release still runs, or another app has the place.
        :raises Failed: it could not be put there.
        """
        release = self.path(app, version)
        record = nodefiles.release_record(release)
        if "image" in record:
            from ..source import images

            images.require(record["image"])
        if "placed" not in record:
            return
        running = [i.id for i in self.instances.recorded(app) if editions.release(i.version) != version]
        if running:
            raise Refused(f"{app} {version} would replace the files of {', '.join(running)}, which is on {self.node}.")
        from ..source import placement

        placement.put(self.root, app, release, record, seconds)

    def _packages(self, app: str) -> set[str]:
        """Return the packages of the releases of ``app`` on this node."""
        records = [nodefiles.release_record(self.path(app, version)) for version in self.versions(app)]
        return {str(record["origin"]["location"]) for record in records if "placed" in record}

    # -- removing -----------------------------------------------------------------------------

    def remove(self, app: str, version: str) -> bool:
        """Remove a release. Return whether there was one.

        :raises Refused: an instance runs it.
        """
        from ..source import placement

        used = self.instances.of_release(app, version)
        if used:
            raise Refused(
                f"{app} {version} is in use on {self.node} by {', '.join(used)}. Stop every instance of it first."
            )
        release = self.path(app, version)
        with explained():
            there = release.is_symlink()
            if there:
                build = _build_of(release)
                release.unlink()
                self._make_way(app, version)
                if build and build.exists():
                    raise Failed(
                        f"{app} {version} is removed on {self.node}, except for its folder {build}. Remove that folder."
                    )
                self._tidy(self._artifacts(app, release.parent))
            self.settings.forget(app, version)
            self._remove_empty(app)
            # Also if there was no release, because giving back may have failed before.
            if not self.broken(app):  # a release that cannot be read may have a package in use
                placement.release(self.root, app, lambda: self._packages(app))
        return there

    def _remove_empty(self, app: str) -> None:
        """Remove the folders of ``app`` if they hold nothing but the files that its jobs share."""
        home = self.root / names.app(app)
        with contextlib.suppress(OSError):
            (home / "instances").rmdir()
        own = {*turns.FILES, "releases", LOCK}
        with contextlib.suppress(OSError, filelocks.Held), contextlib.ExitStack() as held:
            if any(p.name not in own for p in (*home.iterdir(), *(home / "releases").iterdir())):
                return
            for lock in (home / turns.STARTING, home / "releases" / LOCK):
                held.enter_context(filelocks.hold(lock, 0))
            # A job that waits for one of these locks notices that the file is gone.
            trees.remove(home)


def _seconds(app: App) -> float:
    """Return the time for a download or a playbook."""
    # The master gives up after the strategy's progress_deadline. The node must give its reason before that.
    deadline = app.strategy.progress_deadline
    return min(limits.DOWNLOAD, max(deadline / 2, deadline - limits.SMALL))


def _build_of(release: Path) -> Path | None:
    """Return the folder that a release's link leads to. None if saltdeploy did not make that folder."""
    if not release.is_symlink():
        return None
    build = release.parent / os.readlink(release).partition("/")[0]
    return build if build.name.startswith(".") and build.parent == release.parent else None
