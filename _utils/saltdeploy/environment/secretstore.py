"""The secrets of an environment's Consul or etcd: made when first asked for, kept on the master and nowhere else.

Each environment has a file that only the master's user may read. A node's pillar gets the node's own secrets. No secret
travels in a job.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import os
import pwd
import secrets
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import DefinitionError
from ..system import filelocks
from ..system.files import write_file
from . import certificates

if TYPE_CHECKING:
    from ..definition import cluster

# The names and the addresses of the certificate of each node.
Identities = Mapping[str, tuple[Sequence[str], Sequence[str]]]


def folder(opts: Mapping[str, Any]) -> Path:
    """Return the folder that the secrets are kept in, from the master's options: ``pki_dir`` holds it.

    Debian's packages run the master as the user ``salt``, and of ``/etc/salt`` only ``pki_dir`` is this user's. Earlier
    versions had the folder beside ``pki_dir``. A master that has it there keeps it there.
    """
    keys = Path(opts["pki_dir"])
    earlier = keys.parent / "saltdeploy"
    return earlier if os.path.isdir(earlier) else keys / "saltdeploy"


class Secrets:
    """The secrets of all environments.

    :param folder: the folder that they are kept in.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def authority(self, environment: str) -> Path:
        """Return the path of the certificate that this environment's servers are verified against."""
        return self.folder / f"{environment}-ca.pem"

    def get(
        self,
        environment: str,
        identities: Identities,
        apps: Iterable[str],
        now: datetime.datetime | None = None,
        node: str | None = None,
    ) -> cluster.Secrets:
        """Return this environment's secrets, after making those that are missing or are about to expire.

        :param apps: names of the apps that have a token of their own.
        :param node: the node whose certificate must be valid. Empty means no node, and None means all nodes. To look at
            all certificates for each node's pillar takes longer than all else.
        :raises DefinitionError: the master's user cannot keep them there, or the file there is damaged.
        """
        now = now or datetime.datetime.now(datetime.timezone.utc)
        try:
            return self._get(environment, identities, apps, now, node)
        except OSError as exc:
            raise DefinitionError(self._unusable(exc)) from exc

    def _get(
        self, environment: str, identities: Identities, apps: Iterable[str], now: datetime.datetime, node: str | None
    ) -> cluster.Secrets:
        with self._alone():
            path = self.folder / f"{environment}.json"
            before = _read(path)
            after = _complete(before, environment, identities, apps, now, node)
            if after != before:
                write_file(path, json.dumps(after, indent=1), 0o600)
            if not self.authority(environment).exists():
                write_file(self.authority(environment), after["ca"]["certificate"])
        return after

    def _unusable(self, exc: OSError) -> str:
        """Return the sentences on an OSError: its cause, and the command that helps."""
        try:
            user = pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:  # A container's user without a name.
            user = str(os.geteuid())
        cause = (
            f"The master (user {user}) cannot keep the secrets of discovery in {self.folder}: {exc.strerror}"
            f" ({exc.filename})."
        )
        if not isinstance(exc, PermissionError):
            return cause
        return (
            f"{cause} As root on the master, run `install -d -m 700 -o {user} {self.folder} && chown -R {user}"
            f" {self.folder}`."
        )

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock of the folder, because several of the master's workers may make the same pillar at once."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with filelocks.hold(self.folder / ".lock"):
            yield


def _complete(
    before: Mapping[str, Any],
    environment: str,
    identities: Identities,
    apps: Iterable[str],
    now: datetime.datetime,
    only: str | None,
) -> cluster.Secrets:
    tokens = before.get("tokens", {})
    agents, of_apps = tokens.get("agents", {}), tokens.get("apps", {})
    ca = before.get("ca") or certificates.authority(f"saltdeploy {environment}", now)
    issued = dict(before.get("certificates", {}))
    for node, identity in identities.items():
        if only not in (None, node):
            continue
        if node not in issued or not certificates.usable(issued[node]["certificate"], *identity, now):
            issued[node] = certificates.issue(ca, *identity, now)
    return {
        "gossip": before.get("gossip") or base64.b64encode(secrets.token_bytes(32)).decode(),
        "ca": ca,
        # Nodes and apps that left the environment are forgotten. If they come back, they get new secrets.
        "certificates": {node: issued[node] for node in identities if node in issued},
        "tokens": {
            "management": _token(tokens, "management"),
            "deployer": _token(tokens, "deployer"),
            "nodes": _token(tokens, "nodes"),
            "dns": _token(tokens, "dns"),
            "agents": {node: _token(agents, node) for node in identities},
            "apps": {app: _token(of_apps, app) for app in apps},
        },
    }


def _token(known: Mapping[str, str], name: str) -> str:
    """Return the token ``name``, or a new token if there is none yet."""
    return known.get(name) or str(uuid.uuid4())


def _read(path: Path) -> dict[str, Any]:
    """Return the secrets in the file ``path``, {} without this file.

    :raises DefinitionError: the file is damaged. To make new secrets would lock everybody out of Consul.
    """
    if not path.exists():
        return {}
    with contextlib.suppress(ValueError):
        found = json.loads(path.read_text())
        if isinstance(found, dict):
            return found
    raise DefinitionError(
        f"{path} holds the secrets of discovery and is damaged. Restore it from your backup of the master's keys."
        ' Without a backup, remove it and follow "A token is lost" in docs/howto/operating.rst.'
    )
