"""A small repository of Debian packages, made of real packages in further versions."""

from __future__ import annotations

import contextlib
import gzip
import shutil
import subprocess
from pathlib import Path

# An update of this one entry leaves the lists of all others as they are.
ONLY = ("-o", "Dir::Etc::SourceParts=-", "-o", "APT::Get::List-Cleanup=0")


class Repository:
    """A folder that apt can read.

    :param folder: made here. All users may enter it.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self.index()

    @property
    def line(self):
        """The line of ``sources.list``."""
        return f"deb [trusted=yes] file:{self.folder} ./\n"

    def repack(self, package, version, files=(), **scripts):
        """Make a version of the package file ``package``.

        :param files: path -> text of files that it has besides, or in another form.
        :param scripts: maintainers' scripts in place of its own.
        """
        tree = self.folder / "tree"
        run("dpkg-deb", "--raw-extract", package, tree)
        for path, text in dict(files).items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text)
        (tree / "DEBIAN/md5sums").unlink(missing_ok=True)
        for name, text in scripts.items():
            (tree / "DEBIAN" / name).write_text(f"#!/bin/sh\nset -e\n{text}\n")
            (tree / "DEBIAN" / name).chmod(0o755)
        control = tree / "DEBIAN/control"
        lines = [f"Version: {version}" if x.startswith("Version:") else x for x in control.read_text().splitlines()]
        control.write_text("\n".join(lines) + "\n")
        run("dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, self.folder)
        shutil.rmtree(tree)
        self.index()

    def clear(self):
        """Take all packages away, as an archive does with old versions."""
        for path in self.folder.glob("*.deb"):
            path.unlink()
        self.index()

    @contextlib.contextmanager
    def known(self, name):
        """Have this machine's apt know the repository meanwhile, as the entry ``name``. See :meth:`update`."""
        self.entry = Path(f"/etc/apt/sources.list.d/{name}.list")
        self.entry.write_text(self.line)
        try:
            yield
        finally:
            self.entry.unlink()
            for path in Path("/var/lib/apt/lists").glob(f"{str(self.folder).replace('/', '_')}_*"):
                path.unlink()

    def update(self):
        """Have apt read the list of packages."""
        run("apt-get", "update", "-o", f"Dir::Etc::SourceList={self.entry}", *ONLY)

    def index(self):
        """Write the list of the packages that are in the folder."""
        blocks = []
        for path in sorted(self.folder.glob("*.deb")):
            control = run("dpkg-deb", "--field", path)
            digest = run("sha256sum", path).split()[0]
            blocks.append(
                f"{control.rstrip()}\nFilename: ./{path.name}\nSize: {path.stat().st_size}\nSHA256: {digest}\n"
            )
        (self.folder / "Packages.gz").write_bytes(gzip.compress("\n".join(blocks).encode()))


def download(name, folder):
    """Download a package of the machine's own archives. Return the path of its file."""
    before = set(Path(folder).glob("*.deb"))
    run("apt-get", "download", name, cwd=folder)
    [path] = set(Path(folder).glob("*.deb")) - before
    return path


def run(*command, cwd="/"):
    """Run a command, which must end well. Return its output."""
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
