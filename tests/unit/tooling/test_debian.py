"""Consul from Debian's package: which mirror, and that apt refuses what is not Debian's."""

import gzip
import hashlib
import shutil
import subprocess

import pytest

from tooling import ToolError, debian

INDEXES = """\
Packages main bookworm http://deb.example.org/debian/
DEP-11 main bookworm http://deb.example.org/debian/
Packages contrib bookworm http://deb.example.org/debian/
Packages main bookworm-updates http://deb.example.org/debian/
Packages main bookworm-security http://deb.example.org/debian-security/
Packages main nodistro https://other.example.org/node/
Packages main stable mirror+file:/etc/apt/mirrors/debian.list
"""

needs_apt = pytest.mark.skipif(not shutil.which("apt-get"), reason="needs apt-get")
needs_gpg = pytest.mark.skipif(not shutil.which("gpg"), reason="needs gpg to sign a repository")


def test_mirrors_are_those_of_debian_releases_each_once():
    found = debian.mirrors(INDEXES, "bookworm")
    assert found == ["http://deb.example.org/debian/", "mirror+file:/etc/apt/mirrors/debian.list"]
    assert debian.mirrors(INDEXES, "trixie") == ["mirror+file:/etc/apt/mirrors/debian.list"]
    assert debian.mirrors("", "bookworm") == []


def test_codename_of_os_release():
    assert debian.codename('ID=debian\nVERSION_CODENAME="bookworm"\n') == "bookworm"
    assert debian.codename("ID=void\n") == ""


def test_source_trusts_debians_keys_only():
    line = debian.sources_list("http://deb.example.org/debian/")
    assert line.startswith(f"deb [signed-by={debian.KEYRING} ")
    assert line.endswith("http://deb.example.org/debian/ bullseye main\n")


def test_machine_without_apt_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(debian.shutil, "which", lambda name: None)
    with pytest.raises(ToolError, match="this machine has no apt-get"):
        debian.fetch(tmp_path)


@pytest.fixture
def repository(tmp_path):
    """A repository with a package ``consul``, not signed."""
    machine = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
    root = tmp_path / "repository"
    pool, index = root / "pool", root / f"dists/bullseye/main/binary-{machine}"
    for folder in (tmp_path / "deb/DEBIAN", tmp_path / "deb/usr/bin", pool, index):
        folder.mkdir(parents=True)
    control = (
        f"Package: consul\nVersion: {debian.VERSION}+x-1\nArchitecture: all\n"
        "Maintainer: t <t@example.org>\nDescription: t\n"
    )
    (tmp_path / "deb/DEBIAN/control").write_text(control)
    (tmp_path / "deb/usr/bin/consul").write_text("#!/bin/sh\necho Consul v1.8.7\n")
    package = pool / "consul.deb"
    subprocess.run(["dpkg-deb", "--build", tmp_path / "deb", package], check=True, capture_output=True)
    data = package.read_bytes()
    entry = f"{control}Filename: pool/consul.deb\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n\n"
    indexes = {"Packages": entry.encode(), "Packages.gz": gzip.compress(entry.encode())}
    (index / "Packages.gz").write_bytes(indexes["Packages.gz"])
    (root / "dists/bullseye/Release").write_text(
        f"Origin: Debian\nSuite: oldoldstable\nCodename: bullseye\nComponents: main\nArchitectures: {machine}\n"
        "Date: Sat, 01 Jan 2022 00:00:00 UTC\nSHA256:\n"
        + "".join(f" {hashlib.sha256(d).hexdigest()} {len(d)} main/binary-{machine}/{n}\n" for n, d in indexes.items())
    )
    return root


@pytest.fixture
def signed(repository, tmp_path, monkeypatch):
    """The repository, signed by a key that is taken for Debian's."""
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", home, "--batch", "--quiet", "--passphrase", ""]
    subprocess.run([*gpg, "--quick-generate-key", "test", "ed25519", "sign", "never"], check=True, capture_output=True)
    release = repository / "dists/bullseye/Release"
    subprocess.run([*gpg, "--clearsign", "--output", release.with_name("InRelease"), release], check=True)
    keyring = tmp_path / "keyring.gpg"
    subprocess.run([*gpg, "--output", keyring, "--export"], check=True)
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True)
    monkeypatch.setattr(debian, "KEYRING", keyring)
    return repository


def fetch(repository, folder):
    return debian._fetch_from(f"file:{repository}", folder, lambda line: None)


@needs_apt
def test_unsigned_repository_is_refused(repository, tmp_path):
    with pytest.raises(ToolError, match=r"is not signed|no longer|does not have a Release file"):
        fetch(repository, tmp_path / "work")
    assert not list((tmp_path / "work").rglob("*.deb"))


@needs_apt
@needs_gpg
def test_signed_package_is_unpacked_and_not_installed(signed, tmp_path):
    program = fetch(signed, tmp_path / "work")
    assert program == tmp_path / "work/package/usr/bin/consul"
    assert program.read_text().endswith("v1.8.7\n")


@needs_apt
@needs_gpg
@pytest.mark.parametrize("name", ["consul.deb", "Packages.gz"])
def test_package_or_index_that_was_changed_is_refused(signed, tmp_path, name):
    (file,) = signed.rglob(name)
    changed = bytearray(file.read_bytes())
    changed[-1] ^= 1
    file.write_bytes(changed)
    with pytest.raises(ToolError, match=r"(?i)hash sum mismatch|mismatch|unexpected size"):
        fetch(signed, tmp_path / "work")
    assert not (tmp_path / "work/package").exists()
