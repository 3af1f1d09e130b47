"""A step of a deployment that comes to a node after its way back is refused there, and changes nothing."""

from __future__ import annotations

import contextlib
import json

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from saltdeploy.core.model import Instance
from saltdeploy.node.host import Host
from saltdeploy.node.turns import NOBODY

from tests.support.hostile import is_fit_to_be_shown

WEB = "web_1.0_80"
# What a step ends with here, if not in a refusal: there is neither a Consul nor a supervisor.
NOWHERE = CommandExecutionError, SaltInvocationError
FORWARD = {
    "install": lambda modules, by: modules["app.install"]("web", "1.0", deployment=by),
    "hook": lambda modules, by: modules["deploy.hook"]("web", "before_start", "1.0", [], deployment=by),
    "reload": lambda modules, by: modules["app.reload"]("web", {"web1": [WEB]}, deployment=by),
    "restart": lambda modules, by: modules["app.restart"]("web", {"web1": [WEB]}, deployment=by),
    "prune": lambda modules, by: modules["deploy.prune"]("web", {"web1": ["1.0"]}, deployment=by),
    "start": lambda modules, by: modules["app.start"]("web", "1.0", deployment=by),
    "publish": lambda modules, by: modules["discovery.publish"]("web", {"web1": [WEB]}, deployment=by),
    "weigh": lambda modules, by: modules["discovery.weigh"]("web", {"web1": {WEB: 5}}, deployment=by),
    "withdraw": lambda modules, by: modules["discovery.withdraw"]("web", {"web1": [WEB]}, deployment=by),
    "retire": lambda modules, by: modules["app.stop"]("web", {"web1": [WEB]}, deployment=by),
}
BACK = {
    "stop": lambda modules, by: modules["app.stop"]("web", deployment=by),
    "stop after": lambda modules, by: modules["app.stop"]("web", [], after=by),
    "restore": lambda modules, by: modules["app.restore"]("web", {"web1": [WEB]}, after=by),
    "publish": lambda modules, by: modules["discovery.publish"]("web", {"web1": [WEB]}, after=by),
    "withdraw": lambda modules, by: modules["discovery.withdraw"]("web", {"web1": [WEB]}, after=by),
    "weigh": lambda modules, by: modules["discovery.weigh"]("web", {"web1": {WEB: 5}}, after=by),
}


@pytest.fixture
def host(opts, monkeypatch):
    """A node with a release and an instance of it, which no supervisor and no Consul can be asked about."""
    monkeypatch.setattr("saltdeploy.discovery.consul.time.sleep", lambda seconds: None)
    host = Host("web1", opts["saltdeploy"]["root"])
    files = host.releases.path("web", "1.0").parent / ".1.0@x" / "files"
    files.mkdir(parents=True)
    (files.parent / "release.json").write_text(json.dumps({"origin": {}}))
    host.releases.path("web", "1.0").symlink_to(files)
    host.instances.folder(WEB).mkdir(parents=True)
    host.instances.save(Instance(WEB, "web1", "web", "1.0", 80, "127.0.0.1", deployment="before", tested=True))
    return host


def tree(host):
    """Return all that is there, but for the locks."""
    files = [p for p in host.root.rglob("*") if p.is_file() and p.name not in (".lock", ".starting")]
    return {p: p.read_text() for p in files}


def ended(do, modules, by):
    """Do a step; return whether it was refused since ``by`` has ended."""
    try:
        do(modules, by)
    except NOWHERE as exc:
        assert is_fit_to_be_shown(str(exc))
        return f"Refused on web1: deployment {by} of web has ended there." in str(exc)
    return False


@pytest.mark.parametrize("back", BACK)
def test_after_any_way_back_any_step_of_that_deployment_is_refused(modules, host, back):
    with contextlib.suppress(*NOWHERE):
        BACK[back](modules, "d1")
    before = tree(host)
    assert [step for step, do in FORWARD.items() if not ended(do, modules, "d1")] == []
    assert tree(host) == before
    assert [step for step, do in FORWARD.items() if ended(do, modules, "d2")] == []


def test_once_a_later_run_has_begun_any_step_of_an_earlier_one_is_refused(modules, host):
    """…whatever became of that: it may have been killed while a job of it was on its way."""
    for run in ("d1", "d2"):
        with contextlib.suppress(*NOWHERE):
            modules["app.observe"]("web", deployment=run)
    before = tree(host)
    assert [step for step, do in FORWARD.items() if not ended(do, modules, "d1")] == []
    assert tree(host) == before
    assert ended(lambda modules, by: modules["app.observe"]("web", deployment=by), modules, "d1")
    assert [step for step, do in FORWARD.items() if ended(do, modules, "d2")] == []


@pytest.mark.parametrize("nobody", NOBODY)
def test_what_is_nobody_s_never_ends(modules, host, nobody):
    for back in BACK.values():
        with contextlib.suppress(*NOWHERE):
            back(modules, nobody)
    assert [step for step, do in FORWARD.items() if ended(do, modules, nobody)] == []


def test_a_way_back_may_be_tried_again(modules, host):
    assert [step for step, do in [*BACK.items(), *BACK.items()] if ended(do, modules, "d1")] == []
