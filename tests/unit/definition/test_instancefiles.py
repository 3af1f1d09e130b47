"""The files in an instance's folder: those of saltdeploy, and those of the app."""

from __future__ import annotations

import pytest
from saltdeploy.definition import instancefiles

from tests.support.definitions import complaint, shop


def test_files_of_the_app_s_own_may_be_called_as_it_likes():
    config = {".env": "salt://a", "etc/start": "salt://b", "log.conf": "salt://c"}
    assert shop({"config": config}).config == config


@pytest.mark.parametrize(
    "config, message",
    [
        ({"instance.json": "salt://a"}, "found 'instance.json', but saltdeploy has a file"),
        ({"./start": "salt://a"}, "found './start', but saltdeploy has a file start of"),
        ({"log": "salt://a"}, "found 'log', but saltdeploy has a file log of its own"),
        ({"log.1": "salt://a"}, "found 'log.1', but saltdeploy has a file log.1 of its"),
        ({".start.partial": "salt://a"}, "found '.start.partial', but saltdeploy has"),
        ({".watcher.py": "salt://a"}, "found '.watcher.py', but saltdeploy has a file"),
        ({".": "salt://a"}, "found '.', which is the instance's folder itself"),
        ({"a/b": "salt://a", "a//b": "salt://b"}, "'a/b' and 'a//b' are the same file. Keep one."),
        ({"a": "salt://a", "a/b": "salt://b"}, "'a' is a file, and 'a/b' is in it."),
    ],
)
def test_files_of_an_instance_that_are_not_the_app_s(config, message):
    assert complaint({"config": config}).startswith(f"config: {message}")


@pytest.mark.parametrize(
    "name", ["RECORD", "START", "LOG", "WATCHER", "WAITING", "PROCESS"], ids=lambda name: getattr(instancefiles, name)
)
def test_no_name_of_saltdeploys_own_is_free(name):
    own = getattr(instancefiles, name)
    assert instancefiles.TAKEN.fullmatch(own)
    assert complaint({"config": {own: "salt://a"}}).startswith(
        f"config: found {own!r}, but saltdeploy has a file {own}"
    )
