"""HAProxy's configuration as highstate renders it, and apps that it sends requests to."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import salt.config
import salt.loader

from tests.support.site import NODES, REPOSITORY
from tooling.requestloop import RequestLoop

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


class HAProxy:
    """HAProxy with the configuration that Salt renders, with the test's discovery and its own socket.

    :param folder: for its files.
    :param dns: the address of the Consul agent, or the CoreDNS, that it asks.
    """

    def __init__(self, folder, dns=NODES["web1"]):
        self.folder, self.dns, self.process = Path(folder), dns, None

    def configure(self, pillar, minion):
        """Write its configuration on ``minion``."""
        text = configuration(pillar, minion, self.folder / "salt")
        for its, ours in (
            ("127.0.0.1:8600", f"{self.dns}:8600"),
            ("/run/haproxy/admin.sock user root group haproxy", str(self.folder / "admin")),
            ("    user haproxy\n    group haproxy\n", ""),
        ):
            assert its in text
            text = text.replace(its, ours)
        (self.folder / "haproxy.cfg").write_text(text)

    def start(self):
        with (self.folder / "haproxy.log").open("w") as log:
            command = ["haproxy", "-W", "-f", self.folder / "haproxy.cfg"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(20)

    def servers(self, app):
        """Return the slots of ``app``: name -> (address and port, whether it is up)."""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(self.folder / "admin"))
            admin.sendall(f"show servers state {app}\n".encode())
            text = b"".join(iter(lambda: admin.recv(65536), b"")).decode()
        rows = [line.split() for line in text.splitlines()[2:] if line]
        # Running, and in no kind of maintenance (management guide, `show servers state`; 0x40 is none).
        return {row[3]: ((row[4], int(row[18])), row[5] == "2" and not int(row[6]) & 0x3F) for row in rows}

    def usable(self, app):
        """Return the addresses and ports of the instances that get requests."""
        return {place for name, (place, up) in self.servers(app).items() if up and name != "none"}


class Clients(RequestLoop):
    """Clients of an app behind HAProxy.

    :param port: of the frontend.
    """

    pause, asked = 0.02, "HAProxy"

    def __init__(self, port, app):
        super().__init__([], app, "/")
        self.port = port

    def _find(self):
        return "127.0.0.1", self.port, ""

    def _release(self, found, body):
        return body.decode().removeprefix("release ")
