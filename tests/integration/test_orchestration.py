"""Orchestrations, and programs that call the runner, see a success as a success and a failure as a failure."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.site import last_document, salt_environment
from tests.support.target import NAME

pytestmark = pytest.mark.usefixtures("users")

STEPS = """
deployment:
  salt.runner:
    - name: deploy.app
    - arg: [{app}]
    - version: '{version}'

what comes after it:
  salt.runner:
    - name: test.arg
    - require:
      - salt: deployment

where it fails:
  salt.runner:
    - name: test.arg
    - onfail:
      - salt: deployment
"""
# As salt-api does it.
CALL = """
import json, sys, salt.config, salt.runner
client = salt.runner.RunnerClient(salt.config.master_config(sys.argv[1]))
result = client.cmd("deploy.app", [sys.argv[2]], kwarg={"version": sys.argv[3]}, full_return=True, print_event=False)
print(json.dumps([result["success"], result["return"]["retcode"]]))
"""


@pytest.fixture
def orchestrate(target, folder):
    """Run the steps around a deployment; return the exit code and ``{id: result}`` of the steps that ran."""

    def run(version):
        (folder / "tree" / "steps.sls").write_text(STEPS.format(app=NAME, version=version))
        process = target.cli.start("salt-run", "state.orchestrate", "steps", "--out=json", stderr=subprocess.DEVNULL)
        output, _ = process.communicate(timeout=240)
        [states] = last_document(output)["data"].values()
        return process.returncode, {
            state["__id__"]: state["result"] for state in states.values() if state.get("__state_ran__", True)
        }

    yield run
    (folder / "tree" / "steps.sls").unlink()


@pytest.fixture
def call(target):
    """Deploy a release as a program does; return whether it is told as a success, and the exit code."""

    def run(version):
        command = [sys.executable, "-c", CALL, f"{target.cli.config_dir}/master", NAME, version]
        done = subprocess.run(command, capture_output=True, text=True, env=salt_environment(), timeout=240, check=True)
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_a_deployment_that_is_done(orchestrate, call, releases):
    assert orchestrate(releases[1]) == (0, {"deployment": True, "what comes after it": True})
    assert call(releases[1]) == [True, 0]


def test_a_deployment_that_fails_or_is_refused(target, orchestrate, call):
    target.archives.make("broken", exit=1)
    target.define()
    code, steps = orchestrate("broken")
    assert code != 0
    assert steps == {"deployment": False, "where it fails": True}
    assert call("nowhere") == [False, 3]
