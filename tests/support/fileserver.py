"""An HTTP server of one file, which can do all that servers and networks do to a download."""

from __future__ import annotations

import contextlib
import http.server
import re
import threading
from dataclasses import dataclass, field

VALIDATORS = {"ETag": '"one"', "Last-Modified": "Wed, 25 Nov 2026 10:00:00 GMT"}


@dataclass
class Answer:
    """How one request is answered; by default as a good server does.

    :param status: sent instead of the file.
    :param cut: the connection ends after so many bytes.
    :param ranges: whether ranges are known; ``"careless"``: whatever ``If-Range`` says.
    :param shift: sends the range from so many bytes further on.
    :param wait: an Event, before the connection is cut.
    """

    status: int = 200
    cut: int | None = None
    ranges: bool | str = True
    shift: int = 0
    wait: threading.Event | None = None


@dataclass
class FileServer:
    """Serves ``content`` at every path.

    :param headers: sent with it.
    :param answers: how the next requests are answered, the first first; then each as a good server does.
    :param head: the status of the answer to HEAD; the size is said where it is 200.
    """

    content: bytes = b""
    headers: dict = field(default_factory=lambda: dict(VALIDATORS))
    answers: list = field(default_factory=list)
    head: int = 200
    url: str = ""
    asked: list = field(default_factory=list)

    @property
    def ranges(self):
        """What was asked for: the Range of each request, None for the whole."""
        return [headers.get("Range") for headers in self.asked]

    def answer(self, handler):
        self.asked.append(dict(handler.headers))
        answer = self.answers.pop(0) if self.answers else Answer()
        if answer.status != 200:
            handler.send_error(answer.status)
            return
        begin = self._begin(handler.headers, answer)
        if begin is not None and begin >= len(self.content):
            handler.send_error(416)
            return
        begin = begin and begin + answer.shift
        body = self.content[begin or 0 :]
        handler.send_response(200 if begin is None else 206)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        if begin is not None:
            total = len(self.content)
            handler.send_header("Content-Range", f"bytes {begin}-{total - 1}/{total}")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: answer.cut])
        handler.wfile.flush()
        if answer.wait:
            answer.wait.wait(30)

    def _begin(self, asked, answer):
        """Return from which byte on a part is to be sent; None: all."""
        found = re.fullmatch(r"bytes=(\d+)-", asked.get("Range", ""))
        if not found or not answer.ranges:
            return None
        same = asked.get("If-Range") in (None, self.headers.get("ETag"), self.headers.get("Last-Modified"))
        return int(found[1]) if same or answer.ranges == "careless" else None


@contextlib.contextmanager
def serving(content=b""):
    """Start a FileServer on this machine."""
    server = FileServer(content)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            server.answer(self)

        def do_HEAD(self):
            self.send_response(server.head)
            self.send_header("Content-Length", str(len(server.content)))
            self.end_headers()

        def log_message(self, *args):
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, client_address):
            """A client that is killed, or has enough, is no error of the server."""

    with Quiet(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, args=[0.01], daemon=True).start()
        server.url = f"http://127.0.0.1:{listening.server_port}/shop.tar"
        yield server
        listening.shutdown()
