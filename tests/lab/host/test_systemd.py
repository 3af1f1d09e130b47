"""On a real host: systemd as the runtime, and the app's own user."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import pytest

from lab import hosts
from tests.lab.host.conftest import NODE, await_minion
from tests.support import apps
from tests.support.site import until
from tooling.agents import ask, get
from tooling.requestloop import RequestLoop

# Where it must run it fails instead, in the fixture.
pytestmark = pytest.mark.skipif(bool(hosts.lacking()) and "CI" not in os.environ, reason=hosts.lacking())

USER = "app-web"
UP = {"ActiveState": "active", "UnitFileState": "enabled"}
CONFIG = """\
[web]
instance = {{ instance }}
listen = {{ address }}:{{ port }}
password = hunter2
"""
RUN = """sh -c 'echo "release {version} on port {port}"; exec ./bin/serve {address} {port}'"""


@pytest.fixture(scope="module")
def web(host, lab, archives, pillar):
    """The app ``web``, twice on the host: fetched from the master, run as its own user by default; and ``worker``."""
    for version in ("1.0", "1.1", "1.2+b~1"):
        archives.make(version)
    archives.make("1.3", exit=7)
    archives.make("1.4", exit=0)
    folder = lab.folder / "files" / "web"
    folder.mkdir()
    (folder / "web.ini.j2").write_text(CONFIG)
    source = {"archive": "salt://artifacts/web-{version}.tar.gz", "sha256": archives.digests}
    app = archives.app(
        source=source,
        run=RUN,
        config={"etc/web.ini": "salt://web/web.ini.j2"},
        env={"SECRET": "hunter2"},
        tests=[{"http": "/selftest"}, {"http": "/selftest", "from": "master"}],
    )
    del app["user"]
    # Its port is nobody's business.
    worker = {"source": source, "run": "./bin/serve 127.0.0.1 0"}
    nodes = {NODE: host.address}
    url = f"http://{host.address}:8500"
    site = SimpleNamespace(nodes=nodes, discovery={"consul": {"agent": url, "servers": [url]}})
    used = {"web": {"version": "1.0", "instances": 2}, "worker": {"version": "1.0"}}

    def define(**changes):
        pillar.write({"web": {**app, **changes}, "worker": worker}, {"site": apps.environment(site, apps=used)})

    define()
    return Web(host, define)


class Web:
    """The app as the host and its users see it."""

    def __init__(self, host, define):
        self.host, self.define = host, define

    def published(self, app="web"):
        """Return ``{instance id: port}`` of what users find."""
        found = ask(self.host.address, f"/v1/health/service/{app}?passing&consistent")
        services = [entry["Service"] for entry in found]
        return {service["ID"]: service.get("Port", 0) for service in services}

    def units(self, app="web"):
        """Return the names of all its units: loaded, written, or wanted at boot."""
        pattern = f"app-{app}_*"
        loaded = self.host.run("systemctl", "list-units", "--all", "--plain", "--no-legend", pattern).splitlines()
        folder = self.host.root / "etc/systemd/system"
        return {line.split()[0] for line in loaded} | {path.name for path in folder.rglob(pattern)}

    def show(self, instance, *properties):
        """Return what systemd says of an instance's unit."""
        text = self.host.run("systemctl", "show", unit(instance), f"--property={','.join(properties)}")
        return dict(line.split("=", 1) for line in text.splitlines())

    def pid(self, instance):
        """Return the process id, in the host, of what serves."""
        return int(self.show(instance, "MainPID")["MainPID"])

    def answer(self, instance):
        """Return what a user is answered."""
        status, body = get(self.host.address, self.published()[instance], "/")
        assert status == 200
        return body.decode()

    def in_its_place(self, instance, *command):
        """Run a command as root where the instance sees the file system."""
        return self.host.attempt("nsenter", f"--target={self.pid(instance)}", "--mount", *command)


def unit(instance):
    return "app-{}.service".format(instance.replace("+", r"\x2b").replace("~", r"\x7e"))


@pytest.fixture
def deploy(web, cli):
    """Deploy a version, which must exit with ``code``; return the output."""

    def run(version, app="web", code=0):
        found, output = cli.deploy("app", app, f"version='{version}'")
        assert found == code, output
        return output

    return run


@pytest.fixture
def salt(web, cli):
    """Run a function on the host, which must end well; return its result."""

    def run(*args):
        code, output = cli.run("salt", "--out=json", "--static", NODE, *args)
        assert code == 0, output
        return json.loads(output)[NODE]

    return run


def test_an_instance_is_a_service_of_the_hosts_systemd(deploy, web, salt):
    assert "runtime" not in salt("config.get", "saltdeploy")
    deploy("1.0")
    assert web.published() == {"web_1.0_21000": 21000, "web_1.0_21001": 21001}
    assert web.units() == {"app-web_1.0_21000.service", "app-web_1.0_21001.service"}
    for instance in web.published():
        assert web.answer(instance) == "release 1.0"
        assert web.show(instance, *UP) == UP
        for when in ("Wants", "After"):
            assert "network-online.target" in web.show(instance, when)[when].split()


def test_it_runs_as_the_apps_own_user_in_a_sandbox(deploy, web, host):
    deploy("1.0")
    instance = next(iter(web.published()))
    process = f"/proc/{web.pid(instance)}"
    assert host.run("stat", "--format=%U", process).strip() == USER
    status = dict(line.split(":\t", 1) for line in host.run("cat", f"{process}/status").splitlines())
    assert len(set(status["Uid"].split())) == 1
    assert status["NoNewPrivs"] == "1"
    assert host.run("getent", "passwd", USER).strip().endswith("/usr/sbin/nologin")

    host.run("touch", "/tmp/the-hosts")
    assert web.in_its_place(instance, "ls", "-A", "/tmp") == (0, "")
    for folder in ("/etc", "/usr"):
        code, output = web.in_its_place(instance, "touch", f"{folder}/mine")
        assert code != 0 and "Read-only file system" in output
    assert web.in_its_place(instance, "ls", "-A", "/root") == (0, "")


def test_its_configuration_is_its_own_and_only_its_user_reads_it(deploy, web, host):
    deploy("1.0")
    for instance, port in web.published().items():
        folder = f"/srv/saltdeploy/web/instances/{instance}"
        for file, mode in (("start", "500"), ("etc/web.ini", "600")):
            assert host.run("stat", "--format=%a %U %G", f"{folder}/{file}").split() == [mode, USER, USER]
        assert host.run("cat", f"{folder}/etc/web.ini").splitlines() == [
            "[web]",
            f"instance = {folder}",
            f"listen = {host.address}:{port}",
            "password = hunter2",
        ]
    # Others read what names the instance only in its unit, and the secret is not in there.
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    for instance in web.published():
        search = ("grep", "--recursive", "--no-messages", "--files-with-matches", "-e", instance, "-e", "hunter2")
        _, found = host.attempt(*nobody, *search, "/srv/saltdeploy", "/etc/systemd/system")
        assert found.split() == [f"/etc/systemd/system/{unit(instance)}"]
    assert "hunter2" not in host.run("ps", "axww", "-o", "args")


def test_the_next_release_comes_beside_it_and_the_old_units_go(deploy, web, host):
    deploy("1.0")
    old = {unit(instance) for instance in web.published()}
    with RequestLoop([host.address], "web", "/") as clients:
        assert clients.wait_for("1.0", 10)
        deploy("1.1")
        assert clients.wait_for("1.1", 10)
    assert clients.failures == []
    new = web.published()
    assert [web.answer(instance) for instance in new] == ["release 1.1"] * 2
    assert web.units() == {unit(instance) for instance in new}
    assert not web.units() & old


def test_what_an_instance_prints_is_in_the_journal(deploy, web, salt):
    deploy("1.1")
    logs = salt("app.logs", "web", "since=1h")
    assert set(logs) == set(web.published())
    for instance, port in web.published().items():
        assert f"release 1.1 on port {port}" in logs[instance].splitlines()


def test_a_stopped_instance_has_no_unit_and_highstate_brings_it_back(deploy, web, salt):
    deploy("1.1")
    salt("state.apply")  # what the other app needs is there then
    before = web.published()
    [instance, other] = sorted(before)
    assert salt("app.stop", "web", f"['{instance}']") == {"instances": [instance], "warnings": []}
    assert web.units() == {unit(other)}
    assert set(web.published()) == {other}
    states = salt("state.apply")
    assert all(state["result"] for state in states.values())
    assert [state["changes"] for state in states.values() if state["changes"]] == [{"restored": [instance]}]
    assert web.published() == before
    assert web.units() == {unit(instance), unit(other)}


def test_a_version_may_hold_what_a_unit_name_may_not(deploy, web, salt):
    deploy("1.2+b~1")
    [instance, _] = sorted(web.published())
    assert instance.startswith("web_1.2+b~1_")
    assert web.answer(instance) == "release 1.2+b~1"
    assert web.show(instance, *UP) == UP
    assert "release 1.2+b~1 on port" in salt("app.logs", "web", f"['{instance}']")[instance]
    deploy("1.0")
    assert {name for name in web.units() if "1.2" in name} == set()


def test_an_app_that_will_not_start_says_why_and_leaves_nothing(deploy, web):
    deploy("1.0")
    before, units = web.published(), web.units()
    output = deploy("1.3", code=1)
    assert "does not stay up" in output
    # What it printed, which is in the journal only.
    assert "cannot start: the database is missing" in output
    assert web.published() == before
    assert web.units() == units


@pytest.mark.parametrize("version", ["1.3", "1.4"])
def test_without_a_port_it_is_ready_when_it_stays_up(deploy, web, version):
    deploy("1.0", app="worker")
    assert web.published("worker") == {"worker_1.0_0": 0}
    output = deploy(version, app="worker", code=1)
    assert "does not stay up" in output and "cannot start: the database is missing" in output
    assert web.published("worker") == {"worker_1.0_0": 0}
    assert web.units("worker") == {"app-worker_1.0_0.service"}


def test_a_killed_instance_comes_back_by_itself(deploy, web, host, salt):
    deploy("1.0")
    [instance, other] = sorted(web.published())
    port = web.published()[instance]
    for _ in range(6):
        pid = web.pid(instance)
        host.run("kill", "-KILL", pid)
        until(lambda pid=pid: web.pid(instance) not in (0, pid), 20, "systemd to start it again")
        until(lambda: get(host.address, port, "/") == (200, b"release 1.0"), 20, "it to answer again")
    until(lambda: instance in web.published(), 20, "Consul to find it healthy again")
    assert web.show(instance, "NRestarts") == {"NRestarts": "6"}
    assert web.show(other, "NRestarts") == {"NRestarts": "0"}
    # That it was killed is no reason to doubt a restart.
    assert salt("app.restart", "web", f"['{instance}']") == {"instances": [instance], "warnings": []}
    assert web.answer(instance) == "release 1.0"


def test_a_limit_alone_is_rolled_out_and_a_reload_reaches_the_process(deploy, web, host, cli):
    deploy("1.0")
    before, limits = web.published(), ("MemoryMax", "CPUQuotaPerSecUSec")
    web.define(resources={"memory": "256M", "cpu": "50%"}, reload={"signal": "HUP"})
    with RequestLoop([host.address], "web", "/") as clients:
        assert clients.wait_for("1.0", 10)
        assert "resources: cpu, memory" in deploy("1.0")
        after = web.published()
        assert len(after) == 2 and not set(after) & set(before)
        for instance in after:
            assert web.show(instance, *limits) == {"MemoryMax": str(256 << 20), "CPUQuotaPerSecUSec": "500ms"}
        code, output = cli.deploy("reload", "web")
        assert code == 0 and "web 1.0 (settings 1) was reloaded in site: 2 instances" in output, output
        assert [get(host.address, port, "/reloads") for port in after.values()] == [(200, b"1")] * 2
        assert web.published() == after
        web.define()
        deploy("1.0")
    assert clients.failures == []
    assert [web.show(i, *limits)["MemoryMax"] for i in web.published()] == ["infinity"] * 2


def test_a_watcher_runs_scripts_as_the_apps_user_and_restarts_what_hangs(deploy, web, host, cli):
    script = {"script": "sh -c 'id -un; ! touch {release}/x'", "interval": "1s"}
    health = {"http": "/health", "interval": "1s", "timeout": "1s"}
    web.define(checks=[health, script], check_restart={"after": 2, "grace": "1s"}, stop={"timeout": "1s"})
    assert "(watcher; stop: timeout)" in deploy("1.0")
    [instance, other] = sorted(web.published())
    outputs = [c["Output"] for c in ask(host.address, "/v1/agent/checks").values() if c["Name"] == "script sh"]
    assert len(outputs) == 2 and all(USER in output for output in outputs), outputs
    # It does not answer, and takes no signal but SIGKILL.
    pid = web.pid(instance)
    host.run("kill", "-STOP", pid)
    until(lambda: instance not in web.published(), 20, "Consul to find that it hangs")
    until(lambda: web.pid(instance) not in (0, pid), 20, "its node to restart it")
    until(lambda: set(web.published()) == {instance, other}, 20, "Consul to find it healthy again")
    assert [web.show(i, "NRestarts")["NRestarts"] for i in (instance, other)] == ["1", "0"]
    _, output = cli.deploy("status", "web")
    assert output.count("restarted 1 time in the last hour (http /health: ") == 1, output
    web.define()
    deploy("1.0")


def test_a_rebooted_host_serves_again_by_itself(deploy, web, host, cli, salt):
    deploy("1.0")
    before = web.published()
    began = host.run("stat", "--format=%Y", "/proc/1")
    host.reboot()
    assert host.run("stat", "--format=%Y", "/proc/1") != began
    until(lambda: web.published() == before, 60, "Consul to find both healthy again")
    assert [web.answer(instance) for instance in before] == ["release 1.0"] * 2
    assert [web.show(instance, "NRestarts")["NRestarts"] for instance in before] == ["0"] * 2
    await_minion(cli)
    states = salt("state.apply")
    assert {(state["result"], str(state["changes"])) for state in states.values()} == {(True, "{}")}
    assert "already published, nothing was done" in deploy("1.0")
