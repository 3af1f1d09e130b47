"""Puts a Debian package in its place on this node: the files of a release of the kind ``package``.

A node can have one version of a package, and one app can have it. The node notes this, and how the package was before
the app came, in ``<root>/.packages/<package>.json``.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict

from ..core import limits
from ..core.errors import Failed, Refused
from ..system import baseenv, filelocks, files
from . import debian

FOLDER, LOCK = ".packages", ".lock"
# It has files only while dpkg works, or after a dpkg that was killed.
JOURNAL = Path("/var/lib/dpkg/updates")
BOOTED = Path("/run/systemd/system")
UNITS = Path("/etc/systemd/system")
# A part of the time goes to waiting for another apt. The rest is enough to unpack.
WAITING = 0.5
# A maintainer's script that starts a service calls this program by its name.
STARTER = """\
#!/bin/sh
for word; do
    case "$word" in {scripts}) exit 0 ;; esac
done
exec /usr/sbin/invoke-rc.d "$@"
"""


class Claim(TypedDict):
    """The use of a package by an app on this node.

    :param added: the packages of its releases that the node did not have before: itself, and those of the same source.
    :param held: whether it was held before.
    :param masked: the units that we masked.
    :param placed: the digest of the file that was installed last, empty while a file is being installed.
    """

    app: str
    added: list[str]
    held: bool
    masked: list[str]
    placed: str


def owner(root: Path, package: str) -> str:
    """Return the app that has ``package`` on this node, empty if none has it."""
    claim = _read(root, package)
    return claim["app"] if claim else ""


def put(root: Path, app: str, release: Path, record: Mapping[str, Any], seconds: float) -> None:
    """Install the package of a release, keep its own units from starting, and hold it.

    :param root: the node's folder.
    :param release: the folder of the release.
    :param record: its record.
    :param seconds: how long this may take.
    :raises Refused: another app has the package, or the node has a unit of its own in the way.
    :raises Failed: it could not be installed.
    """
    name, placed = str(record["origin"]["location"]), record["placed"]
    until = time.monotonic() + seconds
    with _locked(root, seconds / 2):
        claim = _read(root, name)
        if claim and claim["app"] != app:
            raise Refused(f"the package {name} belongs to the app {claim['app']} on this node, and not to {app}.")
        claim = claim or _claim(app, name, record)
        names = (path.partition("_")[0] for path in placed["own"])
        claim["added"] = sorted({*claim["added"], *(each for each in names if not debian.status(each)[0])})
        _write(root, name, claim)
        _mask(root, name, claim, placed["units"])
        if _is_in_place(record, claim):
            _mark("hold", name)
            return
        _write(root, name, {**claim, "placed": ""})
        if any(JOURNAL.glob("[0-9]*")):
            # A dpkg was killed, and apt does nothing until this has run. What fails now may be replaced in a moment.
            debian.run(["dpkg", "--configure", "--pending"], seconds=_left(until))
        _install(root, name, release, placed, _left(until))
        if debian.status(name)[:2] != (record["origin"]["version"], "i"):
            raise Failed(f"{name} {record['origin']['version']} is not installed, though apt reported no error.")
        _write(root, name, {**claim, "placed": record["artifact"]})
        _mark("hold", name)


def _left(until: float) -> float:
    return max(1.0, until - time.monotonic())


def _claim(app: str, name: str, record: Mapping[str, Any]) -> Claim:
    return {"app": app, "added": [], "held": debian.status(name)[2], "masked": [], "placed": record["artifact"]}


def release(root: Path, app: str, used: Callable[[], Collection[str]]) -> None:
    """Give back the packages that ``app`` has and that none of its releases is any more.

    The packages that were not there before the app are removed, unless another package needs one of them.

    :param used: returns the packages of its releases. It is asked under the lock, because the job that held the lock
        may have put one in its place.
    :raises Failed: a package could not be given back.
    """
    for path in sorted((root / FOLDER).glob("*.json")):
        name = path.stem
        if owner(root, name) != app or name in used():
            continue
        with _locked(root, limits.APT):
            claim = _read(root, name)
            if claim and claim["app"] == app and name not in used():
                _give_back(name, claim)
                path.unlink()


def release_all(root: Path) -> None:
    """Give back the packages of all apps. No release is left."""
    for path in sorted((root / FOLDER).glob("*.json")):
        release(root, owner(root, path.stem), tuple)


def _give_back(name: str, claim: Claim) -> None:
    if debian.status(name)[2] and not claim["held"]:
        _mark("unhold", name)
    added = [each for each in claim["added"] if debian.status(each)[0]]
    _, output = debian.run(["apt-get", "--simulate", "--yes", "remove", *added])
    if added and set(debian.REMOVED.findall(output)) == set(added):
        # The master has 60 s for the whole step.
        lock = f"--option=DPkg::Lock::Timeout={limits.SMALL:.0f}"
        _run(["apt-get", "--yes", "--quiet", lock, "remove", *added], f"apt-get remove {' '.join(added)}")
    if claim["masked"]:
        _run(["systemctl", "unmask", "--quiet", *claim["masked"]], "systemctl unmask")


def _is_in_place(record: Mapping[str, Any], claim: Claim) -> bool:
    origin = record["origin"]
    there = debian.status(str(origin["location"]))[:2] == (origin["version"], "i")
    return there and claim["placed"] == record["artifact"]


def _mask(root: Path, name: str, claim: Claim, units: Collection[str]) -> None:
    """Stop the units of the package, and keep everybody from starting them."""
    if not BOOTED.is_dir():
        return
    own = [unit for unit in units if (UNITS / unit).is_file() and not (UNITS / unit).is_symlink()]
    if own:
        raise Refused(
            f"the node has a unit of its own, {UNITS / own[0]}, which would start {name} beside the app. Move it away."
        )
    new = [unit for unit in units if not _is_masked(unit)]
    if new:
        claim["masked"] = sorted({*claim["masked"], *new})
        _write(root, name, claim)
        _run(["systemctl", "mask", "--quiet", *new], "systemctl mask")
        # It reports an error for a unit that does not exist yet.
        debian.run(["systemctl", "stop", *new])
        if debian.run(["systemctl", "is-active", "--quiet", *new])[0] == 0:
            raise Failed(f"a unit of {name} does not stop: see `systemctl status {' '.join(new)}`.")


def _is_masked(unit: str) -> bool:
    return os.path.realpath(UNITS / unit) == "/dev/null"


def _install(root: Path, name: str, release: Path, placed: Mapping[str, Any], seconds: float) -> None:
    chosen = [release / path for path in placed["own"]]
    new = []
    for path in (release / each for each in placed["others"]):
        _, output = debian.run(["dpkg-deb", "--show", "--showformat=${Package} ${Version}", str(path)])
        other, _, version = output.partition(" ")
        there = debian.status(other)[0]
        # A newer library stays. It is an update of the node's own.
        if not there or debian.is_older(there, version):
            chosen.append(path)
            new += [] if there else [other]
    options = [
        f"--option=DPkg::Lock::Timeout={seconds * WAITING:.0f}",
        "--option=Dpkg::Options::=--force-confdef",
        "--option=Dpkg::Options::=--force-confold",
        "--option=Dpkg::Use-Pty=0",
        "--reinstall",
        "--no-remove",
    ]
    with _starter(root, placed["scripts"]) as way:
        _run(["apt-get", *debian.INSTALL, *options, *way, *map(str, chosen)], f"installing {name}", seconds)
    if new:
        _mark("auto", *new)


@contextlib.contextmanager
def _starter(root: Path, scripts: Collection[str]) -> Iterator[list[str]]:
    """Yield options of apt-get with which maintainers' scripts do not start the services ``scripts`` of /etc/init.d.

    Units are masked. Without systemd there are only these scripts. The file policy-rc.d is the administrator's, and
    would stay if this process is killed.
    """
    if not scripts:
        yield []
        return
    with tempfile.TemporaryDirectory(dir=root / FOLDER) as folder:
        program = Path(folder, "invoke-rc.d")
        program.write_text(STARTER.format(scripts="|".join(scripts)))
        program.chmod(0o755)
        yield [f"--option=DPkg::Path={folder}:{baseenv.PATH}"]


def _mark(what: str, *names: str) -> None:
    _run(["apt-mark", what, *names], f"apt-mark {what} {' '.join(names)}")


def _run(command: list[str], what: str, seconds: float = limits.APT) -> None:
    code, output = debian.run(command, seconds=seconds)
    if code:
        raise Failed(f"{what}: {debian.error(output)}")


@contextlib.contextmanager
def _locked(root: Path, seconds: float) -> Iterator[None]:
    with files.explained():
        files.make_folder(root / FOLDER)
        with filelocks.hold(root / FOLDER / LOCK, seconds):
            yield


def _read(root: Path, package: str) -> Claim | None:
    try:
        found = json.loads((root / FOLDER / f"{package}.json").read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        raise Failed(f"{root / FOLDER / package}.json: {exc}") from exc
    if not isinstance(found, dict) or set(found) != set(Claim.__annotations__):
        raise Failed(f"{root / FOLDER / package}.json is no note of saltdeploy. Move it away.")
    return found  # type: ignore[return-value]


def _write(root: Path, package: str, claim: Claim) -> None:
    with files.explained():
        files.write_file(root / FOLDER / f"{package}.json", json.dumps(claim))
