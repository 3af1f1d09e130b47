"""Hostile input through the real salt-run: it ends with 3, shows no traceback, and changes nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.support.hostile import is_fit_to_be_shown
from tests.support.target import NAME

# What a shell hands over, and what must be in the answer.
ARGUMENTS = [
    (("app", "sh\u043ep"), "U+043E (CYRILLIC SMALL LETTER O), and only ASCII is allowed"),
    (("app", "../../etc"), "unknown app '../../etc'"),
    (("app", NAME, "version=1.10"), "was read as a number"),
    (("plan", NAME, "version='1.0\x1b]0;x\x07'"), r"1.0\x1b]0;x\x07"),
    (("check", NAME, f"instances={'9' * 4000}"), "instances=a number of about 4000 digits"),
    (("publish", NAME, "nodes=5"), "nodes=5: names separated by commas"),
    (("withdraw", NAME, "nodes=[[web1]]"), "has no node ['web1']"),
    (("test", NAME, "version=[1]"), "version [1] is not usable"),
    (("history", NAME, "limit=.nan"), "limit="),
    (("logs", NAME, "since=0001-01-01"), "since="),
    (("logs", NAME, "instance=../../x"), "instance '../../x': an id is"),
    (("exec", NAME, "./x", "timeout=.inf"), "timeout=inf"),
    (("exec", NAME, f"'{'x ' * 20000}'"), "at most 30000 characters"),
    (("scale", NAME, "instances=1000000000"), "instances=1000000000: a whole number from 1 is allowed, at most 1000"),
    (("restart", NAME, f"reason={'x' * 100_000}"), "reason='xxx"),
    (("remove", "{a: 1}"), "unknown app {'a': 1}"),
    (("rollback", NAME, "x" * 100_000), "is not usable"),
    (("unlock", NAME, "force=maybe"), "force='maybe': True or False"),
    (("status", "[a]"), "unknown app ['a']"),
    (("prune", "web\u200b"), "U+200B (ZERO WIDTH SPACE)"),
]


@pytest.fixture(autouse=True)
def untouched(target):
    """What Consul's key-value store has, and what runs, is the same after the test as before it."""
    target.define()
    before = target.traces(), keys(target)
    yield
    assert (target.traces(), keys(target)) == before
    target.define()


def keys(target):
    url = target.agents.url("web1")
    return requests.get(f"{url}/v1/kv/?recurse&consistent", timeout=20).text


def refused(target, *arguments):
    """Return the answer to a command of the runner that must be refused."""
    code, output = target.cli.deploy(*arguments)
    assert code == 3, output[:3000]
    assert "Traceback" not in output
    assert "refused, nothing was changed: " in output, output[:3000]
    assert is_fit_to_be_shown(output.rpartition("refused, nothing was changed: ")[2].strip()), output[:3000]
    return output


def test_arguments(target):
    """Two at a time: each is a Python and a Salt that start."""
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda given: refused(target, *given[0]), ARGUMENTS))
    wrong = {given: answer for (given, words), answer in zip(ARGUMENTS, answers) if words not in answer}
    assert wrong == {}


NODE = "a: {address: 10.0.0.1}"
FILES = {
    "key twice": (
        f"environments:\n  site:\n    nodes: {{{NODE}}}\n    nodes: {{}}\n",
        "found the key 'nodes' a second",
    ),
    "deep": ("[" * 500_000, "line 1: more than 16 mappings and lists deep"),
    "large": ("environments:\n" + "".join(f"  e{n}: {{nodes: {{}}}}\n" for n in range(500_000)), "more than 1048576"),
    "holds itself": ("environments: &e {site: {nodes: *e}}", "mappings and lists deep"),
    "many of the same": (
        "\n".join(
            ["environments:", "  a0: &a0 [x, x]", *(f"  a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 30))]
        ),
        "mappings and lists deep",
    ),
    "no UTF-8": (b"environments: {s\xefte: {}}", "is not UTF-8"),
    "huge number": (f"environments: {{site: {{nodes: {'9' * 5000}}}}}", "is not YAML"),
    "no date": ("environments: {site: {nodes: 2026-13-45}}", "environments:site:nodes: found text. Write a mapping"),
    "true as name": (f"environments: {{on: {{nodes: {{{NODE}}}}}}}", "the name True is not text. Quote it"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_environments(target, name):
    text, words = FILES[name]
    path = target.pillar.folder / "environments/of_test.sls"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert words in refused(target, "plan", NAME)
