"""Tests and readiness: the answers that an instance must give before it is published."""

from __future__ import annotations

import contextlib
import http.client
import os
import pwd
import selectors
import shlex
import signal
import socket
import subprocess
import threading
import time
import urllib.parse
from dataclasses import replace

from ..core import addresses, analysis, deadlines, placeholders
from ..core.redaction import hidden
from . import baseenv, processes

SHOWN = 300
# How much of an answer is read, in bytes.
LIMIT = 1 << 24
# How much of the end of a command's output is kept, in bytes.
KEPT = 1 << 20
# How much of the output is read at once, in bytes, which is the size of a pipe.
PIECE = 1 << 16
# The characters that stay as they are in a path with a query.
IN_URL = "/?&=%:@!$'()*+,;~[]"


def run(probe, values, env=None, user=""):
    """Run one test against an instance and return its result.

    :param probe: a model.Probe.
    :param values: the instance's placeholders: address, port and so on.
    :param env: the environment of a command.
    :param user: the user that a command runs as. Empty takes the user of this process.
    :returns: ``{"test", "ok", "detail", "seconds"}``. A failed test raises nothing, and no test outlasts its timeout by
        much.
    """
    began = time.monotonic()
    if probe.kind == "http":
        known = {k: v for k, v in values.items() if v is not None}
        probe = replace(probe, target=analysis.fill(probe.target, known), contains=analysis.fill(probe.contains, known))
    try:
        ok, detail = True, ask(probe, values, env, user)
    except ProbeFailed as exc:
        ok, detail = False, str(exc)
    return {"test": probe.describe(), "ok": ok, "detail": detail, "seconds": round(time.monotonic() - began, 3)}


def ask(probe, values, env=None, user=""):
    """Run one check or test as :func:`run` does, and return the detail of its result.

    :raises ProbeFailed: it did not pass.
    """
    return {"http": _http, "tcp": _tcp, "command": _command}[probe.kind](probe, values, env, user)


def run_from(origin, environment, app, targets):
    """Run an app's tests that are from ``origin`` (peer, master) on instances elsewhere.

    :param targets: instances as plain data.
    :returns: ``{"id@node": [result, …]}``
    """
    results = {}
    for target in targets:
        values = {k: target.get(k) for k in ("address", "port", "version", "node")}
        values.update(app=app.name, environment=environment.name)
        found = [run(t, values) for t in app.tests if t.origin == origin]
        found = [{**result, "detail": hidden(result["detail"], app.env)} for result in found]
        results[f"{target['id']}@{target['node']}"] = found
    return results


class ProbeFailed(Exception):
    """The instance did not answer as it must.

    :param refused: nothing listens at the address and port of the request.
    :param status: the HTTP status of the answer, None without an answer.
    """

    def __init__(self, problem, refused=False, status=None):
        self.refused, self.status = refused, status
        super().__init__(problem)


def _tcp(probe, values, _env, _user):
    port = probe.port or values["port"]
    try:
        socket.create_connection((values["address"], port), timeout=probe.timeout).close()
    except OSError as exc:
        where, refused = addresses.join(values["address"], port), isinstance(exc, ConnectionRefusedError)
        raise ProbeFailed(f"{where}: {exc.strerror or exc}", refused=refused) from exc
    return "connected"


def _http(probe, values, _env, _user):
    port = probe.port or values["port"]
    url = f"http://{addresses.join(values['address'], port)}{probe.target}"
    connection = http.client.HTTPConnection(values["address"], port, timeout=probe.timeout)
    deadline = time.monotonic() + probe.timeout
    refused, response = False, None
    try:
        response, body = _get(connection, probe.target, deadline)
        problem = _unexpected(probe, response, body)
    except (OSError, http.client.HTTPException) as exc:
        refused = isinstance(exc, ConnectionRefusedError)
        problem = "connection refused" if refused else str(exc)[:SHOWN]
    finally:
        connection.close()
    if time.monotonic() >= deadline:
        problem = f"no whole answer within {probe.timeout:g}s"
    if problem:
        raise ProbeFailed(f"GET {url}: {problem}", refused, response.status if response else None)
    return f"status {response.status}"


def _get(connection, path, deadline):
    """Return the response and the beginning of its body. The deadline cuts off a server that drips bytes."""
    connection.connect()
    cut_off = threading.Timer(deadline - time.monotonic(), _shut, [connection.sock])
    cut_off.start()
    try:
        headers = {"Connection": "close", "User-Agent": "saltdeploy"}
        connection.request("GET", urllib.parse.quote(path, safe=IN_URL), headers=headers)
        response = connection.getresponse()
        body = response.read(LIMIT)
        if response.length and len(body) < LIMIT:
            raise http.client.IncompleteRead(body, response.length)
        return response, body
    finally:
        cut_off.cancel()


def _shut(connected):
    with contextlib.suppress(OSError):  # the answer came in the same moment
        connected.shutdown(socket.SHUT_RDWR)


def _unexpected(probe, response, body):
    """Return the problem with an answer, or nothing. No redirect is followed, as elsewhere is another instance."""
    if response.status != probe.status and not (probe.status is None and 200 <= response.status < 300):
        elsewhere = f" (a redirect to {response.headers['Location']})" if response.headers["Location"] else ""
        return f"status {response.status}{elsewhere}, expected {probe.status or '2xx'}"
    try:
        text = body.decode(response.headers.get_content_charset("utf-8"), "replace")
    except LookupError:
        text = body.decode("utf-8", "replace")
    return "" if probe.contains in text else f"the answer does not contain {probe.contains!r}: {text[:SHOWN]!r}"


def _command(probe, values, env, user):
    command = [placeholders.fill(word, values) for word in shlex.split(probe.target)]
    code, output = execute(command, values["release"], env, user, probe.timeout)
    if code:
        raise ProbeFailed(f"`{shlex.join(command)}` ended with {code}: {output.strip()[-SHOWN:]}".removesuffix(": "))
    return output.strip()[-SHOWN:]


def execute(command, folder, env, user, timeout):
    """Run ``command``, a list of words, in ``folder``, and return its exit code and the end of its output.

    :param env: the variables of its environment beside those of every process (baseenv.base).
    :param user: the user that it runs as. Empty takes the user of this process.
    :param timeout: seconds after which it is killed, with its children.
    :raises ProbeFailed: it cannot be started, or hangs.
    """
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**baseenv.base(user), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **as_user(user),
        )
    except OSError as exc:
        raise ProbeFailed(f"{command[0]}: {exc.strerror or exc}") from exc
    try:
        with process.stdout:
            output = until_its_end(process, timeout)
    except subprocess.TimeoutExpired as exc:
        _kill(process)
        raise ProbeFailed(f"`{shlex.join(command)}` hangs: killed after {timeout:g}s") from exc
    return process.returncode, output


def _kill(process):
    """Kill a process with its children, also children that made a session of their own."""
    known = [found] if (found := processes.read(process.pid)) else []
    for each in processes.of(known=known):
        each.send(signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs in the kernel, and nobody can end it
        process.wait(deadlines.KILL)


def until_its_end(process, timeout):
    """Wait for ``process`` and return the last KEPT bytes that it printed, as text.

    :raises subprocess.TimeoutExpired: it runs on, prints on, or a child of it holds its output open.
    """
    kept, deadline = bytearray(), time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            # poll(2) takes no timeout as long as a month.
            if not selector.select(min(left, 3600.0)):
                continue
            piece = os.read(process.stdout.fileno(), PIECE)
            if not piece:
                process.wait(deadline - time.monotonic())
                return kept.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
            kept += piece
            del kept[:-KEPT]
    raise subprocess.TimeoutExpired(process.args, timeout)


def as_user(user):
    """Return the arguments that make subprocess run as ``user``, if this process may change its user."""
    if not user or os.geteuid() != 0:
        return {}
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise ProbeFailed(f"there is no user {user} on this node") from None
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": os.getgrouplist(user, entry.pw_gid)}
