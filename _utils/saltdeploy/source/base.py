"""The protocol of a source of releases, and the parts that all sources share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from ..core import limits, model, urls

if TYPE_CHECKING:
    from .artifacts import Artifacts


class Origin(TypedDict):
    """The parts of an archive's or a project's definition that determine the content of a release.

    :param sha256: the digest of this release, or the place that has it. None if the definition has neither.
    """

    kind: str
    location: str
    sha256: str | None
    strip: int
    unpack: bool
    requirements: list[str]
    python: str
    index: str
    wheelhouse: str


class Artifact(TypedDict):
    """The digest of the file that a release is made of, or of its lock file. Empty if there is no such file."""

    artifact: str


class Placed(TypedDict):
    """The files of a release that :mod:`saltdeploy.source.placement` installs before an instance starts.

    :param own: the files of the package itself, and of packages that change with each of its versions.
    :param others: the files of packages that the node lacks, or has in a version that is too old.
    :param units: the units that ``own`` brings.
    :param scripts: the services in /etc/init.d that ``own`` brings.
    """

    own: list[str]
    others: list[str]
    units: list[str]
    scripts: list[str]


class Installed(Artifact, total=False):
    """The content of an installed release.

    :param packages: the packages that came with it, as ``name==version``.
    :param builder: the program that installed these packages. The content does not depend on it.
    :param image: the id of the image in podman's storage that the release is.
    """

    packages: list[str]
    builder: str
    placed: Placed
    image: str


class Fetch(Protocol):
    """Brings a ``salt://`` file from the master, or a folder with all that is in it, if its path ends with a slash."""

    def __call__(self, url: str, path: Path | None, /) -> int | None:
        """Write the file to ``path``, or the files to the folder ``path``.

        Without a path, return its size in bytes, or None if nobody knows it, as of a folder.
        """


@dataclass(frozen=True)
class Installation:
    """The installation of a release.

    :param target: the empty folder for its files. The source may leave files in the folder above, for no longer than
        the installation.
    :param artifacts: the node's downloads.
    :param user: the app's user. Empty means none.
    :param digest: the digest that the artifact of this deployment has. Empty takes the digest that it has now.
    :param seconds: the time for a download or a playbook.
    """

    version: str
    target: Path
    fetch: Fetch
    artifacts: Artifacts
    user: str = ""
    digest: str = ""
    seconds: float = limits.DOWNLOAD


class Newest(TypedDict):
    """The newest version that a source has.

    :param stamp: a text that changes with the content of a folder on the node. Empty if there is none.
    """

    version: str
    stamp: str


@dataclass(frozen=True)
class Asking:
    """The question for the newest version.

    :param folder: an empty folder that all users may enter, for files that are needed meanwhile.
    :param user: the app's user. Empty means none.
    :param above: the deployed version, empty if nothing is deployed.
    :param known: stamp -> version, of earlier answers.
    """

    folder: Path
    fetch: Fetch
    user: str = ""
    above: str = ""
    known: Mapping[str, str] = field(default_factory=dict)


class Source(Protocol):
    """The way in which the releases of an app come to this node.

    Methods raise Refused if the definition does not describe the release, and Failed if its artifact is not usable.
    They raise OSError if it cannot be written, for example :class:`saltdeploy.system.disk.NoRoom`.
    """

    def missing(self) -> Iterator[str]:
        """Yield a clause for each file or program that this node lacks to install any release."""

    def origin(self, version: str) -> Mapping[str, object]:
        """Return the data that identifies a release, to be recorded with it. It holds no secrets."""

    def changes(self, version: str, recorded: Mapping[str, Any]) -> list[str]:
        """Return the keys of the definition that are about other content than the installed release.

        :param recorded: its record: its ``origin``, and the data that :meth:`install` returned.
        """

    def current_digest(self, version: str, folder: Path, fetch: Fetch) -> str:
        """Return the digest that the artifact has now. Empty if the definition itself determines the content.

        A source also returns an empty text if its artifacts have no digest.

        :param folder: an empty folder, for files that are needed meanwhile.
        """

    def newest(self, node: Asking) -> Newest:
        """Return the newest version. Raises Refused if the definition does not say where to look."""

    def check(
        self, version: str, folder: Path, fetch: Fetch, artifacts: Artifacts, warn: Callable[[str], object]
    ) -> str:
        """Check that the artifact is available and that there is room for it. Return its digest, or an empty text.

        :param folder: an empty folder, for files that are needed meanwhile.
        :param warn: ``warn(text)`` is called if the artifact is not available now, and may be later.
        """

    def install(self, installation: Installation) -> Installed:
        """Make the files of a release, and return the data to record of it."""


def origin(definition: model.Source, version: str) -> Origin:
    """Return the origin of a release that ``definition`` describes."""
    given, lock = definition.sha256, definition.lock
    sha256 = given.get(version) if isinstance(given, dict) else given
    return {
        "kind": definition.kind,
        "location": urls.public(location(definition, version)),
        "sha256": urls.public(sha256) if isinstance(sha256, str) else None,
        "strip": definition.strip,
        "unpack": definition.unpack,
        "requirements": [lock.replace("{version}", version)] if lock else list(definition.requirements),
        "python": definition.python,
        "index": definition.index,
        "wheelhouse": definition.wheelhouse,
    }


def folder(url: str) -> str:
    """Return the ``salt://`` URL of a folder with a slash at the end of its path, for :class:`Fetch`."""
    path, mark, query = url.partition("?")
    return f"{path.rstrip('/')}/{mark}{query}"


def location(definition: model.Source, version: str) -> str:
    """Return the location of a release that ``definition`` describes."""
    return definition.location.replace("{version}", version)


def changes(wanted: Origin, recorded: Mapping[str, Any]) -> list[str]:
    """Return the keys in which ``wanted`` contradicts the origin that was recorded of a release."""
    # An older record does not say that its archive was unpacked, as all were.
    there = {"unpack": True, **recorded, "location": urls.public(recorded.get("location", wanted["location"]))}
    # A digest that is not in the mapping any more contradicts nothing.
    return [key for key, value in wanted.items() if value is not None and there.get(key, value) != value]
