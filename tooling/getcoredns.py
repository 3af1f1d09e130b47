"""Get a CoreDNS program: ``python3 -m tooling.getcoredns [--folder F]`` prints its path.

In turn: the one that ``COREDNS`` names; ``coredns`` on PATH; a build with ``go``.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from . import ToolError
from .commands import environment, run
from .getconsul import GOGC
from .progress import Progress

# Before 1.12.4, the time of a lease is taken for the time of a record (CVE-2025-58063).
VERSION = "1.12.4"
MODULE = "github.com/coredns/coredns"
BUILD = 3600.0
# The plugins that a Corefile of the bundle or of its tests names, in the order of CoreDNS's plugin.cfg. A build with
# all plugins takes four times as long, most of it for the libraries of clouds.
PLUGINS = ("bind", "errors", "cache", "rewrite", "hosts", "etcd", "loop", "forward")
IMPORTS = "\n".join(f'\t_ "{MODULE}/plugin/{plugin}"' for plugin in PLUGINS)
DIRECTIVES = ", ".join(f'"{plugin}"' for plugin in PLUGINS)
# As https://coredns.io/2017/07/25/compile-time-enabling-or-disabling-plugins/ has it.
MAIN_GO = f"""\
package main

import (
\t"{MODULE}/core/dnsserver"
\t"{MODULE}/coremain"
{IMPORTS}
)

func init() {{ dnsserver.Directives = []string{{{DIRECTIVES}}} }}

func main() {{ coremain.Run() }}
"""
# The oldest Go that fetches by itself the version that a module asks for.
GO = (1, 21)


def get(folder, say=print, live=lambda line: None):
    """Return the path of a CoreDNS.

    :param folder: where a build is kept, as ``coredns-<version>``.
    :param say: called with a line on what is done.
    :param live: called with each line of a build.
    :raises ToolError: there is none, and what to do.
    """
    named = os.environ.get("COREDNS") or shutil.which("coredns")
    if named:
        return Path(named).absolute()
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"coredns-{VERSION}"
    with (folder / ".coredns.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            _build(folder, kept, say, live)
    return kept


def require(folder):
    """Raise ToolError if there is no CoreDNS, and no Go that can build it: at once, where :func:`get` takes long."""
    if not (os.environ.get("COREDNS") or shutil.which("coredns") or (Path(folder) / f"coredns-{VERSION}").exists()):
        _go()


def _go():
    """Return the path of a Go that can build it.

    :raises ToolError: there is none, and how to install it.
    """
    go = shutil.which("go")
    found = run([go, "env", "GOVERSION"]).strip() if go else ""
    number = re.match(r"go(\d+)\.(\d+)", found)
    if go and (not number or tuple(map(int, number.groups())) >= GO):
        return go
    raise ToolError(
        f"no CoreDNS on PATH, and {f'{go} is {found}, too old' if go else 'no Go'} to build it."
        " On Debian 13: apt-get install golang-go. Elsewhere, take Go from https://go.dev/dl/"
    )


def _build(folder, kept, say, live):
    """Build it aside, with PLUGINS, then move it to its place: there or not, never half."""
    go = _go()
    say(f"building CoreDNS {VERSION} with {go}: about two minutes on two cores")
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    options = {"cwd": partial, "env": environment(GOFLAGS="-mod=mod", GOGC=GOGC)}
    try:
        (partial / "go.mod").write_text("module corednsbuild\n")
        (partial / "main.go").write_text(MAIN_GO)
        run([go, "get", f"{MODULE}@v{VERSION}"], live, BUILD, **options)
        run([go, "build", "-trimpath", "-o", partial / "coredns", "."], live, BUILD, **options)
        (partial / "coredns").replace(kept)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def main(arguments=None):
    """Print the path of a CoreDNS program; what goes on goes to standard error."""
    parser = argparse.ArgumentParser(prog="python3 -m tooling.getcoredns", description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default=".demo/bin", help="where it is kept (default: %(default)s)")
    options = parser.parse_args(arguments)
    progress = Progress(sys.stderr)
    try:
        print(get(options.folder, progress.say, progress.live))
    except ToolError as exc:
        sys.exit(f"{exc}")


if __name__ == "__main__":
    main()
