"""Pillar of the master and of the nodes. A mistake in a file stops nothing else."""

import errno

import pytest
from saltdeploy import definition
from saltdeploy.core.errors import DefinitionError, Refused
from saltdeploy.environment import secretstore
from saltdeploy.environment.pillar import all_environments, own_environment

from tests.unit.environment.examples import PRODUCTION, TEST


def test_own_is_the_one_that_lists_the_node_resolved(folder):
    own = own_environment(folder(production=PRODUCTION, test=TEST), "t1")
    test = {"nodes": {"t1": {"address": "10.2.0.1"}}, "apps": {"shop": {"instances": 2}}}
    assert own == {"environments": {"test": test}}
    assert own_environment(folder(), "stranger") == {"environments": {}}


def test_what_is_based_on_a_file_that_is_wrong_says_so(folder):
    path = folder(production="environments: {", test=TEST)
    with pytest.raises(DefinitionError, match=r"no environment 'production'.*Left out is environments/production.sls"):
        definition.load(all_environments(path), "test")
    own = own_environment(path, "t1")
    assert own["environments"] == {}
    with pytest.raises(Refused, match=r"t1 is a node of no environment.*environments/production.sls: is not YAML"):
        definition.load_own("t1", own)


def test_states_are_not_given_what_nobody_has_checked(folder):
    """They write it into files of the system."""
    wrong = TEST.replace("based_on: production, scale: 0.5", 'dns: {upstream: ["192.0.2.1\\n  evil: yes"]}')
    own = own_environment(folder(test=wrong), "t1")
    assert own["environments"] == {}
    assert "dns:upstream:0: '192.0.2.1\\n  evil: yes' is not" in own["saltdeploy_broken"]["environment test"]


@pytest.fixture
def environments(tmp_path):
    """Two environments, one based on the other, and the master's options."""
    production = "environments: {production: {nodes: {p1: {address: 10.0.0.1, roles: [consul-server]}}, consul: {version: 1.22.3}}}"
    test = "environments: {test: {based_on: production, nodes: {t1: {address: 10.0.1.1, roles: [consul-server]}}}}"
    own = "environments: {own: {nodes: {o1: {address: 10.0.2.1}}}}"
    for number, text in enumerate((production, test, own)):
        (tmp_path / f"{number}.sls").write_text(text)
    return tmp_path, {"pki_dir": str(tmp_path / "pki/master")}


def test_the_master_reaches_each_environments_own_servers(environments):
    found = all_environments(*environments)
    for name, address in (("production", "10.0.0.1"), ("test", "10.0.1.1")):
        consul = definition.load(found, name).discovery["consul"]
        assert consul["servers"] == [f"https://{address}:8501"]
        assert consul["ca"].endswith(f"/pki/master/saltdeploy/{name}-ca.pem")
    tokens = [found["environments"][name]["discovery"]["consul"]["token"] for name in ("production", "test")]
    assert len(set(tokens)) == 2
    assert definition.load(found, "own").discovery == {"consul": {}}


@pytest.mark.parametrize(
    "about, words",
    [
        ("nodes: {b1: {address: 10.0.3.1}}, consul: {version: 1.22.3}", "no node has the role `consul-server`"),
        (
            "nodes: {b1: {address: b1.example.com, roles: [consul-server]}}, consul: {version: 1.22.3}",
            "environments:broken:nodes:b1:address: found 'b1.example.com', allowed is an IP address",
        ),
    ],
)
def test_an_environment_that_cannot_be_set_up_is_wrong_for_nobody_else(environments, about, words):
    folder, opts = environments
    (folder / "broken.sls").write_text(f"environments: {{broken: {{{about}}}}}")
    found = all_environments(folder, opts)
    assert definition.load(found, "production").discovery["consul"]["token"]
    with pytest.raises(DefinitionError, match=words):
        definition.load(found, "broken")


def test_a_node_reaches_its_own_agent(environments):
    folder, opts = environments
    found = own_environment(folder, "t1", opts)
    assert list(found["environments"]["test"]["discovery"]["consul"]) == ["token"]
    assert found["saltdeploy_consul"]["config"]["node_name"] == "t1"
    assert "saltdeploy_consul" not in own_environment(folder, "o1", opts)
    assert own_environment(folder, "nobody", opts) == {"environments": {}}


@pytest.mark.parametrize("text", ["{", "[]", '{"tokens": 5}', '{"ca": {"certificate": "x"}, "tokens": {"dns": "geheim'])
def test_a_damaged_store_of_secrets_stops_its_own_environment_only(environments, text):
    folder, opts = environments
    all_environments(folder, opts)
    store = folder / "pki/master/saltdeploy/production.json"
    store.write_text(text)
    found, own = all_environments(folder, opts), own_environment(folder, "p1", opts)
    assert definition.load(found, "test").discovery["consul"]["token"]
    assert own_environment(folder, "t1", opts)["saltdeploy_consul"]
    for load in (lambda: definition.load(found, "production"), lambda: definition.load_own("p1", own)):
        with pytest.raises(Refused, match=f"{store} holds the secrets of discovery and is damaged") as caught:
            load()
        assert "geheim" not in str(caught.value)
    assert own["environments"] == {} and "saltdeploy_consul" not in own
    assert store.read_text() == text


def test_a_full_disk_stops_no_environment_that_has_its_secrets(environments, monkeypatch):
    folder, opts = environments
    all_environments(folder, opts)
    (folder / "pki/master/saltdeploy/production.json").unlink()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(secretstore, "write_file", full)
    found = all_environments(folder, opts)
    assert definition.load(found, "test") and definition.load(found, "own")
    with pytest.raises(DefinitionError, match="cannot keep the secrets of discovery in .*: No space left on device"):
        definition.load(found, "production")
