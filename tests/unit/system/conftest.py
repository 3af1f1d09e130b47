"""Servers that answer as an instance may."""

import datetime
import http.server
import socket
import ssl
import threading

import pytest
from saltdeploy.environment import certificates

from tests.unit.system.probing import ADDRESS, CERTIFIED, converse


@pytest.fixture
def web():
    """Serve ``{path: (status, headers, body)}``; anything else is a 404."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, dict(self.headers)))
            self.answer()

        def do_POST(self):
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, {**self.headers, "method": self.command, "body": sent}))
            self.answer()

        def answer(self):
            status, headers, body = pages.get(self.path, (404, {}, b"not found"))
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    pages, asked = {"/": (200, {}, b"Welcome to the shop")}, []
    with http.server.ThreadingHTTPServer((ADDRESS, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield {"address": ADDRESS, "port": server.server_port}, pages, asked
        server.shutdown()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A server's context with a certificate of ``shop.example.com`` and of an address, and the path of its CA."""
    folder, now = tmp_path_factory.mktemp("tls"), datetime.datetime.now(datetime.timezone.utc)
    ca = certificates.authority("test", now)
    pair = certificates.issue(ca, ["shop.example.com"], [CERTIFIED], now)
    (folder / "ca.pem").write_text(ca["certificate"])
    (folder / "pair.pem").write_text(pair["certificate"] + pair["key"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pair.pem")
    return context, str(folder / "ca.pem")


@pytest.fixture
def secure(certificate):
    """Answer 200 with TLS at ADDRESS and at CERTIFIED, whatever is asked. Note ``(SNI, Host)`` of each request."""
    context, ca = certificate
    asked, names = [], []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((names[-1], self.headers["Host"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, request, client_address):
            pass

    context.sni_callback = lambda connection, name, _: names.append(name)
    with Server(("0.0.0.0", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield {"address": ADDRESS, "port": server.server_port}, ca, asked
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
