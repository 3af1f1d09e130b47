"""The main job in front of the user: deploy an app, upgrade it under load, and show what came of it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time

from . import DemoError, agents
from .cluster import NODES
from .commands import Terminated, environment, run
from .config import CONSUL_DNS
from .requests_loop import RequestLoop

ENVIRONMENT, APP = "demo", "httpbin"
FIRST, SECOND, NEXT = "0.10.1", "0.10.2", "0.10.4"
PATH = "/get"
# Seconds: an interrupted deployment's lock ends by itself; a published instance answers; the loop goes on after.
LOCK, ANSWER, AFTER = 90, 15, 1.0
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

  make demo-down
"""


def show(cluster, progress):
    """Deploy two releases, one after the other, the second under requests; say what to try next.

    :raises DemoError: a deployment failed, or a request did.
    """
    _await_unlocked(progress)
    _salt_run(cluster, "deploy.app", APP, f"version={FIRST}")
    _salt_run(cluster, "deploy.status")
    _show_dns()
    with RequestLoop(NODES.values(), APP, PATH) as loop:
        if not loop.wait_for(FIRST, ANSWER):
            raise DemoError("\n".join([f"{APP} {FIRST} is published, but does not answer.", *loop.report()]))
        _salt_run(cluster, "deploy.app", APP, f"version={SECOND}")
        answers = loop.wait_for(SECOND, ANSWER)
        time.sleep(AFTER)
    print("\n" + "\n".join(loop.report()), flush=True)
    if loop.failures or not answers:
        raise DemoError(f"the upgrade to {SECOND} was not seamless: see the failed requests above.")
    _salt_run(cluster, "deploy.status")
    print("\n" + TRY_NEXT, end="", flush=True)


def _salt_run(cluster, *arguments):
    """Run a runner function, its output going straight to the terminal."""
    print(f"\n$ {SALT_RUN} {' '.join(arguments)}", flush=True)
    process = subprocess.Popen(cluster.salt("salt-run", *arguments), cwd=cluster.places.repository, env=environment())
    try:
        code = process.wait()
    except KeyboardInterrupt as exc:
        # From Ctrl-C it knows already, and puts back what it had begun.
        if isinstance(exc, Terminated):
            process.send_signal(signal.SIGINT)
        process.wait()
        raise
    if code:
        raise DemoError(
            f"`{' '.join(arguments)}` failed with exit code {code}: its own last lines say why.\n"
            f"The daemons' logs are in {cluster.places.log}."
        )


def _await_unlocked(progress):
    """Wait until no interrupted deployment holds the lock: its session ends by itself."""
    deadline = time.monotonic() + LOCK
    if not _locked():
        return
    with progress.step(f"Waiting for the lock of {APP}, which another deployment holds or left") as step:
        while _locked():
            step.live("locked")
            if time.monotonic() > deadline:
                raise DemoError(f"{APP} is still locked after {LOCK} s. Who holds it: {SALT_RUN} deploy.status")
            time.sleep(1)


def _locked():
    status, body = agents.get(NODES["web1"], 8500, f"/v1/kv/deploy/{ENVIRONMENT}/{APP}/lock?consistent")
    return status == 200 and b'"Session"' in body


def _show_dns():
    server = NODES["web1"]
    name = f"{APP}.service.consul"
    for kind, number in (("A", agents.A), ("SRV", agents.SRV)):
        command = ["dig", "+short", f"@{server}", "-p", str(CONSUL_DNS), name, kind]
        if shutil.which("dig"):
            print(f"\n$ {' '.join(command)}", flush=True)
            found = run(command).splitlines()
        else:
            print(f"\nConsul's DNS at {server}:{CONSUL_DNS} is asked for {name} {kind}:", flush=True)
            found = agents.resolve(name, number, server)
        print("\n".join(found) or "(no answer)", flush=True)
        if not found:
            raise DemoError(f"Consul's DNS has no {kind} record of {name}, though it is deployed.")
