"""What the record brings back, and what it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy.core.errors import Failed, Refused
from saltdeploy.core.model import PortRange
from saltdeploy.node import restoration
from saltdeploy.node.turns import RESTORED

from tests.support.onenode import make_node, may_pass, recorded, serves, there


@pytest.fixture
def node(tmp_path, monkeypatch):
    return make_node(tmp_path, monkeypatch)


def test_one_bad_id_in_the_record_keeps_no_good_one_from_being_restored(node):
    [one] = serves(node)
    node.runtime.up.clear()
    recorded(node, a=["../x", one, 5, "blog_1_1"])
    assert restoration.find_missing(node, "web") == ([one], "")
    may_pass(node)
    assert restoration.restore(node, "web", [one]) == [one]
    assert node.host.instances.recorded("web")[0].deployment == RESTORED


@pytest.mark.parametrize("lost", ["", "{"])
def test_an_instance_that_serves_without_its_record_is_left_to_a_deployment(node, lost):
    """Highstate would cut its requests: it has no other one to serve meanwhile."""
    [one] = serves(node)
    recorded(node, a=[one])
    (node.host.instances.folder(one) / "instance.json").write_text(lost)
    assert restoration.find_missing(node, "web") == ([], "") and restoration.restore(node, "web", [one]) == []
    [warning] = restoration.find_warnings(node, "web")
    assert warning.startswith(f"{one} serves on a") and "salt-run deploy.app web env=e replaces it" in warning
    assert there(node) == {one}


def test_an_app_is_not_restored_without_its_data(node, tmp_path):
    folder = tmp_path / "far/data"
    node.environment.apps["web"] = replace(node.app("web"), data=str(folder))
    with pytest.raises(Failed, match=rf"web_1\.0_0 is not restored on a: its data folder {folder} is gone"):
        restoration.restore(node, "web", ["web_1.0_0"])
    folder.mkdir(parents=True)
    may_pass(node)
    assert restoration.restore(node, "web", ["web_1.0_0"]) == ["web_1.0_0"]


def test_an_app_is_restored_with_its_data_where_it_was(node, tmp_path):
    """Also if the definition has another folder now, which nobody has deployed."""
    old, new = tmp_path / "old", tmp_path / "new"
    node.environment.apps["web"] = replace(node.app("web"), data=str(old))
    serves(node)
    node.environment.apps["web"] = replace(node.app("web"), data=str(new))
    node.runtime.up.clear()
    may_pass(node)
    assert restoration.restore(node, "web", ["web_1.0_0"]) == ["web_1.0_0"]
    assert old.is_dir() and not new.exists()


def test_a_record_brings_nothing_to_a_port_that_its_app_does_not_have(node):
    node.environment.apps["web"] = replace(node.app("web"), ports=PortRange(20000, 20009))
    with pytest.raises(
        Failed, match=r"web_1\.0_22 is not restored on a: its port is none of apps:web:ports \(20000-20009\)"
    ):
        restoration.restore(node, "web", ["web_1.0_22"])
    assert there(node) == set()
    with pytest.raises(Refused):
        restoration._refuse_slot(node, "web", "web_1.0_19999", 19999)
    restoration._refuse_slot(node, "web", "web_1.0_20000", 20000)


def test_highstate_does_not_start_an_app_without_the_data_that_it_had(node):
    """A disk that is not mounted, for one."""
    node.environment.apps["web"] = replace(node.app("web"), data=True)
    recorded(node, a=["web_1.0_0"])["data"] = ["a"]
    folder = node.host.data.path(node.app("web"))
    folder.mkdir(parents=True)
    may_pass(node)
    with pytest.raises(Failed, match=rf"web had data there, and {folder} is empty\. .*deploy.app web move=True"):
        restoration.restore(node, "web", ["web_1.0_0"])
    assert there(node) == set()
    (folder / "state").write_text("1")
    assert restoration.restore(node, "web", ["web_1.0_0"]) == ["web_1.0_0"]


def test_highstate_installs_the_content_that_was_deployed_and_no_other(node):
    """A file of digests may name another archive by now."""
    node.host.releases.remove("web", "1.0")
    record, right = recorded(node, a=["web_1.0_0"]), node.app("web").source.sha256["1.0"]
    record["digests"] = {"1.0": "a" * 64}
    with pytest.raises(Failed, match="sha256"):
        restoration.restore(node, "web", ["web_1.0_0"])
    assert there(node) == set() and node.host.releases.versions("web") == []
    record["digests"] = {"1.0": right}
    with pytest.raises(Failed, match="rmdir good"):  # It is installed, and its test fails.
        restoration.restore(node, "web", ["web_1.0_0"])
    assert node.host.releases.versions("web") == ["1.0"]


@pytest.mark.parametrize("after", [None, "d1"])
def test_without_a_word_of_data_in_the_record_or_on_the_way_back_it_starts(node, after):
    node.environment.apps["web"] = replace(node.app("web"), data=True)
    recorded(node, a=["web_1.0_0"])["data"] = ["a"] if after else ["b"]
    node.host.data.path(node.app("web")).mkdir(parents=True)
    may_pass(node)
    assert restoration.restore(node, "web", ["web_1.0_0"], after) == ["web_1.0_0"]
