"""Where releases come from: an archive, or a project on a Python package index."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from . import disk, downloads
from .artifacts import Artifacts
from .errors import Failed, Refused

PIP_TIMEOUT = 900
# What a damaged or encrypted archive raises.
UNREADABLE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
UNREADABLE += (EOFError, LookupError, ValueError, RuntimeError)
HTTP = ("http://", "https://")
FOREIGN_PYTHON = ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH")


def origin(source, version):
    """Return what makes a release of ``version`` this one and no other, as a JSON-able mapping."""
    return {
        "kind": source.kind,
        "location": source.location.replace("{version}", version),
        "sha256": source.sha256.get(version) if isinstance(source.sha256, dict) else source.sha256,
        "strip": source.strip,
        "requirements": list(source.requirements),
        "python": source.python,
    }


def build(source, version, target, fetch, artifacts=None):
    """Make the files of a release in the empty folder ``target``; return the digest of what it is made of, if known.

    :param fetch: ``fetch(url, path)`` brings a ``salt://`` file.
    :param artifacts: the node's artifacts.Artifacts; by default some of its own, beside ``target``.
    :raises Refused: the digest is not known for this version.
    :raises Failed: it could not be fetched, is not what its digest says, or would escape its folder.
    :raises OSError: among them disk.NoRoom: it cannot be written.
    """
    if source.kind == "pip":
        _build_pip(source, version, target)
        return ""
    return _build_archive(source, version, target, fetch, artifacts or Artifacts(target.parent, "", target))


def room(source, version, folder, fetch, artifacts):
    """Do nothing if there is room for a release, as far as can be told before anything of it is here.

    :param folder: for what is fetched to tell; empty.
    :raises disk.NoRoom: there is not.
    """
    url = source.location.replace("{version}", version)
    if source.kind == "pip" or url.startswith("salt://"):
        artifacts.require(0)
    elif url.startswith(HTTP):
        have = artifacts.here(_digest(source, version, url, folder, fetch))
        artifacts.require(downloads.size(url) or have, have)
    else:
        _require_copy(url, artifacts)


def _build_archive(source, version, target, fetch, artifacts):
    url = source.location.replace("{version}", version)
    wanted = _digest(source, version, url, target.parent, fetch)
    # The name's ending is no matter: what the file is, is seen in the file.
    archive = target.parent / "artifact"
    if url.startswith(HTTP):
        archive = artifacts.get(url, wanted)
    else:
        if not url.startswith("salt://"):
            _require_copy(url, artifacts)
        _bring(url, archive, fetch)
        found = downloads.sha256(archive)
        if found != wanted:
            raise Failed(f"{url}: wrong digest: sha256 is {found}, the definition says {wanted}. Nothing was unpacked.")
    try:
        disk.require([disk.unpacked(archive, artifacts.releases)])
        _unpack(archive, target, source.strip)
    except (*UNREADABLE, OSError) as exc:
        if isinstance(exc, OSError) and disk.is_full(exc):
            raise
        raise Failed(f"{url}: cannot be unpacked: {exc}") from exc
    if not any(target.iterdir()):
        raise Failed(f"{url}: is empty{f' below {source.strip} folders (source:strip)' if source.strip else ''}.")
    (target.parent / "artifact").unlink(missing_ok=True)
    return wanted


def _digest(source, version, url, folder, fetch):
    wanted = source.sha256
    if isinstance(wanted, dict):
        if version not in wanted:
            raise Refused(
                f"no digest is known for version {version}: add it to the app's source:sha256"
                f" (known: {', '.join(sorted(wanted)) or 'none'})."
            )
        return wanted[version].lower()
    if re.fullmatch(r"[0-9a-fA-F]{64}", wanted):
        return wanted.lower()
    sums = folder / "sha256"
    _bring(wanted.replace("{version}", version), sums, fetch)
    lines = [line.split() for line in sums.read_text(errors="replace").splitlines() if line.strip()]
    name = PurePosixPath(url).name
    named = [line[0] for line in lines if len(line) > 1 and line[-1].lstrip("*").rpartition("/")[2] == name]
    digest = (named or [line[0] for line in lines[:1] if len(lines) == 1] or [""])[0].lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise Failed(f"{wanted}: holds no sha256 digest of {name}.")
    return digest


def _bring(url, path, fetch):
    if url.startswith("salt://"):
        fetch(url, path)
    elif url.startswith(HTTP):
        downloads.fetch(url, path)
    else:
        try:
            shutil.copyfile(_local(url), path)
        except OSError as exc:
            if disk.is_full(exc):
                raise
            raise Failed(f"{url}: cannot be copied: {exc.strerror or exc}") from exc


def _require_copy(url, artifacts):
    """Raise disk.NoRoom if there is none for a file of this node, and for at least as much unpacked."""
    path = Path(_local(url))
    disk.require([disk.Need(artifacts.releases, 2 * path.stat().st_size if path.is_file() else 0)])


def _local(url):
    return url[len("file://") :] if url.startswith("file://") else url


def _unpack(archive, target, strip):
    # In this order: a tar that ends with a zip looks like a zip too.
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            for member in tar:
                _unpack_tarred(tar, member, target, strip)
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                _unpack_zipped(zipped, info, target, strip)
    else:
        raise tarfile.ReadError("it is neither a tar nor a zip archive")
    for path in target.rglob("*"):
        if path.is_symlink():
            _inside(path, target, f"link {path.relative_to(target)} -> {os.readlink(path)}")


def _unpack_zipped(zipped, info, target, strip):
    name = _stripped(info.filename, strip)
    if name is None:
        return
    path = _inside(target / name, target, info.filename)
    if info.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipped.open(info) as data, path.open("wb") as out:
        shutil.copyfileobj(data, out)
    path.chmod(0o755 if info.external_attr >> 16 & stat.S_IXUSR else 0o644)


def _unpack_tarred(tar, member, target, strip):
    name = _stripped(member.name, strip)
    if name is None:
        return
    path = target / name
    _inside(path.parent if member.issym() else path, target, member.name)
    if member.issym() or member.islnk():
        _link(member, path, target, strip)
        return
    if not (member.isfile() or member.isdir()):
        raise Failed(f"the archive holds a device or pipe, {member.name}: refused.")
    member.name = str(name)
    member.uid = member.gid = os.geteuid()
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() or member.mode & stat.S_IXUSR else 0o644
    options = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
    tar.extract(member, target, **options)


def _link(member, path, target, strip):
    """Make a link, or fail. Not by tarfile: where it cannot, it unpacks what the link is to, unseen by us."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        path.unlink()
    if member.issym():
        path.symlink_to(member.linkname)
    else:
        linked = target / (_stripped(member.linkname, strip) or "")
        os.link(_inside(linked, target, f"link {member.name} -> {member.linkname}"), path)


def _stripped(name, strip):
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise Failed(f"the archive would write outside its folder, at {name}: refused.")
    parts = path.parts[strip:]
    return PurePosixPath(*parts) if parts else None


def _inside(path, target, what):
    """Return ``path`` if it is in ``target`` with every link followed, as the kernel would."""
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(target)):
        raise Failed(f"the archive would write outside its folder, at {what}: refused.")
    return path


def _build_pip(source, version, target):
    python = source.python or (shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin") or sys.executable)
    pinned = f"{source.location}=={version}"
    if source.sha256:
        if version not in source.sha256:
            raise Refused(f"no digest is known for {pinned}: add it to the app's source:sha256.")
        pinned += f" --hash=sha256:{source.sha256[version]}"
    requirements = target.parent / "requirements.txt"
    requirements.write_text("\n".join([pinned, *source.requirements]) + "\n")
    _python([python, "-m", "venv", target], f"{python} -m venv")
    pip = [target / "bin/python", "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--quiet"]
    _python([*pip, "--requirement", requirements], f"pip install {source.location}=={version}")


def _python(command, what):
    environment = {k: v for k, v in os.environ.items() if k not in FOREIGN_PYTHON}
    try:
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, timeout=PIP_TIMEOUT, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise Failed(f"{what}: {exc}") from exc
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).strip().splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines
        raise Failed(f"{what}: {' '.join(errors[-2:])}")
