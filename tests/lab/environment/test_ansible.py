"""The hosts as Ansible finds them: a real ansible-playbook with the inventory of the environment.

Ansible's ssh connection enters the hosts as the tests do, because they have no sshd.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess

import pytest
from saltdeploy.core.model import Source
from saltdeploy.source import ansible

from lab import hosts
from tests.lab.environment.conftest import BALANCER, ROLES, WEBS
from tests.support.files import open_folder, umask

pytestmark = pytest.mark.skipif(bool(hosts.lacking()) and "CI" not in os.environ, reason=hosts.lacking())

SSH = """\
#!/bin/sh
for word; do host=$command command=$word; done
case $host in
{hosts}
esac
exit 255
"""
WRITE = "echo $(uname -n) {{ saltdeploy_environment }} > /run/ansible"
PLAYBOOK = [{"hosts": "role_app", "gather_facts": False, "tasks": [{"ansible.builtin.shell": WRITE}]}]


@pytest.fixture
def folder():
    """A folder that others may enter: pip does not run as root."""
    with open_folder() as path:
        yield path


def test_a_playbook_reaches_the_hosts_by_the_inventory(environment, folder):
    found, inventory = environment.cli.run("salt-run", "environment.inventory", "site", "--log-level=quiet")
    assert found == 0, inventory
    (folder / "inventory").write_text(f"#!/bin/sh\ncat <<'END'\n{inventory}\nEND\n")
    with umask(0o022):
        programs = ansible.programs(Source("ansible", ""), [folder])
    known = [environment.host(name) for name in ROLES]
    entries = [f'{h.address}) exec {shlex.join(map(str, h.entry()))} /bin/sh -c "$command" ;;' for h in known]
    (folder / "ssh").write_text(SSH.format(hosts="\n".join(entries)))
    for script in ("inventory", "ssh"):
        (folder / script).chmod(0o755)
    (folder / "site.yml").write_text(json.dumps(PLAYBOOK))
    variables = {
        "ANSIBLE_SSH_EXECUTABLE": str(folder / "ssh"),
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_HOME": str(folder / "home"),
        "LC_ALL": "C.UTF-8",
    }
    command = [programs / "ansible-playbook", "-i", folder / "inventory", folder / "site.yml"]
    done = subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in WEBS:
        assert environment.host(name).run("cat", "/run/ansible") == f"{name} site\n"
    assert not (environment.host(BALANCER).root / "run/ansible").exists()
