"""Where the demo's Consul comes from: the order, what is refused, and what is said when there is none."""

import functools
import hashlib
import http.server
import io
import socket
import threading
import zipfile

import pytest

from tooling import ToolError, debian, getconsul

PROGRAM = "#!/bin/sh\necho Consul v{version}\n"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch, tmp_path):
    """The tester's own Consul and settings are out of sight."""
    monkeypatch.delenv("CONSUL", raising=False)
    monkeypatch.delenv("CONSUL_VERSION", raising=False)
    monkeypatch.setattr(getconsul.shutil, "which", lambda name: None)


@pytest.fixture
def releases(tmp_path, monkeypatch):
    """A release site on loopback; returns its folder."""
    folder = tmp_path / "site"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    handler.log_message = lambda *args: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(getconsul, "RELEASES", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(getconsul.platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("no_proxy", "*")
    yield folder
    server.shutdown()
    server.server_close()


def put_release(site, version, says=None, digest=None):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("consul", PROGRAM.format(version=says or version))
    folder = site / version
    folder.mkdir()
    name = f"consul_{version}_linux_amd64.zip"
    (folder / name).write_bytes(archive.getvalue())
    digest = digest or hashlib.sha256(archive.getvalue()).hexdigest()
    other = f"{'0' * 64}  consul_{version}_darwin_amd64.zip"
    (folder / f"consul_{version}_SHA256SUMS").write_text(f"{other}\n{digest}  {name}\n")


def put_program(path, version):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PROGRAM.format(version=version))
    path.chmod(0o755)
    return path


def quiet(line):
    pass


def test_official_archive_is_verified_kept_and_reused(releases, tmp_path):
    put_release(releases, getconsul.VERSION)
    program = getconsul.get(tmp_path / "bin", say=quiet)
    assert program == tmp_path / "bin" / f"consul-{getconsul.VERSION}"
    assert getconsul.version_of(program) == getconsul.VERSION
    (releases / getconsul.VERSION).rename(releases / "gone")
    assert getconsul.get(tmp_path / "bin", say=quiet) == program
    assert [p.name for p in (tmp_path / "bin").glob(".partial-*")] == []


def test_wrong_digest_is_refused_and_nothing_is_kept(releases, tmp_path):
    put_release(releases, "1.20.0", digest="1" * 64)
    with pytest.raises(ToolError, match=r"sha256 is .*, its SHA256SUMS says 1{64}: refused"):
        getconsul.get(tmp_path / "bin", "1.20.0", quiet)
    assert [p.name for p in (tmp_path / "bin").iterdir()] == [".consul.lock"]


def test_archive_with_another_version_inside_is_refused(releases, tmp_path):
    put_release(releases, "1.20.0", says="1.19.9")
    with pytest.raises(ToolError, match=r"it is 1\.19\.9, not 1\.20\.0"):
        getconsul.get(tmp_path / "bin", "1.20.0", quiet)


def test_digest_list_without_the_file_is_refused():
    with pytest.raises(ToolError, match=r"no digest of consul_1_linux_amd64\.zip"):
        getconsul.checksum("abc  consul_1_linux_amd64.zip\n", "consul_1_linux_amd64.zip")


def test_site_that_accepts_and_never_answers_costs_the_deadline_only(monkeypatch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setattr(getconsul, "ANSWER", 0.4)
        with pytest.raises(ToolError, match=r"no answer in 0\.4 s|timed out"):
            getconsul._answer(f"http://127.0.0.1:{silent.getsockname()[1]}/")


def names(version):
    return [name for name, _ in getconsul.sources("folder", version, quiet, quiet)]


def test_order_of_the_sources():
    release, package = "the official release archive", "Debian's package"
    assert names(None) == ["PATH", "folder", release, package, "go"]
    assert names(debian.VERSION) == ["folder", release, package, "go"]
    assert names("1.20.0") == ["folder", release, "go"]


def test_the_first_that_works_wins_and_the_others_are_not_asked(monkeypatch, tmp_path):
    asked = []

    def fails(partial, version, say, live):
        asked.append("release")
        raise ToolError("closed")

    def works(partial, version, say, live):
        asked.append("package")
        return put_program(partial / "x/consul", version)

    monkeypatch.setattr(getconsul, "_release", fails)
    monkeypatch.setattr(getconsul, "_package", works)
    monkeypatch.setattr(getconsul, "_build", lambda *args: pytest.fail("go was asked"))
    program = getconsul.get(tmp_path, say=quiet)
    assert (program.name, asked) == (f"consul-{debian.VERSION}", ["release", "package"])


def test_when_all_fail_each_reason_is_told_and_what_to_do(monkeypatch, tmp_path):
    def failing(reason):
        def source(partial, version, say, live):
            raise ToolError(reason)

        return source

    for source in ("_release", "_package", "_build"):
        monkeypatch.setattr(getconsul, source, failing(f"reason of {source}"))
    with pytest.raises(ToolError) as caught:
        getconsul.get(tmp_path, say=quiet)
    said = str(caught.value)
    for part in ("PATH: no consul there", "reason of _release", "reason of _package", "reason of _build", "CONSUL="):
        assert part in said


def test_consul_overrides_the_order_but_not_a_version_asked_for(monkeypatch, tmp_path):
    mine = put_program(tmp_path / "mine/consul", "1.2.3")
    kept = put_program(tmp_path / "bin/consul-1.8.7", "1.8.7")
    monkeypatch.setenv("CONSUL", str(mine))
    monkeypatch.setenv("CONSUL_VERSION", "1.8.7")
    assert getconsul.get(tmp_path / "bin", say=quiet) == mine
    assert getconsul.get(tmp_path / "bin", "1.8.7", quiet) == kept


def test_consul_version_leaves_path_out(monkeypatch, tmp_path):
    put_program(tmp_path / "path/consul", "1.21.0")
    kept = put_program(tmp_path / "bin/consul-1.8.7", "1.8.7")
    monkeypatch.setattr(getconsul.shutil, "which", lambda name: str(tmp_path / "path/consul"))
    assert getconsul.get(tmp_path / "bin", say=quiet) == tmp_path / "path/consul"
    monkeypatch.setenv("CONSUL_VERSION", "1.8.7")
    assert getconsul.get(tmp_path / "bin", say=quiet) == kept


@pytest.mark.parametrize(("text", "reason"), [("#!/bin/sh\nexit 3\n", "exits 3"), ("not a program", "does not run")])
def test_program_that_is_no_consul_is_named(monkeypatch, tmp_path, text, reason):
    program = tmp_path / "consul"
    program.write_text(text)
    program.chmod(0o755)
    monkeypatch.setenv("CONSUL", str(program))
    with pytest.raises(ToolError, match=f"{program}.*{reason}"):
        getconsul.get(tmp_path, say=quiet)


def test_broken_kept_program_and_half_made_ones_are_replaced(releases, tmp_path):
    folder = tmp_path / "bin"
    put_program(folder / f"consul-{getconsul.VERSION}", "x").write_text("half")
    put_program(folder / ".partial-abc/consul", "1.1.1")
    put_release(releases, getconsul.VERSION)
    program = getconsul.get(folder, say=quiet)
    assert getconsul.version_of(program) == getconsul.VERSION
    assert not (folder / ".partial-abc").exists()


def test_version_that_is_none_is_refused(tmp_path):
    with pytest.raises(ToolError, match="version 'latest' is not like"):
        getconsul.get(tmp_path, "latest", quiet)


def test_an_old_consul_is_warned_of():
    assert getconsul.warning("1.9.0") == getconsul.warning("1.22.3") == ""
    assert getconsul.warning("1.8.7").startswith("warning: Consul 1.8.7 is older than 1.9.")


def test_a_source_that_has_none_is_no_news_while_another_has(tmp_path, monkeypatch):
    """Else the demo seems to fail, line after line."""

    def fails():
        raise ToolError("none there")

    found = [("one", fails), ("other", lambda: tmp_path / "consul")]
    monkeypatch.setattr(getconsul, "sources", lambda *args: found)
    said, lively = [], []
    assert getconsul.get(tmp_path, "1.2.3", said.append, lively.append) == tmp_path / "consul"
    assert (said, lively) == ([], ["not from one: none there"])
