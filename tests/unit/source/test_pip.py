"""What packages run while they are installed never runs as root, and cannot change the release afterwards."""

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from saltdeploy.core import deadlines, limits
from saltdeploy.core.errors import Failed, Refused
from saltdeploy.core.model import Source
from saltdeploy.source import Asking, Installation, builder, downloads, pip, uv
from saltdeploy.source.artifacts import Artifacts
from saltdeploy.source.pip import Pip
from saltdeploy.system import disk, processes

from tests.support.files import umask
from tests.support.sources import install

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="changes its user")
# Stands for python: as `-m venv FOLDER` it puts itself into FOLDER, as pip it does what a hostile setup.py would.
PYTHON = """\
#!/bin/sh
for last; do :; done
if [ "$2" = venv ]; then
    mkdir -p "$last/bin" "$last/lib/python3/site-packages/pip" && cp "$0" "$last/bin/python"
    exit
fi
files=$(dirname "$0")/..
id -un > "$files/who"; id -Gn > "$files/groups"; umask > "$files/umask"; env > "$files/env"; echo "$@" > "$files/argv"
cat "$last" > "$files/requirements"; stat -c %a%U "$last" > "$files/mode"
{then}
"""


@pytest.fixture
def folder():
    """A release's folder that others may enter, as they may not pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="sd-", dir="/tmp"))
    path.chmod(0o755)
    (path / "files").mkdir()
    yield path
    shutil.rmtree(path)


@pytest.fixture(autouse=True)
def program(monkeypatch):
    """Whatever Python runs the tests, uv is on a node only where a test puts it."""
    found = {"uv": ""}
    monkeypatch.setattr(uv, "_program", lambda path: found["uv"])
    return found


@pytest.fixture
def build(folder):
    def build(then="true", user="nobody", project="shop", python=folder / "python", **source):
        (folder / "python").write_text(PYTHON.replace("{then}", then))
        (folder / "python").chmod(0o755)
        return install(Source("pip", project, python=str(python), **source), folder / "files", user=user)

    return build


def read(folder, name):
    return (folder / "files" / name).read_text().strip()


@ROOT
@pytest.mark.parametrize("user, who", [("daemon", "daemon"), ("root", "nobody"), ("", "nobody")])
def test_pip_never_runs_as_root(folder, build, user, who):
    with umask(0o077):
        build(user=user)
    assert read(folder, "who") == who and "root" not in read(folder, "groups").split()
    assert read(folder, "umask") == "0022"


@ROOT
def test_another_root_is_root_too(build, monkeypatch):
    toor = pwd.struct_passwd(("toor", "x", 0, 0, "", "/root", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwnam", lambda name: toor)
    with pytest.raises(Refused, match="toor is root on this node, and pip never runs as root"):
        build(user="toor")


@ROOT
def test_a_user_that_is_not_there(build):
    with pytest.raises(Refused, match="there is no user app-gone on this node, as whom pip runs: apply the state"):
        build(user="app-gone")


@ROOT
def test_its_files_are_root_s_then_and_nobody_else_writes_to_them(folder, build):
    build('mkdir -m 777 "$files/d"; echo x > "$files/d/wide"; chmod 6777 "$files/d/wide"; ln -s /etc/passwd "$files/l"')
    for path in (folder / "files", *(folder / "files").rglob("*")):
        found = path.lstat()
        assert found.st_uid == 0, path
        assert path.is_symlink() or stat.S_IMODE(found.st_mode) in (0o755, 0o644), path
    assert pwd.getpwuid(os.stat("/etc/passwd").st_uid).pw_name == "root"
    assert sorted(p.name for p in folder.iterdir()) == ["files", "python"]


@ROOT
def test_what_belongs_to_somebody_else_is_left_alone(folder, build):
    """A hard link to a file of root's would have its mode changed."""
    secret = folder / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    os.link(secret, folder / "files/hard")
    with pytest.raises(Failed, match="files/hard belongs to somebody else"):
        build()
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_a_pipe_is_refused(build):
    with pytest.raises(Failed, match="files/pipe is a device, pipe or socket: refused"):
        build('mkfifo "$files/pipe"')


def test_nothing_of_a_build_goes_on_after_it(folder, build):
    """It could write to files that are root's by then."""
    build('(while :; do sleep 0.05; echo x >> "$files/later"; done) > /dev/null 2>&1 &')
    size = (folder / "files/later").stat().st_size if (folder / "files/later").exists() else 0
    os.sync()
    after = (folder / "files/later").stat().st_size if (folder / "files/later").exists() else 0
    assert after == size


@pytest.fixture
def no_namespaces(monkeypatch):
    """Processes of a build are found in /proc only, as where a container forbids namespaces."""
    monkeypatch.setattr(builder, "has_namespaces", lambda: False)


AWAY = {
    "by its environment": "exec setsid sh -c 'cd /; {}'",
    "by its working folder": "cd \"$files\"; exec env -i /usr/bin/setsid sh -c '{}'",
    "by an open file": "exec 9>> \"$files/open\"; cd /; exec env -i /usr/bin/setsid /bin/sh -c '{}'",
    "by its program": 'cp /bin/sh "$files/own"; cd /; exec env -i /usr/bin/setsid "$files/own" -c \'{}\'',
}
BUSY = "trap : TERM HUP; echo $$ > PID; while :; do sleep 0.02; done"


@pytest.mark.usefixtures("no_namespaces")
@pytest.mark.parametrize("away", AWAY.values(), ids=AWAY)
def test_a_process_in_a_session_of_its_own_is_found(folder, build, away):
    """Its parent is gone: neither the process group nor the parents lead to it."""
    pid = folder / "pid"
    pid.touch(0o666)
    pid.chmod(0o666)
    away = away.format(BUSY.replace("PID", str(pid)))
    build(f"({away}) > /dev/null 2>&1 < /dev/null &\nwhile [ ! -s {pid} ]; do sleep 0.02; done")
    assert processes.read(int(pid.read_text())) is None


@pytest.mark.usefixtures("no_namespaces")
@pytest.mark.parametrize("ending", ["exit 1", "exec sleep 60"])
def test_so_is_that_of_a_build_that_fails(folder, build, monkeypatch, ending):
    monkeypatch.setattr(limits, "PIP", 2.0)
    pid = folder / "pid"
    pid.touch(0o666)
    pid.chmod(0o666)
    away = BUSY.replace("PID", str(pid))
    with pytest.raises(Failed, match="pip install shop"):
        build(f"setsid sh -c '{away}' > /dev/null 2>&1 &\nwhile [ ! -s {pid} ]; do sleep 0.02; done; {ending}")
    assert processes.read(int(pid.read_text())) is None


def test_a_process_that_does_not_end_is_waited_for_until_a_deadline(build, monkeypatch):
    stuck = processes.Process(4711, 1, 4711, 4711, 1, "stuck")
    monkeypatch.setattr(processes.Process, "alive", property(lambda self: True))
    monkeypatch.setattr(processes.Process, "send", lambda self, number: None)
    monkeypatch.setattr(processes, "using", lambda folder, user: [stuck])
    monkeypatch.setattr(deadlines, "KILL", 0.1)
    with pytest.raises(Failed, match=r"process 4711 \(stuck\): does not end, not even after SIGKILL"):
        build()


def test_processes_of_others_are_left_alone(folder):
    """Also those of the app's user that have to do with another folder."""
    with subprocess.Popen(["sleep", "60"], cwd=folder.parent, env={"OF": f"{folder}"}) as other:
        try:
            while not (processes.PROC / f"{other.pid}/environ").read_bytes().startswith(b"OF="):
                time.sleep(0.01)
            assert [p.pid for p in processes.using(folder, os.geteuid())] == [other.pid]
            assert processes.using(folder / "files", os.geteuid()) == processes.using(folder, os.geteuid() + 1) == []
        finally:
            other.kill()


def test_an_environment_of_its_own(folder, build, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    build()
    assert "hunter2" not in read(folder, "env")
    home = next(line for line in read(folder, "env").splitlines() if line.startswith("HOME="))
    if os.geteuid() == 0:
        assert home.startswith(f"HOME={folder}/home.") and not Path(home[len("HOME=") :]).exists()
    else:
        assert home == f"HOME={os.environ['HOME']}"


def test_a_login_is_in_a_file_of_the_build_s_own_and_nowhere_else(folder, build, tmp_path):
    (tmp_path / "netrc").write_text("machine index login joe password hunter2\nmachine b login joe password hunter3\n")
    build('cat "$NETRC" > "$files/netrc"; stat -c %a%U "$NETRC" > "$files/mode"; ls -l /proc/$$/fd > /dev/null',
          index="https://index/simple", netrc=str(tmp_path / "netrc"))  # fmt: skip
    assert read(folder, "netrc") == "machine index login joe password hunter2"
    assert read(folder, "mode") == f"600{'nobody' if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name}"
    assert "hunter2" not in read(folder, "argv") + read(folder, "env")
    assert read(folder, "requirements").splitlines() == ["--index-url https://index/simple", "shop==1.0"]
    (folder / "files/netrc").unlink()
    assert not [p for p in folder.rglob("*") if p.is_file() and "hunter" in p.read_text()]


def test_a_password_that_pip_prints_is_not_shown(build):
    with pytest.raises(Failed) as raised:
        build("echo 'ERROR: https://joe:hunter2@index/simple is gone'; exit 1")
    assert str(raised.value) == "pip install shop==1.0: ERROR: https://index/simple is gone"


def test_a_token_that_pip_prints_is_not_shown(build):
    with pytest.raises(Failed) as raised:
        build("echo 'ERROR: 404 for https://index/shop.whl?token=hunter2&a=b#sha256=00: gone'; exit 1")
    assert str(raised.value) == "pip install shop==1.0: ERROR: 404 for https://index/shop.whl#sha256=00: gone"


def test_requirements_are_for_the_builder_only_and_are_removed(folder, build):
    build(requirements=("six==1.16.0",))
    assert read(folder, "mode") == f"600{'nobody' if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name}"
    assert read(folder, "requirements").splitlines() == ["shop==1.0", "six==1.16.0"]
    assert sorted(p.name for p in folder.iterdir()) == ["files", "python"]


@ROOT
def test_a_folder_that_the_user_may_not_enter(folder, build):
    folder.chmod(0o700)
    with pytest.raises(Failed, match=f"{folder} may not be entered by nobody, as whom pip runs here: `chmod o\\+x` it"):
        build()
    folder.chmod(0o755)


def test_what_was_installed_is_listed(folder):
    for name in ("Flask-3.0.0", "zope.interface-6.1", "setuptools-65.5"):
        (folder / "files/lib/python3.11/site-packages" / f"{name}.dist-info").mkdir(parents=True)
    assert pip.installed(folder / "files") == ["flask==3.0.0", "setuptools==65.5", "zope-interface==6.1"]


# -- the project ------------------------------------------------------------------------------


def test_the_exact_version_in_an_environment_of_its_own(folder, build):
    assert build(project="shop[web]") == {"artifact": "", "packages": [], "builder": "pip"}
    assert read(folder, "requirements").splitlines() == ["shop[web]==1.0"]
    asked = read(folder, "argv").split()
    assert asked[0].endswith("/alone/pip") and asked[1] == "install"
    assert asked[-2] == "--requirement"
    assert {"--no-input", "--only-binary=:all:"} <= set(asked)


def test_a_digest_and_further_requirements(folder, build):
    build(sha256={"1.0": "ab" * 32}, requirements=("gunicorn==23.0.0", "gevent"))
    lines = [f"shop==1.0 --hash=sha256:{'ab' * 32}", "gunicorn==23.0.0", "gevent"]
    assert read(folder, "requirements").splitlines() == lines


def test_a_version_without_a_digest(folder, build):
    with pytest.raises(Refused, match=r"no digest is known for shop\[web\]==1.0"):
        build(project="shop[web]", sha256={"1.1": "ab" * 32})
    assert list((folder / "files").iterdir()) == []


def test_it_does_not_see_the_python_that_runs_salt(folder, build, monkeypatch):
    for name in ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "/nowhere")
    for name in ("PIP_INDEX_URL", "https_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, f"{name} is kept")
    build()
    environment = read(folder, "env").splitlines()
    kept = {"PIP_INDEX_URL=PIP_INDEX_URL is kept", "https_proxy=https_proxy is kept", "NO_PROXY=NO_PROXY is kept"}
    assert kept <= {*environment}
    assert not any("/nowhere" in line for line in environment)


def test_an_error_is_told_in_pip_s_own_words(build):
    noise = "echo 'WARNING: old' >&2; echo 'ERROR: No matching distribution found for shop==1.0' >&2; echo 'notice' >&2"
    told = r"^pip install shop\[web\]==1.0: ERROR: No matching distribution found for shop==1.0$"
    with pytest.raises(Failed, match=told):
        build(noise + "; exit 1", project="shop[web]", sdists=True)
    with pytest.raises(Failed, match=r"shop==1.0. Only wheels are installed. .*: `source:sdists: \[shop\]`"):
        build(noise + "; exit 1")


def test_a_build_that_hangs(build, monkeypatch):
    monkeypatch.setattr(limits, "PIP", 1.0)
    with pytest.raises(Failed, match="pip install shop.*: hangs, killed after 1s"):
        build("exec sleep 60")


def test_a_python_that_is_not_there(build):
    with pytest.raises(Failed, match="/nowhere/python9 -m venv: .*No such file"):
        build(python="/nowhere/python9")


# -- kinds of packages, and uv ----------------------------------------------------------------


@pytest.mark.parametrize(
    "sdists, options",
    [
        (False, ["--only-binary=:all:"]),
        (True, []),
        (("flasgger", "shop"), ["--only-binary=:all:", "--no-binary=flasgger", "--no-binary=shop"]),
    ],
)
def test_sdists_are_built_on_request(folder, build, sdists, options):
    build(sdists=sdists)
    assert [word for word in read(folder, "argv").split() if "-binary" in word] == options


UV = """\
#!/bin/sh
while [ "$1" != --python ]; do shift; done
files=$(dirname "$2")/..; id -un > "$files/who"; env > "$files/env"; echo "$@" > "$files/argv"
touch "$files/of-uv"; {then}
"""


def put_uv(program, folder, then="true", mode=0o755):
    (folder / "uv").write_text(UV.replace("{then}", then))
    (folder / "uv").chmod(mode)
    program["uv"] = str(folder / "uv")


def test_uv_installs_if_it_is_there(folder, build, program):
    put_uv(program, folder)
    assert build(index="https://index/simple")["builder"] == "uv"
    assert os.geteuid() != 0 or read(folder, "who") == "nobody"
    assert "UV_DEFAULT_INDEX=https://index/simple" in read(folder, "env").splitlines()
    assert read(folder, "argv").split()[-3:-1] == ["--only-binary=:all:", "--requirement"]


@pytest.mark.parametrize("then, mode", [("exit 1", 0o755), ("true", 0o600)])
def test_pip_has_the_last_word_if_uv_fails(folder, build, program, then, mode):
    put_uv(program, folder, then, mode)
    assert build()["builder"] == "pip"
    assert read(folder, "argv").split()[1] == "install"


@ROOT
def test_a_uv_where_the_user_may_not_enter_is_copied(folder, build, program, tmp_path):
    tmp_path.chmod(0o700)
    put_uv(program, tmp_path)
    assert build()["builder"] == "uv"


def test_options_among_the_requirements_are_for_pip(folder, build, program):
    put_uv(program, folder)
    assert build(requirements=("--pre",))["builder"] == "pip"


# -- a lock file and a wheelhouse -------------------------------------------------------------

HASH = f"--hash=sha256:{'ab' * 32}"


def lock(folder, text=f"attrs==26.1.0 {HASH}\nmy_shop==1.0 {HASH}\n", **more):
    (folder / "lock-1.0").write_text(text)
    return Source("pip", "My-Shop[web]", lock=f"{folder}/lock-{{version}}", **more)


def test_a_lock_file_has_all_requirements_and_is_the_content_of_the_release(folder, tmp_path):
    source = Pip(lock(tmp_path))
    digest = downloads.sha256(tmp_path / "lock-1.0")
    assert source.current_digest("1.0", tmp_path, None) == digest
    assert source.check("1.0", tmp_path, None, Artifacts(tmp_path, "shop", tmp_path), print) == digest
    assert source._requirements("1.0", tmp_path, None)[0] == [f"my_shop==1.0 {HASH}", f"attrs==26.1.0 {HASH}"]
    own = Pip(lock(tmp_path, sha256={"1.0": "cd" * 32}))
    pinned = f"My-Shop[web]==1.0 --hash=sha256:{'cd' * 32}"
    assert own._requirements("1.0", tmp_path, None)[0] == [pinned, f"attrs==26.1.0 {HASH}"]
    assert source.origin("1.0")["requirements"] == [f"{tmp_path}/lock-1.0"]


def test_the_lock_file_of_another_version_or_project(tmp_path):
    with pytest.raises(Refused, match=r"lock-1.0: has My-Shop\[web\] 1.1, and not 1.0"):
        Pip(lock(tmp_path, f"my-shop==1.1 {HASH}"))._requirements("1.0", tmp_path, None)
    with pytest.raises(Refused, match=r"does not have My-Shop\. Make it"):
        Pip(lock(tmp_path, f"six==1.17.0 {HASH}"))._requirements("1.0", tmp_path, None)
    with pytest.raises(Failed, match="lock-2.0: cannot be read on this node: No such file"):
        Pip(lock(tmp_path)).current_digest("2.0", tmp_path, None)


def test_a_lock_file_that_changes_meanwhile(folder):
    source = lock(folder, python="/nowhere")
    with pytest.raises(Failed, match="lock-1.0: was changed meanwhile"):
        Pip(source).install(Installation("1.0", folder / "files", None, None, "nobody", "0" * 64))


def test_the_newest_version_is_that_of_the_only_lock_file(tmp_path):
    (tmp_path / "lock").write_text(f"my-shop==1.7 {HASH}")
    source = Source("pip", "my-shop", lock=str(tmp_path / "lock"))
    assert Pip(source).newest(Asking(tmp_path, None))["version"] == "1.7"


def test_a_wheelhouse_of_the_master_is_brought_and_removed(folder, build):
    brought = []

    def fetch(url, path):
        brought.append(url)
        (path / "shop-1.0-py3-none-any.whl").write_bytes(b"")

    (folder / "python").write_text(PYTHON.replace("{then}", 'ls "$files/../wheelhouse" > "$files/wheels"'))
    (folder / "python").chmod(0o755)
    source = Source("pip", "shop", python=str(folder / "python"), wheelhouse="salt://wheels")
    install(source, folder / "files", fetch=fetch)
    assert brought == ["salt://wheels/"] and read(folder, "wheels") == "shop-1.0-py3-none-any.whl"
    assert read(folder, "requirements").splitlines() == ["--no-index", f"--find-links {folder}/wheelhouse", "shop==1.0"]
    assert sorted(p.name for p in folder.iterdir()) == ["files", "python"]


# -- before an installation -------------------------------------------------------------------


def test_the_check_changes_nothing_and_asks_for_the_reserve(tmp_path, monkeypatch):
    needs = []
    monkeypatch.setattr(disk, "require", lambda found: needs.extend(need.bytes for need in found))
    artifacts = Artifacts(tmp_path, "shop", tmp_path / "releases")
    assert Pip(Source("pip", "shop")).check("1.0", tmp_path, None, artifacts, print) == ""
    assert needs == [0, 0]
    with pytest.raises(Refused, match="no digest is known for shop==1.0"):
        Pip(Source("pip", "shop", sha256={"1.1": "ab" * 32})).check("1.0", tmp_path, None, artifacts, print)
    with pytest.raises(Failed, match=f"source:netrc: {tmp_path}/gone cannot be read"):
        Pip(Source("pip", "shop", netrc=f"{tmp_path}/gone")).check("1.0", tmp_path, None, artifacts, print)
    assert list(tmp_path.iterdir()) == []


def test_nobody_but_the_definition_determines_the_content(tmp_path):
    assert Pip(Source("pip", "shop")).current_digest("1.0", tmp_path, None) == ""


def test_programs_and_files_that_are_missing_here(tmp_path):
    assert list(Pip(Source("pip", "shop", python="sh")).missing()) == []
    assert list(Pip(Source("pip", "shop", python="/bin/sh")).missing()) == []
    assert list(Pip(Source("pip", "shop", python="python9", netrc=f"{tmp_path}/gone")).missing()) == [
        f"source:netrc: {tmp_path}/gone cannot be read on this node: No such file or directory",
        "source:python: there is no program python9 on this node",
    ]


@pytest.mark.parametrize(
    "known, above, found",
    [
        (["1.9", "1.10", "1.2"], "", "1.10"),
        (["1.9", "2.0rc1", "2.0.dev1", "x3"], "1.9", "1.9"),
        (["1.9", "1.9.post1"], "", "1.9.post1"),
        (["1.9"], "1.9.post1", "1.9.post1"),
        (["2024.1", "1!1.0"], "2024.1", "1!1.0"),
        (["1.9"], "2.0", "2.0"),
        (["1.9", "2.0"], "2.0rc1", "2.0"),
        (["1.9"], "wc-0123456789ab", "1.9"),
    ],
)
def test_the_newest_version_with_a_digest(known, above, found):
    source = Pip(Source("pip", "shop", sha256=dict.fromkeys(known, "0" * 64)))
    assert source.newest(Asking(None, None, above=above))["version"] == found


def test_no_final_release_has_a_digest():
    with pytest.raises(Refused, match="source:sha256: has no final release"):
        Pip(Source("pip", "shop", sha256={"2.0rc1": "0" * 64})).newest(Asking(None, None))


REPORT = (
    '{"install": [{"metadata": {"name": "My.Shop", "version": "%s"}}, {"metadata": {"name": "x", "version": "9"}}]}'
)


def offered(folder, then, above=""):
    """Return the newest version, from a pip that does ``then``: ``$report`` is the path of its report."""
    script = 'while [ "$1" != --report ]; do shift; done; report=$2; ' + then
    (folder / "python").write_text(PYTHON.replace("{then}", "").replace("files=", f"( {script} ) || exit\nfiles="))
    (folder / "python").chmod(0o755)
    (folder / "files").rmdir()
    source = Source("pip", "my-shop[web]", python=str(folder / "python"), requirements=("my-shop<3",))
    return Pip(source).newest(Asking(folder, None, "nobody", above))["version"]


def test_the_newest_version_is_the_one_in_pip_s_report(folder):
    assert offered(folder, f"echo '{REPORT % '2.1'}' > $report", "2.0") == "2.1"
    assert read(folder, "requirements").splitlines() == ["my-shop[web]>=2.0", "my-shop<3"]
    assert {"--dry-run", "--no-deps", "--ignore-installed"} <= set(read(folder, "argv").split())
    assert os.geteuid() != 0 or read(folder, "who") == "nobody"


def test_an_older_version_than_the_deployed_one_is_not_taken(folder):
    """pip allows it if the deployed version was withdrawn from the index, or replaced by code of a package."""
    assert offered(folder, f"echo '{REPORT % '1.9'}' > $report", "2.0rc1") == "2.0rc1"
    assert read(folder, "requirements").splitlines()[0] == "my-shop[web]>=2.0rc1"


@pytest.mark.parametrize(
    "then",
    [
        "true",
        "echo x > $report",
        "echo '{}' > $report",
        "mkfifo $report",
        "ln -s /etc/passwd $report",
        f"echo '{REPORT % '../x'}' > $report",
        "python3 -c 'print(\"[\" * 100000)' > $report",
    ],
)
def test_a_report_that_code_of_a_package_has_replaced(folder, then):
    with pytest.raises(Failed, match="pip does not say the newest version of my-shop"):
        offered(folder, then)
