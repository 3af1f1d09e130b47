"""Programs of others, shipped as the how-tos say: from npm, as a jar, and from the package index under uWSGI."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import shutil
import socket
import subprocess
import tarfile
import threading
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from saltdeploy.system import processes

from tests.support import apps
from tests.support.rogue import reply, rogue
from tests.support.site import until

# The machine may be busy. Nothing of this is waited for if all is well.
STRATEGY = {
    "min_healthy_time": "300ms",
    "healthy_deadline": "2m",
    "progress_deadline": "5m",
    "drain": "1s",
    "deregister_delay": "200ms",
}


class Files:
    """An HTTP server of files: path -> content. It can be closed for all."""

    def __init__(self):
        self.content, self.closed = {}, False

    def __call__(self, server, connection, request):
        content = self.content.get(urllib.parse.unquote(request.split()[1]))
        if content is None or self.closed:
            answer = reply(status="404 Not Found")
        else:
            answer = reply(content, ETag=f'"{hashlib.sha256(content).hexdigest()}"')
        answer(server, connection, request)

    def add(self, path, content):
        """Add an artifact, and its digest beside it."""
        self.content[path] = content
        self.content[f"{path}.sha256"] = hashlib.sha256(content).hexdigest().encode()


@pytest.fixture(scope="module")
def server():
    with rogue(Files()) as server:
        server.base = f"http://127.0.0.1:{server.port}"
        yield server


class Shipped:
    """An app on the site.

    :param definition: without its user and ports.
    """

    def __init__(self, site, name, ports, definition):
        self.agents, self.cli, self._pillar = site
        self.name, self.definition = name, {"user": "root", "ports": ports, **definition}

    def define(self, **changes):
        site = apps.environment(self.agents, apps={self.name: {"instances": 1}})
        site["strategy"].update(STRATEGY)
        self._pillar.write({self.name: {**self.definition, **changes}}, {"site": site})

    def deploy(self, version, code=0):
        """Deploy a version, and return the output. No request may fail meanwhile, and no work may be cut off."""
        served = bool(self.serving)
        with self.clients() if served else contextlib.nullcontext() as clients:
            found, output = self.cli.deploy("app", self.name, f"version='{version}'", timeout=500)
        assert found == code and "cut off" not in output, output
        assert not served or (clients.answered and clients.failures == []), clients.failures
        return output

    def clients(self):
        return self.agents.clients(self.name, self.definition["checks"][0]["http"])

    def instance(self):
        """Return the first process of the only instance, and the numbers of its other processes."""
        [found] = [p for f, p in processes.marked(self.agents.folder).items() if f.name.startswith(f"{self.name}_")]
        [first] = [p.pid for p in found if p.parent not in {other.pid for other in found}]
        return first, {p.pid for p in found} - {first}

    @property
    def serving(self):
        """Version -> URL of its instance."""
        found = self.agents.passing(self.name).values()
        return {version: f"http://{address}:{port}" for address, port, version in found}

    def releases(self):
        """Return the versions that are installed, and the folders of unfinished installations."""
        roots = [Path(self.agents.settings(node)["root"]) for node in self.agents.nodes]
        found = [p for root in roots for p in root.glob(f"{self.name}/releases/*") if p.name != ".lock"]
        links = [p for p in found if p.is_symlink()]
        made = {p.resolve().parent for p in links}
        return sorted({p.name for p in links}), [p for p in found if not p.is_symlink() and p not in made]

    def get(self, version, path):
        return requests.get(f"{self.serving[version]}{path}", timeout=30)

    def rollback(self):
        code, output = self.cli.deploy("rollback", self.name)
        assert code == 0 and "cut off" not in output, output

    def remove(self):
        self.define()
        code, output = self.cli.deploy("remove", self.name, "confirm=True")
        self._pillar.write({}, {})
        assert code == 0 and "cut off" not in output, output


@pytest.fixture(scope="module")
def ship(minions, agents, cli, pillar):
    """Return a function that defines an app. All apps are removed in the end, if a test left them."""
    made = []

    def ship(name, ports, **definition):
        made.append(Shipped((agents, cli, pillar), name, ports, definition))
        made[-1].define()
        return made[-1]

    yield ship
    for app in made:
        if app.serving:
            app.remove()


def run(*command, cwd):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def program(name, needed):
    path = shutil.which(name)
    if not path:
        pytest.skip(f"needs {name}, {needed}")
    return path


def packed(files):
    """Return a tar.gz of ``{name: text}``."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


# -- a program of npm -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def npm(server, folder):
    """Two releases with lock files, and a registry that has the packages of these locks and no others."""
    npm, cache, files = program("npm", "to fetch a program of others"), folder / "npm-cache", server.answer
    for version in ("14.1.0", "14.1.1"):
        project = folder / f"npm-{version}"
        project.mkdir()
        about = {"name": "files", "version": version, "private": True, "dependencies": {"http-server": version}}
        (project / "package.json").write_text(json.dumps(about))
        options = ("--ignore-scripts", "--no-audit", "--no-fund", "--omit-lockfile-registry-resolved")
        run(npm, "install", "--cache", str(cache), *options, cwd=project)
        lock = (project / "package-lock.json").read_text()
        _add_packages(files, server.base, json.loads(lock)["packages"], cache / "_cacache/content-v2/sha512")
        texts = {"package.json": json.dumps(about), "package-lock.json": lock, ".npmrc": f"registry={server.base}/\n"}
        files.add(f"/files-{version}.tar.gz", packed(texts))
    return npm


def _add_packages(files, base, packages, cache):
    """Serve the packages of a lock file as a registry does.

    :param cache: the folder in which npm keeps them.
    """
    for place, entry in packages.items():
        name, version = place.rpartition("node_modules/")[2], entry["version"]
        if not name:
            continue
        path = f"/{name}/-/{version}.tgz"
        digest = base64.b64decode(entry["integrity"].removeprefix("sha512-")).hex()
        files.content[path] = (cache / digest[:2] / digest[2:4] / digest[4:]).read_bytes()
        known = {key: entry[key] for key in ("version", "dependencies", "bin", "engines") if key in entry}
        about = {**known, "name": name, "dist": {"tarball": base + path, "integrity": entry["integrity"]}}
        document = json.loads(files.content.get(f"/{name}", b'{"versions": {}}'))
        document["versions"][version] = about
        files.content[f"/{name}"] = json.dumps({**document, "name": name, "dist-tags": {"latest": version}}).encode()


@pytest.mark.thorough
def test_a_program_of_npm_is_installed_from_its_lock_file(npm, server, ship):
    url, files = f"{server.base}/files-{{version}}.tar.gz", server.answer
    app = ship(
        "files",
        "23030-23039",
        source={
            "archive": url,
            "sha256": f"{url}.sha256",
            "build": f"{npm} ci --omit=dev --ignore-scripts --no-audit --no-fund",
        },
        run=f"{program('node', 'to run it')} node_modules/http-server/bin/http-server . -a {{address}} -p {{port}} -c-1",
        checks=[{"http": "/package.json", "interval": "1s"}],
        tests=[{"http": {"path": "/node_modules/http-server/package.json", "contains": '"version": "14.1.'}}],
    )
    app.deploy("14.1.0")
    about = "/node_modules/http-server/package.json"
    assert app.get("14.1.0", about).json()["version"] == "14.1.0"

    # A registry with another content than that of the lock file.
    path = "/http-server/-/14.1.1.tgz"
    good = files.content[path]
    files.content[path] = good[:-1] + bytes([good[-1] ^ 1])
    output = app.deploy("14.1.1", code=1)
    assert "source:build: `" in output and "EINTEGRITY" in output, output
    assert app.releases() == (["14.1.0"], []) and list(app.serving) == ["14.1.0"]
    files.content[path] = good

    app.deploy("14.1.1")
    assert app.get("14.1.1", about).json()["version"] == "14.1.1"
    # An installed release needs no registry.
    files.closed = True
    app.rollback()
    files.closed = False
    assert list(app.serving) == ["14.1.0"]
    app.remove()
    assert app.releases() == ([], []) and app.serving == {}


# -- a jar ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def jars(server, folder):
    """Two versions of WireMock. npm has the same file as Maven's repository."""
    npm, files = program("npm", "to fetch a jar of others"), server.answer
    for version in ("3.13.1", "3.13.2"):
        run(npm, "pack", "--silent", f"wiremock@{version}", cwd=folder)
        name = f"wiremock-standalone-{version}.jar"
        with tarfile.open(folder / f"wiremock-{version}.tgz") as tar:
            files.add(f"/{version}/{name}", tar.extractfile(f"package/build/{name}").read())


def test_a_jar_is_the_release_and_is_not_unpacked(jars, server, ship):
    java = program("java", "to run a jar")
    url, files = f"{server.base}/{{version}}/wiremock-standalone-{{version}}.jar", server.answer
    app = ship(
        "mock",
        "23040-23049",
        source={"archive": url, "sha256": f"{url}.sha256", "unpack": False},
        run=f"{java} -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xmx128m -jar wiremock-standalone-{{version}}.jar"
        " --bind-address {address} --port {port} --root-dir {instance}/root --disable-banner",
        checks=[{"http": "/__admin/health", "interval": "1s"}],
        tests=[{"http": {"path": "/__admin/version", "contains": "3.13."}}],
    )
    app.deploy("3.13.1")
    assert app.get("3.13.1", "/__admin/version").json() == {"version": "3.13.1"}
    [root] = [p for node in app.agents.nodes for p in Path(app.agents.settings(node)["root"]).glob("mock/releases/3*")]
    assert [p.name for p in root.iterdir()] == ["wiremock-standalone-3.13.1.jar"]

    # Somebody replaced the file of digests. The jar has another one.
    digest = f"{url.replace('{version}', '3.13.2')}.sha256".removeprefix(server.base)
    right = files.content[digest]
    files.content[digest] = b"0" * 64
    output = app.deploy("3.13.2", code=1)
    assert "wiremock-standalone-3.13.2.jar" in output and "sha256" in output, output
    assert app.releases() == (["3.13.1"], []) and list(app.serving) == ["3.13.1"]
    files.content[digest] = right

    app.deploy("3.13.2")
    assert app.get("3.13.2", "/__admin/version").json() == {"version": "3.13.2"}
    app.rollback()
    assert list(app.serving) == ["3.13.1"]
    app.remove()
    assert app.releases() == ([], []) and app.serving == {}


# -- a web app under uWSGI --------------------------------------------------------------------

WSGI = ["pyuwsgi==2.0.30.post1", "flask==2.3.3", "werkzeug==2.3.8"]
INI = """\
[uwsgi]
http-socket = {{ host }}:{{ port }}
module = httpbin:app
master = true
processes = PROCESSES
need-app = true
socket-timeout = 300
binary-path = {{ release }}/bin/python
hook-master-start = unix_signal:15 gracefully_kill_them_all
hook-accepting = unix_signal:15 gracefully_kill
"""


@pytest.fixture
def ini(folder):
    """The template of uWSGI's settings on the master. Call it with the number of processes."""
    path = folder / "tree" / "uwsgi.ini"
    yield lambda number: path.write_text(INI.replace("PROCESSES", str(number)))
    path.unlink()


def test_a_web_app_under_uwsgi_reloads_and_stops_without_a_lost_request(ini, ship, cli):
    ini(2)
    app = ship(
        "bin",
        "23050-23059",
        source={"pip": "httpbin", "requirements": WSGI, "sdists": ["flasgger"]},
        run="./bin/uwsgi --ini {instance}/uwsgi.ini",
        config={"uwsgi.ini": "salt://uwsgi.ini"},
        reload={"signal": "HUP", "files": ["uwsgi.ini"]},
        stop={"timeout": "60s"},
        checks=[{"http": "/status/200", "interval": "1s"}],
        tests=[{"http": {"path": "/get?a=b", "contains": '"args"'}}],
    )
    app.deploy("0.10.1")
    first, before = app.instance()
    assert len(before) == 2

    # Other settings come by a reload. It is the same process, with the same socket, in which requests wait.
    ini(3)
    where, url = app.serving, f"{app.serving['0.10.1']}/status/200"
    with asking(url) as answers:
        code, output = cli.deploy("app", "bin", "version='0.10.1'")
        assert code == 0 and "reload" in output, output
        until(lambda: len(app.instance()[1] - before) == 3, 60, "uWSGI to have three new workers")
    assert app.instance()[0] == first and app.serving == where and set(answers) == {200}

    app.deploy("0.10.2")
    first, before = app.instance()
    # SIGTERM comes during a request. The instance finishes the request, and then it ends.
    place = urllib.parse.urlsplit(app.serving["0.10.2"])
    with socket.create_connection((place.hostname, place.port), 60) as connection:
        connection.sendall(b"POST /post HTTP/1.0\r\nContent-Length: 4\r\n\r\nhe")
        rollback = cli.start("salt-run", "deploy.rollback", "bin")
        try:
            until(lambda: sum(map(is_alive, before)) == 1, 200, "the workers without a request to end")
            connection.sendall(b"lp")
            answer = connection.makefile("rb").read()
            output, _ = rollback.communicate(timeout=240)
        finally:
            rollback.kill()
    assert answer.startswith(b"HTTP/1.0 200 ") and json.loads(answer.partition(b"\r\n\r\n")[2])["data"] == "help"
    assert rollback.returncode == 0 and "cut off" not in output, output
    assert not is_alive(first) and list(app.serving) == ["0.10.1"]
    app.remove()
    assert app.releases() == ([], []) and app.serving == {}


def is_alive(pid):
    return processes.read(pid) is not None


@contextlib.contextmanager
def asking(url):
    """Send one request after the other to an instance. Yield the list of the statuses."""
    answers, over = [], threading.Event()

    def ask():
        while not over.wait(0.05):
            answers.append(requests.get(url, timeout=120).status_code)

    with ThreadPoolExecutor() as pool:
        asked = pool.submit(ask)
        try:
            yield answers
        finally:
            over.set()
        asked.result()
