"""Every property finds the bug that it is there for: each such bug is put in once, on purpose."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import itertools
import re
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import Phase, settings
from saltdeploy.core.model import Strategy
from saltdeploy.master.rollout import health

from tests.support.mutants import mutant, over

TABLE = Path(__file__).resolve().parents[2] / "docs/contribute/properties.rst"
# What is changed, and the module with its properties; or the one that it is a part of, with that one's.
TESTS = {
    "saltdeploy.planning.planner": "tests.unit.planning.test_planner_properties",
    "saltdeploy.planning.explain": "tests.unit.planning.test_planner_properties",
    "saltdeploy.planning.sets": "saltdeploy.planning.planner",
    "saltdeploy.planning.strategies": "saltdeploy.planning.planner",
    "saltdeploy.planning.placement": "saltdeploy.planning.strategies",
    "saltdeploy.planning.affinity": "saltdeploy.planning.planner",
    "saltdeploy.planning.editions": "tests.unit.planning.test_editions",
    "saltdeploy.master.rollout.executor": "tests.support.rollout",
    "saltdeploy.master.rollout.reversal": "saltdeploy.master.rollout.executor",
    "saltdeploy.master.rollout.budget": "saltdeploy.master.rollout.executor",
    "tests.support.rollout": "tests.unit.master.rollout.test_executor",
    "saltdeploy.node.publication": "saltdeploy.node.retirement",
    "saltdeploy.node.retirement": "tests.unit.node.test_lifecycle_properties",
    "saltdeploy.node.restoration": "tests.unit.node.test_lifecycle_properties",
    "saltdeploy.master.preflight": "tests.unit.master.test_refresh_properties",
}
# Found is enough: how small the case can be made is for whoever meets such a bug.
FIND = {"phases": (Phase.explicit, Phase.generate), "report_multiple_bugs": False}


@dataclass(frozen=True)
class Mutation:
    """A bug, put into ``module`` by ``new`` in the place of ``old``, and the property that finds it."""

    module: str
    property: str
    bug: str
    old: str
    new: str


(
    planner,
    explain,
    sets,
    strategies,
    placement,
    affinity,
    editions,
    executor,
    reversal,
    budget,
    publication,
    _,
    restoration,
    preflight,
) = (partial(Mutation, module) for module in TESTS if module.startswith("saltdeploy."))

MUTATIONS = [
    strategies(
        "test_never_fewer_serve_than_served_before_or_are_desired",
        "all old instances are retired with the first wave",
        "else max(0, serving - desired.instances)",
        "else len(here)",
    ),
    strategies(
        "test_nothing_is_started_later_on_a_node_that_has_retired_something",
        "a wave retires on nodes that start something later",
        "if turn.get(i.node, 0) <= number]",
        "if turn]",
    ),
    sets(
        "test_never_fewer_serve_than_served_before_or_are_desired",
        "what serves is stopped at once, neither withdrawn nor seen gone",
        "leftovers=tuple(i for i in sets.idle if i not in staying)",
        "leftovers=tuple(i for i in observed.instances if i not in staying)",
    ),
    sets(
        "test_the_plan_leads_to_what_is_desired",
        "an instance with other settings is taken for a current one",
        "if desired.is_current(i) and i.node in here]",
        "if i.version.startswith(desired.release) and i.node in here]",
    ),
    editions(
        "test_settings_that_are_taken_again_are_the_same_everywhere",
        "settings count as the same if any node has them as defined",
        "there.get(edition, True) and not differs",
        "there.get(edition, False) or not differs",
    ),
    editions(
        "test_other_settings_get_a_number_that_nothing_ever_had",
        "a number that only a failed deployment had is given again",
        "editions.following([*seen, *(i.version for i in observed.instances), *known()])",
        "editions.following([*seen, *(i.version for i in observed.instances)])",
    ),
    editions(
        "test_settings_that_are_the_same_are_not_given_another_number",
        "each deployment brings in settings of its own",
        "    if same:\n",
        "    if same[1:]:\n",
    ),
    editions(
        "test_settings_that_run_are_preferred",
        "older settings that are the same are preferred to those that run",
        "key=lambda edition: (edition in running, editions.settings(edition))",
        "key=lambda edition: editions.settings(edition)",
    ),
    editions(
        "test_what_is_deployed_is_chosen_again",
        "of settings that are the same, those that do not run are taken",
        "return max(same, key=",
        "return min(same, key=",
    ),
    sets(
        "test_what_is_published_and_runs_is_never_cleaned",
        "what a node has no file of is taken for a leftover",
        "    return instance.published and instance.running\n",
        "    return instance.published and instance.running and instance.recorded\n",
    ),
    strategies(
        "test_never_fewer_serve_than_served_before_or_are_desired",
        "what discovery has as unhealthy counts as serving",
        "serving -= len(well)",
        "serving -= len(going)",
    ),
    strategies(
        "test_never_fewer_serve_than_served_before_or_are_desired",
        "in place, the whole wave is out at once",
        "size = most_out if full else len(part)",
        "size = len(part)",
    ),
    explain(
        "test_in_place_the_plan_says_if_nothing_serves_meanwhile",
        "a plan does not say that the app is down meanwhile",
        "    if not wave.meanwhile:\n",
        "    if wave.meanwhile:\n",
    ),
    strategies(
        "test_in_place_only_what_is_in_the_way_goes_first",
        "in place, instances are taken out before nodes with room have theirs",
        "key=lambda n: (n in replace, zones[zone(n)])",
        "key=lambda n: zones[zone(n)]",
    ),
    strategies(
        "test_beside_nothing_goes_first",
        "an app with a range of ports is deployed in place",
        '"rolling": rolling,',
        '"rolling": recreate,',
    ),
    strategies(
        "test_no_wave_touches_two_zones",
        "a wave retires instances in other zones than it starts in",
        "here, starting = near[zone(nodes[0])], set(nodes)",
        "here, starting = [i for i in old if i not in gone], set(nodes)",
    ),
    strategies(
        "test_a_wave_is_no_larger_than_the_strategy_says",
        "two waves are in flight at once: what waits for the canary is started with it",
        "for group in sized(nodes, desired.app.strategy.waves):",
        "for group in [nodes]:",
    ),
    placement(
        "test_nothing_is_touched_outside_of_the_deployment",
        "an instance is started on a node that is none of the deployment's",
        "    return {n: start[n] for n in desired.nodes if start[n]}",
        "    return {**{n: start[n] for n in desired.nodes if start[n]}, **({'left': 1} if missing > 0 else {})}",
    ),
    placement(
        "test_an_instance_has_its_successor_on_its_own_node",
        "a new instance goes to the node that runs fewest",
        "return [] if desired.move else [successors]",
        "return []",
    ),
    placement(
        "test_an_instance_has_its_successor_on_its_own_node",
        "a plan does not say that an instance moves",
        "for a, b in zip(sources, targets))",
        "for a, b in zip(sources, targets[1:]))",
    ),
    affinity(
        "test_nothing_starts_without_its_data_unless_that_is_confirmed",
        "a node with data loses its last instance",
        "len(left) > len(reached)",
        "len(left) > len(data)",
    ),
    placement(
        "test_what_is_started_is_spread_evenly_over_the_zones",
        "zones are forgotten when nodes are chosen",
        "[(zone(n), key(rank)) for",
        "[('', key(rank)) for",
    ),
    placement(
        "test_refused_only_if_there_is_no_room",
        "ports that something else listens on are taken for free",
        "taken = observed.ports_taken.get(node, frozenset()) - freed[node]",
        "taken = {i.port for i in observed.instances if i.node == node} - freed[node]",
    ),
    sets(
        "test_the_plan_leads_to_what_is_desired",
        "what has not passed its tests is left published",
        "good=tuple(i for i in current(serving) if i.good)",
        "good=tuple(current(serving))",
    ),
    planner(
        "test_the_plan_leads_to_what_is_desired",
        "a second run installs again, so its plan is not empty",
        "install=tuple(n for n in start if desired.release not in observed.releases.get(n, ()))",
        "install=tuple(desired.nodes)",
    ),
    planner(
        "test_the_plan_leads_to_what_is_desired",
        "a registration that differs from its definition is left as it is",
        'register=_changed_in_place(desired, staying, "outdated")',
        "register=()",
    ),
    planner(
        "test_the_plan_leads_to_what_is_desired",
        "files that a reload takes in are left as they are",
        'reload=() if desired.as_before else _changed_in_place(desired, staying, "stale")',
        "reload=()",
    ),
    sets(
        "test_a_candidate_that_waits_has_the_files_of_its_definition",
        "a candidate with old files waits for publication",
        "if desired.as_before or not i.stale)",
        "if True)",
    ),
    sets(
        "test_a_run_cut_off_anywhere_is_simply_run_again",
        "candidates that an interrupted run left behind are forgotten",
        "leftovers=tuple(i for i in sets.idle if i not in staying)",
        "leftovers=tuple(i for i in sets.idle if i not in staying and (i.published or not i.running))",
    ),
    planner(
        "test_publication_never_leaves_fewer_and_may_be_cut_off",
        "instances yet to be published count as serving already",
        "in in_waves(desired, counts, old, len(good), observed.zone, {}):",
        "in in_waves(desired, counts, old, len(good) + len(candidates), observed.zone, {}):",
    ),
    strategies(
        "test_blue_green_nothing_is_withdrawn_before_all_that_is_new_serves",
        "a blue-green deployment proceeds in waves",
        '"blue_green": blue_green}',
        '"blue_green": rolling}',
    ),
    sets(
        "test_blue_green_the_way_back_starts_nothing",
        "what is warm is not used again",
        "again = spread_out(reusable, ",
        "again = spread_out((), ",
    ),
    executor(
        "test_whatever_fails_all_is_as_before_and_enough_served_all_the_time",
        "old instances are retired before the new ones are published",
        "self._publish(candidates)",
        "self._stop_old(wave.retire); wave.retire.clear(); self._publish(candidates)",
    ),
    executor(
        "test_a_run_in_which_an_instance_dies_is_reverted_and_retires_nothing_more",
        "an instance that died in an earlier wave is not missed",
        "health.still_serve(self.jobs.journal, self.discovery, self.app, ids, unproved)",
        "pass",
    ),
    reversal(
        "test_whatever_fails_all_is_as_before_and_enough_served_all_the_time",
        "a deployment that fails does not bring back what it has retired",
        "problems = self._change_back() or self._bring_back() or self._take_back()",
        "problems = self._change_back() or self._take_back()",
    ),
    reversal(
        "test_whatever_fails_of_a_canary_all_weigh_what_they_did",
        "a canary that fails leaves its weights behind",
        "        problems += self._weigh_back()\n",
        "",
    ),
    reversal(
        "test_whatever_fails_what_stays_is_registered_as_before",
        "a deployment that fails leaves the new registrations behind",
        "        problems += self._register_back()\n",
        "",
    ),
    reversal(
        "test_a_job_that_is_overtaken_by_its_way_back_changes_nothing",
        "the way back does not say on the nodes that the deployment has ended",
        '{"after": self.context.identity.id, **step.options}',
        "step.options",
    ),
    executor(
        "test_a_job_that_is_overtaken_by_its_way_back_changes_nothing",
        "a step does not say which deployment's it is",
        "deployment=self.context.identity.id, **options",
        "**options",
    ),
    budget(
        "test_nodes_that_may_fail_go_on_with_what_they_had",
        "what serves on a node that failed is retired like the rest",
        "for node, some in self.without(ids).items():",
        "for node, some in ids.items():",
    ),
    publication(
        "test_nothing_stops_that_users_may_still_be_sent_to",
        "an instance is stopped before the catalog has confirmed that it is withdrawn",
        "services = _names(lifecycle, name, ids, registered) if waited_for else []",
        "services = _names(lifecycle, name, ids, registered) if not waited_for else []",
    ),
    publication(
        "test_nothing_stops_that_users_may_still_be_sent_to",
        "what the agent has forgotten is not waited for at a second try",
        "if i in registered or here.get(i, i in strays)]",
        "if i in registered]",
    ),
    restoration(
        "test_what_only_discovery_has_lost_is_published_and_runs_on",
        "what runs is stopped to be restored",
        "if state and state.running and any(",
        "if not state and any(",
    ),
    publication(
        "test_only_what_runs_and_has_passed_its_tests_is_published",
        "what has not passed its tests is published",
        "        if not instance.tested:\n",
        "        if instance.tested is None:\n",
    ),
    preflight(
        "test_who_takes_part_and_nobody_else_has_a_fresh_pillar",
        "a node that only the record has keeps its old pillar",
        "*environment.away, *recorded, *balancers}",
        "*environment.away, *balancers}",
    ),
    preflight(
        "test_who_takes_part_and_nobody_else_has_a_fresh_pillar",
        "an answer by an old pillar is believed",
        "node not in concerned and _is_concerned(replies[node], site)",
        "node not in environment.nodes",
    ),
    preflight(
        "test_who_takes_part_and_nobody_else_has_a_fresh_pillar",
        "a peer tests by an old definition",
        'if any(test.origin == "peer" for test in app.tests):',
        "if not app.tests:",
    ),
    preflight(
        "test_who_takes_part_and_nobody_else_has_a_fresh_pillar",
        "a node that was of another environment keeps its old pillar",
        'value.get("environment") != site.environment.name or any(parts)',
        "any(parts)",
    ),
    preflight(
        "test_who_takes_part_and_nobody_else_has_a_fresh_pillar",
        "all nodes of an environment ask for their pillar",
        "{*site.nodes, *environment.eligible(app)",
        "{*environment.nodes",
    ),
]


def properties(module, *changes):
    """Return the module of the properties of ``module``, over a copy of it with ``changes``."""
    made = mutant(module, *changes)
    while TESTS[module] in TESTS:
        module, made = TESTS[module], over(TESTS[module], module, made)
    return over(TESTS[module], module, made)


def names():
    """Return all properties: pairs of the module that they are in, and a name."""
    found = []
    for tests in sorted(set(TESTS.values()) - set(TESTS)):
        source = Path(importlib.util.find_spec(tests).origin).read_text()
        functions = [f for f in ast.parse(source).body if isinstance(f, ast.FunctionDef)]
        given = [f.name for f in functions if any("given(" in ast.unparse(d) for d in f.decorator_list)]
        found += [(tests, name) for name in given]
    return found


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Nothing has to stay healthy for a while, and whoever looks at the clock has waited."""
    monkeypatch.setattr(Strategy, "min_healthy_time", 0.0)
    monkeypatch.setattr(health, "time", SimpleNamespace(monotonic=itertools.count(0.0, health.WORD).__next__))


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.bug.replace(" ", "-"))
def test_the_property_finds_the_bug(mutation):
    check = getattr(properties(mutation.module, (mutation.old, mutation.new)), mutation.property)
    with pytest.raises(AssertionError):
        settings(**FIND)(check)()


@pytest.mark.parametrize("module", sorted({m.module for m in MUTATIONS}))
def test_without_a_bug_nothing_is_found(module):
    """Where a copy of a module is tested, the bug is found, and not that it is a copy."""
    copy = properties(module)
    for name in sorted({m.property for m in MUTATIONS if m.module == module}):
        settings(max_examples=30, **FIND)(getattr(copy, name))()


def test_each_property_finds_one():
    assert {(properties(m.module).__name__, m.property) for m in MUTATIONS} == set(names())


def test_a_mutation_that_has_lost_its_place_is_noticed():
    with pytest.raises(LookupError, match="write the mutation anew"):
        mutant("saltdeploy.planning.planner", ("what the planner has not", ""))


def test_the_module_itself_stays_as_it_is():
    before = importlib.import_module("saltdeploy.planning.planner")
    copy = properties("saltdeploy.planning.planner")
    assert copy.plan is not before.plan
    assert sys.modules["saltdeploy.planning.planner"] is before is sys.modules["saltdeploy.planning"].planner


def test_the_table_of_the_documentation_is_this_one():
    rows = re.findall(
        r"^   \* - ``(test_\w+)``\n     - (.+)\n     - (\w+): ``(.+)``\n", TABLE.read_text(), re.MULTILINE
    )
    assert rows == [(m.property, m.bug, m.module.split(".")[-1], " ".join(m.old.split())) for m in MUTATIONS]
