"""The parts of a watcher. test_portless has its work as a whole, beside a process."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from saltdeploy.node import watcher

from tests.support.node import free_ports
from tests.support.site import until


def test_the_start_time_of_a_process_is_its_own_and_ends_with_it():
    with subprocess.Popen(["sleep", "60"]) as process:
        born = watcher.start_time(process.pid)
        assert born == watcher.start_time(process.pid) and born.isdigit() and born != watcher.start_time(1)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert watcher.start_time(process.pid) is None  # nobody has taken its exit code yet
    assert watcher.start_time(process.pid) is None


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this Python has no os.pidfd_open")
def test_the_end_of_a_process_wakes_its_watcher():
    with subprocess.Popen(["sleep", "60"]) as process:
        [end] = watcher.end_of(process.pid)
        assert select.select([end], [], [], 0)[0] == []
        process.kill()
        assert select.select([end], [], [], 10)[0] == [end]
        os.close(end)
    assert watcher.end_of(process.pid) == []


def test_a_port_that_another_process_has_is_tried_again_later():
    port = free_ports(1)
    with socket.create_server(("127.0.0.1", port)):
        assert watcher.listen("127.0.0.1", port) == []
    [server] = watcher.listen("127.0.0.1", port)
    server.close()


@pytest.mark.parametrize(
    "seconds, status, text",
    [
        (1.0, b"503 Service Unavailable", b"the process was started 1 s ago, healthy after 3 s"),
        (3.0, b"200 OK", b"the process was started 3 s ago"),
    ],
)
def test_a_process_is_healthy_after_its_time(seconds, status, text):
    [server] = watcher.listen("127.0.0.1", free_ports(1))
    with server, socket.create_connection(server.getsockname()) as client:
        client.sendall(b"GET /running HTTP/1.0\r\n\r\n")
        watcher.answer(server, seconds, 3.0)
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 " + status) and body == text
    assert f"Content-Length: {len(text)}".encode() in head


def test_a_client_that_says_nothing_does_not_hold_it_up(monkeypatch):
    monkeypatch.setattr(watcher, "PATIENCE", 0.1)
    [server] = watcher.listen("127.0.0.1", free_ports(1))
    with server, socket.create_connection(server.getsockname()):
        answering = threading.Thread(target=watcher.answer, args=(server, 1.0, 0.0))
        answering.start()
        answering.join(5)
        assert not answering.is_alive()


@pytest.fixture
def plan(tmp_path):
    """Write the file of a watcher; return a function that does so again."""
    path = tmp_path / "watching.json"

    def write(scripts=(), checks=(), **restart):
        about = {
            str(number): {"command": command, "timeout": 0.5, "interval": 0.0, **more}
            for number, (command, more) in enumerate(scripts)
        }
        usual = {"after": 2, "grace": 0.0, "patience": 0.0, "most": 2, "signal": 15, "timeout": 5.0}
        usual["notes"] = str(tmp_path / "notes")
        content = {"folder": str(tmp_path), "env": {"A": "b", "PATH": os.environ["PATH"]}, "scripts": about}
        content.update(checks=list(checks), restart={**usual, **restart})
        # As saltdeploy replaces it.
        path.with_suffix(".new").write_text(json.dumps(content))
        path.with_suffix(".new").rename(path)
        return watcher.Plan(str(path))

    (tmp_path / "notes").write_text("[]")
    return write


def script(*command, **more):
    return command, more


def test_a_script_has_the_environment_and_the_folder_of_the_instance(plan, tmp_path):
    scripts = watcher.Scripts(plan([script("sh", "-c", "echo $A $HOME $PWD; exit 3")]))
    assert scripts.result("0") == (3, f"b {tmp_path}")
    assert scripts.result("1") is None and scripts.result("x") is None


def test_a_script_that_hangs_is_killed_with_its_children(plan, tmp_path):
    scripts = watcher.Scripts(plan([script("sh", "-c", "echo busy; sleep 60 & echo $! > child; wait")]))
    began = time.monotonic()
    assert scripts.result("0") == (2, "killed after 0.5 s: busy") and time.monotonic() - began < 5
    child = int((tmp_path / "child").read_text())
    until(lambda: watcher.start_time(child) is None, 5, "the child to end")


@pytest.mark.parametrize(
    "command, said",
    [
        (["/nowhere"], "/nowhere: No such file or directory"),
        (["a\0b"], "a\0b: embedded null byte"),
        (["sh", "-c", "exec >&-; exec 2>&-; sleep 60"], "killed after 0.5 s"),
    ],
)
def test_a_script_that_cannot_run_is_critical(plan, command, said):
    assert watcher.Scripts(plan([script(*command)])).result("0") == (2, said)


def test_only_the_end_of_a_long_output_is_told(plan):
    code, text = watcher.Scripts(plan([script("sh", "-c", "yes x | head -c 200000; echo end")])).result("0")
    assert (code, len(text)) == (0, watcher.SHOWN) and text.endswith("x\nend")


def test_all_who_wait_for_a_script_get_the_same_result(plan):
    """A slow script is not run once for each of them."""
    command = ("sh", "-c", "sleep 0.3; echo x >> ran; wc -l < ran")
    scripts, found = watcher.Scripts(plan([script(*command)])), []
    asked = [threading.Thread(target=lambda: found.append(scripts.result("0"))) for _ in range(5)]
    for each in asked:
        each.start()
    for each in asked:
        each.join()
    assert found == [(0, "1")] * 5
    assert [scripts.result("0")[1] for _ in range(2)] == ["2", "3"]


def test_a_script_is_not_run_again_within_half_its_interval(plan):
    scripts = watcher.Scripts(plan([script("sh", "-c", "echo x >> ran; wc -l < ran", interval=60.0)]))
    assert [scripts.result("0")[1] for _ in range(3)] == ["1"] * 3


def test_a_script_and_its_environment_may_have_any_letters(plan, tmp_path):
    """Without a locale, Python 3.6 takes ASCII for them."""
    made = plan([script("sh", "-c", "echo ü $G")])
    content = json.loads((tmp_path / "watching.json").read_text())
    content["env"]["G"] = "Grüße"
    (tmp_path / "watching.json").write_text(json.dumps(content))
    code = (
        "import sys, importlib.util as u; s = u.spec_from_file_location('w', sys.argv[1]); w = u.module_from_spec(s);"
        " s.loader.exec_module(w); print(ascii(w.Scripts(w.Plan(sys.argv[2])).result('0')))"
    )
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", code, watcher.__file__, made.path]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ascii((0, "ü Grüße"))


def test_too_many_who_wait_are_refused_and_end_nothing(plan, monkeypatch):
    """Each holds a thread and a file."""
    monkeypatch.setattr(watcher, "WAITING", 2)
    scripts = watcher.Scripts(plan([script("sleep", "60", timeout=60.0)]))
    pairs = [socket.socketpair() for _ in range(4)]
    for _, theirs in pairs:
        scripts.begin(theirs, "0")
    for mine, _ in pairs[2:]:
        assert mine.recv(99).startswith(b"HTTP/1.0 503 ")
    scripts.end()
    for mine, _ in pairs[:2]:
        assert mine.recv(99).startswith(b"HTTP/1.0 500 ")
        mine.close()
    until(lambda: scripts._waiting.acquire(blocking=False), 5, "the places to be free again")


def test_without_threads_a_request_is_refused(plan, monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    scripts = watcher.Scripts(plan([script("true")]))
    mine, theirs = socket.socketpair()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        for _ in range(watcher.WAITING + 1):
            scripts.begin(theirs.dup(), "0")
    theirs.close()
    answers = b"".join(iter(lambda: mine.recv(4096), b""))
    assert answers.count(b"HTTP/1.0 503 ") == watcher.WAITING + 1


def test_scripts_that_run_end_with_the_process(plan, tmp_path):
    scripts = watcher.Scripts(plan([script("sh", "-c", "echo $$ > pid; sleep 60", timeout=60.0)]))
    running = threading.Thread(target=scripts.result, args=("0",))
    running.start()
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), 10, "the script to run")
    scripts.end()
    running.join(5)
    assert not running.is_alive() and scripts.result("0") == (2, "the process has ended")


@pytest.mark.parametrize(
    "code, status", [(0, b"200 OK"), (1, b"429 Too Many Requests"), (2, b"500 Internal"), (77, b"500 Internal")]
)
def test_a_script_is_answered_for_as_consul_takes_its_exit_code(plan, code, status):
    scripts = watcher.Scripts(plan([script("sh", "-c", f"echo grüße; exit {code}")]))
    head, body = answered(scripts, "/script/0")
    assert head.startswith(b"HTTP/1.0 " + status) and body.decode() == "grüße"
    assert f"Content-Length: {len(body)}".encode() in head
    assert answered(scripts, "/script/9")[0].startswith(b"HTTP/1.0 404 ")
    assert answered(scripts, "/running") == answered(scripts, "/")


def answered(scripts, path):
    [server] = watcher.listen("127.0.0.1", free_ports(1))
    with server, socket.create_connection(server.getsockname()) as client:
        client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        watcher.answer(server, 5.0, 3.0, scripts)
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


def test_the_file_is_read_again_when_it_changes_and_kept_when_it_is_broken(plan, tmp_path):
    read = plan([script("true")])
    assert list(read.read()["scripts"]) == ["0"]
    plan([script("true"), script("false")])
    assert list(read.read()["scripts"]) == ["0", "1"]
    (tmp_path / "watching.json").write_text("{")
    assert list(read.read()["scripts"]) == ["0", "1"]
    (tmp_path / "watching.json").unlink()
    assert list(read.read()["scripts"]) == ["0", "1"]
    assert watcher.Plan("").read() == {}


# -- restarts ----------------------------------------------------------------------------------------


def check(kind="tcp", **changes):
    usual = {"kind": kind, "name": kind, "interval": 0.0, "timeout": 1.0, "failures": 1, "address": "127.0.0.1"}
    http = {"path": "/", "method": "GET", "headers": {}, "body": "", "redirects": False, "insecure": False}
    return {**usual, **http, "port": free_ports(1), "server": "127.0.0.1", "ca": None, **changes}


@pytest.fixture
def process():
    """A process that leads a group, as a supervisor starts it."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        yield process
        process.kill()


def guard(process, plan, signals=()):
    born = watcher.start_time(process.pid)
    return watcher.Guard(process.pid, born, plan, watcher.Scripts(plan), dict(signals))


def look(guard, times):
    for _ in range(times):
        guard.look(guard.plan.read()["restart"])


def notes(tmp_path):
    return json.loads((tmp_path / "notes").read_text())


def test_a_check_that_goes_on_failing_ends_the_process(process, plan, tmp_path):
    made = guard(process, plan(checks=[check()], after=3))
    look(made, 2)
    assert process.poll() is None and notes(tmp_path) == []
    look(made, 1)
    assert process.wait(5) == -signal.SIGTERM
    [[when, why]] = notes(tmp_path)
    assert abs(time.time() - when) < 10 and why == "tcp: [Errno 111] Connection refused"


def test_a_good_result_starts_the_count_again(process, plan):
    one = check()
    made = guard(process, plan(checks=[one]))
    look(made, 1)
    with socket.create_server(("127.0.0.1", one["port"])):
        look(made, 1)
    look(made, 1)
    assert process.poll() is None
    look(made, 1)
    assert process.wait(5) == -signal.SIGTERM


def test_what_discovery_still_takes_for_healthy_is_not_restarted(process, plan):
    made = guard(process, plan(checks=[check(failures=4)]))
    look(made, 3)
    assert process.poll() is None
    look(made, 1)
    assert process.wait(5) == -signal.SIGTERM


def test_a_process_that_starts_has_its_time(process, plan):
    one = check()
    made = guard(process, plan(checks=[one], grace=60.0))
    look(made, 5)
    # It was never healthy, so it has the time of a deployment.
    made.plan = plan(checks=[one], grace=0.0, patience=60.0)
    look(made, 5)
    assert process.poll() is None
    with socket.create_server(("127.0.0.1", one["port"])):
        look(made, 1)
    look(made, 2)
    assert process.wait(5) == -signal.SIGTERM


def test_there_are_at_most_so_many_restarts_in_an_hour(process, plan, tmp_path):
    now = time.time()
    (tmp_path / "notes").write_text(json.dumps([[now - 3700, "long ago"], [now - 60, "a"], [now - 30, "b"]]))
    made = guard(process, plan(checks=[check()]))
    look(made, 5)
    assert process.poll() is None and len(notes(tmp_path)) == 3
    made.plan = plan(checks=[check()], most=3)
    look(made, 2)
    assert process.wait(5) == -signal.SIGTERM
    assert [why for _, why in notes(tmp_path)][:2] == ["a", "b"] and len(notes(tmp_path)) == 3


@pytest.mark.parametrize("broken", ["", "nonsense", "{}", "[1]", "[[]]"])
def test_notes_that_are_broken_are_written_again(process, plan, tmp_path, broken):
    (tmp_path / "notes").write_text(broken)
    look(guard(process, plan(checks=[check()])), 2)
    assert process.wait(5) == -signal.SIGTERM and len(notes(tmp_path)) == 1


def test_a_restart_that_cannot_be_noted_does_not_happen(process, plan, tmp_path):
    (tmp_path / "notes").unlink()
    look(guard(process, plan(checks=[check()])), 5)
    assert process.poll() is None


def test_a_process_that_does_not_end_is_killed_in_its_time(plan):
    stubborn = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"]
    with subprocess.Popen(stubborn, start_new_session=True, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        look(guard(process, plan(checks=[check()], timeout=0.3)), 2)
        assert process.wait(5) == -signal.SIGKILL


def test_the_children_of_the_process_get_the_signal_too(plan, tmp_path):
    parent = ["sh", "-c", f"sleep 60 & echo $! > {tmp_path}/child; wait"]
    with subprocess.Popen(parent, start_new_session=True) as process:
        child = tmp_path / "child"
        until(lambda: child.exists() and child.read_text(), 5, "the child")
        look(guard(process, plan(checks=[check()])), 2)
        assert process.wait(5) == -signal.SIGTERM
        until(lambda: watcher.start_time(int(child.read_text())) is None, 5, "the child to end")


@pytest.mark.parametrize(
    "status, redirects, problem",
    [(204, False, ""), (429, False, ""), (503, False, "status 503"), (302, False, "status 302"), (302, True, "")],
)
def test_the_answer_to_a_request_counts_as_it_does_for_consul(server, status, redirects, problem):
    server.status, headers = status, {"X-Token": "t", "Host": "shop.example.com"}
    one = check("http", port=server.server_port, method="POST", body="b", headers=headers, redirects=redirects)
    assert watcher.ask(one) == (problem and f"http: {problem}")
    assert server.heard[-1] == ("POST", "/", "t", "shop.example.com", b"b")


@pytest.fixture
def server():
    """A server that answers with a status of one's choice, and keeps what it was asked."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            about = (self.headers["X-Token"], self.headers["Host"], body)
            self.server.heard.append((self.command, self.path, *about))
            self.send_response(self.server.status)
            self.end_headers()

        def log_message(self, *args):
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.heard = []
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def test_a_server_that_never_ends_its_answer_is_no_good(process, plan):
    """Each byte comes in time, and the whole of it does not."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip():
            while True:
                try:
                    client, _ = server.accept()
                    threading.Thread(target=feed, args=(client,), daemon=True).start()
                except OSError:
                    return

        def feed(client):
            try:
                client.sendall(b"HTTP/1.0 200 OK\r\nX: ")
                while True:
                    client.sendall(b"x")
                    time.sleep(0.05)
            except OSError:
                return

        threading.Thread(target=drip, daemon=True).start()
        one = check("http", port=server.getsockname()[1], timeout=0.3)
        made = guard(process, plan(checks=[one], after=1))
        began = time.monotonic()
        look(made, 1)
        assert process.wait(5) == -signal.SIGTERM and time.monotonic() - began < 5


@pytest.mark.parametrize("number, ends", [(signal.SIGTERM, False), (signal.SIGINT, False), (signal.SIGHUP, True)])
def test_a_process_that_is_being_stopped_gets_no_second_signal(process, plan, monkeypatch, number, ends):
    """Many programs take it for an order to end at once."""
    monkeypatch.setattr(watcher, "POLL", 0.01)
    made = guard(process, plan(checks=[check()], after=1, signal=int(signal.SIGINT)), {int(number): time.monotonic()})
    threading.Thread(target=made.run, daemon=True).start()
    if ends:
        assert process.wait(5) == -signal.SIGINT
    else:
        time.sleep(0.5)
        assert process.poll() is None


def test_a_process_that_survives_a_signal_is_looked_after_again(process, plan, monkeypatch):
    """Some send one to their own group, to replace their children."""
    monkeypatch.setattr(watcher, "POLL", 0.01)
    monkeypatch.setattr(watcher, "STOPPED", 0.2)
    signals = {int(signal.SIGTERM): time.monotonic()}
    made = guard(process, plan(checks=[check()], after=1, timeout=0.2, signal=int(signal.SIGINT)), signals)
    threading.Thread(target=made.run, daemon=True).start()
    time.sleep(0.2)
    assert process.poll() is None
    assert process.wait(5) == -signal.SIGINT


def test_nothing_ends_the_guard(process, plan, monkeypatch):
    monkeypatch.setattr(watcher, "POLL", 0.01)
    monkeypatch.setattr(watcher, "PATIENCE", 0.01)
    made, faults = (
        guard(process, plan(checks=[check()], after=1)),
        iter([OSError(24, "Too many open files"), KeyError("x")]),
    )
    look = made.look

    def faulty(restart):
        for fault in faults:
            raise fault
        look(restart)

    made.look = faulty
    threading.Thread(target=made.run, daemon=True).start()
    assert process.wait(5) == -signal.SIGTERM


def test_a_shortage_of_files_is_not_the_end_of_the_process(monkeypatch):
    faults = iter([OSError(24, "Too many open files")])

    def scarce(*args):
        for fault in faults:
            raise fault
        return open(*args)

    monkeypatch.setattr(watcher, "POLL", 0.01)
    monkeypatch.setattr(watcher, "open", scarce, raising=False)
    assert watcher.start_time(os.getpid()) is not None


def test_a_request_that_cannot_be_sent_says_nothing_of_the_process(process, plan):
    one = check("http", path="/ü")
    with socket.create_server(("127.0.0.1", one["port"])):
        look(guard(process, plan(checks=[one], after=1)), 2)
    assert process.poll() is None


def test_a_script_that_warns_is_no_reason_to_restart(process, plan, tmp_path):
    one = check("script", key="0", name="script sh")
    made = guard(process, plan([script("sh", "-c", "exit 1")], [one]))
    look(made, 4)
    assert process.poll() is None
    made.scripts.plan = made.plan = plan([script("sh", "-c", "exit 2")], [one])
    look(made, 2)
    assert process.wait(5) == -signal.SIGTERM and notes(tmp_path)[0][1] == "script sh: exit code 2"
