"""A Git repository on a server, as git sees it that runs as an unprivileged user and without any configuration."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core import forms, limits, model, urls, words
from ..core.errors import Failed
from ..system import commands, disk, trees
from . import builder, credentials

# The variables of the minion's environment that git sees beside proxies: certificates.
KEPT = ("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO")
# git and ssh run in the same folder, so that these names need no path.
STORE, TAR, KEY, KNOWN_HOSTS, TEMPLATE = "store.git", "files.tar", "key", "known_hosts", "template"
SSH = (
    "ssh -F none -i {key} -o IdentitiesOnly=yes -o IdentityAgent=none -o BatchMode=yes -o StrictHostKeyChecking=yes"
    " -o UserKnownHostsFile={known_hosts} -o GlobalKnownHostsFile=/dev/null -o UpdateHostKeys=no"
    " -o ConnectTimeout={connect:g} -o ServerAliveInterval=15 -o ServerAliveCountMax=4"
)
REF = re.compile(r"^([0-9a-f]{40}|[0-9a-f]{64})\t(refs/\S+)$", re.M)
# What git and ssh print about a reason that they do not name for an operator, and what to do.
REASONS = (
    (
        r"Host key verification failed",
        "the server has no host key of source:known_hosts. Ask its operator for its keys, and compare them",
    ),
    (r"Permission denied", "the server refuses the key in source:key_file"),
    (
        r"could not read (Username|Password)|Authentication failed|returned error: 40[13]",
        "the server refuses the login, or asks for one. See source:headers, source:token_file and source:netrc",
    ),
    (r"returned error: 30[1278]", "the server redirects, which is not followed. Write the URL that it redirects to"),
)


def is_ssh(url: str) -> bool:
    """Return whether a repository comes over SSH."""
    return not url.startswith(("https://", "http://", "file://"))


def ssh_key(source: model.Source) -> str:
    """Return the SSH key.

    :raises Failed: it cannot be read on this node, or others than its owner may read it.
    """
    path = source.key_file
    if not path or not source.known_hosts:
        raise Failed("source:key_file: a submodule comes over SSH, which needs key_file and known_hosts.")
    try:
        with open(path) as data:
            about = os.fstat(data.fileno())
            found = data.read(limits.TOKEN)
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is no text"
        raise Failed(f"source:key_file: {path} cannot be read on this node: {why}") from None
    if about.st_mode & 0o077 or about.st_uid not in (0, os.geteuid()):
        raise Failed(f"source:key_file: {path} may be read by others. Run: chown root {path} && chmod 600 {path}")
    return found


def ssh_known_hosts(source: model.Source) -> str:
    """Return the host keys of the SSH server.

    :raises Failed: they cannot be read on this node.
    """
    given = source.known_hosts
    if not given.startswith("/"):
        return f"{given}\n"
    try:
        return Path(given).read_text(errors="replace")
    except OSError as exc:
        raise Failed(f"source:known_hosts: {given} cannot be read on this node: {exc.strerror or exc}") from None


@contextlib.contextmanager
def opened(source: model.Source, url: str, folder: Path, seconds: float) -> Iterator[Repository]:
    """Yield the Repository at ``url``.

    :param source: the source with the logins.
    :param folder: a folder that all users may enter, for files that are needed meanwhile.
    :param seconds: the time for all commands together.
    :raises Failed: this node has no login for it, or git may not enter the folder.
    """
    # Not the app's user, whose processes could read the key meanwhile.
    user = builder.choose("", "git")
    private = Path(tempfile.mkdtemp(prefix="git.", dir=folder))
    try:
        builder.check_way(private, user, "git")
        (private / TEMPLATE / "info").mkdir(parents=True)
        # A release has all files, also those that `.gitattributes` leaves out of archives.
        files = {".gitconfig": _config(source, url), f"{TEMPLATE}/info/attributes": "* -export-ignore -export-subst\n"}
        if is_ssh(url):
            files.update({KEY: ssh_key(source), KNOWN_HOSTS: ssh_known_hosts(source)})
        for name, text in files.items():
            with open(os.open(private / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                out.write(text)
        builder.hand_over(private, user)
        yield Repository(url, private, user, time.monotonic() + seconds)
    finally:
        trees.remove(private)


def _config(source: model.Source, url: str) -> str:
    """Return the whole configuration of git. It has the login, which no command line and no environment shows."""
    ssh = SSH.format(key=KEY, known_hosts=KNOWN_HOSTS, connect=limits.CONNECT)
    lines = [
        *("[core]", "hooksPath = /dev/null", "fsmonitor = false", f"sshCommand = {ssh}"),
        *("[gc]", "auto = 0", "[maintenance]", "auto = false"),
        # One file for all objects, so that a limit on the size of a file is a limit for all of them.
        *("[fetch]", "unpackLimit = 1"),
        *("[http]", "followRedirects = false"),
        *(f"lowSpeedLimit = {limits.RATE}", f"lowSpeedTime = {limits.WINDOW:g}"),
    ]
    if url.startswith("file://"):
        # git refuses folders of other users, whose configuration could run programs. It does not run as root here.
        lines += ["[safe]", "directory = *"]
    if url.startswith(("https://", "http://")):
        lines.append(f"[http {_quoted(url)}]")
        for name, value in credentials.headers(source, source.location, url).items():
            lines.append(f"extraHeader = {_quoted(f'{name}: {value}')}")
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@dataclass(frozen=True)
class Repository:
    """A repository on a server, and the objects of it that are here.

    :param private: the folder of git, which nobody else may enter.
    :param user: the user that git runs as. None means the user of this process.
    :param until: the monotonic time at which all commands must have ended.
    """

    url: str
    private: Path
    user: builder.Builder | None
    until: float

    @property
    def shown(self) -> str:
        """The URL for messages."""
        return words.harmless(urls.public(self.url))

    def refs(self, *patterns: str) -> dict[str, str]:
        """Return the refs of the server that match a pattern: name -> id of the object."""
        output = self._do("ls-remote", "--tags", "--heads", self.url, *patterns)
        return {name: found for found, name in REF.findall(output)}

    def fetch(self, commit: str) -> None:
        """Fetch ``commit`` alone, or all branches and tags if the server gives no single commit."""
        self._init(commit)
        code, output = self._run("fetch", "--quiet", "--no-tags", "--depth=1", self.url, commit)
        if code:
            code, output = self._run(
                "fetch", "--quiet", self.url, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"
            )
            if code:
                raise self._failure(output)
            if self._run("cat-file", "-e", commit)[0]:
                raise Failed(f"{self.shown}: the commit {commit} is not there, or not any more.")

    def earlier(self, ref: str, begin: str) -> str:
        """Return the commit whose id begins with ``begin``, of the history of the branch ``ref``."""
        [tip] = {v for k, v in self.refs(f"refs/heads/{ref}").items() if k == f"refs/heads/{ref}"} or {""}
        self._init(tip)
        self._do("config", "remote.origin.url", self.url)
        # The commits, without their files if the server can do that.
        self._do("fetch", "--quiet", "--no-tags", "--filter=tree:0", "origin", f"+refs/heads/{ref}:refs/heads/{ref}")
        code, output = self._run("rev-parse", "--verify", "--quiet", f"{begin}^{{commit}}")
        if code:
            raise Failed(f"{self.shown}: the branch {words.harmless(ref)} has no commit {begin}, or not any more.")
        return output.strip()

    def archive(self, commit: str) -> Path:
        """Make a tar of the files of ``commit``, which is here. Return its path."""
        if not self._do("ls-tree", commit):
            raise Failed(f"{self.shown}: the commit {commit[:12]} has no files.")
        self._do("archive", "--format=tar", f"--output={TAR}", commit)
        # Nobody else may write to it from here on.
        taken = self.private.with_name(f"{self.private.name}.{TAR}")
        os.rename(self.private / TAR, taken)
        about = os.lstat(taken)
        if not stat.S_ISREG(about.st_mode) or about.st_nlink != 1:
            taken.unlink()
            raise Failed(f"{self.shown}: git made no archive.")
        os.chown(taken, os.geteuid(), os.getegid())
        os.chmod(taken, 0o600)
        return taken

    def submodules(self, commit: str) -> Iterator[tuple[str, str, str]]:
        """Yield the submodules of ``commit``, which is here: the path, the URL and the commit of each.

        :raises Failed: a URL is not allowed.
        """
        blob = f"{commit}:.gitmodules"
        if self._run("cat-file", "-e", blob)[0]:
            return
        found: dict[str, dict[str, str]] = {}
        _, output = self._run("config", "--blob", blob, "--null", "--get-regexp", r"^submodule\..*\.(path|url)$")
        for entry in output.split("\0"):
            key, _, value = entry.partition("\n")
            name, _, last = key.rpartition(".")
            found.setdefault(name, {})[last] = value
        for module in found.values():
            path = module.get("path", "").rstrip("/")
            if not path or path.startswith(("/", "-")) or {"", ".", ".."} & set(path.split("/")):
                continue  # git knows no such path
            its = re.match(r"160000 commit ([0-9a-f]{40,64})\t", self._do("ls-tree", "-z", commit, "--", path))
            if its:
                yield path, self._url_of(module.get("url", ""), path), its[1]

    def _url_of(self, url: str, path: str) -> str:
        """Return the URL of a submodule, which may be relative to this repository."""
        found = joined(self.url, url)
        local = found.startswith("file://") and not self.url.startswith("file://")
        if local or not re.fullmatch(forms.GIT, found):
            raise Failed(
                f"{self.shown}: the URL of the submodule {words.harmless(path)} is not allowed: it is neither https://,"
                " http:// nor SSH, or it has a login in it."
            )
        return found

    # -- commands -----------------------------------------------------------------------------

    def _init(self, commit: str) -> None:
        kind = ["--object-format=sha256"] if len(commit) > 40 else []
        self._do("init", "--quiet", "--bare", f"--template={TEMPLATE}", *kind, STORE)

    def _do(self, *arguments: str) -> str:
        """Run git and return its output. Raises Failed with the reason that it prints."""
        code, output = self._run(*arguments)
        if code:
            raise self._failure(output)
        return output

    def _run(self, *arguments: str) -> tuple[int, str]:
        """Run git and return its exit code and its output."""
        left = self.until - time.monotonic()
        where = self.private.parent
        space = disk.space(where)
        size = max(0, space.free - space.reserve)
        command = ["prlimit", f"--fsize={size}", "--core=0", "git", *arguments]
        try:
            if left <= 0:
                raise subprocess.TimeoutExpired(command, 0)
            code, output = builder.execute(command, self.private, self._env(), self.user, left, self.private)
        except (commands.CommandFailed, subprocess.TimeoutExpired) as exc:
            if isinstance(exc.__cause__ or exc, subprocess.TimeoutExpired):
                raise Failed(f"{self.shown}: git {arguments[0]} did not end within its time, and was ended.") from None
            raise Failed(f"{self.shown}: {exc}") from None
        if code and (re.search("File too large|No space left on device", output) or self._has_file_of(size)):
            raise disk.NoRoom(f"no room in {where} for {self.shown}: {disk.human(size)} may be taken.")
        return code, output

    def _has_file_of(self, size: int) -> bool:
        """Return whether git has written as much to a file as it may. It does not say so itself."""
        files = (os.path.join(folder, name) for folder, _, names in os.walk(self.private) for name in names)
        return any(os.lstat(file).st_size >= size for file in files)

    def _env(self) -> dict[str, str]:
        kept = {**builder.proxies(), **{k: v for k, v in os.environ.items() if k in KEPT}}
        return {
            **kept,
            "HOME": str(self.private),
            "TMPDIR": str(self.private),
            "GIT_DIR": STORE,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_LITERAL_PATHSPECS": "1",
            "GIT_ALLOW_PROTOCOL": "ssh" if is_ssh(self.url) else self.url.partition(":")[0],
        }

    def _failure(self, output: str) -> Failed:
        """Return the failure with the reason that git printed."""
        lines = [line.strip() for line in output.splitlines() if re.match("fatal:|error:|remote:|ssh:", line)]
        said = " ".join(lines[:3] or output.split("\n")[-3:])
        said = next((f"{reason}. ({said})" for form, reason in REASONS if re.search(form, output)), said)
        return Failed(words.message(f"{self.shown}: {urls.without_secrets(said)}"))


def joined(base: str, url: str) -> str:
    """Return the URL of a submodule, which ``./`` or ``../`` makes relative to the URL of its repository."""
    if not url.startswith(("./", "../")):
        return url
    base = base.rstrip("/")
    while url.startswith(("./", "../")):
        step, _, url = url.partition("/")
        if step == "..":
            # The path of git@host:path may have a single part.
            base = base.rpartition("/")[0] if "/" in base else f"{base.rpartition(':')[0]}:"
    return f"{base}{'' if base.endswith(':') else '/'}{url}"
