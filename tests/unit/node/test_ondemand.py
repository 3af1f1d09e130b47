"""Commands in the place of an instance, and the logs of instances."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy.core.errors import Refused
from saltdeploy.node import ondemand

from tests.support.onenode import make_node, may_pass, start

ONE = "web_1.0_0"


@pytest.fixture
def node(tmp_path, monkeypatch):
    made = make_node(tmp_path, monkeypatch)
    may_pass(made)
    app = made.environment.apps["web"]
    made.environment.apps["web"] = replace(app, env={"COLOR": "blue"})
    start(made)
    made.environment.apps["web"] = replace(app, env={"COLOR": "of now"})
    return made


def run(node, command, **options):
    return ondemand.execute(node, "web", command, ONE, 10.0, **options)


def test_a_command_runs_in_the_release_with_the_environment_that_the_instance_was_started_with(node):
    found = run(node, "sh -c 'pwd; echo $COLOR; exit 3'")
    assert found == {"instance": ONE, "code": 3, "output": f"{node.host.releases.path('web', '1.0').resolve()}\nblue\n"}


def test_placeholders_are_filled_in_on_demand(node):
    assert run(node, "echo {version}")["output"] == "{version}\n"
    assert run(node, "echo {version}", fill=True)["output"] == "1.0\n"


def test_a_command_that_hangs_or_does_not_exist_has_no_code(node):
    found = ondemand.execute(node, "web", "sleep 60", ONE, 0.1)
    assert found["code"] is None and "hangs: killed after 0.1s" in found["output"]
    assert run(node, "./nothing")["code"] is None


def test_only_the_end_of_a_long_output_is_returned(node):
    output = run(node, f"head -c {ondemand.OUTPUT + 5} /dev/zero")["output"]
    assert output == "… (the first 5 characters are cut)\n" + "\0" * ondemand.OUTPUT


def test_an_instance_that_does_not_run_takes_no_command(node):
    node.runtime.up.clear()
    with pytest.raises(Refused, match=f"{ONE} on a does not run: see app.logs"):
        run(node, "true")


def test_logs_are_of_the_instances_that_are_here(node):
    node.runtime.logs = lambda unit, lines, since, most: f"{unit.id} {lines} {since} {most}"
    assert ondemand.logs(node, "web", lines=7, since=1.0) == {ONE: f"{ONE} 7 1.0 100000"}
    assert ondemand.logs(node, "web", [ONE, "web_1.0_9"], strict=False).keys() == {ONE}
    with pytest.raises(Refused, match="no such instance on a: web_1.0_9"):
        ondemand.logs(node, "web", [ONE, "web_1.0_9"])
