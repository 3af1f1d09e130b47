"""The state tree of SkyDNS, rendered by Salt for a node."""

from __future__ import annotations

import datetime

import pytest
import salt.loader
from saltdeploy.definition import etcdcluster
from saltdeploy.environment.secretstore import Secrets

from tests.support.site import REPOSITORY

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
NODES = {
    "web1": {"address": "10.0.0.11", "roles": ["etcd-server", "app"]},
    "web2": {"address": "10.0.0.12", "roles": ["etcd-server", "app"]},
    "web3": {"address": "10.0.0.13", "roles": ["app"]},
}


@pytest.fixture
def show(opts, tmp_path):
    """Return a function that returns ``{function: {id: arguments}}`` of the states of a node."""
    site = {"nodes": NODES, "skydns": {"version": "1.12.4"}, "apps": {"web": {"version": "1.0"}}}
    secrets = Secrets(tmp_path / "secrets").get("site", etcdcluster.identities("site", site), ["web"], NOW)

    def function(node, sls, init="systemd", **settings):
        known = {**site, "discovery": etcdcluster.discovery_of_node(site, node, secrets)}
        pillar = {**opts["pillar"], "environments": {"site": known}}
        pillar[etcdcluster.PILLAR] = etcdcluster.node("site", site, node, secrets, ["web"])
        opts.update(id=node, pillar=pillar, file_roots={"base": [str(REPOSITORY / "salt")]})
        opts["grains"] = {"id": node, "init": init, "osarch": "amd64", "pythonexecutable": "/usr/bin/python3"}
        opts["saltdeploy"].update(settings)
        modules = salt.loader.minion_mods(opts, utils=salt.loader.utils(opts))
        found = {}
        low = modules["state.show_low_sls"](sls)
        assert all(isinstance(each, dict) for each in low), low
        for each in low:
            found.setdefault(f"{each['state']}.{each['fun']}", {})[each["__id__"]] = each
        return found

    return function


def test_a_member_is_configured_after_it_may_start(show, states):
    found = show("web1", "saltdeploy.skydns.etcd")
    [check] = found["etcd_access.startable"].values()
    configuration = found["file.managed"]["/etc/etcd/saltdeploy.json"]
    assert {"etcd_access": check["__id__"]} in configuration["require"]
    assert {"file": "/etc/etcd/saltdeploy.json"} in found["service.running"]["saltdeploy etcd service"]["require"]
    assert check["config"]["initial-cluster-state"] == "new"
    assert '"initial-cluster-state": "new"' in configuration["contents"]
    [access] = found["etcd_access.present"].values()
    assert (access["environment"], access["domain"]) == ("site", "skydns.local")

    joins = show("web2", "saltdeploy.skydns.etcd", etcd_cluster_state="existing")
    assert '"initial-cluster-state": "existing"' in joins["file.managed"]["/etc/etcd/saltdeploy.json"]["contents"]
    assert "etcd_access.present" not in joins
    assert "etcd_access.startable" not in show("web3", "saltdeploy.skydns.etcd")
    # The state itself, with a setting of the minion that it cannot use.
    wrong = {**check["config"], "initial-cluster-state": "join"}
    ret = states["etcd_access.startable"]("web1", wrong)
    assert (ret["result"], ret["comment"]) == (False, "saltdeploy:etcd_cluster_state: write `new` or `existing`.")
    assert states["etcd_access.startable"]("web1", {**wrong, "initial-cluster-state": "existing"})["result"] is True


def test_supervisord_runs_the_health_agent_where_there_is_no_systemd(show):
    found = show("web3", "saltdeploy.skydns.agent", init="sysvinit")
    unit = found["file.managed"]["saltdeploy health unit"]
    assert unit["name"] == "/etc/supervisor/conf.d/saltdeploy-health.conf"
    assert unit["source"] == "salt://saltdeploy/skydns/files/saltdeploy-health.conf"
    commands = {state: about["name"] for state, about in found["cmd.run"].items()}
    assert commands == {
        "saltdeploy health unit is read": "supervisorctl update saltdeploy-health",
        "saltdeploy-health is restarted": "supervisorctl restart saltdeploy-health",
        "saltdeploy-health": "supervisorctl start saltdeploy-health",
    }
    assert "service.running" not in found

    found = show("web3", "saltdeploy.skydns.agent", supervisord={"include": "/srv/programs"})
    assert found["file.managed"]["saltdeploy health unit"]["name"] == "/etc/systemd/system/saltdeploy-health.service"
    assert "cmd.run" not in found and "saltdeploy-health" in found["service.running"]
    found = show("web3", "saltdeploy.skydns.agent", init="sysvinit", supervisord={"include": "/srv/programs"})
    assert found["file.managed"]["saltdeploy health unit"]["name"] == "/srv/programs/saltdeploy-health.conf"
