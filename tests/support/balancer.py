"""HAProxy's configuration as highstate renders it, and apps that it sends requests to."""

from __future__ import annotations

import os
import shutil

import pytest
import salt.config
import salt.loader

from tests.support.site import REPOSITORY

TEMPLATE = REPOSITORY / "salt/loadbalancer/files/haproxy.cfg.j2"
SERVER = '''"""serve ADDRESS PORT LOG: logs each request, and does what its path says."""
import base64, hashlib, http.server, json, os, pathlib, socket, sys, time

address, port, log = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with log.open("a") as out:
            out.write(f"{self.command} {self.path}\\n")
        first, _, rest = self.path[1:].partition("/")
        once = log.parent / "died"
        if first == "die" and not (rest and once.exists()):  # each that is asked, or the first (die/once)
            if rest:
                once.touch()
            os.kill(os.getpid(), 9)
        if first == "sleep":
            time.sleep(float(rest))
        if first == "socket":
            return self.echo()
        headers = {key.title(): self.headers.get_all(key) for key in set(self.headers)}
        body = json.dumps({"address": address, "headers": headers}).encode()
        self.send_response(200)
        self.send_header("Content-Length", len(body))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_DELETE = do_GET

    def echo(self):
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "websocket")
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.wfile.flush()
        while piece := self.connection.recv(100):
            self.connection.sendall(piece)
        self.close_connection = True

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    address_family = socket.AF_INET6 if ":" in address else socket.AF_INET


Server((address, port), Handler).serve_forever()
'''


def required():
    """Skip a test where HAProxy is not installed; fail in CI, whose script installs it."""
    if not shutil.which("haproxy"):
        missing = "HAProxy is not on this machine: apt-get install haproxy"
        pytest.fail(missing) if "CI" in os.environ else pytest.skip(missing)


def configuration(pillar, minion, folder):
    """Return HAProxy's configuration on ``minion``, rendered by Salt.

    :param folder: for Salt's caches.
    """
    opts = salt.config.minion_config(None)
    opts.update(
        id=minion,
        root_dir=str(folder),
        cachedir=str(folder / "cache"),
        extension_modules=str(folder / "extmods"),
        file_client="local",
        module_dirs=[str(REPOSITORY / "_modules")],
        grains={"id": minion},
        pillar=pillar,
    )
    modules = salt.loader.minion_mods(opts, utils=salt.loader.utils(opts))
    return modules["slsutil.renderer"](str(TEMPLATE), default_renderer="jinja")
