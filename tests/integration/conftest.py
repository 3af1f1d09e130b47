"""One site for all integration tests: started once, each test leaves it serving."""

from __future__ import annotations

import compileall
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.support import api, apps
from tests.support.site import NODES, REPOSITORY, Agents, Cli, Pillar, salt_environment
from tests.support.skydns import SkyDNS
from tests.support.target import STRATEGY, Target
from tooling import getconsul

MASTER = "salt_master"
# Else each daemon writes all it does to a file, and sends it to pytest: a third of all the work.
QUIET = {"log_level_logfile": "warning", **{f"pytest-{d}": {"log": {"level": "warning"}} for d in ("master", "minion")}}

# Salt checks its private key each time that it reads it, before most requests: that takes six times as long with the
# usual 2048 bits, and fifty times as long with a master's 4096.
KEYS = {"keysize": 1024}


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
def agents(folder, request):
    """The service discovery of all tests: Consul, or SkyDNS if SALTDEPLOY_TEST_DISCOVERY says so."""
    if os.environ.get("SALTDEPLOY_TEST_DISCOVERY") == "skydns":
        chosen = SkyDNS(folder / "n")
    else:
        chosen = Agents(folder / "n", request.getfixturevalue("consul_binary"))
    with chosen.running() as agents:
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
        "reactor": [{"saltdeploy/site/shop/end": [str(folder / "reactors" / "*.sls")]}, *api.reactor()],
        # salt-run 3008 complains of itself ("unclosed Runner") at every end.
        **QUIET,
        **KEYS,
        "log_granular_levels": {"salt.runner": "error", "salt.minion": "error"},
        "worker_threads": 3,
        "timeout": 15,
        "gather_job_timeout": 15,
        **api.settings(folder),
    }
    daemon = salt_factories.salt_master_daemon(MASTER, overrides=overrides)
    with daemon.started():
        yield daemon


@pytest.fixture(scope="session")
def cli(master):
    return Cli(master.config_dir)


@pytest.fixture(scope="session")
def impatient(cli, folder):
    """A Cli that does not wait as long for a minion that is dead."""
    config = yaml.safe_load(Path(cli.config_dir, "master").read_text())
    config.update(timeout=3, gather_job_timeout=6)
    (folder / "impatient").mkdir()
    (folder / "impatient" / "master").write_text(yaml.safe_dump(config))
    return Cli(folder / "impatient")


def minion_daemon(master, agents, node):
    """Return the daemon of the minion ``node``, not started yet. It has its grains once, without those that take longest.

    Each refresh of its pillar would look for them again.
    """
    quick = {"enable_fqdns_grains": False, "enable_gpu_grains": False}
    once = {"grains_cache": True, "grains_cache_expiration": 24 * 3600}
    settings = {**QUIET, **KEYS, **quick, **once, "saltdeploy": agents.settings(node)}
    daemon = master.salt_minion_daemon(node, overrides=settings)
    # A minion that starts again looks for its grains again, and imports the bundle for its jobs.
    daemon.before_start(Path(daemon.config["cachedir"], "grains.cache.p").unlink, missing_ok=True)
    return daemon


@pytest.fixture(scope="session")
def minions(master, agents, cli, pillar):
    """The minions, started side by side with the bundle in their caches, as if they had synced it.

    A minion that syncs asks the master for each of the files, and compiles it: this took a third of the time that the
    first test waits. The lab syncs.
    """
    assert cli.run("salt-run", "saltutil.sync_all")[0] == 0
    pillar.write({}, {})
    synced = Path(master.config["extension_modules"])
    compileall.compile_dir(synced, quiet=1)
    cli.forks.import_from(synced / "utils")
    daemons = {node: minion_daemon(master, agents, node) for node in NODES}
    for daemon in daemons.values():
        shutil.copytree(synced, Path(daemon.config["extension_modules"]))
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda daemon: daemon.start(), daemons.values()))
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


@pytest.fixture(autouse=True)
def waves(request):
    """One wave has half the jobs of two: it is enough for what does not depend on waves, which has the mark `one_wave`."""
    target = request.getfixturevalue("target") if "target" in request.fixturenames else None
    if isinstance(target, Target):
        target.waves = ["100%"] if request.node.get_closest_marker("one_wave") else STRATEGY["waves"]


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
