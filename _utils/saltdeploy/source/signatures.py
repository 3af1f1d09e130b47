"""Detached signatures of minisign and OpenPGP, checked with the public key of a definition."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..core import limits, words
from ..core.errors import Failed
from ..system import commands

# The line of a public key of minisign. The schema has the same.
MINISIGN = re.compile("RW[A-Za-z0-9+/]{54}")
# The kinds of blocks of OpenPGP.
PUBLIC_KEY, SIGNATURE = "PUBLIC KEY BLOCK", "SIGNATURE"
# The number of the only kind of packets that a detached signature of OpenPGP has.
OF_SIGNATURE = 2
# minisign's names of its two ways to sign: of the file, and of its BLAKE2b digest.
WHOLE, PREHASHED = b"Ed", b"ED"
UNTRUSTED, TRUSTED = b"untrusted comment:", b"trusted comment: "
WHERE = "Nothing was unpacked."


class Key(Protocol):
    """A public key.

    :param ending: the ending of the names of its signatures.
    """

    @property
    def ending(self) -> str:
        """The ending of the names of its signatures."""

    def inspect(self, signature: bytes) -> None:
        """Check all of a signature that can be checked without the file that it signs. Raises Failed."""

    def verify(self, path: Path, name: str, signature: bytes) -> None:
        """Check that ``signature`` is this key's signature of the file ``path``.

        :param name: the name of the file where it comes from.
        :raises Failed: it is not.
        """


def public_key(text: str) -> Key:
    """Return the public key in ``text``: a line of minisign, or a block of OpenPGP.

    :raises Failed: it is neither.
    """
    found = [line for line in text.splitlines() if MINISIGN.fullmatch(line.strip())]
    if len(found) == 1:
        raw = base64.b64decode(found[0])
        if raw[:2] == WHOLE:
            return Minisign(raw[2:10], raw[10:])
    blocks = list(_blocks(text, PUBLIC_KEY))
    if blocks:
        return OpenPGP(b"".join(blocks))
    raise Failed("source:signed_by: holds no public key of minisign (RW…) or OpenPGP (-----BEGIN PGP PUBLIC KEY BLOCK)")


@dataclass(frozen=True)
class Minisign:
    """A public key of minisign (Ed25519).

    :param number: its id.
    """

    number: bytes
    key: bytes

    ending = ".minisig"

    def inspect(self, signature: bytes) -> None:
        self._read(signature)

    def verify(self, path: Path, name: str, signature: bytes) -> None:
        signed, comment = self._read(signature)
        digest = hashlib.blake2b()
        with path.open("rb") as data:
            for piece in iter(lambda: data.read(1 << 20), b""):
                digest.update(piece)
        if not self._signs(signed, digest.digest()):
            raise Failed(f"the signature is not of this content of {name}. {WHERE}")
        # minisign notes the name of the file. So an older release cannot take the place of a newer release.
        for field in comment.split("\t"):
            key, _, value = field.partition(":")
            if key == "file" and value != name:
                raise Failed(f"the signature is of a file {words.shown(value)}, and not of {name}. {WHERE}")

    def _read(self, signature: bytes) -> tuple[bytes, str]:
        """Return the signature itself, and its trusted comment."""
        lines = [line.rstrip(b"\r") for line in signature.rstrip(b"\r\n").split(b"\n")]
        try:
            if len(lines) != 4 or not lines[0].startswith(UNTRUSTED) or not lines[2].startswith(TRUSTED):
                raise ValueError
            raw, of_all = (base64.b64decode(line, validate=True) for line in (lines[1], lines[3]))
        except ValueError:
            raise Failed(f"holds no signature of minisign. {WHERE}") from None
        way, number, signed, comment = raw[:2], raw[2:10], raw[10:], lines[2][len(TRUSTED) :]
        if way == WHOLE:
            raise Failed(f"is in the legacy format of minisign. Sign again with minisign 0.10 or newer. {WHERE}")
        if way != PREHASHED or len(signed) != 64:
            raise Failed(f"holds no signature of minisign. {WHERE}")
        if number != self.number:
            raise Failed(
                f"is made with the key {_shown(number)}, and source:signed_by is the key {_shown(self.number)}. {WHERE}"
            )
        if not self._signs(of_all, signed + comment):
            raise Failed(f"the signature is not made with the key of source:signed_by, or was changed. {WHERE}")
        return signed, comment.decode(errors="replace")

    def _signs(self, signature: bytes, content: bytes) -> bool:
        try:
            from cryptography.exceptions import InvalidSignature
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        except ImportError:
            raise Failed(
                "source:signed_by: Salt's own Python lacks the package cryptography on this node:"
                " `salt-pip install cryptography`."
            ) from None
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature, content)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True)
class OpenPGP:
    """Public keys of OpenPGP, in the format of a keyring."""

    keys: bytes

    ending = ".asc"

    def inspect(self, signature: bytes) -> None:
        _packets(signature)
        if not shutil.which("gpgv"):
            raise Failed("source:signed_by: there is no program gpgv on this node. Install the package gpgv")

    def verify(self, path: Path, name: str, signature: bytes) -> None:
        self.inspect(signature)
        with tempfile.TemporaryDirectory() as folder:
            keyring, detached = Path(folder) / "keyring.gpg", Path(folder) / "signature.gpg"
            keyring.write_bytes(self.keys)
            detached.write_bytes(_packets(signature))
            command = ["gpgv", "--homedir", folder, "--keyring", str(keyring), "--", str(detached), str(path)]
            try:
                code, output = commands.execute(command, folder, {"LC_ALL": "C"}, "", limits.SMALL)
            except commands.CommandFailed as exc:
                raise Failed(f"cannot be checked: {exc}. {WHERE}") from exc
        if code:
            said = " ".join(line.removeprefix("gpgv: ").strip() for line in output.splitlines()[-2:])
            raise Failed(f"is no signature of {name} by the key of source:signed_by: {words.message(said)}. {WHERE}")


def _packets(signature: bytes) -> bytes:
    """Return the packets of a detached signature.

    :raises Failed: there are others among them. A signed message has its own content, which gpgv would check instead.
    """
    blocks = list(_blocks(signature.decode(errors="replace"), SIGNATURE))
    raw = blocks[0] if len(blocks) == 1 else signature
    if not raw or any(kind != OF_SIGNATURE for kind in _kinds(raw)):
        raise Failed(f"holds no detached signature of OpenPGP. {WHERE}")
    return raw


def _kinds(raw: bytes) -> Iterator[int]:
    """Yield the number of the kind of each packet (RFC 4880, section 4.2), and -1 if there is anything else."""
    at = 0
    while at < len(raw):
        first, rest = raw[at], raw[at + 1 : at + 6]
        if first & 0xC0 == 0xC0 and rest:
            kind = first & 0x3F
            if rest[0] < 192:
                size, header = rest[0], 2
            elif rest[0] < 224 and len(rest) > 1:
                size, header = ((rest[0] - 192) << 8) + rest[1] + 192, 3
            else:
                size, header = (int.from_bytes(rest[1:5], "big"), 6) if rest[0] == 255 else (len(raw), 0)
        elif first & 0xC0 == 0x80 and first & 3 != 3:
            kind, bytes_ = (first & 0x3C) >> 2, 1 << (first & 3)
            size, header = int.from_bytes(rest[:bytes_], "big"), 1 + bytes_
        else:
            kind, size, header = -1, 0, 0
        at += header + size
        yield kind if header and at <= len(raw) else -1
        if not header:
            return


def _blocks(text: str, kind: str) -> Iterator[bytes]:
    """Yield the content of each armored block of a kind."""
    inside, body = False, list[str]()
    for line in map(str.strip, text.splitlines()):
        if line == f"-----BEGIN PGP {kind}-----":
            inside, body = True, []
        elif inside and line == f"-----END PGP {kind}-----":
            inside = False
            data = body[body.index("") + 1 :] if "" in body else body
            try:
                # The last line may be a checksum.
                yield base64.b64decode("".join(each for each in data if not each.startswith("=")), validate=True)
            except binascii.Error:
                raise Failed("holds a damaged block of OpenPGP") from None
        elif inside:
            body.append(line)


def _shown(number: bytes) -> str:
    """Return the id of a key of minisign, as minisign prints it."""
    return f"{int.from_bytes(number, 'little'):016X}"
