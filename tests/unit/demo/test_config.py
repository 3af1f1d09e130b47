"""What the demo writes for Consul, supervisord and Salt; where; and its virtualenv."""

import configparser
import io
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from saltdeploy import definition
from saltdeploy.definition import cautions

from demo import cluster, definitions, tour
from demo.places import Places
from tooling import ToolError, config, skydns, venv
from tooling.progress import Progress

REPOSITORY = Path(__file__).resolve().parents[3]
SERVERS = ["127.0.0.11", "127.0.0.12", "127.0.0.13"]


def test_consul_server_listens_on_its_own_address_and_joins_the_others(tmp_path):
    found = config.consul_config("web2", SERVERS[1], SERVERS, tmp_path)
    assert (found["bind_addr"], found["client_addr"]) == (SERVERS[1], SERVERS[1])
    assert found["retry_join"] == [SERVERS[0], SERVERS[2]]
    assert found["bootstrap_expect"] == 3
    assert found["leave_on_terminate"] is False
    assert found["data_dir"] == str(tmp_path)
    json.dumps(found)


def test_single_server_elects_itself(tmp_path):
    found = config.consul_config("one", "127.0.0.1", ["127.0.0.1"], tmp_path)
    assert (found["bootstrap_expect"], found["retry_join"]) == (1, [])


def test_supervisord_reads_its_folder_whatever_is_in_the_path():
    text = config.supervisord_config("/home/a b/100%/web1", "/tmp/100%.sock", "root")
    parsed = configparser.RawConfigParser()
    parsed.read_string(text)
    assert parsed["unix_http_server"]["file"] == "/tmp/100%%.sock"
    assert parsed["supervisord"]["pidfile"] == "/home/a b/100%%/web1/supervisord.pid"
    assert parsed["supervisord"]["user"] == "root"
    # Relative to the file, as an include is split at spaces.
    assert parsed["include"]["files"] == "programs/*.conf"
    assert "user=" not in config.supervisord_config("/x", "/y")


def test_master_accepts_no_key_by_itself_and_is_on_loopback_only():
    found = config.master_config("/d/master", ["/files", "/repo/salt"], "/d/pillar", "me", (1, 2))
    assert not {"auto_accept", "open_mode", "autosign_file"} & set(found) and found["interface"] == "127.0.0.1"
    assert found["file_roots"] == {"base": ["/files", "/repo/salt"]}
    assert found["pillar_roots"] == {"base": ["/d/pillar"]}


def test_master_has_accepted_the_keys_of_its_minions_and_no_others(tmp_path, monkeypatch):
    made = cluster.Cluster(tmp_path, Progress(io.StringIO()))

    def gen_keys(command, timeout):
        folder = command[-1].partition("=")[2]
        Path(folder, "minion.pub").write_text(f"the key in {folder}")

    monkeypatch.setattr(cluster, "run", gen_keys)
    made._hand_out_keys()
    accepted = {path.name: path.read_text() for path in (tmp_path / ".demo/master/pki/minions").iterdir()}
    assert accepted == {n: f"the key in {tmp_path}/.demo/nodes/{n}/salt/pki" for n in cluster.NODES}


def test_the_demos_pillar_is_its_users_and_its_programs_are_the_codes(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    shutil.copytree(REPOSITORY / "demo/pillar", source, symlinks=False)
    definitions.copy(source, target)
    copied = {path.relative_to(target) for path in target.rglob("*.sls")}
    assert copied == {path.relative_to(source) for path in source.rglob("*.sls")}
    assert not any(path.is_symlink() for path in target.rglob("*"))
    (target / "environments/demo.sls").write_text("edited")
    (target / "apps/mine.sls").write_text("mine")
    (target / "environments/all.sls").write_text("old")
    (source / "apps/new.sls").write_text("new")
    definitions.copy(source, target)
    assert (target / "environments/demo.sls").read_text() == "edited"
    assert (target / "apps/mine.sls").read_text() == "mine" and (target / "apps/new.sls").read_text() == "new"
    assert (target / "environments/all.sls").read_text() == (source / "environments/all.sls").read_text()


def test_the_tour_ends_with_what_the_definition_says_and_nothing_is_installed_on_the_machine():
    read = ("pillar/apps/httpbin.sls", "demo/pillar/environments/demo.sls")
    apps, environments = (yaml.safe_load((REPOSITORY / path).read_text()) for path in read)
    app = definition.load({**apps, **environments}).apps[tour.APP]
    assert (app.version, app.user) == (tour.SECOND, "root")
    assert list(app.packages) == [] and apps["apps"]["httpbin"]["packages"] == ["python3-venv"]


def test_the_demo_and_its_tutorial_deploy_without_a_warning():
    apps = ("pillar/apps/httpbin.sls", "docs/tutorial/hello.sls")
    pillar = yaml.safe_load((REPOSITORY / "demo/pillar/environments/demo.sls").read_text())
    pillar["environments"]["demo"]["apps"]["hello"] = {"version": "1.0.0", "instances": 3, "user": "root"}
    pillar["apps"] = {n: a for path in apps for n, a in yaml.safe_load((REPOSITORY / path).read_text())["apps"].items()}
    found = definition.load(pillar)
    assert {name: cautions.of(app) for name, app in found.apps.items()} == {"hello": [], "httpbin": []}


@pytest.mark.parametrize(
    "found",
    [
        config.master_config("/d/root", ["/repo/salt"], "/pillar", "me", (1, 2)),
        config.minion_config("web1", "/d/root", "me", (1, 2), {"runtime": "supervisord"}),
    ],
    ids=["master", "minion"],
)
def test_all_that_salt_keeps_is_below_its_root(found):
    kept = [v for k, v in found.items() if k.endswith(("_dir", "dir", "file")) or k == "extension_modules"]
    assert len(kept) >= 7
    assert all(path.startswith("/d/root") for path in kept)


def test_minion_goes_to_the_masters_ports():
    found = config.minion_config("web1", "/d", "me", (1, 2), {"root": "/r"})
    master = config.master_config("/d", ["/repo/salt"], "/pillar", "me", (1, 2))
    assert (found["publish_port"], found["master_port"]) == (master["publish_port"], master["ret_port"])
    assert found["saltdeploy"] == {"root": "/r"}


def test_short_path_is_the_state_folder_itself(tmp_path, monkeypatch):
    places = Places(tmp_path)
    monkeypatch.setattr("demo.places.BELOW", 0)
    assert places.short() == places.state
    places.remove_short()


def test_long_path_gets_a_short_link_that_is_kept_renewed_and_removed(tmp_path):
    repository = tmp_path / ("long" * 25)
    (repository / ".demo").mkdir(parents=True)
    places = Places(repository)
    short = places.short()
    assert short.resolve() == places.state
    assert Places(repository).short() == short
    with socket.socket(socket.AF_UNIX) as sock:
        (places.state / "nodes/web1/salt/run").mkdir(parents=True)
        sock.bind(f"{short}/nodes/web1/salt/run/minion_event_0123456789_pull.ipc")
    # As a reboot does that empties the temporary folder.
    short.unlink()
    os.rmdir(short.parent)
    renewed = places.short()
    assert renewed.resolve() == places.state
    places.remove_short()
    assert not renewed.parent.exists()
    places.remove_short()


def test_nodes_do_not_survive_a_move_of_the_repository(tmp_path):
    (tmp_path / "one/.demo/nodes/web1").mkdir(parents=True)
    (tmp_path / "one/.demo/bin").mkdir()
    old = Places(tmp_path / "one")
    old.settle("consul")
    assert old.moved_from() is None
    assert old.node("web1").exists()
    (tmp_path / "one").rename(tmp_path / "two")
    new = Places(tmp_path / "two")
    assert new.moved_from() == old.state
    new.settle("consul")
    assert new.moved_from() is None
    assert not new.node("web1").exists()
    assert new.bin.exists()


def test_nodes_do_not_survive_a_change_of_their_discovery(tmp_path):
    places = Places(tmp_path)
    assert places.discovery() is None
    places.settle("consul")
    assert places.discovery() == "consul"
    for kept, discovery in ((True, "consul"), (False, "skydns")):
        places.node("web1").mkdir(parents=True)
        places.settle(discovery)
        assert (places.node("web1").exists(), places.discovery()) == (kept, discovery)
        shutil.rmtree(places.state / "nodes", ignore_errors=True)


def test_nodes_of_an_older_demo_have_consul(tmp_path):
    Places(tmp_path).node("web1").mkdir(parents=True)
    assert Places(tmp_path).discovery() == "consul"


def test_only_the_discovery_of_the_users_definition_is_exchanged(tmp_path):
    path = tmp_path / "demo.sls"
    ours = {kind: REPOSITORY / "demo" / found.definition for kind, found in cluster.DISCOVERIES.items()}
    edited = (
        ours["consul"].read_text().replace("threads=2", "threads=4").replace("datacenter: demo", "datacenter: mine")
    )
    path.write_text(edited)
    assert not definitions.set_discovery(path, ours["consul"]) and path.read_text() == edited
    assert definitions.set_discovery(path, ours["skydns"])
    found = definition.load(yaml.safe_load(path.read_text()))
    assert found.discovery["skydns"]["etcd"] == skydns.members(SERVERS) and "consul" not in found.discovery
    assert found.domain == cluster.DISCOVERIES["skydns"].domain
    assert definitions.set_discovery(path, ours["consul"])
    assert path.read_text() == ours["consul"].read_text().replace("threads=2", "threads=4")
    path.write_text("environments: {demo: {}}")
    with pytest.raises(ToolError, match="has no `discovery:` as .* Put it back, or remove the file"):
        definitions.set_discovery(path, ours["skydns"])


def test_it_is_said_at_once_which_program_of_skydns_is_missing(tmp_path, monkeypatch):
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.delenv("COREDNS", raising=False)
    require = cluster.Cluster(tmp_path, Progress(io.StringIO()), "skydns").discovery.require
    with pytest.raises(ToolError, match="no etcd on PATH. On Debian and Ubuntu: apt-get install etcd-server"):
        require()
    _program(path / "etcd", "")
    with pytest.raises(ToolError, match="no CoreDNS on PATH, and no Go to build it. On Debian 13: apt-get install gol"):
        require()
    _program(path / "go", "echo go1.19.8")
    with pytest.raises(ToolError, match="go is go1.19.8, too old to build it"):
        require()
    _program(path / "go", "echo go1.24.1")
    require()


def _program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_virtualenv_is_ready_only_once_it_is_whole(tmp_path):
    folder = tmp_path / "venv"
    assert not venv.ready(folder)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python").symlink_to("/bin/true")
    assert not venv.ready(folder)
    (folder / "stamp").write_text("of other requirements")
    assert not venv.ready(folder)
    (folder / "stamp").write_text(venv.stamp(folder))
    assert venv.ready(folder)
    (folder / "bin/python").unlink()
    (folder / "bin/python").symlink_to("/no/such/python")
    assert not venv.ready(folder)


def test_python_without_venv_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(venv.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(venv.ToolError, match="apt install python3-venv"):
        venv.make(tmp_path / "venv", print)


def test_stand_in_is_what_salt_asks_for_and_nothing_more(tmp_path):
    venv.write_stand_in(tmp_path / "wheels")
    target = tmp_path / "target"
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--find-links", tmp_path / "wheels"]
    subprocess.run([*pip, "--target", target, "timelib>=0.3.0"], check=True, capture_output=True)
    assert [p.name for p in target.iterdir()] == [f"{venv.STAND_IN}.dist-info"]


def test_progress_in_a_log_has_whole_lines_and_the_time(monkeypatch):
    out = io.StringIO()
    progress = Progress(out)
    with progress.step("Work") as step:
        step.live("not shown yet")
        monkeypatch.setattr("tooling.progress.QUIET", 0)
        step.live("shown\tnow")
        step.say("stays")
    first, shown, stays, last = out.getvalue().splitlines()
    assert (first, stays) == ("==> Work", "    stays")
    assert shown.endswith("s  shown now")
    assert last.startswith("    done in 0.")
