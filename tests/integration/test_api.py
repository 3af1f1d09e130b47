"""Deployments over salt-api: a CI job with a token may use one environment, and no way leads to another."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.support import apps
from tests.support.api import URL, Api, secret
from tests.support.site import REPOSITORY, SCRIPTS, salt_environment, until
from tests.support.target import NAME, STRATEGY

pytestmark = [pytest.mark.usefixtures("users", "environments"), pytest.mark.one_wave]

TAG = f"deploy/request/site/{NAME}"
REFUSED = "refused, nothing was changed: ci may not use production: environments:production:operators has ann, root."


@pytest.fixture(scope="module")
def api(cli, minions, folder):
    """Return the Api of a user."""
    with (folder / "api.log").open("w") as log:
        process = cli.start("salt-api", stdout=log)
        try:
            until(lambda: Api(folder / "ca.crt", "ci"), 60, "salt-api to answer")
            yield lambda user: Api(folder / "ca.crt", user)
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture
def environments(users, target):
    """Define ``site`` with the operator ci, and ``production`` with the operator ann, whose nodes are nowhere."""
    about = {"apps": {NAME: {"version": "1.0", "instances": 3}}, "strategy": STRATEGY, "operators": ["ci"]}
    site = apps.environment(target.agents, **about)
    nowhere = {"p1": {"address": "127.0.0.98"}, "p2": {"address": "127.0.0.99"}}
    production = {"nodes": nowhere, "apps": {NAME: {"version": "1.0"}}, "operators": ["ann", "root"]}
    target.pillar.write({NAME: target.app()}, {"site": site, "production": production})


def script(folder, *args, **replaced):
    """Run the script of docs/howto/ci.rst; return its exit code and its output."""
    text = (REPOSITORY / "docs/howto/ci/deploy-to-test").read_text()
    here = {"https://salt.example.com:8000": URL, "salt-ca.crt": str(folder / "ca.crt"), "env=test": "env=site"}
    for old, new in {**here, **replaced}.items():
        assert old in text
        text = text.replace(old, new)
    environ = {**os.environ, "SALT_API_SECRET": secret("ci")}
    command = ["sh", "-c", text, "deploy-to-test", *args]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=240, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_script_of_the_how_to_exits_as_the_run_does(api, target, folder):
    run = partial(script, folder, NAME)
    code, output = run("1.1", "build 41")
    assert code == 0 and f"{NAME} 1.1 is published in site" in output
    code, output = run("1.1", "a try", **{"env=site": "env=production"})
    assert (code, output) == (3, f"{REFUSED}\n")
    assert run("nowhere", 'it\'s "quoted" & odd')[0] == 3
    # The answer has texts of several lines.
    target.archives.make("broken", exit=1)
    talking = {"run": "sh -c 'echo this is broken; exec ./bin/serve {address} {port}'"}
    sources = {"apps": {NAME: {"version": "1.0", "instances": 3, "source": target.app()["source"]}}}
    target.define(talking, operators=["ci"], **sources)
    code, output = run("broken", "a try")
    assert code == 1 and "was not deployed in site" in output
    for wrong in ({"username=ci": "username=ann"}, {"fun=deploy.app": "fun=deploy.remove"}):
        code, output = run("1.1", "a try", **wrong)
        assert code == 2 and "401" in output
    assert run("1.1", "a try", **{URL: "https://127.0.0.1:1"})[0] == 2
    assert target.traces().versions == ["1.1"] * 3


def test_a_job_deploys_with_its_token_and_sees_how_it_ended(api, target, releases, event_listener, master):
    ci = api("ci")
    done = ci.run("deploy.app", name=NAME, version=releases[1], env="site", reason="build 42")
    assert (done["retcode"], done["outcome"], done["reason"]) == (0, "done", "build 42")
    assert done["owner"].startswith("ci@") and target.traces().versions == [releases[1]] * 3
    whole = ci.run("deploy.app", name=NAME, version="nowhere", env="site", full_return=True)["data"]
    assert (whole["success"], whole["return"]["retcode"], whole["user"]) == (False, 3, "ci")
    target.archives.make("broken", exit=1)
    sources = {"apps": {NAME: {"version": "1.0", "instances": 3, "source": target.app()["source"]}}}
    target.define(operators=["ci"], **sources)
    assert ci.run("deploy.app", name=NAME, version="broken", env="site")["retcode"] == 1
    # Neither the bus nor the job cache has a credential.
    kept = [str(event.data) for event in list(event_listener.store)]
    kept += [p.read_bytes().decode(errors="replace") for p in Path(master.config["cachedir"], "jobs").rglob("*.p")]
    assert any("build 42" in text for text in kept)
    assert not [text for text in kept if ci.token in text or secret("ci") in text]


def test_no_way_leads_to_another_environment(api, target):
    ci, before = api("ci"), target.traces()
    for low in (
        {"name": NAME, "env": "production"},
        {"arg": [NAME, "1.0", "production"]},
        {"arg": [NAME, "env=production"]},
        {"arg": [f"{NAME},{NAME}"], "kwarg": {"env": "production", "test": True}},
        {"name": NAME, "env": "production", "full_return": False, "user": "ann", "key": "x"},
        {"name": NAME, "env": "production", "username": "ann", "eauth": "file", "password": "x"},
        {"name": NAME, "env": "production", "__user__": "ann", "__pub_user": "ann", "__current_eauth_user": "ann"},
        {"kwarg": {"name": NAME, "env": "production", "__user__": "ann"}},
        {"arg": [NAME, {"__kwarg__": True, "env": "production", "__user__": "ann"}]},
        {"name": NAME, "env": "site", "from_env": "production"},
    ):
        result = ci.run("deploy.app", **low)
        assert (result["retcode"], result["verdict"]) == (3, REFUSED), low
    for env, why in ((None, "which environment?"), ("prod", "unknown environment 'prod'"), (["production"], "unknown")):
        result = ci.run("deploy.app", name=NAME, env=env)
        assert result["retcode"] == 3 and why in result["verdict"]
    # Functions that Salt does not give to ci: `deploy.app` without `$` would be `deploy.approve`, too.
    others = [("runner", "deploy.approve", {}), ("runner", "environment.up", {}), ("runner", "salt.cmd", {})]
    others += [("runner_async", "deploy.all", {}), ("wheel", "key.list_all", {}), ("local", "test.ping", {"tgt": "*"})]
    for client, function, low in others:
        answer = ci.post(function, client=client, **{"arg": [], **low})
        assert answer.status_code == 401, answer.text
    # Salt lets everything through to deploy.app, and the operators decide.
    narrow = api("narrow")
    for function, low in (("deploy.app", {"env": "production"}), ("deploy.approve", {"env": "site"})):
        assert "narrow may not use" in narrow.run(function, name=NAME, **low)["verdict"]
    assert "sudo_ann may not use production" in api("sudo_ann").run("environment.show", name="production")["verdict"]
    assert api("ann").run("environment.show", name="production")["retcode"] == 0
    assert target.cli.run("salt-run", "environment.show", "production")[0] == 0
    assert target.run("status", "env=site", code=3).endswith("environments:site:operators has ci.\n")
    assert target.traces() == before


def test_of_two_requests_at_once_one_is_refused_or_waits(api, target, releases):
    ci = api("ci")
    with ThreadPoolExecutor() as pool:
        first = pool.submit(ci.run, "deploy.app", name=NAME, version="slow", env="site")
        until(lambda: target.traces().locked, 60, "the first to have the lock")
        waits = pool.submit(ci.run, "deploy.app", name=NAME, version=releases[1], env="site", wait="5m")
        refused = ci.run("deploy.app", name=NAME, version=releases[1], env="site")
        assert refused["retcode"] == 3 and "ci@" in refused["verdict"] and not first.done()
        assert (first.result()["retcode"], waits.result()["retcode"]) == (0, 0)
    assert target.traces().versions == [releases[1]] * 3


class Requests:
    """Requests by event on the test's master, and the results of the runs that they start.

    :param listener: the bus's listener.
    """

    def __init__(self, target, folder, minion, listener):
        self.target, self.minion, self.listener = target, minion, listener
        self.key = folder / "request.key"
        self.key.write_text(f"{secret('requests')}\n")
        self.seen = set(self._results())

    def script(self, *args):
        """Run the script of docs/howto/request.rst on a minion."""
        text = (REPOSITORY / "docs/howto/request/request-deployment").read_text()
        call = f"{SCRIPTS / 'salt-call'} -c {self.minion.config_dir}"
        text = text.replace("salt-call", call).replace("/etc/deploy-request.key", str(self.key))
        command = ["sh", "-c", text, "request-deployment", *args]
        subprocess.run(command, env=salt_environment(), capture_output=True, timeout=120, check=True)

    def signed(self, key=None, **about):
        """Return the data of a request."""
        text = json.dumps({"environment": "site", "app": NAME, "time": time.time(), **about})
        key = key or self.key.read_bytes().strip()
        return {"request": text, "signature": hmac.new(key, text.encode(), hashlib.sha256).hexdigest()}

    def on_master(self, data):
        """Fire the event of a request on the master."""
        code, output = self.target.cli.run("salt-run", "event.send", TAG, json.dumps(data))
        assert code == 0, output

    def forged(self, **load):
        """Fire an event as a hostile minion can: it sends any text in place of what the master adds."""
        self.target.call("web3", "event.fire_master", "{}", "x", f"preload={json.dumps(load)}")

    def next(self, seconds=180):
        """Return the user and the result of the next run that ended."""
        until(lambda: self._results().keys() - self.seen, seconds, "the end of a request")
        jid, data = next((jid, data) for jid, data in self._results().items() if jid not in self.seen)
        self.seen.add(jid)
        return data["user"], data["return"]

    def _results(self):
        """Return jid -> the data of the end, of all requests that ended lately, in their order."""
        ends = [e.data for e in list(self.listener.store) if re.fullmatch(r"salt/run/\d+/ret", e.tag)]
        return {data["jid"]: data for data in ends if data.get("fun") == "runner.deploy.request"}


def test_a_signed_request_deploys_and_no_other_event(target, releases, minions, event_listener, folder):
    requests = Requests(target, folder, minions["web3"], event_listener)
    define = partial(target.define, request_key_file=str(requests.key))
    define(operators=["Reactor"])
    requests.script("site", NAME, "slow", "build 'one'")
    until(lambda: target.traces().locked, 60, "the first request to have the lock")
    # The second is refused, and the third waits.
    requests.on_master(requests.signed(version=releases[1]))
    user, refused = requests.next()
    assert (user, refused["retcode"]) == ("Reactor", 3) and "Reactor@" in refused["verdict"]
    requests.script("site", NAME, releases[1], "build two")
    first, second = requests.next()[1], requests.next()[1]
    assert (first["retcode"], second["retcode"]) == (0, 0), (first, second)
    assert (first["reason"], second["reason"]) == ("build 'one'", "build two")
    assert second["owner"].startswith("Reactor@") and target.traces().versions == [releases[1]] * 3

    before, marker = target.traces(), folder / "marker"
    evil = f'"\n  cmd.run: [name: "touch {marker}"]\n{{{{ salt["cmd.run"]("touch {marker}") }}}} $(touch {marker})'
    unsigned = {"request": evil, "signature": evil, "id": "salt_master", "user": "root", evil: evil}
    true = requests.signed(version=releases[0])
    wrong_key = requests.signed(key=b"k" * 64, version=releases[0])
    allowed = "deploy/request/ENVIRONMENT/APP is allowed"
    for load, said in (
        ({"events": [{"tag": TAG, "data": unsigned}]}, "the signature of the request is wrong."),
        ({"events": [{"tag": TAG, "data": wrong_key}]}, "the signature of the request is wrong."),
        ({"tag": TAG, "id": "salt_master", "data": evil}, "the event has no `request`"),
        ({"events": [{"tag": "request/site/shop", "data": unsigned}], "pretag": "deploy"}, "the signature of"),
        ({"events": [{"tag": f"deploy/request/site/{evil}", "data": true}]}, allowed),
        ({"events": [{"tag": "deploy/request/site/other", "data": true}]}, "is for another app or environment than"),
        ({"events": [{"tag": "deploy/request/nowhere/shop", "data": true}]}, "unknown environment 'nowhere'"),
    ):
        requests.forged(**load)
        _, result = requests.next()
        assert result["retcode"] == 3 and said in result["verdict"], (load, result)
    # Whoever has the key has no more rights than the environment gives to the reactor.
    define(operators=["ci"])
    requests.on_master(true)
    assert "Reactor may not use site" in requests.next()[1]["verdict"]
    target.define()
    requests.on_master(true)
    assert "no event may deploy to site" in requests.next()[1]["verdict"]
    assert target.traces() == before and not marker.exists()
