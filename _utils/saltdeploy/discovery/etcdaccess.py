"""The access control of etcd: users, roles and their permissions, brought to the wanted state.

https://etcd.io/docs/v3.4/op-guide/authentication/
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core.errors import DiscoveryUnavailable, Failed, Refused
from .etcd import Etcd, Login, one, put, under

if TYPE_CHECKING:
    from .skydnsrecords import Place

ROOT = "root"
READ, READWRITE = "READ", "READWRITE"
# The beginning of the names of all our users and roles.
OURS = "saltdeploy-"
POLL = 0.5
# What etcd says.
OFF = "authentication is not enabled"
UNKNOWN = ("user name not found", "role name not found")
WRONG = "authentication failed"


class Right(NamedTuple):
    """A permission of a role.

    :param key: a key. With a ``/`` at its end, all keys that begin with it.
    :param kind: READ or READWRITE.
    """

    key: str
    kind: str


class Access:
    """The access control of an etcd, as its user root.

    :param urls: its members.
    :param dry: whether changes are only reported.
    """

    def __init__(self, urls: Iterable[str], password: str, ca: str, dry: bool = False) -> None:
        self._urls, self._ca, self._dry, self._password = list(urls), ca, dry, password
        self._etcd = Etcd(self._urls, Login(ROOT, password, ca))

    def __enter__(self) -> Access:
        return self

    def __exit__(self, *exc: object) -> None:
        self._etcd.close()

    def bring(
        self,
        roles: Mapping[str, Iterable[Right]],
        passwords: Mapping[str, str],
        deadline: float,
        place: Place | None = None,
    ) -> dict[str, Any]:
        """Ensure that access control is on, with these roles, and a user of the same name for each.

        Users and roles with another name stay, unless it begins with ``saltdeploy-``.

        :param passwords: user -> password.
        :param place: the environment's place. A role keeps its rights to a service while a node has entries of it
            there. Without them, the health agent could not even remove these entries. The services of all roles are
            listed in a key there, so that a deployment of other apps is refused.
        :param deadline: seconds to wait for the members to elect a leader.
        :returns: the changes.
        """
        found: dict[str, Any] = {}
        is_on = self._await_leader(deadline)
        if not is_on:
            self._etcd.close()
            self._etcd = Etcd(self._urls, Login(ca=self._ca))
            self._refuse_strangers()
        used = self._used(place) if place else set()
        for name, rights in roles.items():
            if changes := self._role(name, set(rights), used):
                found[f"role {name}"] = changes
        for name, password in passwords.items():
            if said := self._user(name, password):
                found[f"user {name}"] = said
        for kind in ("user", "role"):
            known = passwords if kind == "user" else roles
            for name in self._names(kind):
                if name.startswith(OURS) and name not in known:
                    self._do(f"{kind}/delete", {"name" if kind == "user" else "role": name}, f"remove {kind} {name}")
                    found[f"{kind} {name}"] = "removed"
        if place and self._note(place, roles):
            found["list of services"] = "written"
        if not is_on:
            self._enable()
            found["access control"] = "on"
        return found

    def _await_leader(self, deadline: float) -> bool:
        """Wait for a leader. Return whether access control is on.

        :raises Failed: it is on with another password of root, or there is no leader within ``deadline``.
        """
        until = time.monotonic() + deadline
        while True:
            try:
                self._etcd.get(OURS)
                return True
            except DiscoveryUnavailable:
                if self._dry or time.monotonic() > until:
                    raise
            except Failed as exc:
                # Without access control, a login is refused.
                if OFF in str(exc):
                    return False
                if WRONG not in str(exc):
                    raise
                raise Failed(
                    "etcd's access control is on with another password of root than the master keeps."
                    " See docs/howto/skydns."
                ) from None
            time.sleep(POLL)

    def _refuse_strangers(self) -> None:
        """Raise Failed if there are users that are not ours, before access control makes them true."""
        strange = [name for name in self._names("user") if name != ROOT and not name.startswith(OURS)]
        if strange:
            raise Failed(
                f"etcd has users that saltdeploy has not made, and its access control was off: {', '.join(strange)}."
                " If they are right, enable it yourself. Otherwise remove them: `etcdctl user delete NAME`."
            )

    def _note(self, place: Place, roles: Mapping[str, Iterable[Right]]) -> bool:
        """Write the list of the services that nodes have rights to. Return whether it was another."""
        keys = (right.key for rights in roles.values() for right in rights if right.kind == READWRITE)
        names = {key.removeprefix(place.services).split("/")[0] for key in keys if key.startswith(place.services)}
        text, before = json.dumps(sorted(names)), self._etcd.get(place.rights)
        if before and before.text == text:
            return False
        if not self._dry:
            self._etcd.transact([], [put(place.rights, text)], f"write {place.rights}")
        return True

    def _used(self, place: Place) -> set[tuple[str, str]]:
        """Return the ranges of the entries and records of services that nodes have now."""
        _, (entries,) = self._etcd.ranges(under(place.services, keys_only=True))
        owners = {tuple(entry.key.removeprefix(place.services).split("/")[:2]) for entry in entries}
        some = ((place.entries_of(*owner), place.records_of(*owner)) for owner in owners if len(owner) == 2)
        return {_range(key) for pair in some for key in pair}

    def _role(self, name: str, wanted: set[Right], used: Collection[tuple[str, str]]) -> dict[str, list[str]]:
        answer = self._ask("role/get", {"role": name}, f"look at role {name}")
        found = {_key(each): str(each.get("permType", READ)) for each in (answer or {}).get("perm", ())}
        ranges = {_range(right.key): right for right in wanted}
        gone = [key for key in found if key not in ranges and key not in used]
        new = [right for key, right in ranges.items() if found.get(key) != right.kind]
        if answer is None:
            self._do("role/add", {"name": name}, f"add role {name}")
        for key, end in gone:
            self._do("role/revoke", {"role": name, "key": key, "range_end": end}, f"change role {name}")
        for right in new:
            key, end = _range(right.key)
            permission = {"permType": right.kind, "key": key, "range_end": end}
            self._do("role/grant", {"name": name, "perm": permission}, f"change role {name}")
        changes = {
            "granted": sorted(f"{right.kind.lower()} {right.key}" for right in new),
            "revoked": sorted(base64.b64decode(key).decode(errors="replace") for key, _ in gone),
        }
        return {key: value for key, value in changes.items() if value}

    def _user(self, name: str, password: str) -> str:
        answer = self._ask("user/get", {"name": name}, f"look at user {name}")
        said = ""
        if answer is None:
            self._do("user/add", {"name": name, "password": password}, f"add user {name}")
            said = "added"
        elif not self._logs_in(name, password):
            self._do("user/changepw", {"name": name, "password": password}, f"change user {name}")
            said = "has another password"
        roles = (answer or {}).get("roles", [])
        for role in roles:
            if role != name:
                self._do("user/revoke", {"name": name, "role": role}, f"change user {name}")
                said = said or "has other roles"
        if name not in roles:
            self._do("user/grant", {"user": name, "role": name}, f"change user {name}")
            said = said or "has other roles"
        return said

    def _logs_in(self, name: str, password: str) -> bool:
        """Return whether a user has this password. Without access control nobody can tell, and it is set again."""
        client = Etcd(self._urls, Login(name, password, self._ca))
        try:
            client.get(OURS)
        except DiscoveryUnavailable:
            raise
        except Failed as exc:
            # A user who is let in, and may not read this key, has the password.
            return not any(words in str(exc) for words in (WRONG, OFF))
        finally:
            client.close()
        return True

    def _enable(self) -> None:
        password = self._password
        if self._ask("user/get", {"name": ROOT}, "look at user root") is None:
            self._do("user/add", {"name": ROOT, "password": password}, "add user root")
        else:
            self._do("user/changepw", {"name": ROOT, "password": password}, "change user root")
        if self._ask("role/get", {"role": ROOT}, "look at role root") is None:
            self._do("role/add", {"name": ROOT}, "add role root")
        self._do("user/grant", {"user": ROOT, "role": ROOT}, "change user root")
        self._do("enable", {}, "enable access control")

    def _names(self, kind: str) -> list[str]:
        return list((self._ask(f"{kind}/list", {}, f"list {kind}s") or {}).get(f"{kind}s", ()))

    def _ask(self, path: str, body: Mapping[str, Any], what: str) -> dict[str, Any] | None:
        """Return the answer, or None if there is no such user or role."""
        try:
            return self._etcd.ask(f"auth/{path}", dict(body), what)
        except DiscoveryUnavailable:
            raise
        except Failed as exc:
            if any(words in str(exc) for words in UNKNOWN):
                return None
            raise

    def _do(self, path: str, body: Mapping[str, Any], what: str) -> None:
        if not self._dry:
            self._etcd.ask(f"auth/{path}", dict(body), what, change=True)


def refusal(urls: Sequence[str], user: str, password: str, ca: str, key: str) -> Failed | None:
    """Return why etcd does not let a user read ``key``, or None if it does. It may be that nobody answers."""
    client = Etcd(urls, Login(user, password, ca))
    try:
        client.get(key)
    except Failed as exc:
        return exc
    finally:
        client.close()
    return None


def rights(roles: Mapping[str, Any]) -> dict[str, list[Right]]:
    """Return the Rights of each role from lists.

    :raises Refused: a right has another shape.
    """
    try:
        found = {name: [Right(str(key), str(kind)) for key, kind in some] for name, some in roles.items()}
    except Refused:  # It is a TypeError, too.
        raise
    except (TypeError, ValueError):
        raise Refused("roles: a right is a list of a key and READ or READWRITE.") from None
    if any(right.kind not in (READ, READWRITE) or not right.key for some in found.values() for right in some):
        raise Refused("roles: a right is a list of a key and READ or READWRITE.")
    return found


def _range(key: str) -> tuple[str, str]:
    """Return the key and the end of the range of a right, as the gateway has them."""
    asked = under(key) if key.endswith("/") else one(key)
    return asked["key"], asked.get("range_end", "")


def _key(permission: Mapping[str, Any]) -> tuple[str, str]:
    return str(permission.get("key", "")), str(permission.get("range_end", ""))
