"""Hooks: what is defined, what is remembered of them, and what a plan says of them."""

from dataclasses import replace

import pytest
from saltdeploy.core import hooks
from saltdeploy.core.errors import Refused
from saltdeploy.core.model import Hook
from saltdeploy.core.phases import PHASES
from saltdeploy.master.rollout.context import Identity
from saltdeploy.planning.model import Plan
from saltdeploy.planning.planner import plan

from tests.support.definitions import complaint, shop
from tests.support.fleet import NEW, desire, make_app, observe

PREFIX = "deploy/site/shop/"
WHO = Identity("d1", "ann@deploy1")


def load(app_hooks, placed=None):
    return shop({"hooks": app_hooks}, placed).hooks


# -- definitions ------------------------------------------------------------------------------


def test_a_command_a_mapping_or_a_list_of_both():
    migrate = {"command": "./migrate", "once": True, "timeout": "10m", "on_failure": "freeze"}
    assert load(
        {"before_start": "./a", "after_start": migrate, "after_retire": ["./a", migrate], "before_retire": []}
    ) == {
        "before_start": (Hook("./a", 300, False, "revert"),),
        "after_start": (Hook("./migrate", 600, True, "freeze"),),
        "after_retire": (Hook("./a"), Hook("./migrate", 600, True, "freeze")),
    }


def test_an_environment_replaces_the_hooks_of_a_phase():
    placed = {"hooks": {"before_start": "./b", "after_start": []}}
    assert load({"before_start": ["./a", "./c"], "after_start": "./d", "after_publish": "./e"}, placed) == {
        "before_start": (Hook("./b"),),
        "after_publish": (Hook("./e"),),
    }


def test_phases_are_those_of_the_documentation():
    assert PHASES[:3] == ("before_install", "after_install", "before_start") and len(PHASES) == 8


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"before_strat": "a"}, "before_strat: unknown key (did you mean `before_start`?)"),
        ({"before_start": {"once": True}}, "before_start:command: is missing"),
        (
            {"before_start": {"command": "a", "on_failure": "go on"}},
            "before_start:on_failure: 'go on' is not allowed here. Write one of revert, freeze",
        ),
        ({"before_start": ["a", 3]}, "before_start:1: found a number. Write a command"),
        ({"before_start": ["a", {"command": "b", "timeout": 0}]}, "before_start:1:timeout: 0 is too short"),
        ({"after_publish": "./warm {port}"}, "after_publish: {port} is not allowed. A hook runs once"),
        ({"after_publish": ["./a", "./warm {prot}"]}, "after_publish:1: unknown placeholder {prot}"),
        ({"after_publish": "./a 'b"}, "after_publish: the command cannot be split into words: No closing quotation"),
        ({"after_publish": " "}, "after_publish: the command is empty"),
    ],
)
def test_mistakes_are_named_by_key_path(wrong, said):
    assert complaint({"hooks": wrong}).startswith(f"hooks:{said}")


# -- marks ------------------------------------------------------------------------------------


def test_marks_belong_to_one_release_and_its_command():
    migrate = Hook("./migrate", once=True)
    key = hooks.key("before_start", migrate)
    assert key == hooks.key("before_start", replace(migrate, timeout=5)) != hooks.key("after_start", migrate)
    names = {hooks.marks_key(PREFIX, version, key): version for version in ("1.0", "1.0+a~1", "1.0-rc1")}
    assert hooks.of_release(names, PREFIX, "1.0") == {key: "1.0"}
    assert hooks.of_releases(names, PREFIX, {"1.0+a~1", "2"}) == [f"{PREFIX}hooks/1.0+a~1/{key}"]


def test_a_hook_whose_end_is_unknown_is_refused_with_what_to_do():
    started = hooks.mark("started", "before_start", Hook("./migrate"), "web1", WHO)
    with pytest.raises(Refused) as caught:
        hooks.refuse_unknown("shop", "e", "1.1", {"a": {**started, "state": "done"}, "b": started})
    said = str(caught.value)
    assert said.startswith("before_start `./migrate` of shop 1.1 must run once, and it was started, and its end is not")
    assert (
        "on web1" in said and "deploy.hooks shop version=\"'1.1'\" env=e settle=done" in said and "settle=again" in said
    )
    hooks.refuse_unknown("shop", "e", "1.1", {"a": {**started, "state": "done"}})


def test_a_plan_says_which_hooks_it_runs():
    migrate, warm = Hook("./migrate", once=True), Hook("./warm")
    app = replace(
        make_app(), hooks={"before_start": (migrate, warm), "after_retire": (warm,), "before_install": (warm,)}
    )
    first = plan(desire(1), observe(releases={n: [NEW] for n in ("web1", "web2", "web3")}))
    assert hooks.lines(app, first, {}, {}) == [
        "hook before_start: `./migrate`, once, on one node",
        "hook before_start: `./warm`, on each node",
    ]
    done = {hooks.key("before_start", migrate): hooks.mark("done", "before_start", migrate, "web1", WHO)}
    assert hooks.lines(app, first, done, {})[0].startswith(
        "hook before_start: `./migrate`, not again: it ran on web1, "
    )
    assert hooks.lines(app, Plan({}, (), (), True), {}, {}) == []


def test_a_plan_fills_in_the_placeholders_of_a_hook_that_are_the_same_on_each_node():
    command = "./a {app} {version} {{}} {node} {node}"
    first = plan(desire(1), observe(releases={n: [NEW] for n in ("web1", "web2", "web3")}))
    known = {"app": "shop", "version": "2.0", "environment": "e"}

    def said(text):
        [line] = hooks.lines(replace(make_app(), hooks={"before_start": (Hook(text),)}), first, {}, known)
        return line.removeprefix("hook before_start: ")

    assert said(command) == "`./a shop 2.0 {} {node} {node}` ({node} is filled in there), on each node"
    assert said("{release} {data}") == "`{release} {data}` ({release}, {data} are filled in there), on each node"
    assert said("./a {environment}") == "`./a e`, on each node"


def test_who_has_frozen_a_promotion_may_promote_again():
    about = {"version": "2", "why": "x\ny", "by": "me", "deployment": "d", "reason": "", "since": 0}
    said = hooks.frozen("shop", "e", {"paused": {"by": "me"}, "frozen": about})
    assert (
        "(d): x. Nothing" in said
        and "salt-run deploy.promote shop env=e. To go back, run: salt-run deploy.abort shop env=e" in said
    )
    on = hooks.frozen("shop", "e", {"frozen": {**about, "version": "2@7"}})
    assert "shop 2 (settings 7) is FROZEN" in on and "run: salt-run deploy.app shop version=\"'2'\" env=e" in on
    # What goes back must not bring in the settings of now.
    assert "run: salt-run deploy.scale shop instances=3 env=e" in hooks.frozen(
        "shop", "e", {"frozen": {**about, "scale": 3}}
    )
    assert hooks.frozen("shop", "e", None) == hooks.frozen("shop", "e", {"nodes": {}}) == ""
