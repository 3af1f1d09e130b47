"""The HTTP API of the health agent: the part of Consul's agent API that registers services and their checks.

https://developer.hashicorp.com/consul/api-docs/agent
"""

from __future__ import annotations

import hmac
import http.server
import json
import socket
import socketserver
import threading
import urllib.parse
from typing import TYPE_CHECKING, Any

from .checks import Malformed

if TYPE_CHECKING:
    from .keeper import Keeper
    from .registry import Registry
    from .settings import Settings

# How long a client may take to ask, in seconds.
PATIENCE = 10.0
# How long to wait until etcd has a change, in seconds.
SYNC = 10.0
# The largest registration, in bytes.
LARGEST = 1 << 17
# How many clients are answered at once.
CLIENTS = 64
# The words of reports in paths -> the status.
REPORTS = {"pass": "passing", "warn": "warning", "fail": "critical"}
AGENT = "/v1/agent/"
# The kind of a check -> its type, as Consul calls it.
TYPES = {"HTTP": "http", "TCP": "tcp", "TTL": "ttl", "AliasService": "alias"}


class Server(http.server.ThreadingHTTPServer):
    """Listens for the agent."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, settings: Settings, registry: Registry, keeper: Keeper) -> None:
        self.address_family = socket.AF_INET6 if ":" in settings.address else socket.AF_INET
        self.token, self.registry, self.keeper = settings.token, registry, keeper
        self._free = threading.BoundedSemaphore(CLIENTS)
        super().__init__((settings.address, settings.port), Handler)

    def server_bind(self) -> None:
        """Listen, without a question to DNS for the name of the address."""
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own. More clients than CLIENTS wait."""
        self._free.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make room for another client."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers a client."""

    protocol_version = "HTTP/1.1"
    timeout = PATIENCE
    server: Server

    def do_GET(self) -> None:
        """Answer with the services, or with the results of their checks."""
        path = urllib.parse.urlsplit(self.path).path
        if path == f"{AGENT}services":
            self._answer(200, _services(self.server.registry))
        elif path == f"{AGENT}checks":
            self._answer(200, _checks(self.server.registry))
        else:
            self._answer(404, "the health agent does not have this part of Consul's API")

    def do_PUT(self) -> None:
        """Register or deregister a service, or take the report of an app."""
        parts = urllib.parse.urlsplit(self.path)
        words = [urllib.parse.unquote(word) for word in parts.path.removeprefix(AGENT).split("/")]
        body = self._body()
        if body is None:
            return
        if words == ["service", "register"]:
            self._register(body)
        elif words[:2] == ["service", "deregister"] and len(words) == 3:
            self._deregister(words[2])
        elif words[0] == "check" and len(words) == 3 and words[1] in REPORTS:
            note = urllib.parse.parse_qs(parts.query).get("note", [""])[0]
            known = self.server.registry.report(words[2], REPORTS[words[1]], note)
            self._answer(200 if known else 404, None if known else f'Unknown check ID "{words[2]}"')
        else:
            self._answer(404, "the health agent does not have this part of Consul's API")

    def _register(self, body: bytes) -> None:
        if not self._may():
            return
        try:
            found = json.loads(body)
            if not isinstance(found, dict):
                raise Malformed("a registration is a mapping")
            version = self.server.registry.register(found)
            ident = str(found.get("ID") or found["Name"])
        except Malformed as exc:
            self._answer(400, str(exc))
        except (ValueError, RecursionError):
            self._answer(400, "the registration is no JSON")
        except OSError as exc:
            self._answer(500, f"the registration cannot be kept: {exc.strerror}")
        else:
            self._await(version, ident)

    def _deregister(self, ident: str) -> None:
        if not self._may():
            return
        try:
            version = self.server.registry.deregister(ident)
        except KeyError:
            # An earlier request may have removed it while etcd did not answer.
            self._await(self.server.registry.version, ident, (404, f'Unknown service ID "{ident}"'))
        except OSError as exc:
            self._answer(500, f"the service cannot be removed: {exc.strerror}")
        else:
            self._await(version, ident)

    def _await(self, version: int, ident: str, done: tuple[int, str | None] = (200, None)) -> None:
        """Answer ``done`` once etcd has the change.

        Without etcd it is done later, as by Consul's agent without its servers. So is a change that etcd refuses.
        """
        if not self.server.registry.await_known(version, SYNC):
            self._answer(500, self.server.keeper.problem or "etcd does not answer yet")
        elif why := self.server.keeper.refusal(ident):
            self._answer(403, why)
        else:
            self._answer(*done)

    def _may(self) -> bool:
        """Return whether the client has the token. Otherwise it is told."""
        token = self.headers.get("X-Consul-Token", "")
        may = not self.server.token or hmac.compare_digest(token.encode(), self.server.token.encode())
        if not may:
            self._answer(403, "this needs the token of the health agent: see discovery:skydns:token")
        return may

    def _body(self) -> bytes | None:
        """Return the body of a request, or None if it is too long, and the client was told so."""
        try:
            length = int(self.headers.get("Content-Length") or 0)
        except ValueError:
            length = -1
        if not 0 <= length <= LARGEST:
            self.close_connection = True
            self._answer(413, f"more than {LARGEST} bytes, or no length")
            return None
        return self.rfile.read(length)

    def _answer(self, status: int, found: Any) -> None:
        body = b"" if found is None else (found if isinstance(found, str) else json.dumps(found)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(found, str) else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log no request: changes are logged where they are done."""


def _services(registry: Registry) -> dict[str, Any]:
    with registry.snapshot() as (_, services):
        found = [registered.endpoint for registered in services]
    return {
        e.id: {
            "ID": e.id,
            "Service": e.name,
            "Address": e.address,
            "Port": e.port,
            "Tags": list(e.tags),
            "Meta": e.meta,
            "Weights": {"Passing": e.weight, "Warning": e.weight},
        }
        for e in found
    }


def _checks(registry: Registry) -> dict[str, Any]:
    with registry.snapshot() as (_, services):
        return {
            ident: {
                "Node": registry.node,
                "CheckID": ident,
                "Name": state.check.name,
                "Status": registry.status(registered, state),
                "Output": state.output,
                "ServiceID": registered.endpoint.id,
                "ServiceName": registered.endpoint.name,
                "Type": TYPES[state.check.kind],
            }
            for registered in services
            for ident, state in registered.states.items()
        }
