"""The parts of the source ansible that need no Ansible: what identifies a release, and what the callback hides."""

import json
import os
import sys
from types import ModuleType, SimpleNamespace

import pytest
from saltdeploy.core.errors import Failed
from saltdeploy.core.model import Source
from saltdeploy.source import ansible, ansiblerun, choose


def test_a_later_playbook_or_ansible_is_for_later_releases():
    recorded = {"origin": choose(Source("ansible", "salt://shop")).origin("1.0"), "artifact": "a" * 64}
    later = Source("ansible", "salt://shop", vars={"a": 1}, requirements=("ansible-core==2.18.0",), playbook="b.yml")
    assert choose(later).changes("1.0", recorded) == []
    assert choose(Source("ansible", "salt://other")).changes("1.0", recorded) == ["location"]
    assert choose(Source("pip", "shop")).changes("1.0", recorded)[0] == "kind"


def test_the_folder_of_a_release_is_compared_if_its_path_has_the_version(tmp_path):
    def fetch(url, path):
        assert url == "salt://shop/1.0/"
        (path / "site.yml").write_text("[]")

    assert choose(Source("ansible", "salt://shop")).current_digest("1.0", tmp_path, fetch) == ""
    digest = choose(Source("ansible", "salt://shop/{version}")).current_digest("1.0", tmp_path, fetch)
    assert len(digest) == 64


def test_a_missing_playbook_is_found_beforehand(tmp_path):
    def fetch(url, path):
        (path / "main.yml").write_text("[]")

    artifacts = SimpleNamespace(require=lambda size: None)
    with pytest.raises(Failed, match="source:playbook: salt://shop has no file site.yml"):
        choose(Source("ansible", "salt://shop")).check("1.0", tmp_path, fetch, artifacts, print)


@pytest.mark.parametrize(
    "given, found",
    [
        ((), (ansible.DEFAULT, ())),
        (("netaddr==1.3.0",), (ansible.DEFAULT, ("netaddr==1.3.0",))),
        (("netaddr==1.3.0", "ansible==12.3.0"), ("ansible==12.3.0", ("netaddr==1.3.0",))),
        (("ansible-lint==1.0", "ansible-core==2.18.0"), ("ansible-core==2.18.0", ("ansible-lint==1.0",))),
    ],
)
def test_a_requirement_says_which_ansible(given, found):
    assert ansible.requirements(Source("ansible", "salt://shop", requirements=given)) == found


def test_the_differences_of_a_dry_run_have_a_limit():
    events = [ansiblerun.Event("changed", f"t{n}", "a:1", diff="x" * 6000) for n in range(3)]
    found = ansiblerun.told([*events, ansiblerun.Event("ok", "other", "a:2")])
    assert [len(text) for text in found] == [9 + 6000, 9 + 2000 + 7, 9 + 7]
    assert found[2] == "t2 (a:1)\n… (cut)"


@pytest.fixture
def plugin(monkeypatch, tmp_path):
    """The callback, with stand-ins for the parts of Ansible before 2.19, which has private names."""
    base = ModuleType("ansible.plugins.callback")
    base.CallbackBase = type("CallbackBase", (), {"_get_diff": lambda self, diff: diff["after"]})
    for name in ("ansible", "ansible.plugins"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "ansible.plugins.callback", base)
    monkeypatch.setenv("SALTDEPLOY_EVENTS", str(tmp_path / "events"))
    space = {}
    exec(ansiblerun.PLUGIN.read_text(), space)
    made = space["CallbackModule"]()
    task = SimpleNamespace(get_name=lambda: "a task", get_path=lambda: "site.yml:1")

    def end(function, result):
        getattr(made, function)(SimpleNamespace(_task=task, _result=result))
        return json.loads((tmp_path / "events").read_text().splitlines()[-1])

    return end


def test_an_item_with_no_log_hides_its_output_and_its_difference(plugin):
    hidden = {"_ansible_no_log": True, "failed": True, "msg": "hunter2", "diff": {"after": "hunter2"}}
    shown = {"failed": True, "msg": "shown", "diff": {"after": "+x"}, "_ansible_item_label": 3}
    event = plugin("v2_runner_on_failed", {"results": [hidden, shown]})
    assert event["event"] == "failed" and event["text"] == "item : its output is hidden (no_log)\nitem 3: shown"
    event = plugin("v2_runner_on_ok", {"changed": True, "results": [hidden, shown]})
    assert (event["event"], event["diff"]) == ("changed", "+x")
    # Secrets are found in it before it is cut.
    assert plugin("v2_runner_on_failed", {"msg": "x" * 9000})["text"] == "x" * 9000
    assert plugin("v2_runner_on_unreachable", {"msg": ["no", "route"]})["text"] == '["no", "route"]'


def test_a_virtualenv_that_nobody_has_used_for_long_is_removed(tmp_path):
    for name in ("old", "current", "young"):
        (tmp_path / name / "files").mkdir(parents=True)
        (tmp_path / name / "complete").touch()
        (tmp_path / f".{name}.lock").touch()
    for name in ("old", "current"):
        os.utime(tmp_path / name / "complete", (0, 0))
    ansible._tidy(tmp_path, tmp_path / "current")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".current.lock", ".young.lock", "current", "young"]


def test_a_secret_of_several_lines_is_hidden_in_a_difference_and_across_a_cut(tmp_path):
    key = "-----BEGIN KEY-----\nfirst line of it\nsecond line of it\n-----END KEY-----\n"
    playbook = ansiblerun.Playbook(tmp_path, tmp_path, "site.yml", {"directory": "/d"}, {"tls": {"key": key}})
    text = "a" * (ansiblerun.KEPT // 2 - 8) + "first line of it" + "b" * 9000
    event = {"event": "failed", "task": "t", "text": text, "diff": "".join(f"+{line}\n" for line in key.splitlines())}
    (tmp_path / "events").write_text(json.dumps(event) + "\n{")
    [found] = playbook._events()
    assert "line of it" not in found.diff + found.text and "first" not in found.text and len(found.text) < 4100
