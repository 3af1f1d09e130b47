"""Salt's commands in forks of a process that has Salt imported already: over a second of work less for each.

A command runs as Salt's own script does: in a session of its own, with its own arguments, environment and output. Only
the imports are not its own, and the list of Salt's extensions.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

COMMANDS = {"salt": "salt_main", "salt-call": "salt_call", "salt-key": "salt_key", "salt-run": "salt_run"}
# What a command imports before it looks at its arguments.
SALT = ("salt.cli.call", "salt.cli.key", "salt.cli.run", "salt.cli.salt", "salt.minion", "salt.runner", "salt.scripts")
# And the libraries of others that the bundle needs.
IMPORTS = (*SALT, "consul.std", "jsonschema", "requests")
# The package of which the runners import modules, once it is synced.
BUNDLE = "saltdeploy.master.verbs"
# What Salt's processes of the tests run first.
STARTUP = Path(__file__).with_name("startup")
# How often a command is looked after that is waited for with a timeout, in seconds.
POLL = 0.02


class Forks:
    """Starts commands as forks of one process, which is started with the first of them. Threads can share one."""

    def __init__(self):
        self._server, self._asking = None, threading.Lock()

    def import_from(self, folder):
        """Have what runners import of the bundle imported from ``folder``, for all commands that are started from now on."""
        with self._asking:
            self._send({"import_from": str(folder)}, ())

    def start(self, words, env, stdout, stderr):
        """Start a command; return a :class:`Fork`.

        :param words: the path of Salt's script, or of a script in Python that has the imports of a runner, and arguments.
        :param env: its environment.
        :param stdout: subprocess.PIPE, or a file; ``stderr`` as subprocess takes it.
        """
        read, write = os.pipe() if stdout == subprocess.PIPE else (None, os.dup(stdout.fileno()))
        errors = os.open(os.devnull, os.O_WRONLY) if stderr == subprocess.DEVNULL else os.dup(write)
        ours, theirs = socket.socketpair()
        try:
            with self._asking:
                self._send({"words": words, "env": env, "cwd": os.getcwd()}, (theirs.fileno(), write, errors))
        finally:
            theirs.close()
            os.close(write)
            os.close(errors)
        return Fork(words, ours, read)

    def _send(self, request, files):
        """Send a request to the process that forks, with three descriptors, or with none."""
        if self._server is None or self._server.poll() is not None:
            self._listen()
        message = json.dumps(request).encode()
        socket.send_fds(self._control, [len(message).to_bytes(4, "big")], files)
        self._control.sendall(message)

    def _listen(self):
        self._control, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, __file__, str(theirs.fileno())]
            env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPATH": str(STARTUP)}
            self._server = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=env)
        atexit.register(self._server.kill)


class Fork:
    """A command that runs. It has the parts of subprocess.Popen that tests use."""

    def __init__(self, words, control, output):
        self.args, self._control, self.returncode = words, control, None
        self.stdout = None if output is None else open(output, encoding="utf-8")
        self.pid = int.from_bytes(_receive(control, 4), "big")

    def poll(self):
        """Return its exit code, as subprocess has it, or None while it runs."""
        if self.returncode is None and _readable(self._control, 0):
            self.returncode = int.from_bytes(_receive(self._control, 4), "big", signed=True)
            self._control.close()
        return self.returncode

    def wait(self, timeout=None):
        """Wait for its end; return its exit code."""
        if self.returncode is None and not _readable(self._control, timeout):
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.poll()

    def communicate(self, timeout=None):
        """Return its whole output, and None."""
        deadline, pieces = timeout and time.monotonic() + timeout, []
        while not deadline or _readable(self.stdout, max(0.0, deadline - time.monotonic())):
            piece = os.read(self.stdout.fileno(), 1 << 16)
            if not piece:
                self.wait(timeout)
                self.stdout.close()
                return b"".join(pieces).decode(), None
            pieces.append(piece)
        raise subprocess.TimeoutExpired(self.args, timeout)

    def send_signal(self, number):
        """Send it a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def terminate(self):
        self.send_signal(signal.SIGTERM)


def _readable(file, timeout):
    with selectors.DefaultSelector() as selector:
        selector.register(file, selectors.EVENT_READ)
        return bool(selector.select(timeout))


def _receive(control, size):
    data = b""
    while len(data) < size:
        piece = control.recv(size - len(data))
        if not piece:
            raise ConnectionError("the process that starts Salt's commands has ended")
        data += piece
    return data


# -- in the process that forks ------------------------------------------------------------------


def serve(control):
    """Fork a command for each request that comes over the socket ``control``, until its other end is closed."""
    for name in IMPORTS:
        __import__(name)
    from salt.utils import entrypoints

    entrypoints.iter_entry_points("salt.loader")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the tests, which end this
    control, running = socket.socket(fileno=control), selectors.DefaultSelector()
    running.register(control, selectors.EVENT_READ)
    while True:
        for key, _ in running.select():
            if key.fileobj is control:
                head, files, _, _ = socket.recv_fds(control, 4, 3)
                if not head:
                    return
                request = json.loads(_receive(control, int.from_bytes(head, "big")))
                if "import_from" in request:
                    _import_from(request["import_from"])
                else:
                    _fork(request, *files, control, running)
            else:
                _tell(*key.data)
                running.unregister(key.fileobj)
                os.close(key.fileobj)


def _import_from(folder):
    sys.path.insert(0, folder)
    package = importlib.import_module(BUNDLE)
    for module in pkgutil.iter_modules(package.__path__, f"{BUNDLE}."):
        importlib.import_module(module.name)
    sys.path.remove(folder)


def _fork(request, client, stdout, stderr, control, running):
    pid = os.fork()
    if not pid:
        # No descriptor of another command is to stay open in this one.
        for key in list(running.get_map().values()):
            if key.fileobj is not control:
                os.close(key.fileobj)
                key.data[1].close()
        running.close()
        control.close()
        os.close(client)
        _become(request, stdout, stderr)
    os.close(stdout)
    os.close(stderr)
    client = socket.socket(fileno=client)
    client.sendall(pid.to_bytes(4, "big"))
    running.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, client))


def _tell(pid, client):
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with client:
        with contextlib.suppress(OSError):  # nobody waits for it any more
            client.sendall(code.to_bytes(4, "big", signed=True))


def _become(request, stdout, stderr):
    """Run the command in this process, and end it."""
    import salt.scripts

    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.close(stdout)
    os.close(stderr)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = request["words"]
    folder, command = os.path.split(sys.argv[0])
    sys.path[0] = folder
    code = 1
    try:
        if command in COMMANDS:
            code = getattr(salt.scripts, COMMANDS[command])() or 0
        else:
            runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as exc:
        code = exc.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        # As the interpreter ends.
        threading._shutdown()
        atexit._run_exitfuncs()
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
