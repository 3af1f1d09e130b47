"""A server that answers as Consul may."""

import http.server
import threading

import pytest


@pytest.fixture
def serve():
    """Start a server of ``{"VERB path": (status, body)}`` and return its URL and what it was asked."""
    servers = []

    def start(answers):
        asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                length = int(self.headers.get("Content-Length") or 0)
                asked.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
                status, body = answers.get(f"{self.command} {self.path.partition('?')[0]}", (404, ""))
                if status is None:  # it is taken in, and the connection breaks
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("X-Consul-Index", "7")
                self.end_headers()
                self.wfile.write(body.encode())

            do_GET = do_PUT = do_DELETE = answer

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
