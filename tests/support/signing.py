"""Signs files as their authors do: with minisign, or with gpg."""

from __future__ import annotations

import subprocess


class Minisign:
    """A key of minisign, in a folder of its own."""

    ending = ".minisig"

    def __init__(self, folder):
        self.folder = folder
        files = ["-p", folder / "key.pub", "-s", folder / "key"]
        subprocess.run(["minisign", "-G", "-W", *files], check=True, capture_output=True)
        self.public = (folder / "key.pub").read_text().splitlines()[1]

    def sign(self, path, *options):
        """Return a signature of the file."""
        made = self.folder / "signature"
        command = ["minisign", "-S", "-s", self.folder / "key", "-m", path, "-x", made, *options]
        subprocess.run(command, check=True, capture_output=True)
        return made.read_bytes()

    def close(self):
        """Do nothing."""


class Gpg:
    """A key of gpg, in a folder of its own, with an agent until it is closed."""

    ending = ".asc"

    def __init__(self, folder):
        folder.chmod(0o700)
        self.folder = folder
        self.command = ["gpg", "--homedir", folder, "--batch", "--quiet", "--yes", "--passphrase", ""]
        self.command += ["--pinentry-mode", "loopback"]
        make = [*self.command, "--quick-generate-key", "shop", "ed25519", "sign", "never"]
        subprocess.run(make, check=True, capture_output=True)
        self.public = subprocess.check_output([*self.command, "--armor", "--export"], text=True)

    def sign(self, path, *options):
        """Return a signature of the file."""
        return subprocess.check_output([*self.command, "--armor", "--output", "-", "--detach-sign", *options, path])

    def close(self):
        """End its agent."""
        subprocess.run(["gpgconf", "--homedir", self.folder, "--kill", "all"], check=False, capture_output=True)
