"""Files of environments: each is read once, and a wrong file is left out and named."""

import re

import pytest
from saltdeploy import definition
from saltdeploy.core.errors import Refused
from saltdeploy.environment import environmentfiles
from saltdeploy.environment.pillar import all_environments, own_environment

from tests.unit.environment.examples import DB, NODES, PRODUCTION, SHOP, TEST


def test_all_plain_files_are_read(folder):
    path = folder(production=PRODUCTION, test=TEST, all="#!py\ndef run(): raise Exception\n")
    (path / "notes.txt").write_text("environments: {notes: {}}")
    assert sorted(all_environments(path)["environments"]) == ["production", "test"]


def test_a_file_is_read_again_when_it_has_changed_and_what_was_read_is_nobody_elses(folder):
    path = folder(test=TEST.replace("based_on: production, ", ""))
    all_environments(path)["environments"]["test"]["nodes"].clear()
    assert list(all_environments(path)["environments"]["test"]["nodes"]) == ["t1"]
    folder(test=TEST.replace("t1", "another1"))
    assert list(all_environments(path)["environments"]["test"]["nodes"]) == ["another1"]


@pytest.mark.parametrize(
    "text, told",
    [
        ("environments: {", "is not YAML: line 2"),
        ("- environments", "must hold a mapping `environments`"),
        ("", "must hold a mapping `environments`"),
        ("environments: [test]", "must hold a mapping `environments`"),
        (TEST, "environment test is defined in environments/test.sls too"),
        ("environments:\n  x: {{ grains.id }}\n", "is not YAML: line 2 has Jinja, and a file of environments is plain"),
        ("{% if x %}\nenvironments: {}\n{% endif %}", "is not YAML: line 1 has Jinja"),
        ("#!jinja|yaml\nenvironments: {}", "the first line names 'jinja|yaml'"),
        ("environments: {x: {nodes: *geheim}}", "is not YAML: line 1: found undefined alias"),
        ("environments: {x: {scale: !!int geheim}}", "is not YAML: a value is not as its tag says"),
        ("environments: {x: {scale: !geheim 1}}", "is not YAML: line 1: could not determine a constructor for the tag"),
    ],
)
def test_a_file_that_is_wrong_is_named_and_left_out(folder, text, told):
    found = all_environments(folder(production=PRODUCTION, test=TEST, zzz=text))
    assert found["saltdeploy_broken"]["environments/zzz.sls"].startswith(told)
    assert "geheim" not in str(found)
    assert "production" in found["environments"]
    # Who is asked for is loaded, and who is not there is said to be left out.
    assert definition.load({**found, "apps": {}}, "production").broken.keys() == {"shop"}
    with pytest.raises(
        Refused, match=r"unknown environment 'zzz'.* Left out is environments/zzz.sls: " + re.escape(told)
    ):
        definition.load({**found, "apps": {}}, "zzz")
    own = own_environment(folder(), "p1")
    assert list(own["environments"]) == ["production"] and own["saltdeploy_broken"] == found["saltdeploy_broken"]


def test_each_file_is_read_once_for_all_nodes(folder, monkeypatch):
    path, read = folder(production=PRODUCTION, test=TEST), []
    load = environmentfiles.yamlfile.load
    monkeypatch.setattr(environmentfiles.yamlfile, "load", lambda path: read.append(path.name) or load(path))
    for _ in range(3):
        assert own_environment(path, "t1")["environments"] and own_environment(path, "p1")["environments"]
    assert sorted(read) == ["production.sls", "test.sls"]


@pytest.mark.parametrize("shebang", ["", "#!yaml|gpg\n", "#!yaml | gpg\n"])
def test_ciphertext_is_decrypted_on_the_master(folder, opts, sealed, shebang):
    home, text = sealed
    lines = text.replace("\n", "\n            ")
    placed = f"{shebang}environments:\n  test:\n    {NODES}\n    apps:\n      shop:\n        env:\n          PASSWORD: |\n            {lines}\n      db: {{}}\n"
    path = folder({"shop": SHOP, "db": DB}, test=placed)
    opts["gpg_keydir"] = str(home)
    assert definition.load(all_environments(path, opts, {}), "test").apps["shop"].env == {"PASSWORD": "geheim"}
    assert definition.load_own("t1", own_environment(path, "t1", opts, {})).apps["shop"].env == {"PASSWORD": "geheim"}
    assert "PGP" not in str(own_environment(path, "t2", opts, {}))
    # Without the key it is refused by its key path, and only the app that it is of.
    for without in (
        {**opts, "gpg_keydir": str(home / "none")},
        {**opts, "gpg_decrypt_must_succeed": True, "gpg_keydir": str(home / "none")},
    ):
        environment = definition.load(all_environments(path, without, {}), "test")
        assert list(environment.apps) == ["db"]
        assert environment.broken["shop"].startswith("environments:test:apps:shop:env:PASSWORD: is gpg ciphertext that")
