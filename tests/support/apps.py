"""A small web app as release archives: each version behaves in its own way."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

SERVER = '''#!/usr/bin/env python3
"""serve ADDRESS PORT: answers what the file `behaviour` beside it says.

TLS is a file with certificate and key, and TOKEN the header X-Token that each request must have. CONFIG is a file that
it reads at its start, and again with each SIGHUP.
"""
import http.server, os, pathlib, signal, socket, ssl, sys, threading, time

began = time.monotonic()
HERE = pathlib.Path(__file__).resolve().parent.parent
behaviour = dict(line.split("=", 1) for line in (HERE / "behaviour").read_text().split())
if "exit" in behaviour:
    print("cannot start: the database is missing", file=sys.stderr)
    sys.exit(int(behaviour["exit"]))
if "lives" in behaviour:
    time.sleep(float(behaviour["lives"]))
    sys.exit(1)
if "crashes" in behaviour:
    threading.Timer(float(behaviour["crashes"]), os._exit, [1]).start()

def read():
    return pathlib.Path(os.environ.get("CONFIG", os.devnull)).read_text()


def reload(*_):
    reloads.append(1)
    config[:] = [read()]


reloads, config = [], [read()]
signal.signal(signal.SIGHUP, reload)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(float(behaviour.get("delay" + self.path, 0)))
        if time.monotonic() - began > float(behaviour.get("hangs" + self.path, "inf")):
            time.sleep(3600)
        status = behaviour.get("status" + self.path, 404 if self.path == "/nowhere" else 200)
        if self.headers["User-Agent"] == "Consul Health Check":
            status = behaviour.get("consul", status)
        if self.headers["X-Token"] != os.environ.get("TOKEN"):
            status = 401
        data = pathlib.Path(os.environ.get("DATA", "/nowhere")) / "state"
        if self.path == "/data" and not data.exists():
            status = 404
        self.send_response(int(status))
        self.end_headers()
        if self.path == "/reloads":
            return self.wfile.write(str(len(reloads)).encode())
        if self.path == "/config":
            return self.wfile.write(config[0].encode())
        said = data.read_text() if self.path == "/data" and data.exists() else "release " + behaviour["version"]
        self.wfile.write(said.encode())

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    address_family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET


server = Server((sys.argv[1], int(sys.argv[2])), Handler)
if "TLS" in os.environ:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.environ["TLS"])
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
'''


class Archives:
    """Makes ``web-<version>.tar.gz`` in a folder.

    :param folder: made when needed; ``url`` is what an app's source says.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self.digests = {}

    @property
    def url(self):
        return f"file://{self.folder}/web-{{version}}.tar.gz"

    def make(self, version, *extra, **behaviour):
        """Make a release; ``extra`` are further tarfile members. Return its version.

        :param behaviour: ``exit=1``; ``{"status/health": 503}``; ``{"delay/selftest": 60}``; ``consul=503`` is
            what only Consul is answered; ``{"hangs/health": 4}`` answers no more 4 seconds after the start;
            ``lives=4`` listens on nothing and ends then; ``crashes=4`` serves until then.
        """
        lines = [f"{k}={v}" for k, v in {"version": version, **behaviour}.items()]
        path = self.folder / f"web-{version}.tar.gz"
        # The same release is the same file, whoever makes it: gzip's own header would have the time.
        with gzip.GzipFile(path, "wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
            for name, text, mode in (("bin/serve", SERVER, 0o755), ("behaviour", "\n".join(lines), 0o644)):
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(text.encode()), mode
                tar.addfile(member, io.BytesIO(text.encode()))
            for member in extra:
                tar.addfile(member)
        self.digests[version] = hashlib.sha256(path.read_bytes()).hexdigest()
        return version

    def app(self, **changes):
        """Return the definition of the app ``web``, over all releases made so far."""
        return {
            "source": {"archive": self.url, "sha256": dict(self.digests)},
            "run": "./bin/serve {address} {port}",
            "user": "root",
            "ports": "21000-21019",
            "checks": [{"http": "/health", "interval": "1s"}],
            "tests": [
                {"http": {"path": "/selftest", "contains": "release"}, "timeout": "2s"},
                {"http": "/selftest", "from": "peer", "timeout": "2s"},
                {"http": "/selftest", "from": "master", "timeout": "2s"},
            ],
            **changes,
        }


def environment(agents, waves=("100%",), **changes):
    """Return the definition of the environment ``site``: the nodes of ``agents``, quick to deploy to."""
    definition = {
        "nodes": {node: {"address": address} for node, address in agents.nodes.items()},
        "discovery": agents.discovery,
        "apps": {"web": {"version": "1.0", "instances": 3}},
        "strategy": {
            "waves": list(waves),
            "min_healthy_time": "500ms",
            "healthy_deadline": "10s",
            "progress_deadline": "60s",
            "drain": "2s",
            "deregister_delay": "200ms",
        },
    }
    return {**definition, **changes}
