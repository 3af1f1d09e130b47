"""The source kind ``archive``: a tar or zip file whose SHA-256 is known."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..core import limits, model, urls
from ..core.errors import Failed, Refused
from ..core.names import DIGEST, is_version
from ..system import disk
from . import base, credentials, downloads, signatures, unpacker, web
from .artifacts import Artifacts

HTTP = ("http://", "https://")


@dataclass(frozen=True)
class Archive:
    """An archive that comes over HTTP, from the Salt master's files, or from this node itself.

    Its digest is in the definition, or in a file that the definition names.

    :param definition: the ``source`` of an app.
    """

    definition: model.Source

    def missing(self) -> Iterator[str]:
        return credentials.missing(self.definition)

    def origin(self, version: str) -> base.Origin:
        return base.origin(self.definition, version)

    def changes(self, version: str, recorded: Mapping[str, Any]) -> list[str]:
        wanted, there = self.origin(version), recorded["origin"]
        known, artifact = self.known_digest(version), recorded.get("artifact")
        if there.get("kind") == "archive" and known and artifact:
            # The digest decides. The content is the same, also from another place.
            same = {"sha256": known == artifact, "strip": wanted["strip"] == there["strip"]}
            same["unpack"] = wanted["unpack"] == there.get("unpack", True)
            if not wanted["unpack"]:  # the name of the file is a part of the content
                same["location"] = urls.file_name(wanted["location"]) == urls.file_name(there["location"])
            return [key for key in same if not same[key]]
        return base.changes(wanted, there)

    def current_digest(self, version: str, folder: Path, fetch: base.Fetch) -> str:
        return "" if self.known_digest(version) else self.find_digest(version, folder, fetch)

    def newest(self, node: base.Asking) -> base.Newest:
        latest = self.definition.latest
        if not latest:
            raise Refused(
                "source:latest: is missing. Write the URL of a file there whose only line is the newest version."
            )
        path = node.folder / "latest"
        self._bring(base.location(self.definition, ""), latest, path, node.fetch)
        lines = _text(path, latest).split()
        if len(lines) != 1 or not is_version(lines[0]):
            raise Failed(f"{urls.public(latest)}: does not have a version as its only line.")
        return {"version": lines[0], "stamp": ""}

    def check(
        self,
        version: str,
        folder: Path,
        fetch: base.Fetch,
        artifacts: Artifacts,
        warn: Callable[[str], object],
    ) -> str:
        url = base.location(self.definition, version)
        wanted = self.find_digest(version, folder, fetch)
        if self.definition.signed_by and not self._signs_digests():
            self._signature(version, folder, fetch)
        if url.startswith("salt://"):
            _require_fetched(url, fetch, artifacts)
        elif url.startswith(HTTP):
            have, whole = artifacts.here(wanted)
            size = have if whole else downloads.size(url, self._login(url, url), warn)
            artifacts.require(size or have, have)
        else:
            _require_copy(url, artifacts)
        return wanted

    def install(self, installation: base.Installation) -> base.Installed:
        version, target = installation.version, installation.target
        shown, digest = urls.public(base.location(self.definition, version)), installation.digest
        # Who signs the file of digests vouches for the digest, whoever passed it on.
        if not digest or (self.definition.signed_by and self._signs_digests()):
            listed = self.find_digest(version, target.parent, installation.fetch)
            if digest not in ("", listed):
                raise Failed(f"{shown}: its digest was changed meanwhile. Run it again.")
            digest = listed
        archive = self._archive(installation, digest)
        if self.definition.signed_by and not self._signs_digests():
            self._verify(archive, base.location(self.definition, version), version, target.parent, installation.fetch)
        if self.definition.unpack:
            self._unpack(archive, installation)
        else:
            self._copy(archive, installation)
        _copy_of(target).unlink(missing_ok=True)
        return {"artifact": digest}

    # -- the files of a release ---------------------------------------------------------------

    def _copy(self, archive: Path, installation: base.Installation) -> None:
        """Make a release of a single file, with the name that the archive has at its place."""
        name = urls.file_name(base.location(self.definition, installation.version))
        disk.require([disk.Need(installation.artifacts.releases, archive.stat().st_size, 1)])
        path = installation.target / name
        shutil.copyfile(archive, path)
        path.chmod(0o755)  # a server of files tells no mode

    def _unpack(self, archive: Path, installation: base.Installation) -> None:
        target, shown = installation.target, urls.public(base.location(self.definition, installation.version))
        try:
            unpacker.unpack(archive, target, self.definition.strip, installation.artifacts.releases)
        except Failed as exc:
            raise Failed(f"{shown}: {exc}") from exc
        except unpacker.UNREADABLE as exc:
            if isinstance(exc, OSError) and disk.is_full(exc):
                raise
            raise Failed(f"{shown}: cannot be unpacked: {exc or type(exc).__name__}") from exc
        if not any(target.iterdir()):
            strip = self.definition.strip
            raise Failed(f"{shown}: is empty{f' below {strip} folders (source:strip)' if strip else ''}.")

    # -- the digest ---------------------------------------------------------------------------

    def known_digest(self, version: str) -> str:
        """Return the digest if the definition itself has it, empty if it is in a file or not known."""
        given = self.definition.sha256
        wanted = given.get(version, "") if isinstance(given, dict) else given
        return wanted.lower() if isinstance(wanted, str) and DIGEST.fullmatch(wanted) else ""

    def find_digest(self, version: str, folder: Path, fetch: base.Fetch) -> str:
        """Return the digest of ``version``, as the definition or the file that it names has it now.

        :param folder: the folder for the file of digests.
        """
        given = self.definition.sha256
        if isinstance(given, dict) and version not in given:
            raise Refused(
                f"no digest is known for version {version}: add it to the app's source:sha256"
                f" (known: {', '.join(sorted(given)) or 'none'})."
            )
        known = self.known_digest(version)
        if known:
            return known
        place, sums = str(given).replace("{version}", version), folder / "sha256"
        url = base.location(self.definition, version)
        self._bring(url, place, sums, fetch)
        if self.definition.signed_by and self._signs_digests():
            self._verify(sums, place, version, folder, fetch)
        name = PurePosixPath(urls.public(url)).name
        digest = _listed(_text(sums, place), name)
        sums.unlink(missing_ok=True)
        if not DIGEST.fullmatch(digest):
            raise Failed(f"{urls.public(place)}: holds no sha256 digest of {name}.")
        return digest

    # -- the signature ------------------------------------------------------------------------

    def _signs_digests(self) -> bool:
        """Return whether the signature is of the file of digests, and not of the archive."""
        digests = self.definition.sha256
        return isinstance(digests, str) and self.definition.signature.startswith(f"{digests}.")

    def _verify(self, path: Path, place: str, version: str, folder: Path, fetch: base.Fetch) -> None:
        """Raise Failed unless the file ``path``, which is from ``place``, is signed."""
        key, signature, at = self._signature(version, folder, fetch)
        try:
            key.verify(path, PurePosixPath(urls.public(place)).name, signature)
        except Failed as exc:
            raise Failed(f"{urls.public(at)}: {exc}") from exc

    def _signature(self, version: str, folder: Path, fetch: base.Fetch) -> tuple[signatures.Key, bytes, str]:
        """Return the public key, the signature, and the place of the signature."""
        location, text, path = base.location(self.definition, version), self.definition.signed_by, folder / "signature"
        if text.startswith((*HTTP, "salt://", "file://", "/")):
            self._bring(location, text, path, fetch)
            text = _text(path, text)
        key = signatures.public_key(text)
        at = self.definition.signature.replace("{version}", version) or location + key.ending
        self._bring(location, at, path, fetch)
        signature = _content(path, at)
        path.unlink()
        try:
            key.inspect(signature)
        except Failed as exc:
            raise Failed(f"{urls.public(at)}: {exc}") from exc
        return key, signature, at

    # -- the files ----------------------------------------------------------------------------

    def _archive(self, installation: base.Installation, digest: str) -> Path:
        """Return the path of the archive, once it is here and has the digest."""
        url = base.location(self.definition, installation.version)
        fetch, artifacts = installation.fetch, installation.artifacts
        if url.startswith(HTTP):
            return artifacts.get(url, digest, self._login(url, url), installation.seconds)
        if url.startswith("salt://"):
            _require_fetched(url, fetch, artifacts)
        else:
            _require_copy(url, artifacts)
        path = _copy_of(installation.target)
        self._bring(url, url, path, fetch)
        found = downloads.sha256(path)
        if found != digest:
            raise Failed(downloads.wrong_digest(url, found, digest))
        return path

    def _bring(self, location: str, url: str, path: Path, fetch: base.Fetch) -> None:
        """Bring a file of digests, or an archive that is not fetched over HTTP.

        :param location: the URL of the archive.
        """
        if url.startswith("salt://"):
            fetch(url, path)
        elif url.startswith(HTTP):
            login = self._login(location, url)
            downloads.fetch(url, path, downloads.Terms(login=login, seconds=limits.SMALL, most=limits.DIGESTS))
        else:
            try:
                shutil.copyfile(_local(url), path)
            except OSError as exc:
                if disk.is_full(exc):
                    raise
                raise Failed(f"{url}: cannot be copied: {exc.strerror or exc}") from exc

    def _login(self, location: str, url: str) -> web.Login:
        return credentials.login(self.definition, location, url)


def _copy_of(target: Path) -> Path:
    """Return the path of an archive that is not kept after the installation into ``target``."""
    # The kind of the file shows in its content, so the ending of its name does not matter.
    return target.parent / "artifact"


def _listed(text: str, name: str) -> str:
    """Return the digest of ``name`` in a file as sha256sum writes it, or the digest in the only line."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    named = [line[0] for line in lines if len(line) > 1 and line[-1].lstrip("*").rpartition("/")[2] == name]
    return (named or [line[0] for line in lines[:1] if len(lines) == 1] or [""])[0].lower()


def _text(path: Path, place: str) -> str:
    return _content(path, place).decode(errors="replace")


def _content(path: Path, place: str) -> bytes:
    """Return the content of a small file, for example a file of digests or a signature."""
    with path.open("rb") as data:
        found = data.read(limits.DIGESTS + 1)
    if len(found) > limits.DIGESTS:
        raise Failed(
            f"{urls.public(place)}: is larger than {disk.human(limits.DIGESTS)}, which is too much for such a file."
        )
    return found


def _require_fetched(url: str, fetch: base.Fetch, artifacts: Artifacts) -> None:
    """Raise disk.NoRoom if there is too little room for a file of the master, and for at least as much unpacked."""
    disk.require([disk.Need(artifacts.releases, 2 * (fetch(url, None) or 0))])


def _require_copy(url: str, artifacts: Artifacts) -> None:
    """Raise disk.NoRoom if there is too little room for a file of this node, and for at least as much unpacked."""
    path = Path(_local(url))
    if not path.is_file():
        why = "is no file" if path.exists() else "No such file"
        raise Failed(f"{url}: cannot be copied: {why} on this node")
    disk.require([disk.Need(artifacts.releases, 2 * path.stat().st_size)])


def _local(url: str) -> str:
    return url[len("file://") :] if url.startswith("file://") else url
