"""What an environment of many apps costs: ``make bench-status``.

``deploy.status`` and a plan, of one app and of all, by turns, on the same real minions. Each app has one instance. Only
the ratios of the medians mean anything.
"""

from __future__ import annotations

import argparse
import statistics
import time

from benchmarks.deploy import INSTANT, RELEASES, site
from tests.support import apps
from tests.support.site import NETWORK

ONE = "app1"
COMMANDS = {
    "status of one": ("deploy.status", ONE),
    "status of all": ("deploy.status",),
    "plan of one": ("deploy.plan", ONE),
    "plan of all": ("deploy.all", "site", "test=True"),
}
# Seconds for all apps to be deployed.
DEPLOYMENT = 3600


def main():
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--consul", required=True, help="path of a Consul")
    parser.add_argument("--apps", type=int, default=100, help="how many apps")
    parser.add_argument("--nodes", type=int, default=12, help="size of the fleet")
    parser.add_argument("--rounds", type=int, default=5, help="of each, after one that does not count")
    options = parser.parse_args()
    nodes = {f"n{number}": f"{NETWORK}.{number + 10}" for number in range(1, options.nodes + 1)}

    def definitions(archives, agents):
        """Return the definitions of the apps, in port ranges of their own."""
        web = archives.app(tests=[{"http": "/selftest"}])
        found = {f"app{n}": {**web, "ports": f"{22000 + 4 * n}-{22003 + 4 * n}"} for n in range(1, options.apps + 1)}
        counts = {name: {"version": RELEASES[0], "instances": 1} for name in found}
        return found, {"site": apps.environment(agents, apps=counts, strategy=INSTANT)}

    taken = {what: [] for what in COMMANDS}
    with site(options.consul, definitions, nodes, deployed=False) as (cli, _):
        print(f"deploying {options.apps} apps took {timed(cli, 'deploy.all', 'site'):.0f} s", flush=True)
        for number in range(options.rounds + 1):
            for what, words in COMMANDS.items():
                seconds = timed(cli, *words)
                print(f"round {number}: {what} {seconds:.2f} s", flush=True)
                taken[what] += [seconds] if number else []
    medians = {what: statistics.median(seconds) for what, seconds in taken.items()}
    print(", ".join(f"{what} {seconds:.2f} s" for what, seconds in medians.items()))
    for what in ("status", "plan"):
        print(f"ratio of {what}: {medians[f'{what} of all'] / medians[f'{what} of one']:.2f} (at most 2)")


def timed(cli, *words):
    """Return the seconds that a command of ``salt-run`` takes."""
    began = time.monotonic()
    code, output = cli.run("salt-run", *words, timeout=DEPLOYMENT)
    assert code == 0, output
    return time.monotonic() - began


if __name__ == "__main__":
    main()
