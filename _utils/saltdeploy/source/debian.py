"""Debian's package tools: the packages that apt knows, and their files. The archive's signed indexes name the digests.

apt asks the sources of the node, with the logins and proxies of its configuration.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import re
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..core import limits, urls, words
from ..core.errors import Failed
from ..system import commands, disk

ENVIRONMENT = {
    "LC_ALL": "C",
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBIAN_PRIORITY": "critical",
    "APT_LISTCHANGES_FRONTEND": "none",
    "NEEDRESTART_MODE": "l",  # it only lists the services that use old libraries
}
# Any version may come in place of another. Recommended packages are the user's choice.
INSTALL = (
    "install",
    "--yes",
    "--quiet",
    "--no-install-recommends",
    "--allow-downgrades",
    "--allow-change-held-packages",
)
# The user of apt's downloads.
FETCHER = "_apt"
INSTALLED = re.compile(r"^Inst (?P<name>\S+)(?: \[[^]]*\])? \((?P<version>\S+)", re.MULTILINE)
REMOVED = re.compile(r"^Remv (?P<name>\S+)", re.MULTILINE)
# The units of a package that a maintainer's script may start, or that may start a program of it.
UNIT = re.compile(
    r" \./(?:usr/)?lib/systemd/system/([A-Za-z0-9:_.@\\-]+\.(?:service|socket))(?: -> .*)?$", re.MULTILINE
)
SCRIPT = re.compile(r" \./etc/init\.d/([A-Za-z0-9_.+-]+)$", re.MULTILINE)


class Offer(NamedTuple):
    """A package at a version, as apt can download it.

    :param depends: the names of the packages that it may depend on.
    """

    name: str
    version: str
    digest: str
    size: int
    source: str
    depends: frozenset[str]


class Apt:
    """The apt of this node, with the lists of packages that it has, or with newer lists.

    :param folder: an empty folder for newer lists, which all users may enter.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lists: list[str] = []

    def refresh(self) -> str:
        """Have newer lists of packages from now on. The node's own lists stay as they are.

        :returns: why that failed, as the end of a sentence. Empty if it did not fail.
        """
        for name in ("lists/partial", "cache/archives/partial"):
            (self.folder / name).mkdir(parents=True)
        self._lists = [f"--option=Dir::State::Lists={self.folder}/lists", f"--option=Dir::Cache={self.folder}/cache"]
        try:
            code, output = self.run("apt-get", "update", "--quiet", seconds=limits.LISTS)
        except Failed as exc:
            return f", and apt's lists could not be fetched: {exc}"
        return f", and apt's lists could not be fetched: {error(output)}" if code else ""

    def offers(self, names: Collection[str]) -> list[Offer]:
        """Return all versions of the packages ``names`` that apt can download."""
        if not names:
            return []
        _, output = self.run("apt-cache", "show", *sorted(names))
        return [offer for offer in parse_offers(output) if offer.name in names]

    def candidate(self, name: str) -> str:
        """Return the version of a package that apt would install by itself. Empty if there is none."""
        _, output = self.run("apt-cache", "policy", name)
        found = re.search(r"^  Candidate: (\S+)$", output, re.MULTILINE)
        return found[1] if found and found[1] != "(none)" else ""

    def needs(self, offers: Sequence[Offer]) -> list[tuple[str, str]]:
        """Return the packages that this node would install along with ``offers``: name and version.

        :raises Failed: they cannot be installed, or other packages would be removed.
        """
        # Of a package that it chooses itself, apt takes the newest version only.
        code, output = self.run("apt-get", "--simulate", *INSTALL, *(f"{each.name}={each.version}" for each in offers))
        first, removed, names = offers[0], REMOVED.findall(output), {each.name for each in offers}
        if removed:
            raise Failed(f"{first.name} {first.version} cannot be beside {', '.join(removed)}, which this node has.")
        if code:
            raise Failed(f"apt cannot install {first.name} {first.version}: {error(output)}")
        return [found for found in INSTALLED.findall(output) if found[0] not in names]

    def download(
        self, packages: Iterable[tuple[str, str]], target: Path, digests: Collection[str], seconds: float
    ) -> list[str]:
        """Download packages, of which each is a name and a version, into ``target``. Return the names of the files.

        :param digests: the digests that the archive's indexes have of them.
        :param seconds: how long this may take.
        :raises Failed: a package could not be downloaded, or has another digest.
        """
        wanted = [f"{name}={version}" for name, version in packages]
        with private(target.parent) as folder:
            code, output = self.run("apt-get", "download", "--quiet", *wanted, folder=folder, seconds=seconds)
            if code:
                raise Failed(f"apt-get download {' '.join(wanted)}: {error(output)}")
            files = sorted(folder.glob("*.deb"))
            if len(files) != len(wanted):
                raise Failed(f"apt-get download {' '.join(wanted)} brought {len(files)} files.")
            for path in files:
                if copy(path, target / path.name) not in digests:
                    raise Failed(f"{path.name} is not the file that apt's lists describe. Run it again.")
        return [path.name for path in files]

    def run(self, program: str, *args: str, folder: Path | str = "/", seconds: float = limits.APT) -> tuple[int, str]:
        """Run a program of apt with the lists of this object. Return its exit code and its output."""
        return run([program, *self._lists, *args], folder, seconds)


def parse_offers(output: str) -> list[Offer]:
    """Return the offers in the output of ``apt-cache show``. A package without a digest cannot be downloaded."""
    found: list[Offer] = []
    for block in re.split(r"\n\s*\n", output):
        fields: dict[str, str] = dict(re.findall(r"^([A-Za-z0-9-]+): *(.*)$", block, re.MULTILINE))
        if {"Package", "Version", "SHA256", "Size"} <= set(fields) and fields["Size"].isdigit():
            depends = f"{fields.get('Depends', '')},{fields.get('Pre-Depends', '')}"
            found.append(
                Offer(
                    fields["Package"],
                    fields["Version"],
                    fields["SHA256"].lower(),
                    int(fields["Size"]),
                    fields.get("Source", fields["Package"]).partition(" ")[0],
                    frozenset(re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9.+-]+)", depends)),
                )
            )
    return found


def units(path: Path) -> tuple[set[str], set[str]]:
    """Return the names of the units, and of the scripts in /etc/init.d, that a package file has."""
    code, output = run(["dpkg-deb", "--contents", str(path)])
    if code:
        raise Failed(f"dpkg-deb --contents {path.name}: {error(output)}")
    return set(UNIT.findall(output)), set(SCRIPT.findall(output))


def status(name: str) -> tuple[str, str, bool]:
    """Return the version of an installed package, its state in dpkg's word, and whether it is held.

    The version is empty if the package is not installed, or only its configuration is there.
    """
    code, output = run(["dpkg-query", "--show", "--showformat=${db:Status-Abbrev}|${Version}", name])
    abbreviation, _, version = output.partition("|")
    if code or abbreviation[1:2] in ("n", "c", ""):
        return "", "", abbreviation.startswith("h")
    return version.strip(), abbreviation[1:2], abbreviation.startswith("h")


def is_older(version: str, other: str) -> bool:
    """Return whether ``version`` comes before ``other`` in Debian's order."""
    return run(["dpkg", "--compare-versions", version, "lt", other])[0] == 0


def run(command: Sequence[str], folder: Path | str = "/", seconds: float = limits.APT) -> tuple[int, str]:
    """Run a package tool. Return its exit code and its output.

    :raises Failed: it cannot be started, or hangs.
    """
    try:
        return commands.execute(command, folder, ENVIRONMENT, "", seconds)
    except commands.CommandFailed as exc:
        raise Failed(words.message(urls.without_secrets(str(exc)))) from exc


def error(output: str) -> str:
    """Return the error in the words of apt or dpkg."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    # dpkg gives the reason in the next line.
    reasons = [" ".join(lines[at : at + 2]) for at, line in enumerate(lines) if line.startswith("dpkg: error")]
    unmet = [line for line in lines if re.search(r" (Depends|PreDepends|Conflicts|Breaks): ", line)]
    errors = reasons or [line for line in lines if line.startswith("E: ")] or lines[-2:]
    return words.message(urls.without_secrets(" ".join([*unmet, *errors[:4]])))


def copy(source: Path, target: Path) -> str:
    """Copy a file and return the SHA-256 of the copy."""
    digest, meter = hashlib.sha256(), disk.Meter(target.parent)
    # The user of the download could put a link or a pipe in its place.
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as data, open(target, "xb") as out:
        while piece := data.read(1 << 20):
            meter.take(len(piece), 0)
            digest.update(piece)
            out.write(piece)
        os.fchmod(out.fileno(), 0o644)
    return digest.hexdigest()


@contextlib.contextmanager
def private(above: Path) -> Iterator[Path]:
    """Yield a new folder in ``above`` that belongs to the user of apt's downloads. apt does not fetch as root then."""
    folder = Path(tempfile.mkdtemp(prefix="apt.", dir=above))
    try:
        with contextlib.suppress(KeyError, PermissionError):
            os.chown(folder, pwd.getpwnam(FETCHER).pw_uid, -1)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
