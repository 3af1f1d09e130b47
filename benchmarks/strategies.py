"""What users lose while an app is deployed, with each strategy: ``make bench-strategies``.

Four apps of three instances on the same three nodes, one for each strategy. Each goes from one release to another and
back again while clients ask for it: each asks Consul for an instance, and that one over a new connection, again and
again. A request is lost if it is not answered with 200 within five seconds; nothing is tried again. What clients that
keep their connections lose, behind a load balancer, is tested on booted hosts: tests/lab/environment/test_load.py.
"""

from __future__ import annotations

import argparse
import contextlib
import sys

from benchmarks.deploy import RELEASES, deploy, site
from tests.support import apps
from tooling.requestloop import RequestLoop

CLIENTS = 3
TIMES = {
    "min_healthy_time": "500ms",
    "healthy_deadline": "30s",
    "progress_deadline": "120s",
    "drain": "5s",
    "deregister_delay": "1s",
}
STRATEGIES = {
    "rolling": {"waves": [1, "100%"]},
    "canary": {"waves": [1, "100%"], "pause": "3s", "canary_weight": "10%"},
    "blue-green": {"type": "blue_green", "keep_old": 0},
    "in-place": {"type": "recreate", "waves": [1, "100%"]},
}


def define(archives, agents):
    """Return the apps and the environment: an app for each strategy, with ports of its own."""
    definitions, first = {}, 22000
    for name, strategy in STRATEGIES.items():
        ports = first if name == "in-place" else f"{first}-{first + 19}"
        first += 20
        definitions[name] = archives.app(ports=ports, strategy=strategy, tests=[{"http": "/selftest"}])
    placed = {name: {"version": RELEASES[0], "instances": 3} for name in STRATEGIES}
    return definitions, {"site": apps.environment(agents, apps=placed, strategy=TIMES)}


def measure(cli, agents, name):
    """Deploy the other release, and then the first one again; return seconds, and what the clients say."""
    with contextlib.ExitStack() as running:
        loops = [running.enter_context(RequestLoop(agents.nodes.values(), name, "/")) for _ in range(CLIENTS)]
        seconds = sum(deploy(cli, release, name)[0] for release in RELEASES[::-1])
    return seconds, loops


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--consul", required=True, help="path of a Consul")
    options = parser.parse_args()
    lost = 0
    with site(options.consul, define) as (cli, agents):
        print("strategy     two deployments    requests    lost", flush=True)
        for name in STRATEGIES:
            seconds, loops = measure(cli, agents, name)
            failures = [failure for loop in loops for failure in loop.failures]
            print(f"{name:12} {seconds:13.1f} s {sum(loop.total for loop in loops):11} {len(failures):7}", flush=True)
            print("".join(f"    {failure}\n" for failure in failures[:5]), end="", flush=True)
            lost += len(failures)
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
