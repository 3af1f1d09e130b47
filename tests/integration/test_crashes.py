"""A run is killed at each of its steps, one after the other: users never notice, and the same command repairs all."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import apps
from tests.support.target import STRATEGY, Target

# So many deployments at a time, each of an app of its own: a killed one waits more than it works.
LANES = {"crash-a": (24000, 24019), "crash-b": (24020, 24039), "crash-c": (24040, 24059)}
# More than a deployment has steps.
NUMBERS = range(1, 60)
# What must have been among them.
STEPS = {
    *(
        f"{one_of}{job}"
        for job in ("app.install", "app.start", "discovery.publish", "app.stop")
        for one_of in ("", "one of ")
    ),
    *("deploy.test_peers", "write current", "write history"),
}
# The main steps: it is killed at the first of each.
MAIN = ("app.install", "app.start", "discovery.publish", "write current", "one of app.stop")


class Lane:
    """One of the apps, and what was done to it."""

    def __init__(self, target, releases):
        self.target, self.releases, self.steps = target, iter(releases), []

    def run(self, numbers):
        """Kill a deployment at each of these steps, repair it, and end after one that had no such step.

        :param numbers: numbers of steps, or names.
        """
        self.target.deploy(next(self.releases))
        with self.target.users() as users:
            for number in numbers:
                version = next(self.releases)
                step = self._killed(number, version)
                if step:
                    self._sane(step, version)
                    output = self.target.deploy(version)
                    assert f"{self.target.name} {version} " in output
                    self.steps.append(step)
                after = self.target.traces()
                assert (after.versions, after.clean) == ([version] * 3, True), (step, after)
                assert users.failures == [], step
                if not step:
                    break
        return self.steps

    def _killed(self, number, version):
        """Kill a deployment at step ``number``; return the step, empty if it came to its end before."""
        steps, killed = self.target.killed(version, number)
        if number in MAIN:
            assert killed and steps[-1] == number, steps
        else:
            assert len(steps) == number if killed else len(steps) < number
        return steps[-1] if killed else ""

    def _sane(self, step, version):
        """Users have as many instances as before, and only such as passed their tests."""
        left = self.target.traces()
        assert len(left.published) >= 3, (step, left)
        for node, instance in left.published:
            folder = self.target.agents.folder / node / "srv" / self.target.name / "instances" / instance
            assert json.loads((folder / "instance.json").read_text())["tested"], (step, instance)


@pytest.fixture
def lanes(minions, agents, pillar, cli, folder):
    archives = apps.Archives(folder / "crashes")
    releases = [archives.make(f"{number}.0") for number in NUMBERS]
    targets = [Target(agents, pillar, archives, cli, name, ports) for name, ports in LANES.items()]
    settings = {name: {"version": "1.0", "instances": 3} for name in LANES}
    pillar.write(
        {target.name: target.app() for target in targets},
        {"site": apps.environment(agents, apps=settings, strategy={**STRATEGY, "drain": "1s"})},
    )
    yield [Lane(target, releases) for target in targets]
    for target in targets:
        target.run("remove", "confirm=True")


def killed(lanes, numbers):
    """Kill deployments at these steps, in all lanes side by side. Return the steps at which they were."""
    with ThreadPoolExecutor(len(lanes)) as pool:
        under_way = [pool.submit(lane.run, numbers[at :: len(lanes)]) for at, lane in enumerate(lanes)]
        try:
            return [step for each in under_way for step in each.result()]
        finally:
            # Who ends this test ends all lanes: each stops where it needs another release.
            for lane in lanes:
                lane.releases = iter(())


def test_killed_at_its_main_steps(lanes):
    assert set(killed(lanes, MAIN)) == set(MAIN)


# Each killed run holds its lock for up to half a minute.
@pytest.mark.timeout(1200)
@pytest.mark.thorough
def test_killed_at_every_step(lanes):
    steps = killed(lanes, NUMBERS)
    assert len(steps) < len(NUMBERS) and set(steps) >= STEPS, steps
