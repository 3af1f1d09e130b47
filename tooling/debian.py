"""Consul from Debian 11's ``main``, by the machine's own apt, with nothing on the machine changed.

apt gets folders and a source of its own, and does here what it does elsewhere: it honours the
machine's proxies and credentials, and verifies the release's signature, the index against the
release and the package against the index.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from . import ToolError
from .commands import environment, run

VERSION = "1.8.7"
SUITE = "bullseye"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SUITES = ("oldoldstable", "oldstable", "stable", "testing", "unstable", "sid")
INDEXES = "$(CREATED_BY) $(COMPONENT) $(RELEASE) $(REPO_URI)"
# Seconds; for each connection, and for all of it.
CONNECT, DEADLINE = 5, 300

# Read after the machine's own configuration. The hooks would touch the machine's caches.
CONFIG = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
APT::Sandbox::User "";
Dir::Etc::SourceList "{folder}/sources.list";
Dir::Etc::SourceParts "-";
Dir::State "{folder}/state";
Dir::State::status "{status}";
Dir::Cache "{folder}/cache";
Acquire::Languages "none";
Acquire::Retries "0";
Acquire::http::Timeout "{timeout}";
Acquire::https::Timeout "{timeout}";
"""


def fetch(folder, on_line=lambda line: None):
    """Unpack the package into the empty ``folder`` and return the program's path.

    :param on_line: called with each line that apt prints.
    :raises ToolError: why it cannot be had here.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise ToolError(f"this machine has no {tool}")
    if not KEYRING.exists():
        raise ToolError(f"this machine has no {KEYRING} to verify Debian's signature with")
    found = mirrors(run(["apt-get", "indextargets", "--format", INDEXES]), codename(read_os_release()))
    if not found:
        raise ToolError("this machine's apt sources name no Debian mirror")
    reasons = []
    for number, uri in enumerate(found):
        try:
            return _fetch_from(uri, folder / str(number), on_line)
        except ToolError as exc:
            reasons.append(str(exc))
    raise ToolError("\n".join(reasons))


def _fetch_from(uri, folder, on_line):
    apt = private_apt(folder, uri, SUITE)
    # Else a name server that does not answer costs half a minute.
    env = environment(RES_OPTIONS="timeout:3 attempts:1")
    run([*apt, "-o", "APT::Update::Error-Mode=any", "update"], on_line, DEADLINE, env=env)
    run([*apt, "download", f"consul={VERSION}*"], on_line, DEADLINE, cwd=folder, env=env)
    run(["dpkg-deb", "--extract", next(folder.glob("consul_*.deb")), folder / "package"])
    return folder / "package/usr/bin/consul"


def private_apt(folder, uri, suite, status="/dev/null"):
    """Return the beginning of a command line of apt-get that uses one mirror, and ``folder`` for all it writes.

    :param status: dpkg's list of what is installed already.
    """
    for part in ("state/lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    (folder / "sources.list").write_text(sources_list(uri, suite))
    (folder / "apt.conf").write_text(CONFIG.format(folder=folder, status=status, timeout=CONNECT))
    return ["apt-get", "--config-file", folder / "apt.conf", "--quiet"]


def mirrors(indexes, release):
    """Return the URIs in this machine's apt sources that serve Debian's releases.

    :param indexes: what ``apt-get indextargets`` printed, in the format ``INDEXES``.
    :param release: the machine's own Debian release, e.g. ``bookworm``.
    """
    rows = [line.split(" ", 3) for line in indexes.splitlines() if line.count(" ") >= 3]
    main = [(suite, uri) for kind, part, suite, uri in rows if (kind, part) == ("Packages", "main")]
    return list(dict.fromkeys(uri for suite, uri in main if suite in (release, *SUITES)))


def sources_list(uri, suite=SUITE):
    """Return a ``sources.list`` with the ``main`` of one suite at ``uri``, signed by Debian's own keys only."""
    return f"deb [signed-by={KEYRING} target=Packages] {uri} {suite} main\n"


def read_os_release(path="/etc/os-release"):
    """Return the text of os-release; empty if there is none."""
    return Path(path).read_text() if os.path.exists(path) else ""


def codename(os_release):
    """Return ``VERSION_CODENAME`` of an os-release text; empty if it has none."""
    lines = dict(line.partition("=")[::2] for line in os_release.splitlines())
    return lines.get("VERSION_CODENAME", "").strip('"')
