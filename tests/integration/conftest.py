"""One site for all integration tests: started once, each test leaves it serving."""

from __future__ import annotations

import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import apps
from tests.support.site import NODES, REPOSITORY, Agents, Cli, Pillar, salt_environment
from tests.support.target import Target
from tooling import getconsul

MASTER = "salt_master"
# Else each daemon writes all it does to a file, and sends it to pytest: a third of all the work.
QUIET = {"log_level_logfile": "warning", **{f"pytest-{d}": {"log": {"level": "warning"}} for d in ("master", "minion")}}


@pytest.fixture(scope="session")
def folder():
    """A folder with a short path (sockets are in it), that an app's user may enter."""
    path = Path(tempfile.mkdtemp(prefix="sd-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def salt_factories_config(folder):
    return {"root_dir": folder / "s", "start_timeout": 120, "slow_stop": False, "environ": salt_environment()}


@pytest.fixture(scope="session")
def consul_binary():
    """The Consul to test with: CONSUL, else what the demo would get."""
    return os.environ.get("CONSUL") or getconsul.get(REPOSITORY / ".demo" / "bin", say=print)


@pytest.fixture(scope="session")
def agents(folder, consul_binary):
    with Agents(folder / "n", consul_binary).running() as agents:
        yield agents


@pytest.fixture(scope="session")
def pillar(folder):
    return Pillar(folder / "pillar", MASTER)


@pytest.fixture(scope="session")
def master(salt_factories, folder, pillar):
    """A master that serves this repository's ``salt/``, as a user's would."""
    tree = folder / "tree"
    tree.mkdir()
    for entry in (REPOSITORY / "salt").iterdir():
        (tree / entry.name).symlink_to(entry.resolve())
    overrides = {
        "interface": "127.0.0.1",
        "file_roots": {"base": [str(tree)]},
        "pillar_roots": {"base": [str(pillar.folder)]},
        "auto_accept": True,
        # None, until a test writes one.
        "reactor": [{"saltdeploy/site/shop/end": [str(folder / "reactors" / "*.sls")]}],
        # salt-run 3008 complains of itself ("unclosed Runner") at every end.
        **QUIET,
        "log_granular_levels": {"salt.runner": "error", "salt.minion": "error"},
        "worker_threads": 3,
        "timeout": 15,
        "gather_job_timeout": 15,
    }
    daemon = salt_factories.salt_master_daemon(MASTER, overrides=overrides)
    with daemon.started():
        yield daemon


@pytest.fixture(scope="session")
def cli(master):
    return Cli(master.config_dir)


def minion_daemon(master, agents, node):
    """Return the daemon of the minion ``node``, not started yet. It skips the grains that take longest."""
    quick = {"enable_fqdns_grains": False, "enable_gpu_grains": False}
    return master.salt_minion_daemon(node, overrides={**QUIET, **quick, "saltdeploy": agents.settings(node)})


@pytest.fixture(scope="session")
def minions(master, agents, cli, pillar):
    """The minions, started side by side, with everything synced as README says."""
    daemons = {node: minion_daemon(master, agents, node) for node in NODES}
    assert cli.run("salt-run", "saltutil.sync_all")[0] == 0
    pillar.write({}, {})
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda daemon: daemon.start(), daemons.values()))
    code, output = cli.run("salt", "*", "saltutil.sync_all")
    assert code == 0, output
    yield daemons
    for daemon in daemons.values():
        daemon.terminate()


@pytest.fixture(scope="session")
def archives(folder):
    """The releases of the test's own app, each of which behaves in its way: see tests/support/apps.py."""
    return apps.Archives(folder / "artifacts")


@pytest.fixture(scope="session")
def target(minions, agents, pillar, cli, folder):
    """An app that faults are done to, with two good releases, and one that a fault hits in its tests."""
    archives = apps.Archives(folder / "target")
    for version in ("1.0", "1.1"):
        archives.make(version)
    archives.make("slow", **{"delay/selftest": 1.5})
    return Target(agents, pillar, archives, cli)


@pytest.fixture
def users(target, minions, request):
    """Users during the test. None of their requests fails, and three instances of one release are left.

    At first these have the settings of the definition, which have no number, except in a test with the mark `settings`.
    """
    target.define()
    serves = target.traces().versions in ([target.old] * 3, [target.new] * 3)
    if not serves or not (request.node.get_closest_marker("settings") or target.has_first_settings()):
        target.start_over(target.old)
    with target.users() as users:
        yield users
        target.end()
    assert users.failures == []
    assert target.traces().clean and len(target.traces().published) == 3 and len(set(target.traces().versions)) == 1


@pytest.fixture
def releases(target):
    """The release that serves, and another one."""
    before = target.traces().versions[0]
    return before, {target.old: target.new, target.new: target.old}[before]
