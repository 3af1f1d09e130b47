"""Git repositories as sources: of the test's own app with a build and a submodule, and of a Go program of others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.support import apps
from tests.support.gitserver import Work, serving

NAME, SECRET, ENV = "gitted", "hunter2-planted", "env=site"
PORTS = "23000-23019"
BUILD = """\
#!/bin/sh
set -e
echo "version=$1 $(cat extra/setting)" | tr ' ' '\\n' > behaviour
"""


@pytest.fixture(scope="module")
def server(folder):
    (folder / "repositories").mkdir()
    with serving(folder / "repositories") as server:
        server.login = f"Bearer {SECRET}"
        yield server


@pytest.fixture(scope="module")
def work(server):
    """The repository of the test's own app. Its build makes the file ``behaviour``, with the help of a submodule."""
    extra = Work(server.root / "extra")
    extra.commit({"setting": "extra=1"})
    work = Work(server.root / "shop")
    work.commit({"bin/serve": apps.SERVER, "build.sh": BUILD})
    work.git("submodule", "--quiet", "add", f"file://{extra.folder}/.git", "extra")
    work.git("config", "--file", ".gitmodules", "submodule.extra.url", "../../extra/.git")
    for version in ("1.0", "1.1"):
        work.commit({"version": version}, f"v{version}")
    return work


@pytest.fixture(scope="module")
def define(minions, agents, pillar, cli, archives, server, work):
    """Define the app with a source. In the end it is removed."""
    archives.make("1.0")

    def define(placed=None, env=None, **source):
        login = {"headers": {"Authorization": server.login}}
        source = {"git": server.url(work), "submodules": True, "build": "./build.sh {version}", **login, **source}
        site = apps.environment(agents, apps={NAME: {"instances": 2, **(placed or {})}})
        pillar.write({NAME: archives.app(source=source, ports=PORTS, env=env or {})}, {"site": site})

    yield define
    define()
    code, output = cli.deploy("remove", NAME, ENV, "confirm=True")
    assert code == 0, output
    pillar.write({}, {})


def releases(agents, name=NAME):
    """Return the folders of releases: the path of each link -> its target, and what lies beside them."""
    found = [p for node in agents.nodes for p in Path(agents.settings(node)["root"]).glob(f"{name}/releases/*")]
    links = {str(p): os.readlink(p) for p in found if p.is_symlink()}
    beside = [p for p in found if not p.is_symlink() and p.name != ".lock"]
    return links, sorted(
        set(map(str, beside)) - {str(Path(link).parent / Path(t).parts[0]) for link, t in links.items()}
    )


def serving_now(agents, name=NAME):
    return sorted({version for _, _, version in agents.passing(name).values()})


def test_a_repository_is_deployed_upgraded_and_left(define, cli, agents, master, server, work):
    define({"version": "1.0"}, ref="v{version}")
    code, output = cli.deploy("app", NAME)
    assert code == 0 and SECRET not in output, output
    roots = [Path(agents.settings(node)["root"]) for node in agents.nodes]
    records = [json.loads(p.read_text()) for root in roots for p in root.glob(f"{NAME}/releases/.*/release.json")]
    commit = work.git("rev-parse", "v1.0^{commit}")
    assert records and {record["artifact"] for record in records} == {commit}
    files = [p for f in (*roots, Path(master.config["cachedir"]) / "jobs") for p in f.rglob("*") if p.is_file()]
    assert not [p for p in files if not p.is_symlink() and SECRET.encode() in p.read_bytes()]

    # Other settings are no other release.
    first = releases(agents)
    define({"version": "1.0"}, env={"COLOUR": "red"}, ref="v{version}")
    assert cli.result("app", NAME)["outcome"] == "done"
    assert releases(agents) == first and first[1] == []

    # The newest tag is deployed beside it, and goes back without the server.
    assert cli.result("watch", NAME, ENV)["version"] == "1.1"
    assert serving_now(agents) == ["1.1"]
    server.login = "nobody has this"
    assert cli.result("rollback", NAME, ENV)["outcome"] == "done"
    assert serving_now(agents) == ["1.0"]
    server.login = f"Bearer {SECRET}"


def test_what_fails_changes_nothing(define, cli, agents, server, work):
    define({"version": "1.0"}, ref="v{version}")
    before = releases(agents)
    code, output = cli.deploy("check", NAME, "version='9'")
    assert code == 3 and "there is no tag and no branch v9" in output, output

    # Somebody moved a tag that is deployed.
    work.tag("v1.0")
    moved, old = work.git("rev-parse", "v1.0^{commit}"), work.git("rev-parse", "v1.0~1")
    code, output = cli.deploy("check", NAME)
    assert code == 3 and f"gitted 1.0 has two contents: commit {old[:12]}… was deployed before" in output, output
    assert f"commit {moved[:12]}… would come to" in output and "or put the tag back" in output
    work.git("tag", "--force", "v1.0", old)

    work.commit({"build.sh": "#!/bin/sh\necho the compiler is missing\nexit 3\n"}, "v2.0")
    code, output = cli.deploy("app", NAME, "version='2.0'")
    assert code == 1 and "source:build: `./build.sh {version}` ended with 3" in output, output
    assert "the compiler is missing" in output
    server.cut = 200
    code, output = cli.deploy("app", NAME, "version='2.0'")
    assert code == 1 and "gitted 2.0" in output, output
    server.cut = None
    assert releases(agents) == before and serving_now(agents) == ["1.0"]


def test_a_branch_names_its_commits(define, cli, agents, work):
    commit = work.commit({"build.sh": BUILD})
    define(ref="main")
    result = cli.result("app", NAME, ENV)
    assert result["version"] == f"git-{commit[:12]}" and serving_now(agents) == [result["version"]]
    work.commit({"more": "of it"})
    # The branch has moved, and the commit is still there.
    assert cli.result("scale", NAME, ENV, "instances=3")["version"] == result["version"]
    assert len(agents.passing(NAME)) == 3


MODULE = "github.com/mccutchen/go-httpbin/v2"


@pytest.fixture(scope="module")
def httpbin(server, folder):
    """A repository with two versions of go-httpbin, which has no dependencies."""
    go = shutil.which("go")
    if not go:
        pytest.skip("needs go, to build a program of others")
    work = Work(server.root / "go-httpbin")
    env = {**os.environ, "GOMODCACHE": str(folder / "modules"), "GOFLAGS": "-modcacherw"}
    for version in ("2.5.0", "2.6.0"):
        fetch = [go, "mod", "download", "-json", f"{MODULE}@v{version}"]
        got = subprocess.run(fetch, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)
        if got.returncode:
            pytest.skip(f"needs the Go module proxy: {got.stdout}{got.stderr}")
        for path in work.folder.iterdir():
            if path.name != ".git":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(json.loads(got.stdout)["Dir"], work.folder, dirs_exist_ok=True)
        work.commit({}, f"v{version}")
    return work


@pytest.mark.thorough
def test_a_go_program_is_built_on_its_node(httpbin, minions, cli, agents, pillar, archives, server, folder):
    cache = folder / "go-cache"
    cache.mkdir()
    cache.chmod(0o777)
    build = f"env CGO_ENABLED=0 GOCACHE={cache} GOPROXY=off GOTOOLCHAIN=local {shutil.which('go')} build -o bin/httpbin ./cmd/go-httpbin"
    app = archives.app(
        source={
            "git": server.url(httpbin),
            "ref": "v{version}",
            "headers": {"Authorization": server.login},
            "build": build,
            "build_timeout": "4m",
        },
        run="./bin/httpbin -host {address} -port {port}",
        ports="23020-23029",
        checks=[{"http": "/status/200", "interval": "1s"}],
        tests=[{"http": {"path": "/get?a=b", "contains": "a=b"}, "timeout": "5s"}],
    )
    strategy = {"progress_deadline": "5m", "min_healthy_time": "500ms", "drain": "1s", "deregister_delay": "200ms"}
    site = apps.environment(agents, apps={"httpbin": {"instances": 1, "version": "2.5.0"}}, strategy=strategy)
    pillar.write({"httpbin": app}, {"site": site})
    try:
        assert cli.result("app", "httpbin")["outcome"] == "done"
        assert serving_now(agents, "httpbin") == ["2.5.0"]
        assert cli.result("watch", "httpbin", ENV)["version"] == "2.6.0"
        [(address, port, version)] = agents.passing("httpbin").values()
        assert version == "2.6.0"
        with urllib.request.urlopen(f"http://{address}:{port}/get?a=b", timeout=10) as answer:
            assert json.load(answer)["args"] == {"a": ["b"]}
        assert len(releases(agents, "httpbin")[0]) >= 2 and releases(agents, "httpbin")[1] == []
    finally:
        code, output = cli.deploy("remove", "httpbin", ENV, "confirm=True")
        pillar.write({}, {})
    assert code == 0, output
