"""The runner ``environment`` over the pillar that this repository shows, by Salt's own loaders."""

from __future__ import annotations

import inspect
import json
import os
import shutil

import pytest
import salt.config
import salt.loader

from tests.support.site import REPOSITORY


@pytest.fixture
def master(tmp_path):
    """The options of a master with a copy of that pillar."""
    shutil.copytree(REPOSITORY / "pillar", tmp_path / "pillar")
    opts = salt.config.master_config(None)
    folders = {"root_dir": ".", "cachedir": "cache", "extension_modules": "extmods", "pki_dir": "pki"}
    opts.update({key: str(tmp_path / folder) for key, folder in folders.items()})
    opts.update(id="salt_master", file_client="local", color=False, pillar_roots={"base": [str(tmp_path / "pillar")]})
    opts.update(runner_dirs=[str(REPOSITORY / "_runners")], outputter_dirs=[str(REPOSITORY / "_output")])
    opts["grains"] = {"id": "salt_master"}
    return opts


@pytest.fixture
def runners(master):
    return salt.loader.runner(master)


@pytest.fixture
def run(master, runners):
    """Call a function of the runner. Return its result, and the text of it."""
    outputters = salt.loader.outputters(master)

    def run(function, *args, code=0, **kwargs):
        result = runners[f"environment.{function}"](*args, **kwargs)
        assert result["retcode"] == code, result
        return result, outputters[result["outputter"]](result)

    return run


def change(master, file, old, new):
    [root] = master["pillar_roots"]["base"]
    path = f"{root}/{file}"
    with open(path) as before:
        text = before.read()
    assert old in text
    with open(path, "w") as after:
        after.write(text.replace(old, new))


def test_environments_are_listed(master, run):
    result, text = run("list")
    assert [e["environment"] for e in result["environments"]] == ["development", "production", "test"]
    assert text.splitlines() == [
        "  environment  based on    scale  nodes  apps     mistakes",
        "  development  production  0.34   1      httpbin",
        "  production                      5      httpbin",
        "  test         production  0.34   5      httpbin",
    ]
    change(master, "environments/test.sls", "version:", "verzion:")
    result, text = run("list")
    assert text.splitlines()[3].endswith("httpbin  1") and "apps:httpbin:verzion: unknown key" in text
    change(master, "environments/test.sls", "nodes:", "nodez:")
    _, text = run("list")
    assert "environments:test:nodes: is missing." in text


def test_an_environment_is_shown_with_the_file_of_each_value(run):
    result, text = run("show", "test")
    found = {value["key"]: (value["value"], value["origin"]) for value in result["values"]}
    assert found["apps:httpbin:version"] == ("0.10.2", "environments/test.sls")
    assert found["apps:httpbin:instances"] == (1, "environments/production.sls (3, scale 0.34)")
    assert found["apps:httpbin:ports"] == ("20000-20099", "apps/httpbin.sls")
    assert found["discovery:consul:token"] == ("***", "computed")
    assert result["chain"] == ["test", "production"] and text.startswith("test, based on production\n")
    _, text = run("show", "tset", code=3)
    assert "unknown environment 'tset' (did you mean `test`?)" in text
    assert "which environment?" in run("show", code=3)[1]


def test_mistakes_are_found_with_file_and_line(master, run):
    result, text = run("validate")
    assert result["findings"] == [] and text.startswith("no mistakes in ")
    change(master, "environments/test.sls", "version:", "verzion:")
    result, text = run("validate", code=1)
    [finding] = result["findings"]
    assert (finding["file"], finding["key"]) == ("environments/test.sls", "environments:test:apps:httpbin:verzion")
    assert text.startswith(f"environments/test.sls:{finding['line']}: ") and "\n1 mistake in " in text
    # Another folder, and one that is none.
    assert run("validate", root=str(REPOSITORY / "pillar"))[0]["findings"] == []
    assert "has no folder environments. Say root=FOLDER" in run("validate", "/nowhere", code=3)[1]


def test_an_inventory_is_json_and_nothing_else(run):
    result, text = run("inventory", "test")
    found = json.loads(text)
    assert found == result["inventory"] and set(found) == {"_meta", *found["all"]["children"], "all"}
    assert found["role_consul_server"] == {"hosts": ["test-web1", "test-web2", "test-web3"]}
    assert found["_meta"]["hostvars"]["test-lb1"]["ansible_host"] == "192.168.57.21"


def test_two_environments_are_compared(master, run):
    result, text = run("diff", "production", "test", machines=False, code=1)
    assert [d["key"] for d in result["differences"]] == ["apps:httpbin:version"]
    assert text.splitlines()[-1] == "production and test differ in 1 thing"
    change(master, "environments/test.sls", "    scale: 0.34", "    scale: 0.34\n    ignore: ['apps:*:version']")
    assert run("diff", "production", "test", machines=False)[1] == "production and test are alike"
    assert "which environments? Say two" in run("diff", "production", code=3)[1]
    assert "production is both environments" in run("diff", "production", "production", code=3)[1]
    assert "unknown environment 'tset'" in run("diff", "production", "tset", code=3)[1]


# The arguments that a function needs before it looks at the environment.
GIVEN = {"version": "0.10.2", "instances": 1, "command": "true", "node": "web1", "confirm": True, "other": "test"}
GIVEN |= {"tag": "deploy/request/production/httpbin"}


def test_only_its_operators_use_an_environment(master, runners, monkeypatch):
    """Whatever the function and the arguments, and whichever way leads there."""
    monkeypatch.setenv("SUDO_USER", "ci")
    change(master, "environments/production.sls", "    nodes:", "    operators: [ann]\n    nodes:")
    refused = "ci may not use production: environments:production:operators has ann."
    names = [name for name in runners if name.partition(".")[0] in ("deploy", "environment")]
    open_to_all = {"environment.list", "environment.validate"}
    assert len(names) > 30 and open_to_all < set(names)
    for name in sorted({*names} - open_to_all):
        known = inspect.signature(runners[name]).parameters
        deploys = name.startswith("deploy.")
        given = {"name": "httpbin", "env": "production"} if deploys else {"name": "production"}
        result = runners[name](**{key: value for key, value in {**GIVEN, **given}.items() if key in known})
        assert (result["retcode"], refused in result["verdict"]) == (3, True), f"{name}: {result}"
    for name, args, kwargs in (
        ("deploy.app", ("httpbin", "0.10.2", "production"), {"test": True}),
        ("deploy.app", ("httpbin,httpbin", None, "production"), {}),
        ("deploy.all", ("production",), {"test": True, "force": True, "reason": "x"}),
        ("deploy.status", (), {"env": "production"}),
        ("deploy.unlock", (), {"env": "production", "force": True}),
        ("deploy.unlock", ("nothing", "production", True), {}),
        ("environment.diff", ("test", "production"), {"machines": False}),
        ("deploy.logs", ("httpbin", "production", "web1"), {"__user__": "ann", "__pub_user": "ann"}),
    ):
        result = runners[name](*args, **kwargs)
        assert (result["retcode"], refused in result["verdict"]) == (3, True), f"{name}{args}: {result}"
    listed = runners["environment.list"]()
    assert [row["environment"] for row in listed["environments"]] == ["development", "test"]
    assert listed["left_out"] == {"production": refused}
    monkeypatch.setenv("SUDO_USER", "ann")
    assert runners["environment.show"]("production")["retcode"] == 0
    # Where it is the only one, it needs no name. A mistake in it is nobody else's business.
    change(master, "environments/production.sls", "    operators: [ann]", "    operators: [ann]\n    nodez: {}")
    assert "nodez" in runners["deploy.plan"]("httpbin", env="production")["verdict"]
    monkeypatch.setenv("SUDO_USER", "ci")
    assert "nodez" not in runners["deploy.plan"]("httpbin", env="production")["verdict"]
    [root] = master["pillar_roots"]["base"]
    for other in ("test", "development"):
        os.unlink(f"{root}/environments/{other}.sls")
    assert refused in runners["deploy.app"]("httpbin")["verdict"]
