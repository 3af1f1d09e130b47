"""Servers that answer as an instance may."""

import http.server
import socket
import threading

import pytest

from tests.unit.system.probing import ADDRESS, converse


@pytest.fixture
def web():
    """Serve ``{path: (status, headers, body)}``; anything else is a 404."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, dict(self.headers)))
            status, headers, body = pages.get(self.path, (404, {}, b"not found"))
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    pages, asked = {"/": (200, {}, b"Welcome to the shop")}, []
    with http.server.ThreadingHTTPServer((ADDRESS, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield {"address": ADDRESS, "port": server.server_port}, pages, asked
        server.shutdown()


@pytest.fixture
def raw():
    """Serve one connection with a function of it; closed connections end what it writes."""
    servers = []

    def serve(talk):
        server = socket.create_server((ADDRESS, 0))
        servers.append(server)
        threading.Thread(target=converse, args=[server, talk], daemon=True).start()
        return {"address": ADDRESS, "port": server.getsockname()[1]}

    yield serve
    for server in servers:
        server.close()
