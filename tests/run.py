"""What ``make test``, ``properties``, ``thorough``, ``matrix``, ``lint``, ``docs`` and ``bench`` do. Standard library only.

Salt comes in two supported lines, the Consul client in two packages, Consul in many versions.
``all`` runs the tests on the newest of each, and the main path on the oldest of each, two at a time;
``thorough`` runs those that it leaves out, and ``matrix`` all integration tests on every combination.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from tooling import ToolError, getconsul, venv  # noqa: E402
from tooling.progress import Progress  # noqa: E402

SALTS, CLIENTS = ("3008", "3006"), ("python-consul", "py-consul")
NEWEST, OLDEST = getconsul.VERSION, "1.8.7"
# What the oldest combination must pass in `make test`: the main job, and the bundle's loading.
MAIN_PATH = ("tests/functional", "tests/integration/test_deploy.py", "-m", "main_path")
# What must pass with SkyDNS, too: the main job, the main faults, and a deployment behind HAProxy.
SKYDNS = (
    *(f"tests/integration/test_{name}.py" for name in ("deploy", "faults", "loadbalancer")),
    *("-m", "(main_path or skydns) and not thorough"),
)
DAEMONLESS = ("tests/unit", "tests/functional")
# Each of the others is a further case of a test that runs.
USUAL = ("-m", "not thorough")
# The integration tests are run in as many shares.
SHARES = 4
# Where the nodes of the tests are that run beside others: see tests/support/site.py.
OTHER_NETWORK = "127.0.2"
NO_TESTS = 5


def python(name, *requirements):
    """Return the Python of the virtualenv ``.venv-<name>``, made or made anew where it must be."""
    folder = REPOSITORY / f".venv-{name}"
    if not venv.ready(folder, requirements):
        with PROGRESS.step(f"Making the virtualenv {folder.name}") as step:
            venv.make(folder, step.live, requirements)
    return folder / "bin/python"


def test_python(salt="3008", client="python-consul"):
    """Return a Python with Salt, a Consul client and the test tools."""
    folder = REPOSITORY / "tests/requirements"
    return python(f"{salt}-{client}", folder / f"salt-{salt}.txt", folder / f"{client}.txt")


class Tests:
    """Runs of pytest, which end with this process, and take the daemons that they started with them."""

    def __init__(self):
        self._under_way, self._ended = set(), False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._end)

    def run(self, interpreter, *arguments, consul=None, network=None, output=None, skydns=False, niceness=0):
        """Run pytest; return its exit code.

        :param consul: the Consul to test with; ``network``: the first three numbers of the nodes' addresses.
        :param skydns: whether SkyDNS is the service discovery of the integration tests.
        :param output: a file for what it prints; None: it is shown as it comes.
        :param niceness: how far it makes way for other processes, as nice(1) has it.
        """
        if self._ended:
            return NO_TESTS
        chosen = {"CONSUL": consul, "SALTDEPLOY_TEST_NETWORK": network, "PYTHONDONTWRITEBYTECODE": 1}
        chosen["SALTDEPLOY_TEST_DISCOVERY"] = "skydns" if skydns else None
        environment = {**os.environ, **{name: str(value) for name, value in chosen.items() if value}}
        where = f"{interpreter.parents[1].name}{f', {consul.name}' if consul else ', SkyDNS' if skydns else ''}"
        print(f"\n==> pytest {' '.join(arguments)} ({where})", file=output, flush=True)
        command = ["nice", f"--adjustment={niceness}", interpreter, "-m", "pytest", *arguments]
        process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=output, stderr=output)
        self._under_way.add(process)
        try:
            return process.wait()
        finally:
            # Where this is interrupted it is, too, and stops its daemons.
            process.wait()
            self._under_way.discard(process)

    def _end(self, number, frame):
        self._ended = True
        # A Ctrl-C has reached them as it reached this.
        for process in list(self._under_way) if number != signal.SIGINT else ():
            process.terminate()
        sys.exit(128 + number)


def consul(version=None):
    """Return the path of a Consul: this version, or what the demo would take."""
    with PROGRESS.step(f"Getting Consul {version or ''}".strip()) as step:
        return Path(getconsul.get(REPOSITORY / ".demo/bin", version, step.say, step.live))


def newest_consul():
    """Return the path of the Consul that CONSUL or CONSUL_VERSION names, else of the newest that can be had here."""
    if not (os.environ.get("CONSUL") or os.environ.get("CONSUL_VERSION")):
        try:
            return consul(NEWEST)
        except ToolError as exc:
            print(f"{exc}\nTesting with another, then.")
    return consul()


def all_tests(arguments):
    """Two at a time, for two cores: each takes what is next as soon as it has ended the last.

    With a third the processors are busy all the time, and minions answer too late. So only what needs no daemon is run
    beside them, and makes way for them.

    The hosts, which wait more than they work and of which there can be one lab only, the integration tests in shares,
    and the main path on the oldest that is supported and with SkyDNS.
    """
    with ThreadPoolExecutor(1) as beside:
        # pip waits for the network most of the time, and Go builds.
        making = beside.submit(lambda: (test_python("3006", "py-consul"), test_python()))
        oldest, newest = consul(OLDEST), newest_consul()
        old, new = making.result()
    # What takes longest is first, so that all end at about the same time.
    queue = SimpleQueue()
    for item in (
        (new, ["tests/lab", *USUAL], newest),
        *((new, [*files, *USUAL], newest) for files in shares()),
        (old, MAIN_PATH, oldest),
        (new, SKYDNS, None),
    ):
        queue.put(item)

    def daemonless(output):
        return [TESTS.run(new, folder, *arguments, output=output, niceness=5) for folder in DAEMONLESS]

    def work(**elsewhere):
        codes = []
        with contextlib.suppress(Empty):
            while True:
                interpreter, tests, binary = queue.get_nowait()
                chosen = {"consul": binary, "skydns": tests is SKYDNS}
                codes.append(TESTS.run(interpreter, *tests, *arguments, **chosen, **elsewhere))
        return codes

    with tempfile.TemporaryFile("w+") as quick, tempfile.TemporaryFile("w+") as output:
        try:
            with ThreadPoolExecutor(2) as others:
                beside = others.submit(daemonless, quick)
                second = others.submit(work, network=OTHER_NETWORK, output=output)
                codes = [*work(), *second.result(), *beside.result()]
        finally:
            # Also if this is stopped before its end.
            for printed in (quick, output):
                printed.seek(0)
                print(printed.read(), flush=True)
    return next((code for code in codes if code and not (code == NO_TESTS and arguments)), 0)


def shares():
    """Return the files of integration tests, in shares that take about as long. Each share starts daemons of its own."""
    files = sorted((REPOSITORY / "tests/integration").glob("test_*.py"))
    names = [str(path.relative_to(REPOSITORY)) for path in files]
    return [names[start::SHARES] for start in range(SHARES)]


def unit(arguments):
    """The tests that need no daemon."""
    return TESTS.run(test_python(), *DAEMONLESS, *arguments)


def properties(arguments):
    """The properties, over thousands of generated cases each."""
    tests = (
        "planning/test_planner_properties.py",
        "master/rollout/test_executor.py",
        "node/test_lifecycle_properties.py",
    )
    paths = [f"tests/unit/{name}" for name in tests]
    return TESTS.run(test_python(), *paths, "--hypothesis-profile=thorough", *arguments)


def thorough(arguments):
    """The tests that ``all`` leaves out, and kills with SkyDNS."""
    interpreter, marked = test_python(), ("-m", "thorough", *arguments)
    code = TESTS.run(interpreter, "tests/integration", "tests/lab", *marked, consul=newest_consul())
    return TESTS.run(interpreter, "tests/integration/test_crashes.py", *marked, skydns=True) or code


def matrix(arguments):
    """All integration tests on every combination."""
    consuls = [consul(NEWEST), consul(OLDEST)]
    tests = ("tests/functional", "tests/integration", *arguments)
    codes = [
        TESTS.run(test_python(salt, client), *tests, consul=binary)
        for salt, client, binary in itertools.product(SALTS, CLIENTS, consuls)
    ]
    return max(codes)


def lint(arguments):
    """ruff and the measure of the English over everything, and mypy over the package."""
    bin = python("lint", REPOSITORY / "tests/requirements/lint.txt").parent
    commands = (
        [bin / "ruff", "check", *arguments, "."],
        [bin / "ruff", "format", "--check", "."],
        [bin / "mypy"],
        [sys.executable, "-m", "tooling.prose"],
    )
    return max(subprocess.run(command, cwd=REPOSITORY, check=False).returncode for command in commands)


def docs(arguments):
    """Sphinx, warnings being errors."""
    interpreter = python("docs", REPOSITORY / "docs/requirements.txt", *venv.REQUIREMENTS)
    command = [interpreter, "-B", "-m", "sphinx", "-W", "--keep-going", *arguments, "docs", "docs/_build"]
    return subprocess.run(command, cwd=REPOSITORY, check=False).returncode


def bench(arguments):
    """The benchmarks."""
    command = [test_python(), "-m", "benchmarks.deploy", f"--consul={newest_consul()}", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, check=False).returncode


def bench_planning(arguments):
    """How planning grows with the fleet: printed, and drawn for the documentation."""
    folder = REPOSITORY / "tests/requirements"
    requirements = (folder / "salt-3008.txt", folder / "python-consul.txt", REPOSITORY / "benchmarks/requirements.txt")
    command = [python("bench", *requirements), "-m", "benchmarks.planning", "--plot=docs/explanation/planning.svg"]
    return subprocess.run([*command, *arguments], cwd=REPOSITORY, check=False).returncode


def bench_publication(arguments):
    """From publish until DNS has it, against a bare register call."""
    command = [test_python(), "-m", "benchmarks.publication", f"--consul={newest_consul()}", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, check=False).returncode


def bench_strategies(arguments):
    """What users lose while an app is deployed, with each strategy."""
    command = [test_python(), "-m", "benchmarks.strategies", f"--consul={newest_consul()}", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, check=False).returncode


def bench_fleet(arguments):
    """How a deployment grows with the fleet, against a bare state.apply."""
    command = [test_python(), "-m", "benchmarks.fleet", f"--consul={newest_consul()}", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, check=False).returncode


def bench_status(arguments):
    """What an environment of many apps costs."""
    command = [test_python(), "-m", "benchmarks.status", f"--consul={newest_consul()}", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, check=False).returncode


def bench_ansible(arguments):
    """A rolling deployment on booted hosts, against Ansible, with and without Mitogen."""
    folder = REPOSITORY / "tests/requirements"
    requirements = (
        folder / "salt-3008.txt",
        folder / "python-consul.txt",
        REPOSITORY / "benchmarks/ansible/requirements.txt",
    )
    command = [python("ansible", *requirements), "-m", "benchmarks.ansible", "--plot=docs/explanation/ansible.svg"]
    return subprocess.run([*command, *arguments], cwd=REPOSITORY, check=False).returncode


COMMANDS = {
    "all": all_tests,
    "unit": unit,
    "properties": properties,
    "thorough": thorough,
    "matrix": matrix,
    "lint": lint,
    "docs": docs,
    "bench": bench,
    "bench-planning": bench_planning,
    "bench-publication": bench_publication,
    "bench-strategies": bench_strategies,
    "bench-fleet": bench_fleet,
    "bench-status": bench_status,
    "bench-ansible": bench_ansible,
}


def main():
    """Do what the command line says; further arguments go to pytest, ruff, Sphinx or the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=COMMANDS)
    known, rest = parser.parse_known_args()
    try:
        sys.exit(COMMANDS[known.command](rest))
    except ToolError as exc:
        sys.exit(f"\n{exc}")


PROGRESS = Progress()
TESTS = Tests()

if __name__ == "__main__":
    main()
