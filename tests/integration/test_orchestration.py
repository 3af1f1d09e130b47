"""Orchestrations, and programs that call the runner, see a success as a success and a failure as a failure."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.site import last_document, salt_environment
from tests.support.target import NAME

pytestmark = [pytest.mark.usefixtures("users"), pytest.mark.one_wave]

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
# A step of the user's own, which is good or bad.
OWN = """
my {step} step:
  salt.runner:
    - name: {function}
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
    """Run an orchestration, by default the STEPS; return the exit code and ``{id: result}`` of the steps that ran."""

    def run(version, name="steps", **pillar):
        (folder / "tree" / "steps.sls").write_text(STEPS.format(app=NAME, version=version))
        for step, function in (("good", "deploy.status"), ("after", "deploy.status"), ("bad", "deploy.promote")):
            (folder / "tree" / f"{step}.sls").write_text(OWN.format(step=step, function=function))
        words = (name, f"pillar={json.dumps({'app': NAME, 'version': version, **pillar})}", "--out=json")
        process = target.cli.start("salt-run", "state.orchestrate", *words, stderr=subprocess.DEVNULL)
        output, _ = process.communicate(timeout=240)
        [states] = last_document(output)["data"].values()
        return process.returncode, {
            state["__id__"]: state["result"] for state in states.values() if state.get("__state_ran__", True)
        }

    yield run
    for name in ("steps", "good", "after", "bad"):
        (folder / "tree" / f"{name}.sls").unlink(missing_ok=True)


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


def test_a_deployment_with_steps_of_the_user_s_own_around_it(target, orchestrate, releases):
    around = {"before": ["good"], "after": ["after"]}
    deploys = f"saltdeploy deploys {NAME}"
    target.define()
    assert orchestrate(releases[1], "saltdeploy.orch.deploy", environment="site", **around) == (
        0,
        {"my good step": True, deploys: True, "my after step": True},
    )
    # Alone, and with nothing to do.
    assert orchestrate(releases[1], "saltdeploy.orch.deploy") == (0, {deploys: True})
    # A deployment that fails, and a first step that does: neither what comes after it, nor the deployment.
    target.archives.make("broken", exit=1)
    target.define()
    code, steps = orchestrate("broken", "saltdeploy.orch.deploy", after=["after"], failed=["good"])
    assert code != 0 and steps == {deploys: False, "my good step": True}
    code, steps = orchestrate(releases[0], "saltdeploy.orch.deploy", before=["bad"], after=["after"])
    assert code != 0 and steps == {"my bad step": False}
    code, output = target.cli.run("salt-run", "state.orchestrate", "saltdeploy.orch.deploy")
    assert code != 0 and "say the app: pillar=" in output


def test_no_machine_is_rebooted_that_clients_or_the_master_need(target):
    """Reboots are in tests/lab. All minions are on the master's machine here."""
    code, output = target.cli.run(
        "salt-run", "state.orchestrate", "saltdeploy.orch.reboot", "pillar={environment: sit}"
    )
    assert code != 0 and "unknown environment" in output
    code, output = target.cli.run("salt-run", "environment.reboot", "site", "nodes=web1")
    assert code == 3 and "web1: in use. Run salt-run deploy.evacuate web1 env=site first." in output
    code, output = target.cli.run("salt-run", "environment.zones", "site", "--out=json")
    found = last_document(output)
    assert code == 0 and found["zones"] == [] and len(found["warnings"]) == 3
    assert all("is left out: it runs the Salt master" in warning for warning in found["warnings"])
    code, output = target.cli.run(
        "salt-run", "state.orchestrate", "saltdeploy.orch.reboot", "pillar={environment: site}"
    )
    assert code != 0 and "no machine may be rebooted: web1 is left out: it runs the Salt master" in output
