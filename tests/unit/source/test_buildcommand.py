"""The build of a release runs as somebody else, ends completely, and leaves files of root's only."""

import contextlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from saltdeploy.core.errors import Failed
from saltdeploy.core.model import Source
from saltdeploy.source import Installation, buildcommand, builder
from saltdeploy.source.artifacts import Artifacts
from saltdeploy.system import disk, processes

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="changes its user")


@pytest.fixture
def target():
    """The folder of a release that others may enter, with a file of the source."""
    folder = Path(tempfile.mkdtemp(prefix="sd-", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "files" / "src").mkdir(parents=True)
    (folder / "files" / "src" / "it").write_text("source")
    yield folder / "files"
    shutil.rmtree(folder)


@pytest.fixture
def build(target):
    def build(script, user="", seconds=60.0, command="sh build.sh {version}", **more):
        (target / "build.sh").write_text(script)
        installation = Installation("1.0", target, None, Artifacts(target.parent, "shop", target.parent), user)
        buildcommand.run(Source("git", "https://host/shop", build=command, **more), installation, seconds)

    return build


def read(target, name):
    return (target / name).read_text().strip()


@ROOT
@pytest.mark.parametrize("user, who", [("daemon", "daemon"), ("root", "nobody"), ("", "nobody")])
def test_a_build_never_runs_as_root(target, build, user, who):
    build("id -un > who; cp src/it made; echo changed > src/it", user=user)
    assert (read(target, "who"), read(target, "made"), read(target, "src/it")) == (who, "source", "changed")
    found = [path.lstat() for path in (target, *target.rglob("*"))]
    assert {about.st_uid for about in found} == {0} and not any(about.st_mode & 0o022 for about in found)


def test_an_environment_of_its_own(target, build, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    build('env > env; echo "$1" > argument; pwd > where; touch "$HOME/of-home"')
    env = dict(line.split("=", 1) for line in read(target, "env").splitlines())
    wanted = {"APP": "shop", "VERSION": "1.0", "RELEASE": str(target), "https_proxy": "http://proxy:3128"}
    assert {key: env[key] for key in wanted} == wanted and "AWS_SECRET_ACCESS_KEY" not in env
    assert read(target, "argument") == "1.0" and read(target, "where") == str(target)
    assert [path.name for path in target.parent.iterdir()] == ["files"]


def test_the_output_of_a_build_that_fails(target, build):
    script = "seq 5000; echo 'fetch https://ann:hunter2@host/x: no' >&2; exit 7"
    with pytest.raises(
        Failed, match=r"(?s)^source:build: `sh build.sh \{version\}` ended with 7\n.*5000\nfetch"
    ) as told:
        build(script)
    assert "hunter2" not in str(told.value) and len(str(told.value)) < 2200


def test_a_command_that_is_not_there(build):
    with pytest.raises(Failed, match="(?s)source:build: `./make`.*./make: No such file"):
        build("", command="./make")


@pytest.fixture(params=[True, False], ids=["namespace", "no namespace"])
def namespaces(request, monkeypatch):
    """Whether the build has a namespace of its own. A container may forbid it."""
    if not request.param:
        monkeypatch.setattr(builder, "has_namespaces", lambda: False)


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("options, limit", [({"build_timeout": 1.0}, 60.0), ({}, 1.0)])
def test_a_build_that_hangs_ends_with_all_its_processes(target, build, options, limit):
    began = time.monotonic()
    with pytest.raises(Failed, match="did not end within 1s, and was killed. source:build_timeout is"):
        build("setsid sleep 3600 & (sleep 3600 &) ; sleep 3600", seconds=limit, **options)
    assert time.monotonic() - began < 30
    assert processes.using(target.parent, 65534 if os.geteuid() == 0 else os.geteuid()) == []


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("code", [0, 1])
def test_a_process_that_a_build_leaves_is_ended(target, build, code):
    with pytest.raises(Failed) if code else contextlib.nullcontext():
        build(f"setsid sh -c 'sleep 3600' > /dev/null 2>&1 & exit {code}")
    assert processes.using(target.parent, 65534 if os.geteuid() == 0 else os.geteuid()) == []


@ROOT
@pytest.mark.parametrize("code", [0, 1])
def test_a_process_that_hides_is_ended_too(build, code):
    """It has neither the session, nor the folder, nor the environment of the build."""
    assert builder.has_namespaces()
    hidden = "cd /; exec env -i /usr/bin/setsid /bin/sleep 7654.321"
    with pytest.raises(Failed) if code else contextlib.nullcontext():
        build(f"({hidden}) < /dev/null > /dev/null 2>&1 & while ! pgrep -f 7654.32[1]; do :; done; exit {code}")
    assert subprocess.run(["pgrep", "-f", "sleep 7654.32[1]"], check=False).returncode == 1


@pytest.mark.parametrize("link", ["/etc/passwd", "../../outside", "../.."])
def test_a_link_out_of_the_release_is_refused(build, link):
    with pytest.raises(Failed, match="source:build: the link src/link leads out of the release"):
        build(f"ln -s {link} src/link")


def test_a_link_within_the_release_stays(target, build):
    build("ln -s src/it link; ln -s gone lost")
    assert read(target, "link") == "source"


def test_rights_that_a_release_must_not_have(target, build):
    build("cp /bin/true program; chmod 6755 program; echo x > open; chmod 666 open; mkdir d; chmod 1777 d")
    modes = {name: stat.S_IMODE((target / name).stat().st_mode) for name in ("program", "open", "d")}
    assert modes == {"program": 0o755, "open": 0o644, "d": 0o755}


def test_a_pipe_is_refused(build):
    with pytest.raises(Failed, match="is a device, pipe or socket: refused"):
        build("mkfifo pipe")


def test_no_files_are_left(build):
    with pytest.raises(Failed, match="source:build: leaves no files"):
        build("rm -r src build.sh")


def test_a_build_that_fills_the_disk(build, monkeypatch):
    full = disk.Space(1 << 20, 10 << 30)
    monkeypatch.setattr(disk, "space", lambda folder: full)
    with pytest.raises(disk.NoRoom, match=re.escape("must stay free, and 1.0 MB are free")):
        build("true")
