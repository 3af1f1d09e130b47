"""Artifacts on real nodes: logins leave no trace, signatures count, and a version has one content.

The server demands a client certificate and a token, and the releases are signed with minisign.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import time
from pathlib import Path

import pytest
import requests

from tests.support import apps
from tests.support.rogue import certificate, reply, rogue
from tests.support.signing import Minisign

pytestmark = pytest.mark.skipif(
    not shutil.which("minisign") and "CI" not in os.environ, reason="needs the package minisign"
)

NAME, SECRET = "sourced", "hunter2-planted"


class Store:
    """An artifact server that sends releases, digests and signatures, to those only who know the secret."""

    def __init__(self, archives, signer):
        self.archives, self.signer, self.refused, self.more = archives, signer, 0, b""

    def __call__(self, server, connection, request):
        name = request.split()[1].lstrip("/")
        path = self.archives.folder / name.removesuffix(".sha256").removesuffix(".minisig")
        content = path.read_bytes() + self.more
        if name.endswith(".minisig"):
            content = self.signer.sign(path)
        if name.endswith(".sha256"):
            content = hashlib.sha256(content).hexdigest().encode()
        if f"Authorization: Bearer {SECRET}" not in request:
            self.refused += 1
            reply(status="401 Unauthorized")(server, connection, request)
        else:
            reply(content, ETag='"one"')(server, connection, request)


@pytest.fixture(scope="module")
def store(minions, cli, archives, pillar, agents, folder, tmp_path_factory):
    """The server; the app ``sourced`` is defined, whose releases come from there. It has states, so each needs a run."""
    (folder / f"tree/{NAME}.sls").write_text("what the app needs:\n  test.nop\n")
    archives.make("1.0")
    archives.make("1.1")
    signer, tls = Minisign(tmp_path_factory.mktemp("key")), tmp_path_factory.mktemp("tls")
    context, ca = certificate(tls, clients=True)
    with rogue(Store(archives, signer), context) as server:
        url = f"https://localhost:{server.port}/web-{{version}}.tar.gz"
        source = {"archive": url, "sha256": f"{url}.sha256", "headers": {"Authorization": f"Bearer {SECRET}"}}
        source.update(cert=str(tls / "server.pem"), ca=str(ca), signed_by=signer.public)
        tests = [{"http": "/selftest"}]
        definition = archives.app(source=source, ports="23000-23009", tests=tests, states=[NAME])
        placed = {NAME: {"version": "1.0", "instances": 1}}
        pillar.write({NAME: definition}, {"site": apps.environment(agents, apps=placed)})
        yield server.answer
        assert cli.deploy("remove", NAME, "confirm=True")[0] == 0
    pillar.write({}, {})


def planted(*folders):
    """Return the files below ``folders`` with the secret in them."""
    found = [p for folder in folders for p in folder.rglob("*") if p.is_file() and not p.is_symlink()]
    return [p for p in found if SECRET.encode() in p.read_bytes()]


def test_a_login_leaves_no_trace(store, cli, master, agents):
    code, output = cli.deploy("app", NAME)
    assert code == 0 and SECRET not in output, output
    assert store.refused == 0
    code, output = cli.deploy("history", NAME, "--out=json")
    assert code == 0 and SECRET not in output
    kept = requests.get(f"{agents.url('web1')}/v1/kv/?recurse", timeout=10)
    assert NAME in kept.text
    assert not any(SECRET.encode() in base64.b64decode(entry["Value"] or "") for entry in kept.json())
    roots = {Path(agents.settings(node)["root"]) for node in agents.nodes}
    assert planted(*roots, Path(master.config["cachedir"]) / "jobs") == []
    [installed] = [p for root in roots for p in root.glob(f"{NAME}/releases/.*/release.json")]
    assert '"artifact": "' in installed.read_text()


def test_a_version_has_one_content(store, cli):
    """Somebody built the archive again, under the same version."""
    store.more = b"\0" * 10
    try:
        for function, arguments, expected in (("scale", ("instances=2",), 1), ("check", (), 3), ("app", (), 3)):
            code, output = cli.deploy(function, NAME, *arguments)
            assert code == expected and "sourced 1.0 has two contents: sha256 " in output, output
            assert "give the new one a new version" in output
    finally:
        store.more = b""
    code, output = cli.deploy("scale", NAME, "instances=2")
    assert code == 0 and "2 instances of 1.0" in output, output


def test_a_signature_by_another_key_or_of_another_content_installs_nothing(store, cli, agents, tmp_path):
    own, other = store.signer, Minisign(tmp_path)
    store.signer = other
    try:
        code, output = cli.deploy("check", NAME, "version='1.1'")
        assert code == 3 and "web-1.1.tar.gz.minisig: is made with the key" in output, output
        # By the right key, of another file of the same name.
        (tmp_path / "web-1.1.tar.gz").write_bytes(b"other")
        signature = own.sign(tmp_path / "web-1.1.tar.gz")
        other.sign = lambda path: signature
        code, output = cli.deploy("app", NAME, "version='1.1'")
        assert code == 1 and "the signature is not of this content of web-1.1.tar.gz. Nothing was unpacked" in output
    finally:
        store.signer = own
    roots = [Path(agents.settings(node)["root"]) for node in agents.nodes]
    assert [p.name for root in roots for p in root.glob(f"{NAME}/releases/*1.1*")] == []


def test_a_node_that_applies_states_is_waited_for(store, cli, impatient):
    """For longer than the master waits for a minion that does not answer."""
    assert cli.run("salt", "--async", "*", "state.single", "cmd.run", "name=sleep 15")[0] == 0
    time.sleep(1)
    began = time.monotonic()
    code, output = impatient.deploy("app", NAME, "version='1.1'")
    assert code == 0, output
    assert "applies states just now: its installation waits" in output
    assert "is published in site: 1 instance of 1.1" in output
    assert 8 < time.monotonic() - began < 60


@pytest.mark.parametrize("archive", ["salt://gone/web.tar.gz", "file:///gone/web.tar.gz"])
def test_a_missing_archive_is_found_beforehand(store, cli, pillar, archives, agents, archive):
    definition = archives.app(source={"archive": archive, "sha256": "0" * 64}, ports="23000-23009")
    pillar.write({NAME: definition}, {"site": apps.environment(agents, apps={NAME: {"version": "2.0"}})})
    code, output = cli.deploy("check", NAME)
    assert code == 3 and f"{archive}: " in output and ("is not on the master" in output or "No such file" in output)
