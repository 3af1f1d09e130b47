"""Consul's access control: policies, roles and tokens, brought to the wanted state.

The API is that of Consul 1.4 and newer: https://developer.hashicorp.com/consul/api-docs/acl
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from ..core.errors import DiscoveryUnavailable, Failed
from .accessarguments import LINKS
from .consulhttp import Connection, parsed

POLL = 0.5


class Acl(Connection):
    """The access control of a Consul.

    While ``dry`` is set, changes are only reported.

    :param urls: agents or servers.
    :param token: a token that may manage ACLs.
    """

    dry = False

    def bootstrap(self, secret: str, deadline: float) -> bool:
        """Make ``secret`` the first management token, once, and return whether it was done now.

        :param deadline: seconds to wait for a leader.
        :raises Failed: it was bootstrapped with another token, or there is no bootstrap within ``deadline``.
        """
        until = time.monotonic() + deadline
        while True:
            try:
                if self.call("get", "/v1/acl/token/self").code == 200:
                    return False
                response = self.call("put", "/v1/acl/bootstrap", body={"BootstrapSecret": secret})
                if response.code == 200:
                    return True
                why = f"{response.code} {response.body.strip()[:200]}"
                if response.code == 403:
                    raise Failed(
                        "Consul's access control was bootstrapped with another token than the master keeps."
                        " See the docs: a token is lost."
                    )
            except DiscoveryUnavailable as exc:
                why = str(exc)
            if time.monotonic() > until:
                raise Failed(f"no bootstrap of access control within {deadline:g}s: {why}")
            time.sleep(POLL)

    def policy(self, name: str, rules: str) -> dict[str, Any]:
        """Ensure a policy, and return the differences as ``{"old", "new"}``, or {} if there are none."""
        found = self._find(f"/v1/acl/policy/name/{name}")
        return self._ensure("policy", found, {"Name": name, "Rules": rules})

    def role(self, name: str, policies: Iterable[str]) -> dict[str, Any]:
        """Ensure a role that has these policies (names)."""
        found = self._find(f"/v1/acl/role/name/{name}")
        return self._ensure("role", found, {"Name": name, "Policies": [{"Name": p} for p in policies]})

    def token(self, accessor: str, secret: str, description: str, rights: Mapping[str, Any]) -> dict[str, Any]:
        """Ensure a token.

        :param accessor: its id, which is no secret.
        :param rights: ``Policies``, ``Roles`` (lists of ``{"Name"}``), ``ServiceIdentities``, ``NodeIdentities``.
        """
        found = self._find(f"/v1/acl/token/{accessor}")
        wanted = {"AccessorID": accessor, "SecretID": secret, "Description": description, **rights}
        return self._ensure("token", found, wanted)

    def tokens(self, prefix: str) -> dict[str, str]:
        """Return ``{accessor: description}`` of the tokens whose description begins with ``prefix``."""
        found = self.get("/v1/acl/tokens")
        return {t["AccessorID"]: t["Description"] for t in found if t["Description"].startswith(prefix)}

    def remove_token(self, accessor: str) -> None:
        """Remove a token."""
        response = self.call("delete", f"/v1/acl/token/{accessor}")
        if response.code != 200:
            raise Failed(f"Consul did not remove token {accessor}: {response.code} {response.body.strip()[:200]}")

    def _find(self, path: str) -> dict[str, Any] | None:
        response = self.call("get", path)
        # An unknown id is a 403 before Consul 1.16 ("ACL not found"), an unknown name a 404.
        if response.code == 404 or "ACL not found" in response.body or "Cannot find" in response.body:
            return None
        if response.code != 200:
            raise Failed(f"Consul: {path}: {response.code} {response.body.strip()[:200]}")
        found: dict[str, Any] = parsed(response, path)
        return found

    def _ensure(self, kind: str, found: dict[str, Any] | None, wanted: Mapping[str, Any]) -> dict[str, Any]:
        differs = {k: v for k, v in wanted.items() if _plain(k, (found or {}).get(k)) != _plain(k, v)}
        if not differs:
            return {}
        if self.dry:
            pass
        elif found:
            # The id cannot change. All the rest is sent as a whole.
            ident = found["AccessorID"] if kind == "token" else found["ID"]
            self.put(f"/v1/acl/{kind}/{ident}", body=wanted)
        else:
            self.put(f"/v1/acl/{kind}", body=wanted)
        differs.pop("SecretID", None)
        return {"old": found and {k: found.get(k) for k in differs}, "new": differs}


def _plain(key: str, value: Any) -> Any:
    """Return a value in a form to compare: links by their names only, and an empty value as None."""
    if key in LINKS and value:
        return sorted(link["Name"] for link in value)
    if isinstance(value, list):
        return sorted((sorted(v.items()) if isinstance(v, dict) else v for v in value), key=str) or None
    return value or None
