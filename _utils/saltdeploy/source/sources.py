"""Where releases come from: an archive, or a project on a Python package index."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath

from ..core import limits, urls
from ..core.errors import Failed, Refused
from ..core.names import DIGEST
from ..system import disk
from . import archives, credentials, downloads, pipvenv
from .artifacts import Artifacts

HTTP = ("http://", "https://")


def origin(source, version):
    """Return the mapping that identifies a release of ``version``, JSON-able and without secrets."""
    return {
        "kind": source.kind,
        "location": urls.public(_location(source, version)),
        "sha256": source.sha256.get(version) if isinstance(source.sha256, dict) else _public(source.sha256),
        "strip": source.strip,
        "requirements": list(source.requirements),
        "python": source.python,
        "index": source.index,
    }


def changes(source, version, recorded):
    """Return the keys of ``source`` that are about other content than the release that was ``recorded``.

    :param recorded: the content of release.json, with ``origin`` and ``artifact``.
    """
    wanted, there = origin(source, version), recorded["origin"]
    known, artifact = known_digest(source, version), recorded.get("artifact")
    if source.kind == there.get("kind") == "archive" and known and artifact:
        # The digest decides. The content is the same, also from another place.
        return [*(["sha256"] if known != artifact else ()), *(["strip"] if wanted["strip"] != there["strip"] else ())]
    there = {**there, "location": urls.public(there.get("location", wanted["location"]))}
    # A digest that is not in the mapping any more contradicts nothing.
    return [key for key in wanted if wanted[key] is not None and there.get(key, wanted[key]) != wanted[key]]


def known_digest(source, version):
    """Return the digest of an archive if the definition itself has it, empty if it is in a file or not known."""
    wanted = source.sha256.get(version, "") if isinstance(source.sha256, dict) else source.sha256 or ""
    return wanted.lower() if DIGEST.fullmatch(wanted) else ""


def build(source, version, target, fetch, artifacts=None, user="", digest="", seconds=limits.DOWNLOAD):
    """Make the files of a release in the empty folder ``target`` and return the data to record of it.

    :param fetch: ``fetch(url, path)`` brings a ``salt://`` file. With None for the path it returns the size in bytes,
        or None if that is not known.
    :param artifacts: the node's artifacts.Artifacts. By default downloads lie beside ``target``.
    :param user: the app's user, as whom pip runs.
    :param digest: the SHA-256 of this deployment's archive. Empty takes the digest that the definition has now.
    :param seconds: the time for a download.
    :returns: ``{"artifact": digest}``. For ``pip`` the digest is empty, and there is ``"packages": ["a==1", …]`` too.
    :raises Refused: the digest is not known for this version.
    :raises Failed: it could not be fetched, has another digest, or would leave its folder.
    :raises OSError: it cannot be written, for example because of disk.NoRoom.
    """
    if source.kind == "pip":
        return {"artifact": "", "packages": pipvenv.build(source, _pinned(source, version), target, user)}
    artifacts = artifacts or Artifacts(target.parent, "", target)
    wanted = digest or find_digest(source, version, target.parent, fetch)
    _build_archive(source, version, target, fetch, artifacts, wanted, seconds)
    return {"artifact": wanted}


def room(source, version, folder, fetch, artifacts, warn=lambda text: None):
    """Return the digest of a release's archive, empty for ``pip``, if there is room for the release.

    :param folder: an empty folder, for a file of digests.
    :param warn: ``warn(text)`` is called if the server does not send the archive now.
    :raises disk.NoRoom: there is too little room, as far as can be told before the release is fetched.
    :raises Failed: the archive or its digest is not available, as far as can be told.
    """
    if source.kind == "pip":
        _pinned(source, version)
        if source.netrc:
            credentials.logins(source.netrc)
        artifacts.require(0)
        return ""
    url = _location(source, version)
    wanted = find_digest(source, version, folder, fetch)
    if url.startswith("salt://"):
        _require_fetched(url, fetch, artifacts)
    elif url.startswith(HTTP):
        have, whole = artifacts.here(wanted)
        size = have if whole else downloads.size(url, credentials.headers(source, url, url), warn)
        artifacts.require(size or have, have)
    else:
        _require_copy(url, artifacts)
    return wanted


def find_digest(source, version, folder, fetch):
    """Return the digest of the archive of ``version``, as the definition or the file that it names has it now."""
    if isinstance(source.sha256, dict) and version not in source.sha256:
        raise Refused(
            f"no digest is known for version {version}: add it to the app's source:sha256"
            f" (known: {', '.join(sorted(source.sha256)) or 'none'})."
        )
    known = known_digest(source, version)
    if known:
        return known
    url, place = _location(source, version), source.sha256.replace("{version}", version)
    sums = folder / "sha256"
    _bring(source, url, place, sums, fetch)
    digest = _listed(_text(sums, place), PurePosixPath(urls.public(url)).name)
    sums.unlink(missing_ok=True)
    if not DIGEST.fullmatch(digest):
        raise Failed(f"{urls.public(place)}: holds no sha256 digest of {PurePosixPath(urls.public(url)).name}.")
    return digest


def _listed(text, name):
    """Return the digest of ``name`` in a file as sha256sum writes it, or the digest in the only line."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    named = [line[0] for line in lines if len(line) > 1 and line[-1].lstrip("*").rpartition("/")[2] == name]
    return (named or [line[0] for line in lines[:1] if len(lines) == 1] or [""])[0].lower()


def _text(path, place):
    with path.open("rb") as data:
        found = data.read(limits.DIGESTS + 1)
    if len(found) > limits.DIGESTS:
        raise Failed(f"{urls.public(place)}: is larger than {disk.human(limits.DIGESTS)}: no file of digests.")
    return found.decode(errors="replace")


def _build_archive(source, version, target, fetch, artifacts, wanted, seconds):
    url = _location(source, version)
    # The kind of the file shows in its content, so the ending of its name does not matter.
    archive = target.parent / "artifact"
    if url.startswith(HTTP):
        archive = artifacts.get(url, wanted, credentials.headers(source, url, url), seconds)
    else:
        if url.startswith("salt://"):
            _require_fetched(url, fetch, artifacts)
        else:
            _require_copy(url, artifacts)
        _bring(source, url, url, archive, fetch)
        found = downloads.sha256(archive)
        if found != wanted:
            raise Failed(downloads.wrong_digest(url, found, wanted))
    shown = urls.public(url)
    try:
        archives.unpack(archive, target, source.strip, artifacts.releases)
    except Failed as exc:
        raise Failed(f"{shown}: {exc}") from exc
    except (*archives.UNREADABLE, OSError) as exc:
        if isinstance(exc, OSError) and disk.is_full(exc):
            raise
        raise Failed(f"{shown}: cannot be unpacked: {exc or type(exc).__name__}") from exc
    if not any(target.iterdir()):
        raise Failed(f"{shown}: is empty{f' below {source.strip} folders (source:strip)' if source.strip else ''}.")
    (target.parent / "artifact").unlink(missing_ok=True)


def _bring(source, location, url, path, fetch):
    """Bring a file of digests, or an archive that is not fetched over HTTP."""
    if url.startswith("salt://"):
        fetch(url, path)
    elif url.startswith(HTTP):
        secret = credentials.headers(source, location, url)
        downloads.fetch(url, path, downloads.Terms(secret=secret, seconds=limits.SMALL, most=limits.DIGESTS))
    else:
        try:
            shutil.copyfile(_local(url), path)
        except OSError as exc:
            if disk.is_full(exc):
                raise
            raise Failed(f"{url}: cannot be copied: {exc.strerror or exc}") from exc


def _require_fetched(url, fetch, artifacts):
    """Raise disk.NoRoom if there is too little room for a file of the master, and for at least as much unpacked."""
    disk.require([disk.Need(artifacts.releases, 2 * (fetch(url, None) or 0))])


def _require_copy(url, artifacts):
    """Raise disk.NoRoom if there is too little room for a file of this node, and for at least as much unpacked."""
    path = Path(_local(url))
    if not path.is_file():
        why = "is no file" if path.exists() else "No such file"
        raise Failed(f"{url}: cannot be copied: {why} on this node")
    disk.require([disk.Need(artifacts.releases, 2 * path.stat().st_size)])


def _pinned(source, version):
    """Return the requirement of a ``pip`` source's project, for pip."""
    pinned = f"{source.location}=={version}"
    if not source.sha256:
        return pinned
    if version not in source.sha256:
        raise Refused(f"no digest is known for {pinned}: add it to the app's source:sha256.")
    return f"{pinned} --hash=sha256:{source.sha256[version]}"


def _location(source, version):
    return source.location.replace("{version}", version)


def _public(url):
    return url and urls.public(url)


def _local(url):
    return url[len("file://") :] if url.startswith("file://") else url
