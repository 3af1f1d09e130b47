"""The settings of the health agent, from a file."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import Refused
from ..discovery.etcd import Login
from ..discovery.skydnsrecords import Place

# How long the records of a node stay after its agent has ended, in seconds.
LEASE = 10.0
# The keys of the file that are a login at etcd.
LOGIN = ("user", "password", "ca", "cert", "key")


@dataclass(frozen=True)
class Settings:
    """The settings of the health agent.

    :param node: the Salt minion.
    :param etcd: the URLs of etcd's members.
    :param folder: the folder in which the agent keeps its services.
    :param address: the address that it listens on; ``port``: the TCP port.
    :param token: the secret that a client needs to register services. Empty asks for none.
    :param lease: seconds, see LEASE.
    """

    node: str
    etcd: tuple[str, ...]
    place: Place
    folder: Path
    address: str = "127.0.0.1"
    port: int = 8500
    token: str = field(default="", repr=False)
    login: Login = field(default_factory=Login)
    lease: float = LEASE


def read(path: Path) -> Settings:
    """Return the settings in a file of JSON.

    :raises Refused: the file cannot be used. The message shows no value, because it may be secret.
    """
    try:
        raw = json.loads(path.read_text())
        mode = path.stat().st_mode
    except (OSError, ValueError) as exc:
        raise Refused(f"{path}: cannot be read: {getattr(exc, 'strerror', None) or 'it is no JSON'}.") from None
    if mode & stat.S_IROTH and any(raw.get(key) for key in ("password", "token")):
        raise Refused(f"{path}: has a secret, and everybody may read it: `chmod o-rwx {path}`.")
    try:
        return _settings(raw)
    except Refused:  # It is a TypeError, too.
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        said = f"`{exc.args[0]}` is missing" if isinstance(exc, KeyError) else "a value has another type than it must"
        raise Refused(f"{path}: {said}. See docs/howto/skydns.") from None


def _settings(raw: Mapping[str, Any]) -> Settings:
    return Settings(
        node=str(raw["node"]),
        etcd=tuple(map(str, raw["etcd"])),
        place=Place(str(raw["domain"]), str(raw["environment"]), int(raw.get("ttl", Place.ttl))),
        folder=Path(raw["folder"]),
        address=str(raw.get("address", Settings.address)),
        port=int(raw.get("port", Settings.port)),
        token=str(raw.get("token", "")),
        login=Login(**{key: str(raw[key]) for key in LOGIN if raw.get(key)}),
        lease=float(raw.get("lease", LEASE)),
    )
