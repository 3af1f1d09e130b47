"""The Debian that hosts are made of, and the packages that they can install: made once, kept in a cache."""

from __future__ import annotations

import contextlib
import hashlib
import shlex
import shutil

from tooling import ToolError, debian
from tooling.commands import environment, run
from tooling.daemons import OWNER

PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3", "python3-requests", "iproute2", "procps")
# Not installed: hosts reach no mirror, so apt finds these, and what they depend on, in a folder.
INSTALLABLE = (
    *("ca-certificates", "dns-root-data", "dnsmasq", "etcd-client", "etcd-server", "haproxy", "openssl"),
    "openssh-server",
    *("postgresql", "python3-venv", "supervisor", "systemd-resolved", "unbound", "wrk"),
)
MIRROR = "var/lib/lab/packages"
# The services that give a host its address.
NETWORKD = ("systemd-networkd", "systemd-networkd-wait-online")
# Seconds.
DEBOOTSTRAP, STEP = 540, 60


def get(cache, scratch):
    """Return the folder with a whole Debian, this machine's own release; it is not to be written to.

    :param cache: the folder that it is kept in.
    :param scratch: a folder in memory to make it in, whose path marks the processes that do.
    :raises ToolError: it cannot be made here, and why.
    """
    # Its own release: the Python that hosts are lent is linked to this machine's libraries.
    suite = debian.codename(debian.read_os_release())
    inputs = " ".join(["2", suite, *PACKAGES, *INSTALLABLE, MIRROR, *NETWORKD])
    base = cache / f"{suite}-{hashlib.sha256(inputs.encode()).hexdigest()[:8]}"
    if not base.is_dir():
        _make(suite, base, scratch)
    return base


def _make(suite, base, scratch):
    """Unpack in memory, where dpkg's syncing costs nothing, then keep it: whole, or not at all."""
    made, partial = scratch / "debootstrap", base.with_name(f"{base.name}.partial")
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(partial)
    partial.parent.mkdir(parents=True, exist_ok=True)
    mirror = _debootstrap(suite, made, scratch)
    run(["chroot", made, "systemctl", "--quiet", "enable", *NETWORKD], timeout=STEP)
    for archive in made.glob("var/cache/apt/archives/*.deb"):
        archive.unlink()
    _add_packages(suite, made, mirror, scratch)
    # debootstrap takes this machine's name and name servers over.
    for file in ("hostname", "resolv.conf"):
        (made / "etc" / file).unlink(missing_ok=True)
        (made / "etc" / file).touch()
    run(["cp", "--archive", made, partial], timeout=STEP)
    partial.rename(base)
    shutil.rmtree(made)


def _debootstrap(suite, folder, mark):
    """Unpack it; return the mirror that it came from."""
    verified = ["--force-check-gpg", f"--keyring={debian.KEYRING}"]
    options = ["--variant=minbase", *verified, f"--include={','.join(PACKAGES)}"]
    env = environment(**{OWNER: str(mark), **_proxy()})
    mirrors = debian.mirrors(run(["apt-get", "indextargets", "--format", debian.INDEXES], timeout=STEP), suite)
    reasons = []
    for mirror in mirrors:
        try:
            run(["debootstrap", *options, suite, folder, mirror], timeout=DEBOOTSTRAP, env=env)
            return mirror
        except ToolError as exc:
            reasons.append(str(exc))
            shutil.rmtree(folder, ignore_errors=True)
    raise ToolError("\n".join(reasons) or f"this machine's apt sources name no mirror of Debian's {suite}")


def _add_packages(suite, made, mirror, scratch):
    """Put the packages that hosts may install, and all that these need, into a folder that apt reads."""
    apt = debian.private_apt(scratch / "apt", mirror, suite, made / "var/lib/dpkg/status")
    run([*apt, "update"], timeout=DEBOOTSTRAP)
    run([*apt, "install", "--yes", "--download-only", "--no-install-recommends", *INSTALLABLE], timeout=DEBOOTSTRAP)
    folder = made / MIRROR
    folder.mkdir(parents=True)
    index = []
    for archive in sorted((scratch / "apt/cache/archives").glob("*.deb")):
        shutil.copy(archive, folder)
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        about = run(["dpkg-deb", "--field", archive], timeout=STEP).rstrip()
        index.append(f"{about}\nFilename: ./{archive.name}\nSize: {archive.stat().st_size}\nSHA256: {digest}\n")
    (folder / "Packages").write_text("\n".join(index))
    (made / "etc/apt/sources.list").write_text(f"deb [trusted=yes] file:/{MIRROR} ./\n")
    shutil.rmtree(scratch / "apt")


def _proxy():
    """Return apt's proxy for Debian's mirrors as debootstrap wants it."""
    setting = shlex.split(run(["apt-config", "shell", "http_proxy", "Acquire::http::Proxy"], timeout=STEP))
    return dict(word.split("=", 1) for word in setting if not word.endswith("=DIRECT"))
