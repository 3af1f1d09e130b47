"""What the execution modules have in common."""

import pytest
from saltdeploy import minion
from saltdeploy.errors import Failed

PILLAR = {
    "apps": {"shop": {"source": {"pip": "shop"}, "run": "shop"}},
    "environments": {"test": {"nodes": {"web1": {"address": "127.0.0.1"}}, "apps": {"shop": {"version": "1.0"}}}},
}


def test_a_file_that_the_master_has_not_is_an_error(tmp_path):
    """Salt returns nothing then, and a hook or an instance would run without it."""
    functions = {
        "config.get": lambda key, default: default,
        "cp.get_file": lambda url, path: "",
        "cp.get_template": lambda *args, **context: "",
    }
    lifecycle = minion.lifecycle({"id": "web1"}, PILLAR, functions)
    with pytest.raises(Failed, match="salt://shop.tar.gz: is not on the master: see its file_roots"):
        lifecycle.fetch("salt://shop.tar.gz", tmp_path / "a")
    with pytest.raises(Failed, match="salt://shop.conf: is not on the master, or cannot be rendered"):
        lifecycle.render("salt://shop.conf", tmp_path / "b", {})


def test_one_job_serves_many_nodes():
    assert minion.mine({"id": "web1"}, {"web1": [1], "web2": [2]}) == [1]
    assert minion.mine({"id": "web3"}, {"web1": [1]}) == []
    assert minion.mine({"id": "web1"}, [3]) == [3]
