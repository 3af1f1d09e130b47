"""Signatures of the real minisign and gpg: only that of the file, by the key, and of its name is right."""

import hashlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from saltdeploy.core.errors import Failed
from saltdeploy.core.model import Source
from saltdeploy.source import signatures

from tests.support.signing import Gpg, Minisign
from tests.support.sources import install


def needs(*programs):
    lacking = [name for name in programs if not shutil.which(name)]
    return pytest.mark.skipif(bool(lacking) and "CI" not in os.environ, reason=f"needs {' and '.join(lacking)}")


needs_minisign, needs_gpg = needs("minisign"), needs("gpg", "gpgv")


@pytest.fixture(
    scope="module", params=[pytest.param(Minisign, marks=needs_minisign), pytest.param(Gpg, marks=needs_gpg)]
)
def signers(request, tmp_path_factory):
    """Two of a kind, each with a key of its own."""
    made = [request.param(tmp_path_factory.mktemp("k")) for _ in range(2)]
    yield made
    for signer in made:
        signer.close()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "shop-1.0.tar.gz"
    path.write_bytes(b"content" * 100)
    return path


def verify(signer, file, signature, name=""):
    signatures.public_key(signer.public).verify(file, name or file.name, signature)


def test_the_right_signature(signers, file):
    signature = signers[0].sign(file)
    verify(signers[0], file, signature)
    signatures.public_key(signers[0].public).inspect(signature)


def test_a_changed_file(signers, file):
    signature = signers[0].sign(file)
    file.write_bytes(b"other")
    with pytest.raises(Failed, match="is not of this content of shop|is no signature of shop.*BAD signature"):
        verify(signers[0], file, signature)


def test_another_key(signers, file):
    signature = signers[1].sign(file)
    with pytest.raises(Failed, match="is made with the key [0-9A-F]{16}, and|is no signature of.*No public key"):
        verify(signers[0], file, signature)


@pytest.mark.parametrize("change", [lambda s: b"", lambda s: b"x" * 200, lambda s: s[: len(s) // 2]])
def test_no_signature(signers, file, change):
    with pytest.raises(Failed, match="holds no|holds a damaged"):
        verify(signers[0], file, change(signers[0].sign(file)))


def test_a_text_that_is_no_key():
    for text in ("", "RW", "RW" + "A" * 54, "-----BEGIN PGP PUBLIC KEY BLOCK-----\n"):
        with pytest.raises(Failed, match="source:signed_by: holds no public key"):
            signatures.public_key(text)


@needs_minisign
def test_minisign_s_trusted_comment(tmp_path, file):
    signer = Minisign(tmp_path)
    signature = signer.sign(file)
    with pytest.raises(Failed, match="is of a file 'shop-1.0.tar.gz', and not of shop-2.0.tar.gz"):
        verify(signer, file, signature, "shop-2.0.tar.gz")
    verify(signer, file, signer.sign(file, "-t", "released by joe"), "shop-2.0.tar.gz")
    with pytest.raises(Failed, match="was changed"):
        verify(signer, file, signature.replace(b"shop-1.0", b"shop-2.0"), "shop-2.0.tar.gz")
    with pytest.raises(Failed, match="legacy format of minisign"):
        verify(signer, file, signer.sign(file, "-l"))


@needs_gpg
def test_a_signed_message_is_no_detached_signature(tmp_path, file):
    """gpgv would check its own content, and not the file."""
    signer = Gpg(tmp_path)
    try:
        own = tmp_path / "own"
        own.write_text("own content")
        message = subprocess.check_output([*signer.command, "--output", "-", "--sign", own])
        with pytest.raises(Failed, match="holds no detached signature"):
            verify(signer, file, message)
        binary = subprocess.check_output([*signer.command, "--output", "-", "--detach-sign", file])
        verify(signer, file, binary)
        literal = b"\xcb" + bytes([13]) + b"b\0" + b"\0" * 4 + b"content"
        with pytest.raises(Failed, match="holds no detached signature"):
            verify(signer, file, binary + literal)
    finally:
        signer.close()


@needs_gpg
def test_a_node_without_gpgv(tmp_path, file, monkeypatch):
    block = b"\xc2\x01x"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(Failed, match="there is no program gpgv on this node. Install the package gpgv"):
        signatures.OpenPGP(b"").verify(Path(file), "x", block)


@needs_minisign
def test_a_signed_file_of_digests_is_verified_whoever_passes_the_digest(tmp_path):
    """The master passes the digest that all nodes agreed on. Only the file of digests is signed."""
    signer = Minisign(tmp_path)
    release, sums = tmp_path / "shop-1.0.tar", tmp_path / "SUMS"
    with tarfile.open(release, "w") as archive:
        archive.add(__file__, "shop.py")
    digest = hashlib.sha256(release.read_bytes()).hexdigest()
    sums.write_text(f"{digest}  {release.name}\n")
    places = {"sha256": str(sums), "signature": f"{sums}.minisig"}
    source = Source("archive", str(release), signed_by=signer.public, **places)
    targets = [tmp_path / name / "files" for name in "abc"]
    for target in targets:
        target.mkdir(parents=True)
    with pytest.raises(Failed, match=r"SUMS\.minisig"):
        install(source, targets[0], digest=digest)
    (tmp_path / "SUMS.minisig").write_bytes(signer.sign(sums))
    assert install(source, targets[1], digest=digest)["artifact"] == digest
    with pytest.raises(Failed, match="its digest was changed meanwhile"):
        install(source, targets[2], digest="0" * 64)
