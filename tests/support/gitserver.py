"""Git repositories, and the servers that give them out: git's own over HTTP, and OpenSSH."""

from __future__ import annotations

import contextlib
import http.server
import os
import pwd
import shutil
import socket
import subprocess
import threading
from pathlib import Path

AUTHOR = {
    f"GIT_{who}_{key}": value
    for who in ("AUTHOR", "COMMITTER")
    for key, value in {"NAME": "Ann", "EMAIL": "ann@example.com"}.items()
}
ALONE = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")


class Work:
    """A working copy on the branch ``main``, which is served as it is.

    :param folder: is made.
    """

    def __init__(self, folder, kind="sha1"):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main", f"--object-format={kind}")

    @classmethod
    def of(cls, folder):
        """Return the working copy that is in ``folder``."""
        found = cls.__new__(cls)
        found.folder = Path(folder)
        return found

    def git(self, *arguments):
        """Run git in the working copy, and return its output."""
        env = {**os.environ, **AUTHOR, **ALONE}
        command = ["git", "-c", "protocol.file.allow=always", *map(str, arguments)]
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def write(self, files):
        """Write files: path -> text, bytes, a Path that a link leads to, or None to remove it."""
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_symlink() or path.is_file():
                path.unlink()
            if isinstance(content, Path):
                path.symlink_to(content)
            elif content is not None:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
                path.chmod(0o755 if path.read_bytes().startswith(b"#!") else 0o644)

    def commit(self, files, tag="", text=""):
        """Commit files, as write() takes them, and return the commit.

        :param tag: the name of its tag. :param text: makes it a tag with a text of its own.
        """
        self.write(files)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message=one more")
        if tag:
            self.tag(tag, text)
        return self.git("rev-parse", "HEAD")

    def tag(self, name, text=""):
        """Put a tag on the last commit, wherever it was before."""
        self.git("tag", "--force", *(["--annotate", f"--message={text}"] if text else []), name)


class Server:
    """git's own HTTP server, with all repositories below ``root``.

    :param login: the Authorization that each request must have. Empty lets everybody in.
    :param cut: the bytes after which an answer to a fetch breaks off.
    :param moved: the URL that each request is redirected to.
    :param pause: an Event, until which each answer waits.
    :param look: is called with each request.
    """

    def __init__(self, root, port):
        self.root, self.port = Path(root), port
        self.login, self.cut, self.moved, self.pause = "", None, "", None
        self.asked = []
        self.look = lambda handler: None

    def url(self, work, host="127.0.0.1"):
        """Return the URL of a working copy."""
        return f"http://{host}:{self.port}/{work.folder.relative_to(self.root)}/.git"

    def answer(self, handler):
        self.asked.append((handler.command, handler.path, dict(handler.headers)))
        self.look(handler)
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        if self.pause:
            self.pause.wait(60)
        if self.moved:
            handler.send_response(301)
            handler.send_header("Location", f"{self.moved}{handler.path}")
            handler.end_headers()
        elif self.login and handler.headers.get("Authorization") != self.login:
            handler.send_response(401)
            handler.send_header("WWW-Authenticate", 'Basic realm="git"')
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        else:
            self._pass_on(handler, body)

    def _pass_on(self, handler, body):
        path, _, query = handler.path.partition("?")
        env = {
            **os.environ,
            **ALONE,
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": handler.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": handler.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": handler.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": handler.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        handler.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        # The packed files come in the answer to the request that has `fetch` in it.
        handler.wfile.write(content[: self.cut] if b"command=fetch" in body else content)


@contextlib.contextmanager
def serving(root, host="127.0.0.1"):
    """Start a Server."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            server.answer(self)

        do_POST = do_GET

        def log_message(self, *args):
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, client_address):
            """A client that has gone is no error of the server."""

    with Quiet((host, 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, args=[0.01], daemon=True).start()
        server = Server(root, listening.server_port)
        yield server
        listening.shutdown()


class Sshd:
    """OpenSSH as a process of its own, which lets one key in, as the user of this process.

    :param folder: a folder for its files. ``key`` is there, the private key that it lets in.
    """

    def __init__(self, folder, host="127.0.0.1"):
        self.folder, self.host, self.process = Path(folder), host, None
        self.key = self.folder / "id"
        self.new_host_key()
        self._keygen(self.key)
        with socket.create_server((host, 0)) as free:
            self.port = free.getsockname()[1]

    def new_host_key(self):
        """Give the server a new key, which a start takes in."""
        (self.folder / "host").unlink(missing_ok=True)
        self._keygen(self.folder / "host")

    @property
    def known_hosts(self):
        """The line of the server in a file of known hosts."""
        return f"[{self.host}]:{self.port} {(self.folder / 'host.pub').read_text().strip()}"

    def url(self, work):
        """Return the URL of a working copy."""
        return f"ssh://{pwd.getpwuid(os.geteuid()).pw_name}@{self.host}:{self.port}{work.folder}"

    def start(self):
        """Start it, and wait until it answers."""
        config = self.folder / "config"
        config.write_text(
            f"ListenAddress {self.host}\nPort {self.port}\nHostKey {self.folder}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {self.key}.pub\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\n"
            "Subsystem sftp internal-sftp\n"
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", config], stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if "listening on" in line:
                threading.Thread(target=self.process.stderr.read, daemon=True).start()
                return
        raise AssertionError(f"sshd does not start: {self.process.wait()}")

    def stop(self):
        """Stop it, if it runs."""
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def _keygen(self, path):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
