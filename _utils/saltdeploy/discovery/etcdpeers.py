"""The other members of an etcd, asked as etcd itself asks them before its first start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import requests

from ..core.errors import Refused

TIMEOUT = (2.0, 5.0)
STATES = ("new", "existing")


def refuse_second_cluster(config: Mapping[str, Any]) -> None:
    """Raise Refused if a member would form a second cluster at its first start, beside the present cluster.

    Its list of members is longer than that of the cluster if the definition has got new members. Two new members are
    the majority of three, so they would elect a leader, without the data and the access control of the first.

    :param config: etcd's configuration of this member.
    """
    state, own = config["initial-cluster-state"], config["name"]
    if state not in STATES:
        raise Refused("saltdeploy:etcd_cluster_state: write `new` or `existing`.")
    if state == "existing" or os.path.exists(os.path.join(config["data-dir"], "member")):
        return
    urls = dict(part.split("=", 1) for part in config["initial-cluster"].split(","))
    for name, url in urls.items():
        known = _members(url, config.get("peer-transport-security") or {}) if name != own else None
        if known is not None and known != set(urls.values()):
            later = [other for other, peer in urls.items() if peer not in known and other != own]
            first = (
                f" Remove the role etcd-server from {', '.join(later)} until this node is a member." if later else ""
            )
            raise Refused(
                f"etcd runs on {name} already, with other members ({', '.join(sorted(known))}) than the definition has."
                f" This node would form a second cluster, without access control.{first} Run `etcdctl member add {own}"
                f" --peer-urls={urls[own]}` on {name}, write `saltdeploy: {{etcd_cluster_state: existing}}` into the"
                " configuration of this minion, and apply saltdeploy.skydns here again. See docs/howto/skydns."
            )


def _members(url: str, tls: Mapping[str, Any]) -> set[str] | None:
    """Return the URLs of all members that a member knows, or None if it does not answer."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            session.verify = tls.get("trusted-ca-file") or True
            session.cert = (tls["cert-file"], tls["key-file"]) if tls else None
            found = session.get(f"{url}/members", timeout=TIMEOUT, allow_redirects=False).json()
        except (OSError, ValueError):  # it does not run, or is no etcd
            return None
    if not isinstance(found, list):
        return None
    return {peer for member in found if isinstance(member, dict) for peer in member.get("peerURLs") or ()}
