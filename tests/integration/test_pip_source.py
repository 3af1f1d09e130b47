"""The source kind pip, against the real package index and a private index, with uv and with pip, and on a node."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import requests
import yaml
from saltdeploy.core.errors import Failed
from saltdeploy.core.model import Source
from saltdeploy.source import Asking, choose, uv

from tests.support import apps
from tests.support.rogue import certificate, reply, rogue
from tests.support.site import REPOSITORY
from tests.support.sources import install

VERSION = "1.17.0"
# Of six-1.17.0-py2.py3-none-any.whl, as the package index has it.
DIGEST = "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274"


@pytest.fixture
def target():
    """A release's folder that other users may enter: pip does not run as root."""
    path = Path(tempfile.mkdtemp(prefix="sd-", dir="/tmp"))
    path.chmod(0o755)
    (path / "files").mkdir()
    yield path / "files"
    shutil.rmtree(path)


@pytest.fixture(params=["uv", "pip"])
def builder(request, monkeypatch):
    """The program that installs packages."""
    if request.param == "pip":
        monkeypatch.setattr(uv, "_program", lambda path: "")
    elif not uv._program(os.environ["PATH"]):
        pytest.skip("needs the package uv")
    return request.param


def test_an_exact_version_with_its_digest_in_a_virtualenv_of_its_own(target, builder):
    made = install(Source("pip", "six", sha256={VERSION: DIGEST}), target, VERSION)
    assert made == {"artifact": "", "packages": [f"six=={VERSION}"], "builder": builder}
    assert list(target.rglob("six.*.pyc")) and list(target.rglob("pip*")) == []
    assert {p.lstat().st_uid for p in (target, *target.rglob("*"))} == {os.geteuid()}
    assert [p.name for p in target.parent.iterdir() if p.name.startswith("home.")] == []
    code = "import six, sys; print(six.__version__, sys.prefix)"
    assert subprocess.check_output([target / "bin/python", "-c", code], text=True).split() == [VERSION, str(target)]


def test_another_digest_is_refused(target):
    with pytest.raises(Failed, match="(?s)pip install six==1.17.0.*hash"):
        install(Source("pip", "six", sha256={VERSION: "0" * 64}), target, VERSION)


def test_a_version_that_does_not_exist(target):
    with pytest.raises(Failed, match="(?i)pip install six==999.*no matching distribution"):
        install(Source("pip", "six"), target, "999")


def test_the_newest_version_is_the_one_that_pip_would_install(target):
    allowed = Source("pip", "six", requirements=("six<1.17",))
    target.rmdir()
    asking = Asking(target.parent, None, above="1.15.0")
    assert choose(allowed).newest(asking) == {"version": "1.16.0", "stamp": ""}
    shutil.rmtree(target)
    with pytest.raises(Failed, match="pip install six>=1.17.0: ERROR: Cannot install six<1.17 and six>=1.17.0"):
        choose(allowed).newest(replace(asking, above="1.17.0"))


def wheel():
    """Return a wheel of ``shop`` 1.0."""
    out, about = io.BytesIO(), "shop-1.0.dist-info"
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("shop.py", "print('open')\n" + "# filler\n" * 9999)
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", f"shop.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    return out.getvalue()


def test_a_private_index_that_demands_a_client_certificate_and_a_login(target, builder, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_RETRIES", "0")
    content, name = wheel(), "shop-1.0-py3-none-any.whl"
    page = f'<a href="/{name}#sha256={hashlib.sha256(content).hexdigest()}">{name}</a>'.encode()
    cut = []

    def index(server, connection, request):
        path = request.split()[1]
        if "uthorization: Basic " not in request:
            answer = reply(status="401 Unauthorized", WWW_Authenticate="Basic realm=x")
        elif path == "/simple/shop/":
            answer = reply(page, Content_Type="text/html")
        elif path == f"/{name}":
            answer = reply(content[:100], Content_Length=len(content)) if cut else reply(content)
        else:
            answer = reply(status="404 Not Found")
        answer(server, connection, request)

    context, ca = certificate(tmp_path, clients=True)
    (tmp_path / "netrc").write_text("machine localhost login joe password hunter2\n")
    with rogue(index, context) as server:
        source = Source(
            "pip",
            "shop",
            index=f"https://localhost:{server.port}/simple",
            netrc=str(tmp_path / "netrc"),
            cert=str(tmp_path / "server.pem"),
            ca=str(ca),
        )
        cut.append(True)
        with pytest.raises(Failed, match="pip install shop==1.0: ") as raised:
            install(source, target, "1.0")
        assert "hunter2" not in str(raised.value)
        assert [p.name for p in target.parent.iterdir()] == ["files"]
        shutil.rmtree(target)
        target.mkdir()
        cut.clear()
        made = install(source, target, "1.0")
    assert made == {"artifact": "", "packages": ["shop==1.0"], "builder": builder}
    assert subprocess.check_output([target / "bin/python", "-m", "shop"], text=True) == "open\n"
    secrets = (b"hunter2", b"PRIVATE KEY")
    left = [p for p in target.parent.rglob("*") if p.is_file() and any(s in p.read_bytes() for s in secrets)]
    assert left == []


# -- a web app of the package index, from the master alone ------------------------------------


@pytest.fixture(scope="module")
def wheels(folder, minions):
    """The folder of httpbin's wheels on the master, and its lock file beside it."""
    tree = folder / "tree"
    source = yaml.safe_load((REPOSITORY / "pillar/apps/httpbin.sls").read_text())["apps"]["httpbin"]["source"]
    wanted = [f"{source['pip']}==0.10.1", *source["requirements"]]
    python = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin") or sys.executable
    tools = folder / "tools"
    subprocess.run([python, "-m", "venv", tools], check=True)
    pip = [tools / "bin/python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--use-pep517", "--wheel-dir", tree / "wheels", *wanted], check=True)
    lines = []
    for path in sorted((tree / "wheels").iterdir()):
        name, version = path.name.split("-")[:2]
        lines.append(f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n")
    (tree / "lock-0.10.1.txt").write_text("".join(lines))
    yield tree / "wheels"
    shutil.rmtree(tree / "wheels")


def test_a_real_app_from_a_lock_file_and_a_wheelhouse(wheels, cli, pillar, agents):
    """No index is asked: the wheels are on the master only."""
    app = yaml.safe_load((REPOSITORY / "pillar/apps/httpbin.sls").read_text())["apps"]["httpbin"]
    app["source"] = {"pip": "httpbin", "requirements": "salt://lock-{version}.txt", "wheelhouse": "salt://wheels"}
    environment = apps.environment(agents, apps={"httpbin": {"version": "0.10.1", "user": "root", "instances": 1}})
    environment["strategy"].update(healthy_deadline="60s", progress_deadline="300s")
    pillar.write({"httpbin": app}, {"site": environment})
    lock, gunicorn = wheels.parent / "lock-0.10.1.txt", next(wheels.glob("gunicorn-*"))
    text, roots = lock.read_text(), [Path(agents.settings(node)["root"]) for node in agents.nodes]

    def releases():
        return [p for root in roots for p in root.glob("httpbin/releases/*/release.json")]

    code, output = cli.deploy("check", "httpbin", "version='0.10.2'")
    assert code == 3 and "salt://lock-0.10.2.txt: is not on the master" in output, output
    lock.write_text(text.replace(hashlib.sha256(gunicorn.read_bytes()).hexdigest(), "0" * 64))
    code, output = cli.deploy("app", "httpbin")
    assert code == 1 and "HASH" in output.upper() and releases() == [], output
    lock.write_text(text)
    code, output = cli.deploy("app", "httpbin")
    assert code == 0, output
    [(address, port, _)] = agents.passing("httpbin").values()
    assert requests.get(f"http://{address}:{port}/get?a=b", timeout=10).json()["args"] == {"a": "b"}
    [release] = releases()
    made = json.loads(release.read_text())
    assert made["artifact"] == hashlib.sha256(text.encode()).hexdigest()
    assert made["builder"] == ("uv" if uv._program(os.environ["PATH"]) else "pip")
    assert len(made["packages"]) == text.count("==")
    lock.write_text(f"{text}# changed\n")
    code, output = cli.deploy("check", "httpbin")
    assert code == 3 and "httpbin 0.10.1 has two contents" in output, output
    lock.write_text(text)
    assert cli.deploy("remove", "httpbin", "confirm=True")[0] == 0
    assert releases() == []
    pillar.write({}, {})
