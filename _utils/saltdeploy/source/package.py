"""The source kind ``package``: a Debian package at an exact version.

A node has only one version of a package. So a release is the package's file and the files that it needs, and
:mod:`saltdeploy.source.placement` installs them when an instance of the release starts.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import model, names, urls, words
from ..core.errors import Failed, Refused
from . import base, debian

if TYPE_CHECKING:
    from .artifacts import Artifacts

TOOLS = ("apt-get", "apt-cache", "dpkg", "dpkg-deb")


@dataclass(frozen=True)
class Package:
    """A package of the Debian archives that this node knows.

    :param definition: the ``source`` of an app.
    """

    definition: model.Source

    def missing(self) -> Iterator[str]:
        lacking = [tool for tool in TOOLS if not shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin")]
        if lacking:
            yield f"source:package: this node has no {', '.join(lacking)}, and so no Debian packages"
        elif os.geteuid() != 0:
            yield "source:package: only root can install packages, and the minion of this node is not root"

    def origin(self, version: str) -> dict[str, object]:
        name = urls.public(self.definition.location)
        return {"kind": "package", "location": name, "version": self._full(version)}

    def changes(self, version: str, recorded: Mapping[str, Any]) -> list[str]:
        there = recorded["origin"]
        keys = {"kind": "kind", "location": "package", "version": "version"}
        return [keys[key] for key, value in self.origin(version).items() if there.get(key) != value]

    def current_digest(self, version: str, folder: Path, fetch: base.Fetch) -> str:
        # An archive removes old versions, and the release does not need the archive any more.
        known = debian.Apt(folder).offers([self.definition.location])
        return next((offer.digest for offer in known if offer.version == self._full(version)), "")

    def newest(self, node: base.Asking) -> base.Newest:
        name = self.definition.location
        candidate = debian.Apt(node.folder).candidate(name)
        found = self._short(candidate)
        if not found:
            said = f"apt would install {candidate}" if candidate else "apt knows none"
            raise Refused(f"source:package: {name} has no version of the form {self.definition.version}: {said}.")
        older = node.above and debian.is_older(candidate, self._full(node.above))
        return {"version": node.above if older else found, "stamp": ""}

    def check(
        self, version: str, folder: Path, fetch: base.Fetch, artifacts: Artifacts, warn: Callable[[str], object]
    ) -> str:
        _, offer = self._offer(version, folder)
        artifacts.require(offer.size)
        return offer.digest

    def install(self, installation: base.Installation) -> base.Installed:
        target = installation.target
        with tempfile.TemporaryDirectory(prefix="lists.", dir=target.parent) as lists:
            apt, offer = self._offer(installation.version, Path(lists))
            if installation.digest and offer.digest != installation.digest:
                raise Failed(
                    f"source:package: {offer.name} {offer.version} has the digest {offer.digest[:12]}… in apt's lists,"
                    f" and this deployment has {installation.digest[:12]}…"
                )
            own = [offer, *siblings(apt, offer)]
            others = apt.needs(own)
            digests = {each.digest for each in [*own, *apt.offers([name for name, _ in others])]}
            wanted = [*(each[:2] for each in own), *others]
            paths = apt.download(wanted, target, digests, installation.seconds)
        mine = [path for path in paths if path.partition("_")[0] in {each.name for each in own}]
        found = [debian.units(target / path) for path in mine]
        # systemd makes a unit of a script.
        made = {f"{script}.service" for _, scripts in found for script in scripts}
        return {
            "artifact": offer.digest,
            "packages": sorted(f"{name}=={number}" for name, number in wanted[1:]),
            "placed": {
                "own": mine,
                "others": [path for path in paths if path not in mine],
                "units": sorted(made.union(*(units for units, _ in found))),
                "scripts": sorted(set().union(*(scripts for _, scripts in found))),
            },
        }

    def _offer(self, version: str, folder: Path) -> tuple[debian.Apt, debian.Offer]:
        """Return the offer of the package at the version of a release, and the Apt that knows it.

        :raises Refused: apt knows no such version, also with the newest lists.
        """
        folder.chmod(0o755)  # apt does not fetch as root
        name, full, apt, problem = self.definition.location, self._full(version), debian.Apt(folder), ""
        offers = apt.offers([name])
        if not any(offer.version == full for offer in offers):
            problem = apt.refresh()
            offers = apt.offers([name])
        for offer in offers:
            if offer.version == full:
                return apt, offer
        if not offers:
            raise Refused(f"source:package: apt on this node knows no package {name}{problem}.")
        known = [short for short in (self._short(offer.version) for offer in offers) if short]
        others = "" if known else f", as apt writes them: {words.listed(offer.version for offer in offers)}"
        raise Refused(
            f"source:package: there is no {name} {full}{words.nearest(version, known)}{problem}. apt on this node knows"
            f" these versions: {words.listed(dict.fromkeys(known)) if known else 'none of this form'}{others}."
        )

    def _full(self, version: str) -> str:
        """Return the version of the package that a release has."""
        return self.definition.version.replace("{version}", version)

    def _short(self, full: str) -> str:
        """Return the version of a release that has the package at the version ``full``, empty if none can have it."""
        before, _, after = self.definition.version.partition("{version}")
        found = re.fullmatch(f"{re.escape(before)}(.+){re.escape(after)}", full)
        return found[1] if found and names.is_version(found[1]) else ""


def siblings(apt: debian.Apt, offer: debian.Offer) -> list[debian.Offer]:
    """Return the packages that ``offer`` depends on and that are made of the same source, in the same version.

    A release keeps them even if the node has them, because they change with each version of the package.
    """
    found: dict[str, debian.Offer] = {}
    pending = set(offer.depends)
    seen = {offer.name}
    while pending:
        seen |= pending
        same = [
            each
            for each in apt.offers(pending)
            if (each.source, each.version) == (offer.source, offer.version) and each.name not in found
        ]
        found.update({each.name: each for each in same})
        pending = set().union(*(each.depends for each in same)) - seen
    return sorted(found.values())
