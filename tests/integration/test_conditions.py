"""Approvals and windows of an environment, on the real path of a deployment."""

from __future__ import annotations

import datetime

import pytest

from tests.support.site import last_document, salt_environment
from tests.support.target import NAME

pytestmark = [pytest.mark.usefixtures("users"), pytest.mark.one_wave]
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def approve(target, person, version, code):
    process = target.cli.start(
        "salt-run",
        "deploy.approve",
        NAME,
        f"version='{version}'",
        "--out=json",
        env={**salt_environment(), "SUDO_USER": person},
    )
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output
    return last_document(output)


def newest(target):
    return target.cli.result("history", NAME)["history"][0]


def test_a_release_needs_the_approval_of_somebody_else(target, releases):
    target.define(approvals={"by": ["ann", "root"]})
    output = target.deploy(releases[1], code=3)
    assert f"{NAME} {releases[1]} is not approved in site: 1 more of ann must run" in output
    assert (
        "may not approve in site: approvals:by has ann, root" in approve(target, "mallory", releases[1], 3)["verdict"]
    )
    approve(target, "root", releases[1], 0)
    target.deploy(releases[1], code=3)
    approve(target, "ann", releases[0], 0)
    target.deploy(releases[1], code=3)
    found = approve(target, "ann", releases[1], 0)
    assert found["approved_by"] == ["ann", "root"]
    target.deploy(releases[1])
    assert newest(target)["approved_by"] == ["ann"]
    # There is nothing to do, so nobody has to approve it.
    target.define(approvals={"by": ["ann", "bob"], "count": 2})
    target.deploy(releases[1])


@pytest.mark.thorough
def test_outside_of_the_windows_only_going_back_and_force_go(target, releases):
    tomorrow = DAYS[(datetime.datetime.now(datetime.timezone.utc).weekday() + 2) % 7]
    target.deploy(releases[1])
    target.define(windows=[{"days": [tomorrow], "from": "09:00", "to": "10:00"}])
    said = f"site is closed now. It is open {tomorrow} 09:00-10:00 UTC. Wait, or say force=True with reason="
    assert said in target.deploy(releases[0], code=3)
    assert said in target.run("restart", "confirm=True", code=3)
    assert "force=True: say the reason" in target.deploy(releases[0], "force=True", code=3)
    assert f"warning: {said}" in target.deploy(releases[0], "test=True")
    target.run("rollback")
    target.deploy(releases[1], "force=True", "reason=urgent")
    entry = newest(target)
    assert entry["reason"] == "urgent" and entry["forced"].startswith("site is closed now")
