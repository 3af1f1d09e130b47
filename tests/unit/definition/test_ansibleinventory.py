"""An environment as an inventory of Ansible."""

from __future__ import annotations

import pytest
from saltdeploy.core.environment import Environment, Node
from saltdeploy.core.errors import Refused
from saltdeploy.definition import ansibleinventory


def test_nodes_are_in_groups_of_their_roles_and_zones():
    nodes = [
        Node("web1.example.com", "10.0.0.11", ("consul-server", "app"), "rack 1"),
        Node("web2.example.com", "fd00::12", ("app",)),
        Node("db1", "10.0.0.13"),
    ]
    found = ansibleinventory.of(Environment("2-test", {node.name: node for node in nodes}, {}))
    assert found["all"] == {"children": ["_2_test", "role_app", "role_consul_server", "zone_rack_1"]}
    assert found["_2_test"] == {"hosts": ["web1.example.com", "web2.example.com", "db1"]}
    assert found["role_app"] == {"hosts": ["web1.example.com", "web2.example.com"]}
    assert found["role_consul_server"] == found["zone_rack_1"] == {"hosts": ["web1.example.com"]}
    assert found["_meta"]["hostvars"]["web2.example.com"] == {
        "ansible_host": "fd00::12",
        "saltdeploy_environment": "2-test",
        "saltdeploy_address": "fd00::12",
        "saltdeploy_roles": ["app"],
        "saltdeploy_zone": "",
    }


def test_there_may_be_no_node():
    assert ansibleinventory.of(Environment("test", {}, {})) == {"_meta": {"hostvars": {}}, "all": {"children": []}}


@pytest.mark.parametrize(
    "name, roles, group",
    [
        ("all", [], "all"),
        ("ungrouped", [], "ungrouped"),
        ("test", ["db-x", "db.x"], "role_db_x"),
        ("role-app", ["app"], "role_app"),
    ],
)
def test_two_names_are_never_one_group(name, roles, group):
    nodes = {"web1": Node("web1", "10.0.0.1", tuple(roles))}
    with pytest.raises(Refused, match=f"would be the group {group}, which is "):
        ansibleinventory.of(Environment(name, nodes, {}))
