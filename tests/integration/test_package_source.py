"""The source kind package: a real daemon of Debian in several versions, on one node.

All nodes of these tests are this machine, which can have the package once. The waves are tested in tests/lab.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import requests

from tests.support import apps, debs

NAME, FULL, PORT = "mini-httpd", "1.30-3+", 23100
CONFIG, FILE = Path("/etc/mini-httpd.conf"), "usr/share/mini-httpd/html/release"

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("apt-get") or not shutil.which("dpkg-deb"),
    reason="installs a Debian package, as root",
)


def version():
    """Return the version of the installed package, with dpkg's words for its state."""
    shown = "--showformat=${db:Status-Want} ${db:Status-Status} ${Version}"
    done = subprocess.run(["dpkg-query", "--show", shown, NAME], capture_output=True, text=True, check=False)
    return done.stdout


@pytest.fixture(scope="module")
def repository(folder):
    """A repository that this machine's apt knows. Afterwards the machine has the packages that it had."""
    if version():
        pytest.skip(f"this machine has {NAME}")
    repository = debs.Repository(folder / "debs")
    package = debs.download(NAME, folder)
    start = f"invoke-rc.d --skip-systemd-native {NAME} start"
    for release in ("1", "2"):
        files = {FILE: f"release {release}", "etc/mini-httpd.conf": f"# {release}\n"}
        repository.repack(package, FULL + release, files, postinst=start)
    repository.repack(package, f"{FULL}3", postinst="exit 7")
    with repository.known("saltdeploy-test"):
        try:
            yield repository
        finally:
            debs.run("apt-mark", "unhold", NAME)
            debs.run("dpkg", "--purge", "--force-remove-reinstreq", NAME)
    assert not version()


@pytest.fixture
def page(repository, minions, pillar, agents, cli):
    """Deploy the app ``page`` with ``deploy.<function>``, which must exit with ``code``. Return the output."""
    app = {
        "source": {"package": NAME, "version": FULL + "{version}"},
        "run": "/usr/sbin/mini_httpd -D -h {address} -p {port} -d /usr/share/mini-httpd/html",
        "user": "root",
        "ports": PORT,
        "checks": [{"http": "/release", "interval": "1s"}],
    }
    environment = apps.environment(agents, apps={"page": {"version": "1"}})
    environment["strategy"].update(type="recreate", healthy_deadline="60s", progress_deadline="120s")
    pillar.write({"page": app}, {"site": environment})

    def deploy(function, *args, code=0):
        found, output = cli.deploy(function, "page", *args)
        assert found == code, output
        return output

    return deploy


def test_the_life_of_a_package(page, repository, agents):
    def answer():
        [(address, port, _)] = agents.passing("page").values()
        return requests.get(f"http://{address}:{port}/release", timeout=10).text

    # No node has read the list of the new repository yet.
    told = page("app", "version='9'", "nodes=web1", code=1)
    assert f"there is no {NAME} {FULL}9. apt on this node knows these versions: 1, 2, 3." in told
    repository.update()
    page("app", "version='1'", "nodes=web1", "test=True")
    assert version() == "" and agents.passing("page") == {}

    page("app", "version='1'", "nodes=web1")
    assert (answer(), version()) == ("release 1", f"hold installed {FULL}1")

    CONFIG.write_text("# the administrator's\n")
    page("app", "version='2'", "nodes=web1")
    assert (answer(), version()) == ("release 2", f"hold installed {FULL}2")
    assert CONFIG.read_text() == "# the administrator's\n"

    # Its script fails after the old files are gone, so the old package comes back.
    told = page("app", "version='3'", "nodes=web1", code=1)
    assert f"installing {NAME}: " in told and "returned error exit status 7" in told and "all is as before" in told
    assert (answer(), version()) == ("release 2", f"hold installed {FULL}2")

    # The archive has none of them any more.
    repository.clear()
    repository.update()
    page("rollback", "nodes=web1")
    assert (answer(), version()) == ("release 1", f"hold installed {FULL}1")

    page("remove", "confirm=True")
    assert version() == f"deinstall config-files {FULL}1" and agents.passing("page") == {}
    assert list(agents.folder.glob("web1/srv/.packages/*.json")) == []
