"""Where releases come from: an archive, or a project on a Python package index."""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import requests

from .errors import Failed, Refused

# Seconds to connect, and between two pieces of a download.
HTTP_TIMEOUT = (5, 60)
# Seconds that a whole download may take: the next deployment waits for this one to let go of the app's releases.
DOWNLOAD_TIMEOUT = 3600
PIP_TIMEOUT = 900
# What a damaged or encrypted archive raises.
UNREADABLE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
UNREADABLE += (EOFError, LookupError, ValueError, RuntimeError)
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


def build(source, version, target, fetch):
    """Make the files of a release in the empty folder ``target``.

    :param fetch: ``fetch(url, path)`` brings a ``salt://`` file.
    :raises Refused: the digest is not known for this version.
    :raises Failed: it could not be fetched, is not what its digest says, or would escape its folder.
    """
    if source.kind == "pip":
        _build_pip(source, version, target)
    else:
        _build_archive(source, version, target, fetch)


def _build_archive(source, version, target, fetch):
    url = source.location.replace("{version}", version)
    wanted = _digest(source, version, url, target, fetch)
    # The name's ending is no matter: what the file is, is seen in the file.
    archive = target.parent / "artifact"
    _download(url, archive, fetch)
    found = _sha256(archive)
    if found != wanted:
        raise Failed(f"{url}: wrong digest: sha256 is {found}, the definition says {wanted}. Nothing was unpacked.")
    try:
        _unpack(archive, target, source.strip)
    except (*UNREADABLE, OSError) as exc:
        raise Failed(f"{url}: cannot be unpacked: {exc}") from exc
    if not any(target.iterdir()):
        raise Failed(f"{url}: is empty{f' below {source.strip} folders (source:strip)' if source.strip else ''}.")
    archive.unlink()


def _digest(source, version, url, target, fetch):
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
    sums = target.parent / "sha256"
    _download(wanted.replace("{version}", version), sums, fetch)
    lines = [line.split() for line in sums.read_text(errors="replace").splitlines() if line.strip()]
    name = PurePosixPath(url).name
    named = [line[0] for line in lines if len(line) > 1 and line[-1].lstrip("*").rpartition("/")[2] == name]
    digest = (named or [line[0] for line in lines[:1] if len(lines) == 1] or [""])[0].lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise Failed(f"{wanted}: holds no sha256 digest of {name}.")
    return digest


def _download(url, path, fetch):
    if url.startswith("salt://"):
        fetch(url, path)
    elif url.startswith(("http://", "https://")):
        _download_http(url, path)
    else:
        try:
            shutil.copyfile(url[len("file://") :] if url.startswith("file://") else url, path)
        except OSError as exc:
            raise Failed(f"{url}: cannot be copied: {exc.strerror or exc}") from exc


def _download_http(url, path):
    deadline = time.monotonic() + DOWNLOAD_TIMEOUT
    try:
        with requests.get(url, stream=True, timeout=HTTP_TIMEOUT) as response:
            if response.status_code != 200:
                raise Failed(f"{url}: the server answers {response.status_code} {response.reason}")
            with path.open("wb") as out:
                for piece in response.iter_content(1 << 16):
                    out.write(piece)
                    if time.monotonic() > deadline:
                        raise Failed(f"{url}: is not there after {DOWNLOAD_TIMEOUT}s")
    except requests.RequestException as exc:
        raise Failed(f"{url}: cannot be fetched: {exc}") from exc


def _sha256(path):
    digest = hashlib.sha256()
    with path.open("rb") as data:
        for piece in iter(lambda: data.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


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
