"""The SLS files and templates of an app, rendered by Salt itself before anything is changed."""

from __future__ import annotations

import logging
import re

import pytest
import salt.loader

SECRET = "geheim"


@pytest.fixture
def look(opts, tmp_path):
    """Look at the files of the app web, with SLS files given as name -> text; return its problems."""

    def look(sls, **app):
        root = tmp_path / "files"
        for name, text in sls.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        opts.update(file_roots={"base": [str(root)]}, pillar_roots={"base": [str(tmp_path / "none")]})
        opts["pillar"]["apps"]["web"].update(app)
        opts["ext_pillar"] = []
        modules = salt.loader.minion_mods(opts)
        found = modules["app.files"]("web", "1.0")
        assert not found["warnings"] and "retcode" not in modules.pack["__context__"]
        return found["problems"]

    return look


GOOD = "it is there:\n  test.nop: []\n"


def test_states_that_can_be_rendered_are_no_problem(look):
    sls = {
        "shop/init.sls": "include: [.more]\n" + GOOD,
        "shop/more.sls": "of {{ pillar.saltdeploy.app }} {{ pillar.saltdeploy.version }}:\n  test.nop: []\n",
    }
    assert look(sls, states=["shop"]) == []


@pytest.mark.parametrize(
    "text, said",
    [
        (
            "# a\npassword {{ pillar.nix.nix }}: geheim\n",
            "shop: (?=.*line 2)(line 2: )?Jinja variable .* has no attribute 'nix'",
        ),
        ("{% if %}\n", "shop: (?=.*line 1)(line 1: )?Jinja syntax error: Expected an expr"),
        ("a: b: geheim\n", "shop: mapping values are not allowed "),
        ("include: [nowhere.at_all]\n", ".*Specified SLS .*nowhere.at_all .*is not available"),
        ("geheim:\n  test.nop: {a: 1}\n", "shop: "),
        ("geheim\n", "SLS shop does not render to a dictionary."),
    ],
    ids=["variable", "syntax", "yaml", "include", "shape", "no-mapping"],
)
def test_a_mistake_in_an_sls_is_named_and_nothing_of_it_is_shown(look, caplog, text, said):
    caplog.set_level(logging.DEBUG)
    [problem] = look({"shop/init.sls": text}, states=["shop"])
    assert re.match(f"apps:web:states: {said}", problem) and problem.endswith(".")
    assert SECRET not in problem and "\n" not in problem
    assert SECRET not in "".join(r.getMessage() for r in caplog.records if r.levelno > logging.DEBUG)


def test_sls_files_that_cannot_be_together(look):
    problems = look({"a.sls": GOOD, "b.sls": GOOD, "c.sls": GOOD}, states=["a", "b", "gone", "c"])
    assert problems[0] == "apps:web:states: gone is not on the master. Put it into its file_roots."
    assert len(problems) > 1 and "conflicting" in problems[1].lower()
