"""How a deployment grows with the fleet, against ``state.apply`` on the same minions: ``make bench-fleet``.

``salt-run deploy.app`` of one instance a node, in one wave, the release installed already and all waits for health at
zero; the bare ``salt '*' state.apply``, which is highstate, and finds all as it is to be; and ``state.apply nothing``,
whose one state does nothing. By turns, on the same real minions, each with a Consul agent and a supervisord of its own;
only the ratios of the medians mean anything.
"""

from __future__ import annotations

import argparse
import statistics
import time

from benchmarks.deploy import INSTANT, RELEASES, deploy, site
from tests.support import apps
from tests.support.site import NETWORK

MOST = 2.0


def main():
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--consul", required=True, help="path of a Consul")
    parser.add_argument("--nodes", type=int, nargs="+", default=[3, 10, 30], help="sizes of the fleet")
    parser.add_argument("--rounds", type=int, default=5, help="of each, after one that does not count")
    options = parser.parse_args()
    for size in options.nodes:
        measure(options.consul, size, options.rounds)


def measure(consul, size, rounds):
    """Measure a fleet of ``size`` nodes, and print."""
    nodes = {f"n{number}": f"{NETWORK}.{number + 10}" for number in range(1, size + 1)}
    measured = []
    with site(consul, definitions, nodes) as (cli, _):
        for number in range(rounds + 1):
            seconds = deploy(cli, RELEASES[(number + 1) % 2])[0], apply(cli), apply(cli, "nothing")
            print(f"{size} nodes, round {number}: {told(*seconds)}", flush=True)
            if number:
                measured.append(seconds)
    print(f"{size} nodes: {told(*map(statistics.median, zip(*measured, strict=True)))} (at most {MOST})")


def told(engine, bare, nothing):
    return (
        f"deploy.app {engine:.2f} s, state.apply {bare:.2f} s, state.apply nothing {nothing:.2f} s;"
        f" ratios {engine / bare:.2f}, {engine / nothing:.2f}"
    )


def definitions(archives, agents):
    """Return the definitions: an app with an instance on each node."""
    web = archives.app(tests=[{"http": "/selftest"}])
    counts = {"web": {"version": RELEASES[0], "instances": len(agents.nodes)}}
    return {"web": web}, {"site": apps.environment(agents, apps=counts, strategy=INSTANT)}


def apply(cli, *states):
    """Return the seconds that ``state.apply`` takes."""
    began = time.monotonic()
    code, output = cli.run("salt", "*", "state.apply", *states)
    assert code == 0, output
    return time.monotonic() - began


if __name__ == "__main__":
    main()
