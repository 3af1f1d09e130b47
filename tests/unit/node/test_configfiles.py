"""Files of ``config`` that a running instance takes in by a reload."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import pytest
from saltdeploy.core.errors import Failed, Refused
from saltdeploy.core.model import Reload
from saltdeploy.node import comparison, configfiles, publication, reloading

from tests.support.onenode import make_node, may_pass, serves

INI, LOG = "etc/web.ini", "etc/log.ini"
CONFIG = {INI: "salt://web.ini", LOG: "salt://log.ini"}


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A node with an instance that takes in one of its two files. ``reloads`` has the text at each reload."""
    made = make_node(tmp_path, monkeypatch, config=CONFIG, reload={"signal": "HUP", "files": [INI]})
    made.texts, made.reloads, made.fails, made.tested = {}, [], [], []
    made.render = lambda url, path, values: path.write_text(made.texts.get(url, "old"))
    serves(made)

    def reload(lifecycle, app, instance, deployment=None, tests=True):
        made.reloads.append(text(made))
        made.tested.append(tests)
        if made.fails:
            raise Failed(made.fails.pop())

    monkeypatch.setattr(reloading, "one", reload)
    return made


def folder(node):
    return node.host.instances.folder("web_1.0_0")


def text(node, target=INI):
    return (folder(node) / target).read_text()


def seen(node):
    """Return the files to reload, and the other settings that differ."""
    found = comparison.observe(node, "web", "1.0")
    return [i.stale for i in found.instances], found.editions


def test_only_the_files_that_it_takes_in_are_left_to_a_reload(node):
    assert seen(node) == ([""], {"1.0": {}})
    node.texts["salt://web.ini"] = "new"
    assert seen(node) == ([INI], {"1.0": {}})
    assert comparison.compare(node, "web")[0] == {"1.0": {"config": [INI]}}
    node.texts["salt://log.ini"] = "new"
    assert seen(node) == ([INI], {"1.0": {"config": [LOG]}})


def test_a_file_that_it_did_not_start_with_is_not_taken_in(node):
    app = node.environment.apps["web"]
    files = (*app.reload.files, "etc/more.ini")
    config = {**CONFIG, "etc/more.ini": "salt://more.ini"}
    node.environment.apps["web"] = replace(app, config=config, reload=Reload("HUP", files=files))
    assert seen(node) == ([""], {"1.0": {"config": ["etc/more.ini"]}})


def test_the_files_are_written_before_the_reload_and_kept_after_it(node):
    node.texts["salt://web.ini"] = node.texts["salt://log.ini"] = "new"
    assert configfiles.renew(node, "web", deployment="d2") == ["web_1.0_0"]
    assert node.reloads == ["new"] and text(node, LOG) == "old"
    assert (folder(node) / INI).stat().st_mode & 0o777 == 0o600
    assert seen(node) == ([""], {"1.0": {"config": [LOG]}})
    # Nothing has changed since, so nothing is reloaded.
    configfiles.renew(node, "web", deployment="d3")
    assert node.reloads == ["new"]


def test_an_instance_that_fails_to_reload_is_reloaded_again_by_the_next_run(node):
    node.texts["salt://web.ini"], node.fails = "new", ["it cannot be reloaded"]
    with pytest.raises(Failed, match="it cannot be reloaded"):
        configfiles.renew(node, "web", deployment="d2")
    assert text(node) == "new" and seen(node)[0] == [INI]
    configfiles.renew(node, "web", deployment="d3")
    assert node.reloads == ["new", "new"] and seen(node)[0] == [""]


def test_it_gets_the_files_back_that_it_had_before_that_deployment(node):
    node.texts["salt://web.ini"] = "new"
    configfiles.renew(node, "web", deployment="d2")
    node.texts["salt://web.ini"] = "newest"
    configfiles.renew(node, "web", deployment="d3")
    node.texts["salt://web.ini"] = "another"
    configfiles.renew(node, "web", deployment="d3")  # a second step of the same deployment
    configfiles.renew(node, "web", after="d3", back=True)
    assert text(node) == "new" and node.reloads[-1] == "new" and seen(node)[0] == [INI]
    # Where the step of a deployment never came, nothing goes back.
    configfiles.renew(node, "web", after="d4", back=True)
    assert len(node.reloads) == 4


def test_an_instance_that_cannot_be_reloaded_with_its_former_files_is_restarted(node, monkeypatch):
    restarted = []

    def restart(lifecycle, app, instance):
        restarted.append((instance.id, app.tests, text(node)))

    monkeypatch.setattr(configfiles.retirement, "restart_one", restart)
    node.texts["salt://web.ini"], node.fails = "bad", ["its process has ended", "it does not run"]
    with pytest.raises(Failed):
        configfiles.renew(node, "web", deployment="d2")
    configfiles.renew(node, "web", after="d2", back=True)
    # The tests may be as new as the files.
    assert (
        node.tested == [True, False]
        and restarted == [("web_1.0_0", (), "old")]
        and node.warnings == ["its process has ended. It is restarted with its former files."]
    )


@pytest.mark.parametrize("back", [False, True])
def test_where_a_run_was_killed_the_files_are_written_again(node, monkeypatch, back):
    """Nobody knows which ones the process has, also if the definition has gone back meanwhile."""
    node.texts["salt://web.ini"] = "new"
    if back:
        configfiles.renew(node, "web", deployment="d2")
    with monkeypatch.context() as patch:
        patch.setattr(reloading, "one", lambda *args, **options: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            configfiles.renew(node, "web", **({"after": "d2", "back": True} if back else {"deployment": "d2"}))
    node.texts["salt://web.ini"] = "new" if back else "old"
    assert seen(node)[0] == [INI]
    assert comparison.compare(node, "web")[0] == {"1.0": {"config": [INI]}}
    configfiles.renew(node, "web", deployment="d3")
    assert text(node) == node.texts["salt://web.ini"] == node.reloads[-1] and seen(node) == ([""], {"1.0": {}})
    configfiles.renew(node, "web", after="d3", back=True)
    assert text(node) == ("new" if back else "old")


def test_each_instance_gets_its_files_back_also_after_a_failure(node, monkeypatch):
    may_pass(node)
    node.start("web", "1.0", 1, "d1", held=True)
    publication.publish(node, "web")
    node.texts["salt://web.ini"] = "new"
    assert configfiles.renew(node, "web", deployment="d2") == ["web_1.0_0", "web_1.0_1"]

    def restart(lifecycle, app, instance):
        raise Failed(f"{instance.id} is broken")

    monkeypatch.setattr(configfiles.retirement, "restart_one", restart)
    node.fails = ["reload failed"]
    with pytest.raises(Failed, match="^web_1.0_0 is broken$"):
        configfiles.renew(node, "web", after="d2", back=True)
    assert [(node.host.instances.folder(f"web_1.0_{n}") / INI).read_text() for n in (0, 1)] == ["old", "old"]


def test_it_needs_a_way_to_reload_and_the_settings_of_the_start(node):
    node.texts["salt://web.ini"] = "new"
    node.host.settings.forget("web", "1.0")
    assert seen(node)[0] == [""]
    with pytest.raises(Failed, match="web_1.0_0: its settings are not kept, so its files stay. Restart it"):
        configfiles.renew(node, "web")
    node.environment.apps["web"] = replace(node.environment.apps["web"], reload=None)
    with pytest.raises(Refused, match="apps:web:reload: is missing on a"):
        configfiles.renew(node, "web")


def test_the_next_start_with_kept_settings_has_the_files_of_the_reload(node):
    node.texts["salt://web.ini"] = "new"
    kept = node.host.settings.read("web", "1.0", 0)
    configfiles.renew(node, "web", deployment="d2")
    assert node.host.settings.read("web", "1.0", 0) == replace(kept, config={INI: "new", LOG: "old"})
    # The deployment that brought the settings in is still theirs: a revert of the reload does not remove them.
    [path] = node.host.settings.root.glob("web/settings/1.0/*.json")
    assert json.loads(path.read_text())["deployment"] == "d1"


def test_a_note_of_another_kind_changes_nothing_back(node):
    for note in ("nonsense", "[]", '{"deployment": "d2"}'):
        (folder(node) / ".config-before").write_text(note)
        configfiles.renew(node, "web", after="d2", back=True)
    assert node.reloads == [] and text(node) == "old"
