"""The source kind git, from real repositories, over file, HTTP and SSH."""

import contextlib
import os
import re
import tempfile
import threading
import time
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest
from saltdeploy.core import limits, versions
from saltdeploy.core.errors import Failed, Refused
from saltdeploy.core.model import Source
from saltdeploy.source import Asking, Installation, choose
from saltdeploy.source.artifacts import Artifacts
from saltdeploy.source.repository import joined
from saltdeploy.system import disk

from tests.support.files import open_folder
from tests.support.gitserver import SSHD, Sshd, Work, serving

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="changes its user")
SECRET = "hunter2-planted"


@pytest.fixture
def folder():
    """A folder that git may enter, which does not run as root."""
    with open_folder() as path:
        yield path


@pytest.fixture
def work(folder):
    return Work(folder / "shop")


@pytest.fixture
def server(folder):
    with serving(folder) as server:
        yield server


class Release:
    """An installation beside the repositories.

    :param folder: the folder for all releases.
    """

    def __init__(self, folder, url, digest="", seconds=60.0, version="1.0", **source):
        self.build = Path(tempfile.mkdtemp(prefix="release.", dir=folder))
        self.build.chmod(0o755)
        self.files = self.build / "files"
        self.files.mkdir()
        artifacts = Artifacts(self.build, "shop", self.build)
        installation = Installation(version, self.files, None, artifacts, "", digest, seconds)
        try:
            self.commit = choose(Source("git", url, **source)).install(installation)["artifact"]
        finally:
            self.left = sorted(path.name for path in self.build.iterdir() if path != self.files)

    @property
    def names(self):
        return sorted(str(path.relative_to(self.files)) for path in self.files.rglob("*"))

    def read(self, name):
        return (self.files / name).read_text()


def at(work):
    return f"file://{work.folder}"


def asking(folder, **more):
    path = Path(tempfile.mkdtemp(prefix="asks.", dir=folder))
    path.chmod(0o755)
    return Asking(path, None, **more)


# -- commits ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "a tag with a text"])
def test_a_release_has_the_files_of_the_commit_of_its_tag(folder, work, text):
    files = {"bin/run": "#!/bin/sh\n", "it": "one", "link": Path("bin/run"), ".gitattributes": "it export-ignore\n"}
    commit = work.commit(files, "v1.0", text)
    work.commit({"it": "two"}, "v1.1")
    release = Release(folder, at(work), ref="v{version}")
    assert release.commit == commit and release.read("it") == "one"
    assert release.names == [".gitattributes", "bin", "bin/run", "it", "link"] and release.left == []
    assert {path.lstat().st_uid for path in release.files.rglob("*")} == {os.geteuid()}
    modes = {path.name: path.lstat().st_mode & 0o7777 for path in release.files.rglob("*") if not path.is_symlink()}
    assert modes == {"bin": 0o755, "run": 0o755, "it": 0o644, ".gitattributes": 0o644}


def test_a_repository_with_sha256(folder):
    work = Work(folder / "new", "sha256")
    commit = work.commit({"it": "one"}, "1.0")
    assert Release(folder, at(work)).commit == commit and len(commit) == 64


def test_a_tag_goes_before_a_branch_of_its_name(folder, work):
    tagged = work.commit({"it": "one"}, "1.0")
    work.git("branch", "1.0")
    work.git("checkout", "--quiet", "refs/heads/1.0", "-B", "1.0")
    branch = work.commit({"it": "two"})
    assert Release(folder, at(work)).commit == tagged
    work.git("tag", "--delete", "1.0")
    assert Release(folder, at(work)).commit == branch


def test_the_commit_stays_while_the_branch_moves(folder, work):
    first = work.commit({"it": "one"})
    source = Source("git", at(work), ref="main")
    found = choose(source).newest(asking(folder))
    assert found == {"version": f"git-{first[:12]}", "stamp": ""}
    work.commit({"it": "two"})
    version = found["version"]
    assert choose(source).current_digest(version, asking(folder).folder, None) == first
    assert Release(folder, at(work), ref="main", version=version).read("it") == "one"
    assert Release(folder, at(work), ref="main", version="any", digest=first).read("it") == "one"
    assert Release(folder, at(work), ref="main", version="any").read("it") == "two"
    # A branch that was written over does not have it any more.
    work.git("checkout", "--quiet", "--orphan", "other")
    work.commit({"it": "three"})
    work.git("branch", "--force", "main", "other")
    with pytest.raises(Failed, match=f"the branch main has no commit {first[:12]}, or not any more"):
        Release(folder, at(work), ref="main", version=version)


def test_a_moved_tag_is_another_digest(folder, work):
    before = work.commit({"it": "one"}, "1.0")
    source = choose(Source("git", at(work)))
    assert source.check("1.0", asking(folder).folder, None, Artifacts(folder, "", folder), None) == before
    after = work.commit({"it": "two"}, "1.0")
    assert source.current_digest("1.0", asking(folder).folder, None) == after != before


def test_an_unknown_version_is_told_with_a_tag_that_is_like_it(folder, work):
    work.commit({"it": "one"}, "v1.0")
    with pytest.raises(Failed, match=r'no tag and no branch 1\.0\. It has the tag v1\.0\. Write `ref: "v\{version\}"`'):
        Release(folder, at(work))
    with pytest.raises(Failed, match=r"shop: there is no tag and no branch v9\.$"):
        Release(folder, at(work), ref="v{version}", version="9")


def test_the_newest_version_is_the_highest_tag_that_fits(folder, work):
    work.commit({"it": "one"})
    source = choose(Source("git", at(work), ref="v{version}"))
    with pytest.raises(Refused, match=r"shop: tags like v\{version\}: has no final release"):
        source.newest(asking(folder))
    for tag in ("v1.9", "v1.10", "v2.0rc1", "9.0", "vnext", "v1.8/x", "other-v3.0"):
        work.tag(tag)
    assert source.newest(asking(folder))["version"] == "1.10"
    assert source.newest(asking(folder, above="1.11"))["version"] == "1.11"


def test_only_another_kind_and_submodules_are_another_source():
    source = Source("git", "https://host/shop.git", ref="v{version}")
    recorded = {"origin": choose(source).origin("1.0")}
    assert recorded["origin"]["ref"] == "v1.0"
    assert choose(replace(source, location="https://new/shop.git", ref="{version}")).changes("1.0", recorded) == []
    assert choose(replace(source, submodules=True)).changes("1.0", recorded) == ["submodules"]
    assert choose(source).changes("1.0", {"origin": {"kind": "archive"}}) == ["kind", "submodules"]


# -- hostile repositories ---------------------------------------------------------------------


@pytest.mark.parametrize("leads", ["/etc/passwd", "../../../etc/passwd"])
def test_a_link_out_of_the_release_is_refused(folder, work, leads):
    work.commit({"link": Path(leads)}, "1.0")
    with pytest.raises(Failed, match="shop: the archive would write outside its folder, at link link"):
        Release(folder, at(work))


def test_files_in_lfs_are_refused(folder, work):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    work.commit({"a/big.bin": pointer, "long": "x" * 5000}, "1.0")
    with pytest.raises(Failed, match=r"a/big\.bin is in Git LFS, which saltdeploy does not fetch"):
        Release(folder, at(work))


def test_no_files(folder, work):
    work.commit({}, "1.0")
    with pytest.raises(Failed, match="has no files"):
        Release(folder, at(work))


@ROOT
def test_git_runs_as_nobody_and_without_any_configuration(folder, work, server, monkeypatch):
    work.commit({"it": "one"}, "1.0")
    home = folder / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(f'[url "file:///nowhere"]\n\tinsteadOf = {server.url(work)}\n')
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_SSH_COMMAND", "false")
    users = set()

    def look(handler):
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (process / "cmdline").read_bytes()
                if command.startswith(b"git\0") and b"\0fetch\0" in command:
                    users.add(re.search(r"^Uid:\s+(\d+)", (process / "status").read_text(), re.M)[1])

    server.look = look
    assert Release(folder, server.url(work)).read("it") == "one"
    assert users == {"65534"}


def test_a_repository_cannot_fill_the_disk(folder, work, monkeypatch):
    work.commit({"noise": os.urandom(3 << 20)}, "1.0")
    monkeypatch.setattr(disk, "space", lambda where: disk.Space(1 << 20, 0))
    with pytest.raises(disk.NoRoom, match=r"no room in .*: 1\.0 MB may be taken"):
        Release(folder, at(work))


# -- submodules -------------------------------------------------------------------------------


@pytest.fixture
def nested(folder, server):
    """A repository with a submodule, which has a submodule. Their URLs are relative, and absolute."""
    inner, middle, outer = (Work(folder / name) for name in ("inner", "middle", "outer"))
    inner.commit({"it": "inner"})
    middle.commit({"it": "middle"})
    middle.git("submodule", "--quiet", "add", at(inner), "lib/inner")
    middle.git("config", "--file", ".gitmodules", "submodule.lib/inner.url", server.url(inner))
    middle.commit({})
    outer.commit({"it": "outer"})
    outer.git("submodule", "--quiet", "add", at(middle), "middle")
    outer.git("config", "--file", ".gitmodules", "submodule.middle.url", "../../middle/.git")
    outer.commit({}, "1.0")
    # Neither tag nor branch leads to the commit of the submodule any more.
    middle.commit({"it": "later"})
    return outer


def test_submodules_in_submodules(folder, server, nested):
    release = Release(folder, server.url(nested), submodules=True)
    assert [release.read(f"{path}it") for path in ("", "middle/", "middle/lib/inner/")] == ["outer", "middle", "inner"]
    assert release.left == []
    assert Release(folder, server.url(nested)).names == [".gitmodules", "it", "middle"]


def test_a_submodule_cannot_read_the_files_of_the_node(folder, server, nested):
    nested.git("config", "--file", ".gitmodules", "submodule.middle.url", at(nested))
    nested.commit({}, "1.0")
    with pytest.raises(Failed, match="the URL of the submodule middle is not allowed"):
        Release(folder, server.url(nested), submodules=True)


def test_a_submodule_over_ssh_needs_a_key(folder, server, nested):
    nested.git("config", "--file", ".gitmodules", "submodule.middle.url", "git@127.0.0.1:middle.git")
    nested.commit({}, "1.0")
    with pytest.raises(Failed, match="a submodule comes over SSH, which needs key_file and known_hosts"):
        Release(folder, server.url(nested), submodules=True)


def test_many_submodules(folder, server, nested, monkeypatch):
    monkeypatch.setattr(limits, "SUBMODULES", 1)
    with pytest.raises(Failed, match="has more than 1 submodules: refused"):
        Release(folder, server.url(nested), submodules=True)


@pytest.mark.parametrize(
    "base, url, found",
    [
        ("https://h/shop/a.git", "../b.git", "https://h/shop/b.git"),
        ("https://h/shop/a.git/", "../../till/b.git", "https://h/till/b.git"),
        ("git@h:shop/a.git", "../b.git", "git@h:shop/b.git"),
        ("git@h:a.git", "../b.git", "git@h:b.git"),
        ("https://h/a.git", "./b.git", "https://h/a.git/b.git"),
        ("https://h/a.git", "ssh://git@h/b.git", "ssh://git@h/b.git"),
    ],
)
def test_the_url_of_a_submodule(base, url, found):
    assert joined(base, url) == found


# -- HTTP -------------------------------------------------------------------------------------


def logins(folder, server):
    token, netrc = folder / "token", folder / "netrc"
    token.write_text(SECRET)
    netrc.write_text(f"machine 127.0.0.1 login ann password {SECRET}\n")
    basic = b64encode(f"ann:{SECRET}".encode()).decode()
    return {
        "headers": ({"headers": {"Authorization": f"Bearer {SECRET}"}}, f"Bearer {SECRET}"),
        "token_file": ({"token_file": str(token)}, f"Bearer {SECRET}"),
        "netrc": ({"netrc": str(netrc)}, f"Basic {basic}"),
    }


@pytest.mark.parametrize("way", ["headers", "token_file", "netrc"])
def test_a_login_that_only_the_server_sees(folder, work, server, way):
    work.commit({"it": "one"}, "1.0")
    source, server.login = logins(folder, server)[way]
    seen = []

    def look(handler):
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                texts = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
                seen.append(any(s in texts for s in (SECRET.encode(), server.login.split()[1].encode())))

    server.look = look
    release = Release(folder, server.url(work), **source)
    assert release.read("it") == "one" and seen and not any(seen)
    with pytest.raises(Failed, match="the server refuses the login, or asks for one") as told:
        Release(folder, server.url(work), headers={"Authorization": f"Bearer not-{SECRET}"})
    assert SECRET not in str(told.value)


def test_another_server_gets_no_login(folder, nested, server):
    """The submodule in the submodule is on a server of another port."""
    with serving(folder) as other:
        middle = Work.of(folder / "middle")
        middle.git("checkout", "--quiet", "--detach", "HEAD~1")
        middle.git("config", "--file", ".gitmodules", "submodule.lib/inner.url", other.url(Work.of(folder / "inner")))
        commit = middle.commit({})
        nested.git("update-index", "--cacheinfo", f"160000,{commit},middle")
        nested.git("commit", "--quiet", "--message=other")
        nested.tag("1.0")
        server.login = f"Bearer {SECRET}"
        Release(folder, server.url(nested), submodules=True, headers={"Authorization": server.login})
        assert other.asked and not any("Authorization" in headers for _, _, headers in other.asked)


def test_no_redirect_is_followed(folder, work, server):
    work.commit({"it": "one"}, "1.0")
    with serving(folder) as other:
        server.moved = f"http://127.0.0.1:{other.port}"
        with pytest.raises(Failed, match="the server redirects, which is not followed"):
            Release(folder, server.url(work), headers={"X-Secret": SECRET})
        assert other.asked == []


def test_a_connection_that_breaks_off_leaves_nothing(folder, work, server):
    work.commit({"noise": os.urandom(1 << 20)}, "1.0")
    server.cut = 100_000
    with pytest.raises(Failed, match="(?i)early EOF|unexpected disconnect|transfer closed|curl"):
        Release(folder, server.url(work))
    server.cut = None
    assert Release(folder, server.url(work)).names == ["noise"]
    assert [path.name for path in folder.rglob("git.*")] == []


def test_no_server_at_all(folder, work, server):
    url = re.sub(r":\d+/", ":1/", server.url(work))
    with pytest.raises(Failed, match="127.0.0.1:1/.*(refused|connect)"):
        Release(folder, url)


def test_a_server_that_hangs_ends_with_the_time(folder, work, server):
    work.commit({"it": "one"}, "1.0")
    server.pause = threading.Event()
    began = time.monotonic()
    with pytest.raises(Failed, match="git ls-remote did not end within its time, and was ended"):
        Release(folder, server.url(work), seconds=1.0)
    assert time.monotonic() - began < 30
    server.pause.set()


# -- SSH --------------------------------------------------------------------------------------


@pytest.fixture
def sshd(folder):
    if not SSHD:
        pytest.skip("needs sshd, of the package openssh-server")
    (folder / "sshd").mkdir()
    sshd = Sshd(folder / "sshd")
    sshd.start()
    yield sshd
    sshd.stop()


def test_over_ssh_with_a_deploy_key(folder, work, sshd):
    commit = work.commit({"it": "one"}, "1.0")
    source = {"key_file": str(sshd.key), "known_hosts": sshd.known_hosts}
    assert Release(folder, sshd.url(work), **source).commit == commit
    hosts = folder / "known_hosts"
    hosts.write_text(sshd.known_hosts)
    assert Release(folder, sshd.url(work), **{**source, "known_hosts": str(hosts)}).commit == commit
    assert list(folder.rglob("key")) == []
    # Another key, another host.
    stranger = folder / "stranger"
    sshd._keygen(stranger)
    with pytest.raises(Failed, match="the server refuses the key in source:key_file"):
        Release(folder, sshd.url(work), **{**source, "key_file": str(stranger)})
    unknown = sshd.known_hosts.replace(f":{sshd.port} ", ":1 ")
    with pytest.raises(Failed, match="the server has no host key of source:known_hosts"):
        Release(folder, sshd.url(work), **{**source, "known_hosts": unknown})
    sshd.stop()
    with pytest.raises(Failed, match="(?i)connection refused"):
        Release(folder, sshd.url(work), **source)
    sshd.new_host_key()
    sshd.start()
    with pytest.raises(Failed, match="the server has no host key of source:known_hosts"):
        Release(folder, sshd.url(work), **source)


def test_a_key_that_others_may_read_is_told_beforehand(folder):
    source = Source("git", "git@host:shop.git", key_file=str(folder / "key"), known_hosts=str(folder / "hosts"))
    assert [text.partition(": No such")[0] for text in choose(source).missing()] == [
        f"source:key_file: {folder}/key cannot be read on this node",
        f"source:known_hosts: {folder}/hosts cannot be read on this node",
    ]
    (folder / "key").write_text(SECRET)
    (folder / "key").chmod(0o640)
    (folder / "hosts").write_text("host ssh-ed25519 x")
    [told] = choose(source).missing()
    assert told.startswith(f"source:key_file: {folder}/key may be read by others.") and SECRET not in told
    (folder / "key").chmod(0o600)
    assert list(choose(source).missing()) == []


def test_versions_that_name_a_commit():
    assert versions.of_commit("0123456789abcdef" * 3) == "git-0123456789ab"
    assert versions.commit("git-0123456789ab") == "0123456789ab"
    assert not any(
        map(versions.commit, ("git-0123456789a", "git-0123456789abc", "git-0123456789AB", "wc-0123456789ab"))
    )


def test_the_programs_are_there(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    [told] = choose(Source("git", "https://host/shop.git")).missing()
    assert told == "source:git: there is no program git on this node"
