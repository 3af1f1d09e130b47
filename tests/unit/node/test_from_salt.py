"""What the execution modules have in common."""

import os
from types import SimpleNamespace

import pytest
from salt.config import minion_config
from salt.exceptions import CommandExecutionError, SaltClientError, SaltRenderError
from saltdeploy.core.errors import Failed
from saltdeploy.node import from_salt
from saltdeploy.node.host import DEFAULT_ROOT

PILLAR = {
    "apps": {"shop": {"source": {"pip": "shop"}, "run": "shop"}},
    "environments": {"test": {"nodes": {"web1": {"address": "127.0.0.1"}}, "apps": {"shop": {"version": "1.0"}}}},
}


def test_a_file_that_the_master_has_not_is_an_error(tmp_path):
    """Salt returns nothing then, and a hook or an instance would run without it."""
    functions = {
        "cp.get_file": lambda url, path: "",
        "cp.hash_file": lambda url: {},
        "cp.get_template": lambda *args, **context: "",
    }
    lifecycle = from_salt.lifecycle({"id": "web1"}, PILLAR, functions)
    with pytest.raises(Failed, match="salt://shop.tar.gz: is not on the master: see its file_roots"):
        lifecycle.fetch("salt://shop.tar.gz", tmp_path / "a")
    with pytest.raises(Failed, match="salt://shop.tar.gz: is not on the master: see its file_roots"):
        lifecycle.fetch("salt://shop.tar.gz", None)
    with pytest.raises(Failed, match="salt://shop.conf: is not on the master: see its file_roots"):
        lifecycle.render("salt://shop.conf", tmp_path / "b", {})


def test_a_folder_of_the_master_comes_with_all_its_files(tmp_path):
    fetched = []

    def get_file(url, path):
        fetched.append(url)
        return path

    listed = ["shop/ansible/site.yml", "shop/ansible/roles/a/main.yml", "shop/ansible2/x"]
    functions = {
        "cp.list_master": lambda saltenv, prefix: [f for f in listed if saltenv == "dev"],
        "cp.get_file": get_file,
    }
    lifecycle = from_salt.lifecycle({"id": "web1"}, PILLAR, functions)
    lifecycle.fetch("salt://shop/ansible/?saltenv=dev", tmp_path)
    assert fetched == [f"salt://{name}?saltenv=dev" for name in listed[:2]]
    assert (tmp_path / "roles/a").is_dir()
    with pytest.raises(Failed, match="salt://shop/ansible/: the master has no files there: see its file_roots"):
        lifecycle.fetch("salt://shop/ansible/", tmp_path)
    listed += [f"shop/ansible/{n}" for n in range(5000)]
    with pytest.raises(Failed, match="has 5002 files, more than 5000: refused"):
        lifecycle.fetch("salt://shop/ansible/?saltenv=dev", tmp_path)


@pytest.mark.parametrize("stat, size", [([33188, 1, 2, 1, 0, 0, 4711, 0, 0, 0], 4711), ([33188], None), (None, None)])
def test_the_size_of_a_file_of_the_master(monkeypatch, stat, size):
    """The file server of git says only the mode of a file."""
    asked = []

    class Client:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def hash_and_stat_file(self, path, saltenv):
            asked.append((path, saltenv))
            return {"hsum": "0"}, stat

    monkeypatch.setattr(from_salt.salt.fileclient, "get_file_client", lambda opts: Client())
    functions = {"cp.hash_file": lambda url: {"hsum": "0"}}
    lifecycle = from_salt.lifecycle({"id": "web1", "saltenv": None}, PILLAR, functions)
    assert lifecycle.fetch("salt://shop.tar.gz", None) == size
    assert lifecycle.fetch("salt://shop.tar.gz?saltenv=dev", None) == size
    assert asked == [("salt://shop.tar.gz", "base"), ("salt://shop.tar.gz", "dev")]


def test_a_real_file_client_says_the_size(tmp_path):
    (tmp_path / "shop.tar").write_bytes(b"x" * 4711)
    opts = {**minion_config(None), "id": "web1", "file_client": "local", "file_roots": {"base": [str(tmp_path)]}}
    opts.update(cachedir=str(tmp_path / "cache"), fileserver_backend=["roots"])
    assert from_salt._size(opts, "salt://shop.tar") == 4711


def test_a_mistake_in_a_template_names_file_and_line_and_shows_nothing_of_it(tmp_path):
    def fail(*args, **context):
        raise SaltRenderError("Jinja variable 'nix' is undefined", 3, "a\nb\npassword=geheim {{ nix }}\n")

    with pytest.raises(Failed) as caught:
        from_salt._render({"cp.get_template": fail}, "salt://shop.ini", tmp_path / "a", {})
    assert str(caught.value) == "salt://shop.ini: line 3: Jinja variable 'nix' is undefined."
    assert caught.value.__cause__ is None


def test_settings_are_those_of_the_pillar_that_is_given():
    """Which may be another than Salt's own ``config.get`` knows; what the minion is configured with comes first."""

    def root(own, pillar, grains=None):
        opts = {"id": "web1", "saltdeploy": own, "grains": {"saltdeploy": grains}}
        return str(from_salt.lifecycle(opts, {**PILLAR, **pillar}, {}).host.root)

    assert root({}, {}) == DEFAULT_ROOT
    assert root({}, {"saltdeploy": {"root": "/data"}}) == "/data"
    assert root({}, {"saltdeploy": {"root": "/data"}}, {"root": "/grain"}) == "/grain"
    assert root({"root": "/own"}, {"saltdeploy": {"root": "/data"}}) == "/own"


def test_one_job_serves_many_nodes():
    assert from_salt.part({"id": "web1"}, {"web1": [1], "web2": [2]}) == [1]
    assert from_salt.part({"id": "web3"}, {"web1": [1]}) == []
    assert from_salt.part({"id": "web1"}, [3]) == [3]


class Compiler:
    """A pillar compiler of Salt's, which may not reach its master."""

    def __init__(self, pillar):
        self.pillar, self.destroyed = pillar, False

    def compile_pillar(self):
        if self.pillar is None:
            raise SaltClientError("timed out")
        return self.pillar

    def destroy(self):
        self.destroyed = True


@pytest.mark.parametrize(
    "fresh, taken_in",
    [(PILLAR, 0), ({**PILLAR, "password": "new"}, 1), ({"apps": PILLAR["apps"]}, 1), ({}, 1)],
)
def test_a_pillar_is_taken_in_where_it_is_another(monkeypatch, fresh, taken_in):
    """What the minion adds to it makes it no other."""
    compiler, asked = Compiler(fresh), []
    given = []
    monkeypatch.setattr(from_salt.salt.pillar, "get_pillar", lambda *args, **kwargs: given.append(args) or compiler)
    functions = {"saltutil.refresh_pillar": lambda wait: asked.append(wait) or True}
    opts = {"id": "web1", "grains": {}, "saltenv": None, "pillar_cache": True}
    assert from_salt.refresh(opts, {**PILLAR, "schedule": {"job": {}}}, functions) == fresh
    assert asked == [True] * taken_in and compiler.destroyed
    assert given == [({**opts, "pillar_cache": False}, {}, "web1", None)]


@pytest.mark.parametrize("said, seconds", [(False, 0.0), (True, 30.0)])
def test_a_pillar_that_is_not_taken_in_is_an_error(monkeypatch, said, seconds):
    """What comes next, a state run too, would have the old one. Salt says True when its time is over, too."""
    clock = iter([0.0, seconds])
    monkeypatch.setattr(from_salt, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(from_salt.salt.pillar, "get_pillar", lambda *args, **kwargs: Compiler({}))
    opts = {"id": "web1", "grains": {}, "saltenv": None}
    with pytest.raises(Failed, match="web1 did not take in its new pillar within 30 s. Run: salt web1 saltutil"):
        from_salt.refresh(opts, PILLAR, {"saltutil.refresh_pillar": lambda wait: said})


def test_a_pillar_that_does_not_come_is_an_error(monkeypatch):
    compiler = Compiler(None)
    monkeypatch.setattr(from_salt.salt.pillar, "get_pillar", lambda *args, **kwargs: compiler)
    with pytest.raises(Failed, match="the master does not send its pillar to web1: timed out"):
        from_salt.refresh({"id": "web1", "grains": {}, "saltenv": None}, PILLAR, {})
    assert compiler.destroyed


@pytest.mark.parametrize(
    "about, prepared",
    [
        ({"user": "root"}, True),
        ({"user": "nobody", "packages": ["curl"]}, True),
        ({"user": "nobody-of-this-name"}, os.geteuid() != 0),
        ({"user": "root", "packages": ["curl", "nowhere"]}, False),
        ({"user": "root", "states": ["shop.extra"]}, False),
        ({"source": {"pip": 1}}, False),
        # What installs packages waits for a state run that does so.
        ({"source": {"package": "nginx"}, "user": "root"}, False),
        ({"source": {"ansible": "site.yml", "content": "salt://play"}, "user": "root"}, False),
        # A state run says what is wrong with the package manager.
        ({"user": "root", "packages": ["broken"]}, False),
    ],
)
def test_an_installation_needs_no_states_where_packages_and_user_are_there_and_no_states_are_wanted(about, prepared):
    shop = {**PILLAR["apps"]["shop"], **about}

    def version(*names):
        if "broken" in names:
            raise CommandExecutionError("the database is locked")
        return {"curl": "7", "nowhere": ""} if len(names) > 1 else "7"

    functions = {"pkg.version": version}
    lifecycle = from_salt.lifecycle({"id": "web1"}, {**PILLAR, "apps": {"shop": shop}}, functions)
    assert from_salt.prepared(lifecycle, "shop", functions) is prepared
    assert from_salt.prepared(lifecycle, "till", functions) is False


@pytest.mark.parametrize("names", [[], ["curl"], ["curl", "nowhere"]])
def test_packages_are_a_mapping_however_many_there_are(names):
    """Salt's pkg.version returns a text for one name, and the versions of all packages for none."""
    installed = {"curl": "7.88"}

    def version(*asked):
        return {n: installed.get(n, "") for n in asked} if len(asked) > 1 else installed.get(asked[0], "")

    assert from_salt.packages({"pkg.version": version}, names) == {n: installed.get(n, "") for n in names}
