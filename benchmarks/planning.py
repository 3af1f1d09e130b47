"""How planning and the reading of definitions grow with the fleet: ``make bench-planning``.

Processor time and peak memory, of fleets of 10 to 10,000 nodes and of 1 to 1,000 apps. What counts is the slope on
logarithmic scales: 1 is linear, 2 is quadratic. Each time is the least of several, in seconds of this process.
"""

from __future__ import annotations

import argparse
import csv
import gc
import math
import sys
import time
import tracemalloc
from pathlib import Path

from saltdeploy import definition
from saltdeploy.planning import planner

from tests.support.fleet import NEW, OLD, Desired, instance, make_app, observe

NODES, APPS = (10, 30, 100, 300, 1000, 3000, 10000), (1, 3, 10, 30, 100, 300, 1000)
ZONES, FEW = 3, 10
# What is wanted: a sort's logarithm, and a processor's caches, are in it.
STEEPEST = 1.2


def names(count):
    return tuple(f"node{number:05}" for number in range(count))


def fleet(count, zones=ZONES):
    """Return what a rolling deployment is planned from, with an instance on each node to be replaced."""
    nodes = names(count)
    zones = {node: f"zone{number % zones}" for number, node in enumerate(nodes)}
    there = observe(*map(instance, nodes), releases=dict.fromkeys(nodes, (OLD,)), zones=zones)
    return Desired(make_app(waves=(1, "10%", "100%")), NEW, count, nodes), there


def shrinking(count):
    """Return what is planned from where twice as many instances of the release run as are desired."""
    nodes = names(count)
    there = [instance(node, NEW, slot) for node in nodes for slot in (100, 101)]
    return Desired(make_app(), NEW, count, nodes), observe(*there, releases=dict.fromkeys(nodes, (NEW,)))


def pillar(apps, nodes):
    """Return definitions of ``apps`` apps on ``nodes`` nodes."""
    source = {"archive": "https://artifacts.example.com/a-{version}.tar.gz", "sha256": {"1.0": "0" * 64}}
    probes = {"checks": [{"http": "/health"}], "tests": [{"http": "/"}, {"http": "/", "from": "peer"}]}
    app = {"source": source, "run": "./bin/a {address} {port}", "user": "root", "ports": "20000-20009", **probes}
    here = {node: {"address": f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"} for n, node in enumerate(names(nodes))}
    wanted = {f"app{number}": {"version": "1.0", "instances": 3} for number in range(apps)}
    return {"apps": dict.fromkeys(wanted, app), "environments": {"e": {"nodes": here, "apps": wanted}}}


# What is measured: how it is called, the sizes, what is prepared of one, and what is done with it.
MEASURED = {
    "plan a rolling deployment": ("nodes", NODES, fleet, lambda given: planner.plan(*given)),
    "plan it, each node a zone": ("nodes", NODES, lambda n: fleet(n, zones=n), lambda given: planner.plan(*given)),
    "plan with half too many": ("nodes", NODES, shrinking, lambda given: planner.plan(*given)),
    "read the definitions (10 apps)": ("nodes", NODES, lambda n: pillar(FEW, n), definition.load),
    "read the definitions (10 nodes)": ("apps", APPS, lambda n: pillar(n, FEW), definition.load),
}


def measure(prepare, act, size, rounds):
    """Return the least seconds of processor time that ``act`` took, and the most memory it had, in MB."""
    given, seconds = prepare(size), math.inf
    act(given)
    for _ in range(rounds):
        gc.collect()
        began = time.process_time()
        act(given)
        seconds = min(seconds, time.process_time() - began)
    tracemalloc.start()
    try:
        act(given)
        return seconds, tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def slope(points):
    """Return the slope of the line that fits ``(x, y)`` best on logarithmic scales."""
    logs = [(math.log(x), math.log(y)) for x, y in points]
    middle_x, middle_y = (sum(values) / len(logs) for values in zip(*logs))
    return sum((x - middle_x) * (y - middle_y) for x, y in logs) / sum((x - middle_x) ** 2 for x, _ in logs)


def steepness(points):
    """Return the slope over the upper half of the sizes: below, what is done once hides what grows."""
    return slope(points[len(points) // 2 :])


def table(results, path):
    """Write the table that the documentation shows beside the plot, of the same measurements."""
    with Path(path).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["", "slope of time", "of memory", "largest", "time, memory of it"])
        for title, (what, rows) in results.items():
            slopes = [f"{steepness([(row[0], row[column]) for row in rows]):.2f}" for column in (1, 2)]
            size, seconds, memory = rows[-1]
            writer.writerow([title, *slopes, f"{size:,} {what}", f"{seconds:.2f} s, {memory:.2g} MB"])


def plot(results, path):
    """Draw time and memory against size, on logarithmic scales."""
    import matplotlib

    matplotlib.use("svg")
    # Text stays text, and the same measurements make the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "planning", "font.size": 9})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
    for number, (axis, unit) in enumerate(zip(axes, ("seconds of processor time", "peak memory, MB")), 1):
        for title, (what, rows) in results.items():
            label = f"{title}, against {what}: slope {steepness([(r[0], r[number]) for r in rows]):.2f}"
            axis.loglog([r[0] for r in rows], [r[number] for r in rows], marker="o", markersize=3, label=label)
        axis.set(xlabel="nodes, or apps", ylabel=unit)
        axis.grid(True, which="major", alpha=0.3)
        axis.legend(fontsize=7, loc="upper left")
        axis.set_ylim(top=axis.get_ylim()[1] * 20)
    figure.savefig(path, metadata={"Date": None})


def main():
    """Measure, print, and draw if it is asked for; exit with 1 where a slope is steeper than wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of each, after one that does not count")
    parser.add_argument("--plot", help="an SVG to draw, and a CSV file beside it; needs requirements.txt")
    options = parser.parse_args()
    results, steep = {}, []
    for title, (what, sizes, prepare, act) in MEASURED.items():
        print(f"\n{title}\n{what:>8} {'seconds':>10} {'MB':>8}")
        rows = []
        for size in sizes:
            rows.append((size, *measure(prepare, act, size, options.rounds)))
            print(f"{size:>8} {rows[-1][1]:>10.4f} {rows[-1][2]:>8.2f}", flush=True)
        results[title] = (what, rows)
        slopes = [steepness([(row[0], row[column]) for row in rows]) for column in (1, 2)]
        print(f"slope over the upper half: time {slopes[0]:.2f}, memory {slopes[1]:.2f} (at most {STEEPEST})")
        steep += [title] if max(slopes) > STEEPEST else []
    if options.plot:
        plot(results, options.plot)
        table(results, Path(options.plot).with_suffix(".csv"))
    sys.exit(f"steeper than {STEEPEST}: {', '.join(steep)}" if steep else 0)


if __name__ == "__main__":
    main()
