"""The connection to etcd, through its JSON gateway.

https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/ has the paths and the forms. The client is our own, on
``requests``: etcd3gw 2.7 takes one address only and knows no login, and the package etcd3 does not load with current
versions of protobuf.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import requests

from ..core.errors import DiscoveryUnavailable, Failed

CONNECT_TIMEOUT = 2.0
# A member without a leader answers after its own limit of 5 s and two election timeouts, 7 s in all.
READ_TIMEOUT = 10.0
# The codes of gRPC in answers: https://grpc.github.io/grpc/core/md_doc_statuscodes.html
CANCELLED, DEADLINE, NOT_FOUND, DENIED, UNAVAILABLE, UNAUTHENTICATED = 1, 4, 5, 7, 14, 16
# The HTTP status with which a member answers that is just ending.
ENDING = 408
# What etcd says to a login that it knows no more. A login ends after five minutes without a request (`--auth-token`
# simple), and with each change of its users.
LOGIN_ENDED = ("invalid auth token", "revision of auth store is old")
# What it says when nothing was done, because there is no leader.
LEADERLESS = ("no leader", "not leader", "leader changed")
# How many operations are in a transaction. etcd takes 128 by default (`--max-txn-ops`).
OPERATIONS = 100

# A comparison, an operation, or a whole request or answer, in the words of the gateway.
Part = dict[str, Any]


class NoRight(Failed):
    """The user has no right to a key of the request. Nothing of the request was done."""


class Value(NamedTuple):
    """A key as etcd has it.

    :param changed: the revision of its last change.
    """

    key: str
    text: str
    changed: int
    lease: int


@dataclass(frozen=True)
class Login:
    """The ways to log in.

    :param ca: a file with the CA certificates to verify etcd by. Empty takes those that ``requests`` has.
    :param cert: a file with a client certificate. Through the gateway it opens the connection only: etcd does not take
        its name for a user.
    :param key: the file with its key.
    """

    user: str = ""
    password: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""

    def __repr__(self) -> str:
        return f"Login({self.user!r})"


class Etcd:
    """A cluster of etcd.

    :param urls: the addresses of its members, which are asked in turn until one answers.
    :param timeout: how long an answer may take, in seconds.
    """

    def __init__(self, urls: Sequence[str], login: Login | None = None, timeout: float = READ_TIMEOUT) -> None:
        self.urls, self._login, self._timeout = [url.rstrip("/") for url in urls], login or Login(), timeout
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = self._login.ca or True
        if self._login.cert:
            self._session.cert = (self._login.cert, self._login.key) if self._login.key else self._login.cert
        self._token = ""

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    # -- keys ---------------------------------------------------------------------------------

    def get(self, key: str) -> Value | None:
        """Return a key, read consistently, or None if it is not there."""
        return next(iter(self.ranges(one(key))[1][0]), None)

    def ranges(self, *asked: Part) -> tuple[int, list[list[Value]]]:
        """Return the revision, and the keys of each range, all read at the same moment, consistently.

        :param asked: see :func:`one` and :func:`under`.
        """
        answer = self.ask("kv/txn", {"success": [{"request_range": each} for each in asked]}, "read")
        found = [each.get("response_range", {}).get("kvs", []) for each in answer.get("responses", [])]
        return int(answer["header"]["revision"]), [[_value(entry) for entry in entries] for entries in found]

    def transact(self, compare: Sequence[Part], success: Sequence[Part], what: str) -> bool:
        """Do all of ``success`` if all of ``compare`` is so, and return whether it was done.

        :param what: the action, for messages: ``write key …``.
        """
        answer = self.ask("kv/txn", {"compare": list(compare), "success": list(success)}, what, change=True)
        return bool(answer.get("succeeded", False))

    def await_change(self, asked: Part, revision: int, seconds: float) -> bool:
        """Block until a key of a range has changed since ``revision``, or ``seconds`` have passed.

        :returns: whether the caller should read again at once. It is also so if the history is not kept so long.
        """
        body = {"create_request": {**asked, "start_revision": str(revision + 1)}}
        deadline = time.monotonic() + seconds
        with self._post("watch", body, "watch", timeout=max(seconds, 0.1), stream=True) as response:
            try:
                for line in response.iter_lines(chunk_size=1):
                    result = json.loads(line or "{}").get("result", {})
                    # An answer without events says that the watch has begun, or has ended.
                    if result.get("events") or result.get("compact_revision"):
                        return True
                    if result.get("canceled") or time.monotonic() >= deadline:
                        return False
            except (requests.RequestException, ValueError):
                pass  # the time is over, or the member has ended
        return False

    # -- leases -------------------------------------------------------------------------------

    def grant(self, seconds: float) -> int:
        """Return a new lease."""
        return int(self.ask("lease/grant", {"TTL": str(max(int(seconds), 1))}, "get a lease", change=True)["ID"])

    def keep_alive(self, lease: int) -> bool:
        """Renew a lease. Return False if it has ended."""
        answer = self.ask("lease/keepalive", {"ID": str(lease)}, "renew a lease")
        return int(answer.get("result", {}).get("TTL", 0)) > 0

    def revoke(self, lease: int) -> None:
        """End a lease, with all of its keys. A lease that has ended is no error."""
        self.ask("lease/revoke", {"ID": str(lease)}, "end a lease", missing=True)

    # -- the cluster --------------------------------------------------------------------------

    def leader(self, proof: str) -> str:
        """Return the address of the leader for clients, or of a member that knows it.

        :param proof: a key that the user may read. A member that is cut off still knows the last leader, and only a
            consistent read proves that the leader is there.
        :raises DiscoveryUnavailable: there is none.
        """
        self.get(proof)
        try:
            leader = self.ask("maintenance/status", {}, "find the leader").get("leader", "0")
            members = self.ask("cluster/member/list", {}, "list the members").get("members", [])
        except DiscoveryUnavailable:
            raise
        except Failed:  # some versions tell it to the user root only
            return self.urls[0]
        if leader == "0":
            raise DiscoveryUnavailable(f"etcd has no leader (asked {', '.join(self.urls)}). {MAJORITY}")
        urls = [url for member in members if member["ID"] == leader for url in member.get("clientURLs", ())]
        return next(iter(urls), str(leader))

    # -- requests -----------------------------------------------------------------------------

    def ask(self, path: str, body: Part, what: str, change: bool = False, missing: bool = False) -> Part:
        """Return the answer to a request.

        :param what: the action, for messages.
        :param change: whether it must not be done twice. Once it may have reached a member, no other is asked.
        :param missing: whether an empty answer is returned if the thing is not there.
        :raises DiscoveryUnavailable: no member answers, or there is no leader.
        :raises Failed: etcd refuses it.
        """
        for again in (False, True):
            response = self._post(path, body, what, self._timeout, change)
            found = _parsed(response, what)
            if response.status_code == 200:
                return found
            said, code = str(found.get("message") or found.get("error", "")), found.get("code")
            if missing and code == NOT_FOUND:
                return {}
            if again or not any(words in said for words in LOGIN_ENDED):
                raise _failure(said, code, response.status_code, what)
            self._token = ""
        raise AssertionError("unreachable")

    def _post(
        self, path: str, body: Part, what: str, timeout: float, change: bool = False, stream: bool = False
    ) -> requests.Response:
        """Ask the members in turn, the one that answered last first."""
        errors, failure = [], None
        for url in list(self.urls):
            try:
                if self._login.user and not self._token:
                    self._token = self._authenticate(url)
                response = self._session.post(
                    f"{url}/v3/{path}",
                    json=body,
                    headers={"Authorization": self._token} if self._token else {},
                    timeout=(CONNECT_TIMEOUT, timeout),
                    stream=stream,
                    allow_redirects=False,
                )
            except requests.RequestException as exc:
                errors.append(f"{url}: {_reason(exc)}")
                if change and not _is_unsent(exc):
                    break
                continue
            except OSError as exc:  # a file of the login
                raise Failed(f"cannot {what}: {exc}. See discovery:skydns:ca, cert and key.") from None
            unserved = response.status_code >= 500 or response.status_code == ENDING
            if unserved and (not change or any(words in response.text for words in LEADERLESS)):
                failure = failure or response
                continue
            # In one assignment: the thread that renews the lock asks too.
            self.urls = [url, *(other for other in self.urls if other != url)]
            return response
        if failure is not None:
            return failure
        raise DiscoveryUnavailable(f"etcd does not answer: could not {what} ({'; '.join(errors)}). {MAJORITY}")

    def _authenticate(self, url: str) -> str:
        """Return a token for the user."""
        login, what = {"name": self._login.user, "password": self._login.password}, f"log in as {self._login.user}"
        response = self._session.post(
            f"{url}/v3/auth/authenticate", json=login, timeout=(CONNECT_TIMEOUT, self._timeout), allow_redirects=False
        )
        found = _parsed(response, what)
        if response.status_code != 200:
            said = str(found.get("message") or found.get("error", ""))
            raise _failure(said, found.get("code"), response.status_code, what)
        return str(found["token"])


MAJORITY = "More than half of its members must run: see `etcdctl endpoint status --cluster`."


def one(key: str) -> Part:
    """Return the range of a single key."""
    return {"key": _encoded(key)}


def under(prefix: str, **options: Any) -> Part:
    """Return the range of all keys that begin with ``prefix``."""
    return between(prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1), **options)


def between(first: str, end: str, **options: Any) -> Part:
    """Return the range from the key ``first`` to ``end``, without ``end``."""
    return {"key": _encoded(first), "range_end": _encoded(end), **options}


def put(key: str, text: str, lease: int = 0) -> Part:
    """Return the operation that writes a key.

    :param lease: the lease with which the key ends. 0 means none.
    """
    return {"request_put": {"key": _encoded(key), "value": _encoded(text), **({"lease": str(lease)} if lease else {})}}


def delete(asked: Part) -> Part:
    """Return the operation that removes the keys of a range."""
    return {"request_delete_range": asked}


def is_unchanged(key: str, revision: int) -> Part:
    """Return the comparison that nobody has changed a key since ``revision`` (0: it was not there)."""
    return {"key": _encoded(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}


def is_held(key: str, lease: int) -> Part:
    """Return the comparison that a key has this lease (0: it has none, or is not there)."""
    return {"key": _encoded(key), "target": "LEASE", "result": "EQUAL", "lease": str(lease)}


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _value(entry: Mapping[str, Any]) -> Value:
    key, text = (base64.b64decode(entry.get(name, "")).decode(errors="replace") for name in ("key", "value"))
    return Value(key, text, int(entry.get("mod_revision", 0)), int(entry.get("lease", 0)))


def _parsed(response: requests.Response, what: str) -> Part:
    """Return the JSON document of an answer. A stream has one in each line, of which the last counts."""
    try:
        lines: Iterator[str] = (line for line in response.text.splitlines() if line.strip())
        found = [json.loads(line) for line in lines][-1]
        if isinstance(found, dict):
            error = found.get("error")
            # The answer of a stream has its error as a mapping of its own.
            return error if isinstance(error, dict) else found
    except (ValueError, IndexError):
        pass
    shown = " ".join(response.text.split())[:100]
    raise DiscoveryUnavailable(
        f"etcd could not {what}: the answer is not etcd's ({response.status_code} {shown}…): see discovery:skydns:etcd."
    )


def _failure(said: str, code: object, status: int, what: str) -> Failed:
    """Return the exception for an answer that is no success."""
    said = said.removeprefix("etcdserver: ")[:300]
    if code == DENIED or "permission denied" in said:
        return NoRight(
            f"etcd refuses to {what}: {said}. Its user has no right to it. Apply saltdeploy.skydns on the first node"
            " with the role etcd-server, or see discovery:skydns:user."
        )
    if code == UNAUTHENTICATED or "authentication failed" in said or "user name is empty" in said:
        return Failed(f"etcd refuses to {what}: {said}. See discovery:skydns:user and password.")
    if "authentication is not enabled" in said:
        return Failed(f"etcd refuses to {what}: {said}. Leave out discovery:skydns:user, or `etcdctl auth enable`.")
    if any(words in said for words in LEADERLESS):
        return DiscoveryUnavailable(f"etcd has no leader: it could not {what} ({said}). {MAJORITY}")
    if code in (CANCELLED, DEADLINE, UNAVAILABLE) or status >= 500:
        return DiscoveryUnavailable(f"etcd could not {what}: {said}. {MAJORITY}")
    return Failed(f"etcd could not {what}: {status} {said}")


def _is_unsent(exc: requests.RequestException) -> bool:
    """Return whether a request that ended with ``exc`` has surely not reached a member."""
    if isinstance(exc, (requests.ConnectTimeout, requests.exceptions.SSLError)):
        return True
    return "NewConnectionError" in repr(exc)


def _reason(exc: Exception) -> str:
    text = str(exc)
    for known in ("Connection refused", "timed out", "Name or service not known", "certificate verify failed"):
        if known.lower() in text.lower():
            return known.lower()
    return text[:200]
