"""The runner ``environment`` over the pillar that this repository shows, by Salt's own loaders."""

from __future__ import annotations

import json
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
def run(master):
    """Call a function of the runner. Return its result, and the text of it."""
    runners, outputters = salt.loader.runner(master), salt.loader.outputters(master)

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
    assert [e["environment"] for e in result["environments"]] == ["production", "test"]
    assert text.splitlines() == [
        "  environment  based on    scale  nodes  apps     mistakes",
        "  production                      5      httpbin",
        "  test         production  0.34   5      httpbin",
    ]
    change(master, "environments/test.sls", "version:", "verzion:")
    result, text = run("list")
    assert text.splitlines()[2:][0].endswith("httpbin  1") and "apps:httpbin:verzion: unknown key" in text
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
    assert found["_meta"]["hostvars"]["test-lb1"]["ansible_host"] == "10.0.1.21"


def test_two_environments_are_compared(master, run):
    result, text = run("diff", "production", "test", machines=False, code=1)
    assert [d["key"] for d in result["differences"]] == ["apps:httpbin:version"]
    assert text.splitlines()[-1] == "production and test differ in 1 thing"
    change(master, "environments/test.sls", "    scale: 0.34", "    scale: 0.34\n    ignore: ['apps:*:version']")
    assert run("diff", "production", "test", machines=False)[1] == "production and test are alike"
    assert "which environments? Say two" in run("diff", "production", code=3)[1]
    assert "production is both environments" in run("diff", "production", "production", code=3)[1]
    assert "unknown environment 'tset'" in run("diff", "production", "tset", code=3)[1]
