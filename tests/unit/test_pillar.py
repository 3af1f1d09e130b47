"""Environment files as pillar: the master's all of them, a node's its own."""

import pytest
from saltdeploy.errors import DefinitionError
from saltdeploy.pillar import all_environments, own_environment

PRODUCTION = "environments: {production: {nodes: {p1: {address: 10.1.0.1}}, apps: {shop: {instances: 4}}}}"
TEST = "environments: {test: {based_on: production, scale: 0.5, nodes: {t1: {address: 10.2.0.1}}}}"


@pytest.fixture
def folder(tmp_path):
    def write(**files):
        for name, text in files.items():
            (tmp_path / f"{name}.sls").write_text(text)
        return tmp_path

    return write


def test_all_plain_files_are_read(folder):
    path = folder(production=PRODUCTION, test=TEST, all="#!py\ndef run(): raise Exception\n")
    (path / "notes.txt").write_text("environments: {notes: {}}")
    assert sorted(all_environments(path)["environments"]) == ["production", "test"]


def test_own_is_the_one_that_lists_the_node_resolved(folder):
    own = own_environment(folder(production=PRODUCTION, test=TEST), "t1")
    test = {"nodes": {"t1": {"address": "10.2.0.1"}}, "apps": {"shop": {"instances": 2}}}
    assert own == {"environments": {"test": test}}
    assert own_environment(folder(), "stranger") == {"environments": {}}


@pytest.mark.parametrize(
    "text, told",
    [
        ("environments: {", "is not YAML"),
        ("- environments", "must hold a mapping `environments`"),
        ("", "must hold a mapping `environments`"),
        ("environments: [test]", "must hold a mapping `environments`"),
        (TEST, "environment test is defined in another file too"),
    ],
)
def test_a_file_that_is_wrong_is_named(folder, text, told):
    with pytest.raises(DefinitionError, match=f"zzz.sls: {told}"):
        all_environments(folder(test=TEST, zzz=text))
