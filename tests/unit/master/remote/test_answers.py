"""What a node says it did is compared with what it was told to do, before anything is decided by it."""

from __future__ import annotations

import pytest
from saltdeploy.core.environment import Node
from saltdeploy.master.remote import answers

from tests.support.fleet import NEW, instance, make_app

APP, WEB1 = make_app(), Node("web1", "127.0.0.1")


def one(**changes):
    return {**instance("web1", NEW, published=False, deployment="d").__dict__, **changes}


def started(*instances, failures=()):
    value = {"ok": not failures, "instances": list(instances), "failures": list(failures)}
    return answers.started(value, APP, WEB1, NEW, 1, "d")


def test_what_was_asked_for_is_right():
    assert started(one()) == ""
    assert started(failures=["shop_2.0_100: is not ready"]) == ""  # which says what is wrong itself


@pytest.mark.parametrize(
    "instances, problem",
    [
        ([], "it was told to start 1, and says that it started 0"),
        ([one(), one(id="shop_2.0_101", slot=101, port=101)], "it was told to start 1, and says that it started 2"),
        ([one(node="web2")], "shop_2.0_100 is said to be on 'web2'"),
        ([one(address="192.0.2.1")], "shop_2.0_100 is said to be at '192.0.2.1', and web1 has 127.0.0.1"),
        ([one(id="shop_2.0_22", slot=22, port=22)], "shop_2.0_22 is said to have port 22, which is none of 100-109"),
        ([one(port=None)], "shop_2.0_100 is said to have port None, which is none of 100-109"),
        ([one(id="shop_1.0_100", version="1.0")], "says that it started shop_1.0_100, which is not that"),
        ([one(deployment="another")], "says that it started shop_2.0_100, which is not that"),
        ([one(tested=False)], "says that it started shop_2.0_100, which is not that"),
        ([one(), one()], "shop_2.0_100 is there twice"),
        (["shop_2.0_100"], "found 'shop_2.0_100', a mapping with id, "),
    ],
)
def test_anything_else_is_wrong(instances, problem):
    assert problem in started(*instances)


@pytest.mark.parametrize("value", [None, [], {}, {"ok": True, "instances": [], "failures": [1]}, "done"], ids=repr)
def test_what_is_of_another_shape_is_wrong(value):
    assert answers.started(value, APP, WEB1, NEW, 1, "d")


ASKED = {"web1": ["shop_1.0_100", "shop_1.0_101"]}


@pytest.mark.parametrize(
    "value, exactly, some",
    [
        (["shop_1.0_101", "shop_1.0_100"], True, True),
        (["shop_1.0_101"], False, True),
        ([], False, True),
        (["shop_1.0_102"], False, False),
        (["../x"], False, False),
        ([1], False, False),
        ("shop_1.0_100", False, False),
        (None, False, False),
    ],
)
def test_ids(value, exactly, some):
    assert (answers.exactly(ASKED)("web1", value) == "") == exactly
    assert (answers.some_of(ASKED)("web1", value) == "") == some


def test_ids_of_all_of_an_app():
    assert answers.of_app("shop")("web1", ["shop_1.0_100"]) == answers.of_app("shop")("web1", []) == ""
    assert "it was asked for instances of shop, and says" in answers.of_app("shop")("web1", ["till_1.0_100"])


RESULT = {"test": "http /", "ok": True, "detail": "status 200", "seconds": 0.1}


@pytest.mark.parametrize(
    "value, right",
    [
        ({"shop_1.0_100": [RESULT, RESULT]}, True),
        ({"shop_1.0_100": [RESULT]}, False),
        ({}, False),
        ({"shop_1.0_100": [RESULT, RESULT], "shop_1.0_101": []}, False),
        ({"shop_1.0_100": [RESULT, {"ok": True}]}, False),
        ({"shop_1.0_100": [{**RESULT, "ok": "no"}, RESULT]}, False),
        ({"shop_1.0_100": 2}, False),
        ([], False),
    ],
)
def test_not_testing_is_not_passing(value, right):
    assert (answers.tests({"web1": {"shop_1.0_100": 2}})("web1", value) == "") == right


HOOKS = {"before_start-1": "./migrate", "before_start-2": "./warm"}
RAN = {"node": "web1", "ran": ["./migrate", "./warm"], "problem": "", "failed": None, "ended": True}


@pytest.mark.parametrize(
    "changes, right",
    [
        ({}, True),
        ({"ran": ["./migrate"], "problem": "ended with 1", "failed": "before_start-2"}, True),
        ({"ran": [], "problem": "not installed", "failed": ""}, True),
        ({"node": "web2"}, False),
        ({"ran": []}, False),
        ({"ran": ["./warm", "./migrate"]}, False),
        ({"ran": ["./migrate"]}, False),
        ({"failed": "before_start-2"}, False),
        ({"ended": False}, False),
        ({"ran": [], "problem": "ended with 1", "failed": "before_start-2"}, False),
        ({"ran": [], "problem": "ended with 1", "failed": "before_start-3"}, False),
        ({"problem": "ended with 1"}, False),
        ({"ran": None}, False),
        ({"ended": "yes"}, False),
    ],
    ids=repr,
)
def test_hooks_run_as_asked_or_are_said_to_fail(changes, right):
    assert (answers.hook({**RAN, **changes}, "web1", HOOKS) == "") == right


@pytest.mark.parametrize("value", [None, [], {}, "done", {"web1": RAN}], ids=repr)
def test_an_answer_to_no_question_is_wrong(value):
    assert answers.hook(value, "web1", HOOKS)
    assert answers.room(value)
    assert answers.command(value, "shop_1.0_100")
    assert answers.files(value)
    assert value == [] or answers.removed({"web1": ["1.0"]})("web1", value)
    assert value == {} or answers.logs(value, "shop")


@pytest.mark.parametrize(
    "changes, right",
    [
        ({}, True),
        ({"digest": "a" * 64, "now": "A" * 64, "packages": ["six==1"]}, True),
        ({"digest": "latest"}, False),
        ({"digest": "a" * 40}, True),
        ({"digest": "a" * 41}, False),
        ({"now": "a" * 63}, False),
        ({"packages": [1]}, False),
        ({"packages": "six"}, False),
        ({"installed": 1}, False),
    ],
    ids=repr,
)
def test_the_content_of_a_release(changes, right):
    assert (answers.room({"installed": True, "digest": "", "now": "", "packages": [], **changes}) == "") == right


def test_only_the_versions_that_were_asked_for_are_removed():
    answer = answers.removed({"web1": ["1.0", "1.1"]})
    assert answer("web1", ["1.1"]) == answer("web1", []) == ""
    assert answer("web1", ["1.2"]) == "it was asked to remove 1.0, 1.1, and says ['1.2']"
    assert answer("web1", [["1.0"]])


def test_sentences_logs_and_commands():
    found = {"problems": ["no file"], "warnings": []}
    assert answers.files(found) == answers.files({**found, "problems": []}) == ""
    assert answers.files({**found, "warnings": [1]}) and answers.files({**found, "problems": {"no file": 1}})
    assert answers.logs({"shop_1.0_100": "text"}, "shop") == answers.logs({}, "shop") == ""
    assert answers.logs({"till_1.0_100": "text"}, "shop") and answers.logs({"shop_1.0_100": 1}, "shop")
    ran = {"instance": "shop_1.0_100", "code": None, "output": ""}
    assert answers.command(ran, "shop_1.0_100") == ""
    assert answers.command(ran, "shop_1.0_101") and answers.command({**ran, "app": "till"}, "shop_1.0_100")
