"""The source kind container: busybox of Debian in images of a real registry, under podman.

All nodes of these tests are this machine, whose podman is one. So one node has the app.
"""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest
import requests

from tests.support import apps, containers, debs
from tests.support.site import NETWORK, until
from tooling.daemons import Daemons

# Two test runs on a machine have one podman, so their containers need names of their own.
FIRST = 25000 + 6 * int(NETWORK.rpartition(".")[2])
REGISTRY, PORTS = f"{NETWORK}.9:5055", range(FIRST, FIRST + 6)
LOGIN = base64.b64encode(f"{containers.USER}:{containers.PASSWORD}".encode()).decode()
SECRETS = (containers.PASSWORD, LOGIN)
CGI = "#!/bin/busybox sh\necho\n/bin/busybox id -u\n/bin/busybox env\n"

pytestmark = pytest.mark.skipif(bool(containers.lacking()), reason=containers.lacking())


def podman(*words):
    """Return the lines that podman prints."""
    return subprocess.run(["podman", *words], capture_output=True, text=True, timeout=60, check=True).stdout.split()


def images():
    """Return the ids of the images of the registry that are in podman's storage."""
    return podman("images", "--all", "--format={{.ID}}", f"--filter=reference={REGISTRY}/team/shop")


def left(field, *options):
    """Return a field of each container of the app that podman knows, by the container's name."""
    told = podman("ps", *options, "--filter=label=saltdeploy", f"--format={{{{.Names}}}} {{{{.{field}}}}}")
    found = dict(zip(told[::2], told[1::2]))
    return {name: value for name, value in found.items() if int(name.rpartition("_")[2].partition("-")[0]) in PORTS}


def pid_of(program, name):
    """Return the pid of the process ``program`` of a container."""
    for path in Path("/proc").glob("[0-9]*"):
        words = read(path / "cmdline").decode(errors="replace").split("\0")
        if os.path.basename(words[0]) == program and {name, f"--name={name}"} & set(words):
            return int(path.name)
    raise AssertionError(f"no {program} of {name}")


def read(path):
    """Return the bytes of a file, none if it is gone."""
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return b""


def leaks(paths):
    """Return the files with the password or the login."""
    return [path for path in paths if any(secret.encode() in read(path) for secret in SECRETS)]


@pytest.fixture(scope="module")
def registry(folder):
    """A registry with two versions, and the digests of these."""
    debs.run("dpkg-deb", "--extract", debs.download("busybox-static", folder), folder / "busybox")
    registry, daemons = containers.Registry(folder / "registry", REGISTRY), Daemons(folder / "registry")
    with containers.engine():
        try:
            daemons.start(registry.daemon)
            until(lambda: requests.get(f"http://{REGISTRY}/v2/", timeout=5).status_code == 401, 30, "the registry")
            files = {"cgi-bin/env": CGI}
            registry.digests = {v: registry.push(folder / "busybox/bin/busybox", v, **files) for v in ("1", "2", "4")}
            registry.stop = daemons.stop
            yield registry
        finally:
            daemons.stop()
            # A test that failed leaves them.
            for words in (["rm", "--force", *left("ID", "--all")], ["rmi", "--force", *images()]):
                podman(*words, "--ignore") if words[2:] else None


@pytest.fixture
def shop(registry, minions, pillar, agents, cli):
    """Deploy the app ``shop`` with ``deploy.<function>``, which must exit with ``code``. Return the output."""
    environment = apps.environment(agents, apps={"box": {"version": "1", "instances": 2}})
    environment["strategy"].update(healthy_deadline="60s", progress_deadline="120s")

    def define(password=containers.PASSWORD, **changes):
        login = base64.b64encode(f"{containers.USER}:{password}".encode()).decode()
        app = {
            "source": {
                "container": f"http://{REGISTRY}/team/shop",
                "sha256": {**registry.digests, "3": "0" * 64},
                "headers": {"Authorization": f"Basic {login}"},
            },
            "run": "httpd -f -p {address}:{port} -h /www",
            "user": "nobody",
            "ports": f"{PORTS[0]}-{PORTS[-1]}",
            "stop": {"timeout": "3s"},
            "data": True,
            "env": {"SECRET": "two 'words' \"and\" $more"},
            "checks": [{"http": "/release", "interval": "1s"}],
        }
        pillar.write({"box": {**app, **changes}}, {"site": environment})

    def deploy(function, *args, code=0):
        found, output = cli.deploy(function, "box", *args)
        assert found == code, output
        assert not any(secret in output for secret in SECRETS)
        return output

    deploy.define = define
    define()
    yield deploy
    if agents.passing("box"):
        deploy("remove", "confirm=True")
    pillar.write({}, {})


def test_the_life_of_a_container(shop, registry, agents):
    def answers(path="release"):
        found = agents.passing("box").values()
        return {requests.get(f"http://{address}:{port}/{path}", timeout=10).text for address, port, _ in found}

    def node(name):
        return agents.folder / "web1/srv" / name

    assert images() == []
    shop.define(password="wrong")
    told = shop("app", "version='1'", "nodes=web1", code=1)
    assert "podman cannot pull it: " in told and "auth" in told
    assert not list(node(".images").glob("*"))

    shop.define()
    shop("app", "version='1'", "nodes=web1")
    assert answers() == {"release 1"} and len(agents.passing("box")) == 2
    for seen in answers("cgi-bin/env"):
        assert seen.startswith("65534\n") and "\nSECRET=two 'words' \"and\" $more\n" in seen
    shown = list(Path("/proc").glob("[0-9]*/cmdline"))
    assert leaks(shown) == [] and not any(b"$more" in read(path) for path in shown)
    kept = [path for path in node("").rglob("*") if path.is_file()]
    assert leaks(kept) == [] and any(path.name == "release.json" for path in kept)
    assert not list(node("").rglob("registry.*"))
    status = Path(f"/proc/{next(iter(left('Pid').values()))}/status").read_text()
    assert "CapEff:\t0000000000000000\n" in status and "NoNewPrivs:\t1\n" in status

    with agents.clients("box", "/release") as clients:
        assert clients.wait_for("1", 20)
        shop("app", "version='2'", "nodes=web1")
        assert clients.wait_for("2", 20)
        # Nobody has these.
        assert "Digests there: 1, 2, 3, 4." in shop("app", "version='9'", "nodes=web1", code=3)
        told = shop("app", "version='3'", "nodes=web1", code=1)
        assert "podman cannot pull it: " in told and "manifest unknown" in told
        registry.stop()
        told = shop("app", "version='4'", "nodes=web1", code=1)
        assert "podman cannot pull it: " in told and "connection refused" in told
        # Nothing is pulled to go back, or for other settings.
        shop("rollback", "nodes=web1")
        assert clients.wait_for("1", 20)
        shop.define(env={"SECRET": "other"})
        shop("app", "version='1'", "nodes=web1")
    assert clients.failures == []
    assert all("\nSECRET=other\n" in text for text in answers("cgi-bin/env"))
    assert answers() == {"release 1"} and len(images()) == 2

    # podman is killed and leaves its container, which makes way for the next.
    before = left("Pid")
    assert len(before) == 2
    one, other = before
    os.kill(pid_of("podman", one), signal.SIGKILL)
    until(lambda: left("Pid").get(one, before[one]) != before[one], 30, "the container to start again")
    until(lambda: len(agents.passing("box")) == 2, 30, "Consul to find both healthy again")

    # podman is killed because its container does not end for it, which podman counts as running for ever then.
    os.kill(pid_of("conmon", other), signal.SIGKILL)
    shop("remove", "confirm=True")
    assert (images(), left("ID", "--all"), agents.passing("box")) == ([], {}, {})
    assert not list(node(".images").glob("*"))
