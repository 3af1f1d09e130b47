"""The main job in front of the user: deploy an app, upgrade it under load, and show what came of it."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import time

from tooling import ToolError, agents
from tooling.commands import Terminated, environment, run

from .definitions import FILE
from .places import NODES

APP = "httpbin"
# The definition says the second. The bad one does not start with the packages that the definition pins.
FIRST, SECOND, BAD, NEXT = "0.10.1", "0.10.2", "0.7.0", "0.10.4"
PATH = "/get"
# The values of a setting of the app.
THREADS = ("2", "4")
# Seconds: an interrupted deployment's lock ends by itself; a published instance answers; the loop goes on after.
LOCK, ANSWER, AFTER = 90, 15, 1.0
# salt-run's exit code of a deployment that failed and changed nothing.
REVERTED = 1
SALT_RUN = ".demo/venv/bin/salt-run -c .demo/etc"

TRY_NEXT = f"""\
What to try next, from the repository's root:

  {SALT_RUN} deploy.plan {APP} version={NEXT}
  {SALT_RUN} deploy.app {APP} version={NEXT}
  {SALT_RUN} deploy.history {APP}
  {SALT_RUN} deploy.rollback {APP}
  {SALT_RUN} deploy.logs {APP} lines=5

  a candidate that nobody sees, tested, then published:
  {SALT_RUN} deploy.app {APP} version={FIRST} publish=False
  {SALT_RUN} deploy.test {APP}
  {SALT_RUN} deploy.publish {APP}

  .demo/venv/bin/salt -c .demo/etc '*' app.instances

Its pillar is .demo/pillar and its file root .demo/files: edit them as you like, they are yours.
Stop it: make demo-down. Your own app comes next: docs/tutorial/own-app.rst
"""


def show(cluster, progress):
    """Deploy two releases, a bad one and another setting, the last three under requests; say what to try next.

    :raises ToolError: a deployment did not end as it should, or a request failed.
    """
    _await_unlocked(cluster, progress)
    _title(f"1. Deploy {APP} {FIRST}")
    _salt_run(cluster, "deploy.app", APP, f"version={FIRST}")
    _show_dns(cluster.discovery)
    _title(f"2. Upgrade it to {SECOND} while requests come in")
    with _requests(cluster, "the upgrade", FIRST) as loop:
        _salt_run(cluster, "deploy.app", APP, f"version={SECOND}")
        if not loop.wait_for(SECOND, ANSWER):
            raise ToolError("\n".join([f"{APP} {SECOND} is published, but does not answer.", *loop.report()]))
    _title(f"3. Deploy {BAD}, a release that cannot start, while requests come in")
    with _requests(cluster, "the failed deployment", SECOND):
        _salt_run(cluster, "deploy.app", APP, f"version={BAD}", code=REVERTED)
        print(f"(exit code {REVERTED}: failed and reverted, as it should be)", flush=True)
    old, new = _threads(cluster)
    if old:
        _title("4. Change a setting of the release that runs, while requests come in")
        _edit(cluster, old, new)
        with _requests(cluster, "the change of a setting", SECOND):
            _salt_run(cluster, "deploy.app", APP)
    _salt_run(cluster, "deploy.status")
    print("\n" + TRY_NEXT, end="", flush=True)


def _threads(cluster):
    """Return the number of threads in the definition, and another; twice nothing if its user has taken it out."""
    text = (cluster.places.pillar / FILE).read_text()
    return next(((old, new) for old, new in zip(THREADS, THREADS[::-1]) if f"--threads={old}" in text), ("", ""))


def _edit(cluster, old, new):
    """Change the number of threads in the definition, as its user would."""
    path = cluster.places.pillar / FILE
    print(f"\n$ sed -i s/--threads={old}/--threads={new}/ .demo/pillar/{FILE}", flush=True)
    path.write_text(path.read_text().replace(f"--threads={old}", f"--threads={new}"))


def _title(text):
    print(f"\n==> {text}", flush=True)


@contextlib.contextmanager
def _requests(cluster, during, version):
    """Send requests during the block, and tell what came of them.

    :param during: for the report.
    :param version: the release that serves before the block.
    :raises ToolError: one failed.
    """
    with cluster.discovery.clients(APP, PATH) as loop:
        if not loop.wait_for(version, ANSWER):
            raise ToolError("\n".join([f"{APP} {version} is published, but does not answer.", *loop.report()]))
        yield loop
        time.sleep(AFTER)
    print("\n" + "\n".join(loop.report(during)), flush=True)
    if loop.failures:
        raise ToolError(f"requests failed during {during}: see above.")


def _salt_run(cluster, *arguments, code=0):
    """Run a runner function, its output going straight to the terminal; it must end with ``code``."""
    print(f"\n$ {SALT_RUN} {' '.join(arguments)}", flush=True)
    process = subprocess.Popen(cluster.salt("salt-run", *arguments), cwd=cluster.places.repository, env=environment())
    try:
        found = process.wait()
    except KeyboardInterrupt as exc:
        # From Ctrl-C it knows already, and puts back what it had begun.
        if isinstance(exc, Terminated):
            process.send_signal(signal.SIGINT)
        process.wait()
        raise
    if found != code:
        raise ToolError(
            f"`{' '.join(arguments)}` ended with exit code {found}, not {code}: its own last lines say why.\n"
            f"The daemons' logs are in {cluster.places.log}."
        )


def _await_unlocked(cluster, progress):
    """Wait until no interrupted deployment holds the lock: its session ends by itself."""
    deadline = time.monotonic() + LOCK
    if not cluster.discovery.locked(APP):
        return
    with progress.step(f"Waiting for the lock of {APP}, which another deployment holds or left") as step:
        while cluster.discovery.locked(APP):
            step.live("locked")
            if time.monotonic() > deadline:
                raise ToolError(f"{APP} is still locked after {LOCK} s. Who holds it: {SALT_RUN} deploy.status")
            time.sleep(1)


def _show_dns(discovery):
    server = NODES["web1"]
    name = f"{APP}.{discovery.domain}"
    for kind, number in (("A", agents.A), ("SRV", agents.SRV)):
        command = ["dig", "+short", f"@{server}", "-p", str(discovery.dns), name, kind]
        if shutil.which("dig"):
            print(f"\n$ {' '.join(command)}", flush=True)
            found = run(command).splitlines()
        else:
            print(f"\n{discovery.title}'s DNS at {server}:{discovery.dns} is asked for {name} {kind}:", flush=True)
            found = agents.resolve(name, number, server, discovery.dns)
        print("\n".join(found) or "(no answer)", flush=True)
        if not found:
            raise ToolError(f"{discovery.title}'s DNS has no {kind} record of {name}, though it is deployed.")
