"""Get a Consul program: ``python3 -m tooling.getconsul [--version V] [--folder F]`` prints its path.

In turn: the one that ``CONSUL`` names; ``consul`` on PATH, unless ``CONSUL_VERSION`` is set; the
official release archive; Debian 11's package; a build with ``go``.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.request
import zipfile
from pathlib import Path

from . import ToolError, debian
from .commands import environment, run
from .progress import Progress

VERSION = "1.22.3"
RELEASES = "https://releases.hashicorp.com/consul"
MODULE = "github.com/hashicorp/consul"
PLATFORMS = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm"}
# Seconds: until a source has answered at all; until it must go on; for a build.
ANSWER, READ, BUILD = 6.0, 20.0, 3600.0
# How much garbage Go's compiler lets come before it collects it, in percent. With the usual 100 it works longer, by a
# seventh.
GOGC = "400"
TOOLS_GO = f"""\
//go:build tools

package tools

import _ "{MODULE}"
"""


def get(folder, version=None, say=print, live=lambda line: None):
    """Return the path of a Consul program that runs here.

    :param folder: where what is fetched or built is kept, as ``consul-<version>``.
    :param version: this very version, whatever the environment says; None: ``CONSUL``,
        ``CONSUL_VERSION``, else any that works, rather a new one.
    :param say: called with a line when a source is tried.
    :param live: called with each line of what a source does, many of them, and when it fails.
    :raises ToolError: what was tried, why each failed, and what to do.
    """
    if version is None and os.environ.get("CONSUL"):
        return _named(os.environ["CONSUL"], say)
    version = version or os.environ.get("CONSUL_VERSION") or None
    if version and not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ToolError(f"Consul version {version!r} is not like {VERSION}")
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    tried = []
    with _locked(folder / ".consul.lock"):
        for partial in folder.glob(".partial-*"):
            shutil.rmtree(partial)
        for name, source in sources(folder, version, say, live):
            try:
                return source()
            except (ToolError, OSError, zipfile.BadZipFile) as exc:
                tried.append(f"{name}: {exc}".replace("\n", "\n    "))
                # Another source is tried: only if all fail is it of interest why this one did.
                live(f"not from {name}: {str(exc).splitlines()[-1]}")
    raise ToolError(
        f"no Consul{' ' + version if version else ''} could be had. Tried:\n  "
        + "\n  ".join(tried)
        + "\nInstall Consul and put it on PATH, or set CONSUL=/path/to/consul, and run this again."
    )


def sources(folder, version, say, live):
    """Return where to look, in turn: pairs of a name and a function that returns a path or raises."""
    newest = version or VERSION
    listed = [(f"{folder}", lambda: _kept(folder, version))]
    if not version:
        listed.insert(0, ("PATH", lambda: _on_path(say)))
    listed.append(("the official release archive", lambda: _keep(folder, newest, _release, say, live)))
    if version in (None, debian.VERSION):
        listed.append(("Debian's package", lambda: _keep(folder, debian.VERSION, _package, say, live)))
    listed.append(("go", lambda: _keep(folder, newest, _build, say, live)))
    return listed


def version_of(program):
    """Return the version that ``program`` says it is; ToolError if it does not run as Consul."""
    try:
        done = subprocess.run(
            [program, "version"], capture_output=True, text=True, timeout=READ, env=environment(), check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ToolError(f"{program} does not run: {exc}") from exc
    match = re.match(r"Consul v(\d+\.\d+\.\d+)", done.stdout)
    if done.returncode or not match:
        printed = (done.stderr or done.stdout).strip()[:200]
        raise ToolError(f"{program} is no Consul: `version` exits {done.returncode} and prints {printed!r}")
    return match[1]


def warning(version):
    """Return what to know of Consul ``version``, or nothing if it is not old."""
    if tuple(map(int, version.split("."))) >= (1, 9, 0):
        return ""
    return (
        f"warning: Consul {version} is older than 1.9. The demo works with it."
        " For your own nodes get a newer one: see docs/howto/own-master.rst."
    )


def _named(program, say):
    say(f"CONSUL={program}, version {version_of(program)}")
    return Path(program).absolute()


def _on_path(say):
    program = shutil.which("consul")
    if not program:
        raise ToolError("no consul there")
    say(f"{program}, version {version_of(program)}")
    return Path(program)


def _kept(folder, version):
    reasons = []
    for wanted in [version] if version else [VERSION, debian.VERSION]:
        program = folder / f"consul-{wanted}"
        if not program.exists():
            reasons.append(f"no {program.name} there")
            continue
        try:
            version_of(program)
            return program
        except ToolError as exc:
            reasons.append(str(exc))
            program.unlink()
    raise ToolError("; ".join(reasons))


def _keep(folder, version, source, say, live):
    """Get ``version`` from ``source`` aside, try it, then move it to its place: there or not, never half."""
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    try:
        program = source(partial, version, say, live)
        program.chmod(0o755)
        found = version_of(program)
        if found != version:
            raise ToolError(f"it is {found}, not {version}")
        return program.replace(folder / f"consul-{version}")
    finally:
        # A build's module cache is read-only, and none of its business is left there.
        shutil.rmtree(partial, ignore_errors=True)


# -- the official release archive -------------------------------------------------------------


def _release(partial, version, say, live):
    machine = platform.machine()
    if platform.system() != "Linux" or machine not in PLATFORMS:
        raise ToolError(f"there is none for {platform.system()} on {machine}")
    name = f"consul_{version}_linux_{PLATFORMS[machine]}.zip"
    url = f"{RELEASES}/{version}/"
    say(f"fetching {url}{name}")
    wanted = checksum(_answer(f"{url}consul_{version}_SHA256SUMS").decode(), name)
    archive = partial / name
    found = _download(url + name, archive, live)
    if found != wanted:
        raise ToolError(f"{name}: sha256 is {found}, its SHA256SUMS says {wanted}: refused")
    with zipfile.ZipFile(archive) as zipped:
        return Path(zipped.extract("consul", partial))


def checksum(sums, name):
    """Return the digest of file ``name`` in the text of a SHA256SUMS file."""
    listed = {line.split()[1]: line.split()[0].lower() for line in sums.splitlines() if len(line.split()) == 2}
    if not re.fullmatch(r"[0-9a-f]{64}", listed.get(name, "")):
        raise ToolError(f"its SHA256SUMS has no digest of {name}")
    return listed[name]


def _answer(url):
    """Return a small file. A name that is not resolved ends with ANSWER too, which no socket timeout does."""
    result = []

    def fetch():
        try:
            with urllib.request.urlopen(url, timeout=ANSWER) as response:
                result.append(response.read(1 << 20))
        except Exception as exc:  # whatever it is: it is raised where it is waited for
            result.append(exc)

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(ANSWER)
    if not result:
        raise ToolError(f"{url}: no answer in {ANSWER:g} s")
    if isinstance(result[0], Exception):
        raise ToolError(f"{url}: {getattr(result[0], 'reason', None) or result[0]}")
    return result[0]


def _download(url, path, live):
    """Write what is at ``url`` to ``path``; return its sha256."""
    digest, done = hashlib.sha256(), 0
    with urllib.request.urlopen(url, timeout=READ) as response, path.open("wb") as out:
        size = int(response.headers.get("Content-Length") or 0)
        for piece in iter(lambda: response.read(1 << 18), b""):
            out.write(piece)
            digest.update(piece)
            done += len(piece)
            live(f"{done >> 20} of {size >> 20} MiB")
    return digest.hexdigest()


# -- Debian's package -------------------------------------------------------------------------


def _package(partial, version, say, live):
    say(f"fetching Consul {version} from Debian 11 with this machine's apt (nothing is installed)")
    return debian.fetch(partial, live)


# -- a build with go --------------------------------------------------------------------------


def _build(partial, version, say, live):
    go = shutil.which("go")
    if not go:
        raise ToolError("no go on PATH")
    flags = run([go, "env", "GOFLAGS"]).strip()
    env = environment(GOFLAGS=f"{flags} -mod=mod".strip(), GOGC=GOGC)
    (partial / "go.mod").write_text("module consulbuild\n")
    (partial / "tools.go").write_text(TOOLS_GO)
    say(f"building Consul {version} with {go}: about five minutes on two cores")
    options = {"cwd": partial, "env": env}
    # Asks for a few bytes only, so that a closed network is known soon.
    run([go, "list", "-m", f"{MODULE}@v{version}"], timeout=3 * ANSWER, **options)
    run([go, "mod", "edit", f"-require={MODULE}@v{version}"], **options)
    run([go, "mod", "tidy", "-e"], live, BUILD, **options)
    run([go, "build", "-v", "-trimpath", "-o", partial / "consul", MODULE], live, BUILD, **options)
    return partial / "consul"


@contextlib.contextmanager
def _locked(path):
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(arguments=None):
    """Print the path of a Consul program; what goes on goes to standard error."""
    parser = argparse.ArgumentParser(prog="python3 -m tooling.getconsul", description=__doc__.splitlines()[0])
    parser.add_argument("--version", help=f"this very version, e.g. {VERSION}")
    parser.add_argument("--folder", default=".demo/bin", help="where it is kept (default: %(default)s)")
    options = parser.parse_args(arguments)
    progress = Progress(sys.stderr)
    try:
        print(get(options.folder, options.version, progress.say, progress.live))
    except ToolError as exc:
        sys.exit(f"{exc}")


if __name__ == "__main__":
    main()
