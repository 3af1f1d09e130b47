"""An environment as an inventory of Ansible. Pure.

https://docs.ansible.com/ansible/latest/dev_guide/developing_inventory.html
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..core.errors import Refused

if TYPE_CHECKING:
    from ..core.environment import Environment, Node

# The groups that Ansible itself has.
TAKEN = ("all", "ungrouped")


def of(environment: Environment) -> dict[str, Any]:
    """Return the data that a dynamic inventory prints for ``--list``.

    There is a group for the environment, for each role and for each zone: ``production``, ``role_consul_server``,
    ``zone_a``. No variable of a host is secret.

    :raises Refused: two of them would be the same group.
    """
    groups: dict[str, list[str]] = {}
    origin: dict[str, str] = {}
    for node in environment.nodes.values():
        names = [
            environment.name,
            *(f"role_{role}" for role in node.roles),
            *([f"zone_{node.zone}"] if node.zone else []),
        ]
        for name in names:
            group = _group(name)
            if group in TAKEN or origin.setdefault(group, name) != name:
                other = "a group of Ansible's own" if group in TAKEN else f"the group of {origin[group]}"
                raise Refused(f"{name} would be the group {group}, which is {other}. Rename one of them.")
            groups.setdefault(group, []).append(node.name)
    hosts = {node.name: _variables(node, environment.name) for node in environment.nodes.values()}
    return {
        "_meta": {"hostvars": hosts},
        "all": {"children": sorted(groups)},
        **{name: {"hosts": groups[name]} for name in sorted(groups)},
    }


def _variables(node: Node, environment: str) -> dict[str, Any]:
    about = {"environment": environment, "address": node.address, "roles": list(node.roles), "zone": node.zone}
    return {"ansible_host": node.address, **{f"saltdeploy_{key}": value for key, value in about.items()}}


def _group(name: str) -> str:
    """Return ``name`` as the name of a group, which has letters, digits and ``_``, and begins with no digit."""
    found = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return f"_{found}" if found[:1].isdigit() else found
