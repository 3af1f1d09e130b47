"""Runs beside the process of an instance: answers for it over HTTP, and restarts it if its checks go on failing.

A copy of this file is in the folder of each such instance. It runs as the app's user, by the node's Python (3.6 or
newer), so it imports the standard library only::

    watcher.py PID ADDRESS PORT SECONDS FILE

FILE is JSON, see :mod:`saltdeploy.node.watching`, and is read again when it changes. It is neither a child nor a
parent of the process. It ends by no signal but SIGKILL, and when the process does.
"""

import contextlib
import errno
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any, Callable

# How often it looks whether the process has ended, and tries again to listen, in seconds.
POLL = 0.5
# How long somebody who has connected may take to ask, in seconds: they come one after the other.
PATIENCE = 1.0
# How much of the output of a script is kept, and how much of it is told.
KEPT, SHOWN = 1 << 16, 300
# How long the restarts of an instance are counted, in seconds.
HOUR = 3600.0
# The exit code of a script -> the status of the answer. Consul takes 429 for a warning, as it does the exit code 1.
STATUSES = {0: "200 OK", 1: "429 Too Many Requests"}
CRITICAL = "500 Internal Server Error"
# How many requests for results of scripts may wait at once. Consul and its node need a few.
WAITING = 16
# How much longer than its time a process that is being stopped is left alone, in seconds.
STOPPED = 10.0
# The errors that mean that a file of a process is not there, because it has ended.
ENDED = (errno.ENOENT, errno.ESRCH)


def main(pid: int, address: str, port: int, settle: float, path: str = "") -> None:
    """Answer for as long as the process ``pid`` runs.

    :param settle: how long it must have run to be healthy, in seconds.
    :param path: the file with its scripts and checks, see :class:`Plan`.
    """
    # When a signal came last to the process group, and so to the process, too.
    signals: dict[int, float] = {}
    for number in range(1, signal.NSIG):
        # A signal to the whole process group is for the process: how it ends is its own affair. SIGKILL and SIGSTOP
        # cannot be caught, nor those that the C library has for itself. An ignored signal would be ignored by scripts.
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, lambda number, _: signals.update({number: time.monotonic()}))
    # A supervisor would wait for the output of a process that has ended.
    os.dup2(os.open(os.devnull, os.O_RDWR), 2)
    began, born = time.monotonic(), start_time(pid)
    servers: list[socket.socket] = []
    ends, plan = end_of(pid), Plan(path)
    scripts = Scripts(plan)
    guard = threading.Thread(target=Guard(pid, born, plan, scripts, signals).run, daemon=True)
    guard.start()
    while born is not None and start_time(pid) == born:
        servers = servers or listen(address, port)
        watched: list[socket.socket | int] = [*servers, *ends]
        ready, _, _ = select.select(watched, [], [], POLL)
        if start_time(pid) == born:
            for server in servers:
                if server in ready:
                    answer(server, time.monotonic() - began, settle, scripts)
    scripts.end()


def start_time(pid: int) -> "bytes | None":
    """Return the start time of the process in the kernel's ticks, or None if it has ended (proc(5), /proc/PID/stat)."""
    while True:
        try:
            with open(f"/proc/{pid}/stat", "rb") as stat:
                fields = stat.read().rpartition(b")")[2].split()
            return None if fields[0] in (b"Z", b"X") else fields[19]
        except OSError as exc:
            if exc.errno in ENDED:
                return None
        # Too many open files, for example: that says nothing of the process.
        time.sleep(POLL)


def end_of(pid: int) -> "list[int]":
    """Return a list of a descriptor that is readable once the process has ended.

    The list is empty before Python 3.9 and before Linux 5.3.
    """
    if not hasattr(os, "pidfd_open"):
        return []
    try:
        return [os.pidfd_open(pid)]
    except OSError:
        return []


def listen(address: str, port: int) -> "list[socket.socket]":
    """Return a list of a listening socket, empty while another process has the port."""
    server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen(16)
    except OSError:
        server.close()
        return []
    server.settimeout(PATIENCE)
    return [server]


def answer(server: socket.socket, seconds: float, settle: float, scripts: "Scripts | None" = None) -> None:
    """Answer one request. The answer on a script comes from a thread of its own."""
    with contextlib.suppress(OSError):  # the client has gone
        connection, _ = server.accept()
        connection.settimeout(PATIENCE)
        try:
            words = connection.recv(4096).split(None, 2)
        except OSError:
            connection.close()
            return
        path = words[1].decode("ascii", "replace") if len(words) > 1 else ""
        if scripts and path.startswith("/script/"):
            scripts.begin(connection, path[len("/script/") :])
            return
        healthy = seconds >= settle
        text = f"the process was started {seconds:.0f} s ago" + ("" if healthy else f", healthy after {settle:g} s")
        send(connection, "200 OK" if healthy else "503 Service Unavailable", text)


def send(connection: socket.socket, status: str, text: str) -> None:
    """Send an answer, and close the connection."""
    body = text.encode()
    head = f"HTTP/1.0 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
    with contextlib.suppress(OSError), connection:  # the client has gone
        connection.sendall(head.encode() + body)


class Plan:
    """The content of the file, which is read again when it changes. Without a file, it is empty."""

    def __init__(self, path: str) -> None:
        self.path, self._seen = path, (0, 0)
        self._content: dict[str, Any] = {}

    def read(self) -> "dict[str, Any]":
        """Return the content. It is the last complete content if the file cannot be read."""
        with contextlib.suppress(OSError, ValueError):
            stat = os.stat(self.path)
            seen = (stat.st_mtime_ns, stat.st_ino)
            if seen != self._seen:
                with open(self.path) as file:
                    self._content = json.load(file)
                self._seen = seen
        return self._content


class Scripts:
    """The scripts of the instance. Each runs once at a time, and all requests that wait get its result."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._locks: dict[str, threading.Lock] = {}
        # Key of a script -> when its last run ended, and its result.
        self._results: dict[str, tuple[float, tuple[int, str]]] = {}
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._waiting = threading.BoundedSemaphore(WAITING)
        self._over = False

    def begin(self, connection: socket.socket, key: str) -> None:
        """Answer a request for the result of a script from a thread of its own, unless too many wait already."""
        try:
            if self._waiting.acquire(blocking=False):
                threading.Thread(target=self._answer, args=(connection, key), daemon=True).start()
                return
        except RuntimeError:  # there can be no more threads
            self._waiting.release()
        send(connection, "503 Service Unavailable", "too many requests wait for scripts")

    def _answer(self, connection: socket.socket, key: str) -> None:
        try:
            result = self.result(key)
            if result is None:
                send(connection, "404 Not Found", "there is no such script")
            else:
                send(connection, STATUSES.get(result[0], CRITICAL), result[1])
        finally:
            self._waiting.release()
            connection.close()

    def result(self, key: str) -> "tuple[int, str] | None":
        """Return exit code and output of a script, None if there is no such script."""
        script, asked = self.plan.read().get("scripts", {}).get(key), time.monotonic()
        if script is None:
            return None
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            # Consul and the guard ask at the same interval. A run that ended while this request waited is its run.
            ended, result = self._results.get(key, (0.0, (0, "")))
            if not ended or ended < asked - script["interval"] / 2:
                result = self._run(script)
                self._results[key] = (time.monotonic(), result)
            return result

    def _run(self, script: "dict[str, Any]") -> "tuple[int, str]":
        about, deadline = self.plan.read(), time.monotonic() + script["timeout"]
        try:
            with self._lock:
                if self._over:
                    return 2, "the process has ended"
                # The locale is C, in which Python 3.6 would take ASCII only.
                process = subprocess.Popen(
                    [word.encode() for word in script["command"]],
                    cwd=about["folder"].encode(),
                    env={key.encode(): value.encode() for key, value in about["env"].items()},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                self._running.add(process)
        except (OSError, ValueError) as exc:
            return 2, f"{script['command'][0]}: {getattr(exc, 'strerror', None) or exc}"
        try:
            output, ended = until_end(process, deadline)
        finally:
            kill(process)
            with self._lock:
                self._running.discard(process)
        text = output.decode("utf-8", "replace").strip()[-SHOWN:]
        if not ended:
            return 2, f"killed after {script['timeout']:g} s: {text}".rstrip(": ")
        return process.returncode, text or (f"exit code {process.returncode}" if process.returncode else "")

    def end(self) -> None:
        """End the scripts that run, and start no more."""
        with self._lock:
            self._over = True
            for process in self._running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def until_end(process: "subprocess.Popen[bytes]", deadline: float) -> "tuple[bytes, bool]":
    """Return the end of the output of ``process``, and whether it ended before ``deadline``."""
    assert process.stdout
    kept = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            return kept, False
        piece = os.read(process.stdout.fileno(), KEPT)
        if not piece:
            break
        kept = (kept + piece)[-KEPT:]
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(max(deadline - time.monotonic(), 0.1))
    return kept, process.returncode is not None


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End a script, with all of its process group."""
    assert process.stdout
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs in the kernel
        process.wait(5)
    process.stdout.close()


class Guard:
    """Restarts the process if a check of it goes on failing, as ``restart`` of the file says.

    :param born: the start time of the process ``pid``.
    :param signals: number of a signal -> when it came last to the process group.
    """

    def __init__(
        self, pid: int, born: "bytes | None", plan: Plan, scripts: Scripts, signals: "dict[int, float]"
    ) -> None:
        self.pid, self.born, self.plan, self.scripts, self.signals = pid, born, plan, scripts, signals
        self.began = time.monotonic()
        self._due: dict[str, float] = {}
        self._bad: dict[str, int] = {}
        self._passed: set[str] = set()

    def run(self) -> None:
        """Run the checks that are due, for as long as the process runs."""
        while self.born is not None and start_time(self.pid) == self.born:
            time.sleep(POLL)
            restart = self.plan.read().get("restart")
            if restart and not self._is_stopped(restart):
                try:
                    self.look(restart)
                except Exception:  # it must not end
                    time.sleep(PATIENCE)

    def _is_stopped(self, restart: "dict[str, Any]") -> bool:
        """Return whether the supervisor stops the process. It may take its time, and a second signal would hurry it."""
        came = max(self.signals.get(number, 0.0) for number in (restart["signal"], signal.SIGTERM))
        return bool(came) and time.monotonic() < came + restart["timeout"] + STOPPED

    def look(self, restart: "dict[str, Any]") -> None:
        """Run the checks that are due once, and end the process if a check has failed for long enough."""
        checks = {json.dumps(check, sort_keys=True): check for check in self.plan.read()["checks"]}
        for key, check in checks.items():
            if time.monotonic() < self._due.get(key, 0.0):
                continue
            self._due[key] = time.monotonic() + check["interval"]
            problem = within(check["timeout"] + 1.0, functools.partial(self.ask, check))
            self._passed |= set() if problem else {key}
            counts = self._counts(restart, set(checks))
            self._bad[key] = self._bad.get(key, 0) + 1 if problem and counts else 0
            if self._bad[key] >= max(restart["after"], check["failures"]) and note(restart, problem):
                end(self.pid, self.born, restart["signal"], restart["timeout"])
                return

    def _counts(self, restart: "dict[str, Any]", checks: "set[str]") -> bool:
        """Return whether a bad result counts. A process that has never been healthy may still be starting."""
        seconds = time.monotonic() - self.began
        return seconds >= restart["grace"] and (checks <= self._passed or seconds >= restart["patience"])

    def ask(self, check: "dict[str, Any]") -> str:
        """Run a check. Return the problem, empty if it is not critical."""
        if check["kind"] == "script":
            code, text = self.scripts.result(check["key"]) or (0, "")
            return "" if code in STATUSES else f"{check['name']}: {text}"
        try:
            return ask(check)
        except UnicodeError:  # the request cannot be sent, which says nothing of the process
            return ""
        except Exception as exc:  # an answer that is no HTTP, too
            return f"{check['name']}: {exc or type(exc).__name__}"


def within(seconds: float, function: Callable[[], str]) -> str:
    """Return the result of ``function``, or a problem if it takes longer. A server may send an endless header."""
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(function()), daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else f"no answer within {seconds:g} s"


def ask(check: "dict[str, Any]") -> str:
    """Connect to the instance, and send the request of a check. Return the problem, empty if it is not critical.

    :raises OSError: it does not answer, or its certificate is wrong.
    """
    deadline = time.monotonic() + check["timeout"]
    connection = socket.create_connection((check["address"], check["port"]), check["timeout"])
    with contextlib.closing(connection):
        if check["kind"] == "tcp":
            return ""
        # Only here, because these modules take some megabytes.
        import http.client
        import ssl

        secure = check["kind"] == "https"
        if secure:
            context = ssl.create_default_context(cafile=check["ca"])
            if check["insecure"]:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            name = check["server"]
            connection = context.wrap_socket(connection, server_hostname=name, do_handshake_on_connect=False)
        # A server may send an endless header, byte by byte.
        cut = threading.Timer(check["timeout"], shut, (connection,))
        cut.daemon = True
        cut.start()
        try:
            if isinstance(connection, ssl.SSLSocket):
                connection.do_handshake()
            client = http.client.HTTPConnection(check["address"], check["port"], timeout=check["timeout"])
            # The Host header has no port if it is the usual port.
            client.default_port, client.sock = 443 if secure else 80, connection
            client.request(check["method"], check["path"], check["body"].encode() or None, check["headers"])
            status = client.getresponse().status
        finally:
            cut.cancel()
            connection.close()
    if time.monotonic() >= deadline:
        return f"{check['name']}: no whole answer within {check['timeout']:g} s"
    # Consul takes 429 for a warning.
    fine = 200 <= status < 300 or status == 429 or (check["redirects"] and 300 <= status < 400)
    return "" if fine else f"{check['name']}: status {status}"


def shut(connection: socket.socket) -> None:
    """End a connection, also for a thread that reads from it."""
    with contextlib.suppress(OSError):
        # Not by the method of an SSLSocket, which forgets its encryption while another thread reads.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def note(restart: "dict[str, Any]", problem: str) -> bool:
    """Note a restart. Return False if there were as many in the last hour as there may be, or if it cannot be noted."""
    now = time.time()
    try:
        with open(restart["notes"], "r+") as file:
            try:
                found = json.load(file)
            except ValueError:
                found = []
            pairs = [p for p in found if isinstance(p, list) and len(p) == 2] if isinstance(found, list) else []
            noted = [p for p in pairs if isinstance(p[0], (int, float)) and now - HOUR < p[0] <= now]
            if len(noted) >= restart["most"]:
                return False
            file.seek(0)
            file.truncate()
            json.dump([*noted, [now, problem[:SHOWN]]], file)
    except OSError:
        return False
    return True


def end(pid: int, born: "bytes | None", number: int, timeout: float) -> None:
    """End the process as its supervisor would. The supervisor then starts it again."""
    for each, seconds in ((number, timeout), (signal.SIGKILL, 0.0)):
        with contextlib.suppress(ProcessLookupError):
            if start_time(pid) == born:
                # The leader of a process group: a supervisor makes each of its processes that.
                (os.killpg if os.getpgid(pid) == pid else os.kill)(pid, each)
        until = time.monotonic() + seconds
        while start_time(pid) == born and time.monotonic() < until:
            time.sleep(0.1)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), *sys.argv[5:6])
