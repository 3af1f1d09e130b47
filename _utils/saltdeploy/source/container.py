"""The source kind ``container``: an OCI image, which podman pulls by its digest into its storage.

The folder of such a release is empty. Its record has the id of the image, with which :mod:`saltdeploy.runtime.podman`
runs a container. Nothing is pulled when an instance starts.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import model, urls, words
from ..core.errors import Failed, Refused
from ..system import baseenv
from . import base, builder, credentials, images, ordering

if TYPE_CHECKING:
    from .artifacts import Artifacts

# podman alone cannot run a container. Only crun runs one in the control group of its unit. catatonit is the init.
PROGRAMS = ("podman", "crun", "catatonit")
# Further folders where distributions keep these programs.
LIBEXEC = "/usr/libexec/podman"
# A registry without TLS.
HTTP = "http://"


@dataclass(frozen=True)
class Image:
    """An image in a registry.

    :param definition: the ``source`` of an app.
    """

    definition: model.Source

    def missing(self) -> Iterator[str]:
        lacking = [program for program in PROGRAMS if not shutil.which(program, path=f"{baseenv.PATH}:{LIBEXEC}")]
        if lacking:
            yield f"source:container: this node has no {', '.join(lacking)}. Install {', '.join(PROGRAMS)}"
        elif os.geteuid() != 0:
            yield "source:container: only root can run containers here, and the minion of this node is not root"
        elif found := images.outdated():
            least = ".".join(map(str, images.LEAST))
            yield f"source:container: this node has podman {found}. Install podman {least} or newer"
        yield from credentials.missing(self.definition)

    def origin(self, version: str) -> dict[str, object]:
        return {"kind": "container", "location": urls.public(self.definition.location)}

    def changes(self, version: str, recorded: Mapping[str, Any]) -> list[str]:
        # The same image may come from another registry. A digest that is not in the mapping any more contradicts
        # nothing.
        found = [] if recorded["origin"].get("kind") == "container" else ["kind"]
        there = recorded.get("artifact")
        return found if self._known(version) in ("", there) else [*found, "sha256"]

    def current_digest(self, version: str, folder: Path, fetch: base.Fetch) -> str:
        return ""

    def newest(self, node: base.Asking) -> base.Newest:
        given = self.definition.sha256
        if not isinstance(given, dict):
            raise Refused("source:sha256: is no mapping of version to digest, which would say which versions exist.")
        return {"version": ordering.newest(given, node.above), "stamp": ""}

    def check(
        self, version: str, folder: Path, fetch: base.Fetch, artifacts: Artifacts, warn: Callable[[str], object]
    ) -> str:
        return self._digest(version)

    def install(self, installation: base.Installation) -> base.Installed:
        digest, artifacts = self._digest(installation.version), installation.artifacts
        if installation.digest not in ("", digest):
            raise Failed(f"source:sha256: the digest of {installation.version} was changed meanwhile. Run it again.")
        registry, path = self._place()
        name = f"{registry}/{path}@sha256:{digest}"
        artifacts.hold(digest)
        images.claim(artifacts.root, digest, name)
        with tempfile.TemporaryDirectory(prefix="registry.", dir=installation.target.parent) as private:
            # podman keeps its unfinished parts there, too. After a kill, the next installation removes them.
            variables, options = {**builder.proxies(), "TMPDIR": private}, self._options(registry, Path(private))
            code, output = images.podman(["pull", "--quiet", *options, name], installation.seconds, variables)
        if code:
            raise Failed(f"{name}: podman cannot pull it: {words.harmless(images.error(output))}")
        return {"artifact": digest, "image": images.identify(name)}

    def _digest(self, version: str) -> str:
        """Return the digest of the image of a release.

        :raises Refused: the definition has none.
        """
        known = self._known(version)
        if not known:
            given = self.definition.sha256
            versions = sorted(given) if isinstance(given, dict) else []
            raise Refused(
                f"no digest is known for version {version}{words.nearest(version, versions)}: add it to the app's"
                f" source:sha256 (known: {', '.join(versions) or 'none'})."
            )
        return known

    def _known(self, version: str) -> str:
        given = self.definition.sha256
        return ((given.get(version, "") if isinstance(given, dict) else given) or "").lower()

    def _place(self) -> tuple[str, str]:
        """Return the registry, with its port if it has one, and the name of the image there."""
        registry, _, path = self.definition.location.removeprefix(HTTP).partition("/")
        return registry, path

    def _options(self, registry: str, private: Path) -> list[str]:
        """Return the options of podman for the registry.

        :param private: a folder for their files, which only root may enter.
        """
        source = self.definition
        found = [f"--cert-dir={private}"]
        found += ["--tls-verify=false"] if source.location.startswith(HTTP) else []
        login = self._login(registry)
        # podman must not use the logins of root, either.
        _write(private / "auth.json", json.dumps({"auths": {registry: {"auth": login}} if login else {}}))
        found.append(f"--authfile={private / 'auth.json'}")
        credentials.certificate(source)
        named = {"ca.crt": source.ca, "client.cert": source.cert, "client.key": source.key or source.cert}
        for name, path in named.items():
            if path:
                _write(private / name, credentials.text(path, name))
        return found

    def _login(self, registry: str) -> str:
        """Return the login for the registry, as base64 of user and password. Empty if there is none."""
        given = {name.lower(): value for name, value in self.definition.headers.items()}
        if "authorization" in given:
            return given["authorization"].partition(" ")[2].strip()
        logins = credentials.logins(self.definition.netrc) if self.definition.netrc else {}
        entry = logins.get(registry.partition(":")[0])
        return base64.b64encode(":".join(entry).encode()).decode() if entry else ""


def _write(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
