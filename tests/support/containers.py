"""A registry of images on this machine, and images with a program of Debian, busybox."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from pathlib import Path

from tests.support.debs import run
from tooling.daemons import Daemon

# PASSWORD, as docker-registry wants it, which knows bcrypt alone.
USER, PASSWORD = "joe", "hunter2"
HASH = "$2y$05$1KBv6MoQASk0TnBpnaG/6.btT8XgkxJpph5UZeLnSjheIx6I4zv9u"
PACKAGES = ("podman", "crun", "catatonit", "docker-registry")
DROP_IN = "etc/containers/containers.conf.d/saltdeploy-test.conf"
# crun refuses cgroups of the first version beside the second. It sees the second alone this way.
WRAPPER = """\
#!/bin/sh
[ "$(stat --file-system --format=%T /sys/fs/cgroup)" = cgroup2fs ] && exec /usr/bin/crun "$@"
exec unshare --mount sh -c '
    umount --recursive /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec /usr/bin/crun "$@"
' crun "$@"
"""


def lacking():
    """Return what this machine lacks to run containers, in words; empty if nothing."""
    missing = [name for name in PACKAGES if not shutil.which(name)]
    return "containers need root" if os.geteuid() else f"containers need: {', '.join(missing)}" if missing else ""


@contextlib.contextmanager
def engine(root="/"):
    """Let podman of the system in ``root`` run containers also where a machine may not raise limits, meanwhile.

    Test runs at the same time share the files. The last run removes them.
    """
    conf, wrapper = Path(root, DROP_IN), Path(root, "usr/local/sbin/saltdeploy-test-crun")
    lines = ["[containers]", 'default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]', "[engine]"]
    lines.append(f'runtime = "crun"\n[engine.runtimes]\ncrun = ["/{wrapper.relative_to(root)}"]')
    conf.parent.mkdir(parents=True, exist_ok=True)
    with open(Path(root, "var/lock/saltdeploy-test-crun"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        _write(wrapper, WRAPPER)
        _write(conf, "\n".join(lines) + "\n")
        try:
            yield
        finally:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                conf.unlink()
                wrapper.unlink()


def _write(path, text):
    """Write a program or its settings. Others that read it meanwhile read all of it."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(text)
    new.chmod(0o755)
    new.rename(path)


class Registry:
    """A registry that asks for a login.

    :param address: address and port where it listens.
    """

    def __init__(self, folder, address):
        self.folder, self.address = Path(folder), address
        self.folder.mkdir()
        self.storage = ["--storage-driver=vfs", f"--root={folder}/storage", f"--runroot={folder}/run"]
        (self.folder / "users").write_text(f"{USER}:{HASH}\n")
        config = {
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": f"{folder}/data"}},
            "auth": {"htpasswd": {"realm": "test", "path": f"{folder}/users"}},
            "http": {"addr": address},
        }
        (self.folder / "config.yml").write_text(json.dumps(config))

    @property
    def daemon(self):
        command = (shutil.which("docker-registry"), "serve", str(self.folder / "config.yml"))
        return Daemon("registry", command, self.folder / "log", "registry")

    def push(self, busybox, version, **files):
        """Push an image with these files in its folder /www. Return its digest."""
        build = self.folder / f"build-{version}"
        (build / "www").mkdir(parents=True)
        shutil.copy(busybox, build)
        for name, text in {"release": f"release {version}", **files}.items():
            (build / "www" / name).parent.mkdir(exist_ok=True)
            (build / "www" / name).write_text(text)
            (build / "www" / name).chmod(0o755)
        lines = ["FROM scratch", "COPY busybox /bin/busybox", "COPY www /www", 'ENTRYPOINT ["/bin/busybox"]']
        (build / "Containerfile").write_text("\n".join(lines))
        run("podman", *self.storage, "build", "--quiet", "--tag", f"shop:{version}", build)
        digest, name = build / "digest", f"{self.address}/team/shop:{version}"
        login = [f"--creds={USER}:{PASSWORD}", "--tls-verify=false", f"--digestfile={digest}"]
        run("podman", *self.storage, "push", "--quiet", *login, f"shop:{version}", name)
        return digest.read_text().removeprefix("sha256:").strip()
