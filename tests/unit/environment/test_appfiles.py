"""Files of apps: a node gets its own apps with their secrets, and of all others only the public part."""

import os

import pytest
from saltdeploy import definition
from saltdeploy.environment import appfiles
from saltdeploy.environment.pillar import all_environments, own_environment

from tests.unit.environment.examples import DB, PLACED, SHOP


def test_secrets_of_an_app_go_to_the_nodes_that_may_run_it(folder, opts):
    path = folder({"shop": SHOP, "db": DB, "shared": "colour: red"}, test=PLACED)
    web, db = (own_environment(path, node, opts, {}) for node in ("t1", "t2"))
    for own, has, lacks in (
        (web, ("geheim", "streng"), ("heimlich", "eigen")),
        (db, ("heimlich", "eigen"), ("geheim", "streng")),
    ):
        assert [word for word in has if word not in str(own)] == []
        assert [word for word in lacks if word in str(own)] == []
        assert own["colour"] == "red" and set(own["apps"]) == {"shop", "db"}
    # What other nodes are asked for needs no more than that.
    environment = definition.load_own("t2", db)
    assert environment.broken == {} and environment.eligible(environment.apps["shop"]) == ["t1"]
    assert all_environments(path, opts, {})["apps"]["shop"]["env"] == {"PASSWORD": "geheim"}


@pytest.mark.parametrize(
    "text",
    [
        "apps: {shop: {source: {pip: shop}, run: ./shop, env: {PASSWORD: geheim}, roles: [web}}",
        "apps: {shop: {source: {pip: shop}, run: ./shop, env: {PASSWORD: geheim}, roles: [{web: }]}}",
        "apps: {shop: {source: {pip: shop}, run: ./shop, env: {PASSWORD: geheim}, roles: {web: }}}",
        "apps:\nshop: {source: {pip: shop}, run: ./shop, env: {PASSWORD: geheim}, roles: [web]}",
        "apps: {shop: {source: {pip: shop}, run: ./shop, prots: {PASSWORD: geheim}, stop: {geheim: x}, roles: [web]}}",
        "apps: &a {shop: {source: {pip: shop}, run: ./shop, env: *a, roles: [web]}}",
        "apps: {shop: geheim}",
    ],
)
def test_secrets_of_an_app_with_a_mistake_go_to_no_other_node(folder, opts, text):
    path = folder({"shop": text, "db": DB}, test=PLACED)
    own = own_environment(path, "t2", opts, {})
    assert "geheim" not in str(own) and "streng" not in str(own)
    environment = definition.load_own("t2", own)
    # What is in a wrong place is not sent, so the node does not see the mistake in it.
    assert "db" in environment.apps and ("shop" in environment.broken or "prots" in text)
    assert "geheim" not in str(environment.broken)


def test_a_node_says_which_file_keeps_an_app_from_it(folder, opts):
    path = folder({"shop": SHOP.replace("[web]", "[web"), "db": DB}, test=PLACED)
    shop = definition.load_own("t1", own_environment(path, "t1", opts, {})).broken["shop"]
    assert shop.startswith("environments:test:apps:shop: is not sent to nodes. Left out is apps/shop.sls: is not YAML")


def test_an_app_of_a_pillar_of_the_sites_own_is_whole_while_no_file_is_wrong(folder, opts):
    own = own_environment(folder({"db": DB}, test=PLACED), "t2", opts, {})
    assert own["environments"]["test"]["apps"]["shop"]["env"] == {"TOKEN": "streng"}


def test_a_test_from_a_peer_and_a_frontend_are_known_elsewhere():
    about = {
        "frontend": {"port": 80},
        "env": {"A": "geheim"},
        "tests": [{"http": "/a", "from": "peer"}, {"command": "./x geheim"}],
        "strategy": {"drain": 1, "analysis": [{"http": {"headers": {"X": "geheim"}}}]},
    }
    kept = {"frontend": {"port": 80}, "tests": [{"http": "/a", "from": "peer"}], "strategy": {"drain": 1}}
    assert appfiles.elsewhere(about) == kept


def test_the_login_of_a_check_is_not_known_elsewhere():
    request = {"path": "/a", "headers": {"X": "geheim"}, "body": "geheim", "host": "h"}
    about = {
        "checks": [{"https": request, "interval": 1}, {"http": "/b"}, {"script": "./check --password hunter2"}, "odd"]
    }
    kept = {"checks": [{"https": {"path": "/a", "host": "h"}, "interval": 1}, {"http": "/b"}, "odd"]}
    assert appfiles.elsewhere(about) == kept


@pytest.mark.parametrize(
    "text, told",
    [
        ("apps:\n  cart:\n    run: {{ nix }}\n    env: {P: geheim}", "line 3: Jinja variable 'nix' is undefined"),
        ("apps:\n  cart: {env: {P: *geheim}}", "is not YAML: line 2: found undefined alias"),
        ("apps:\n  cart:\n    env: P: geheim: x", "line 3: mapping values are not allowed"),
        ("{% if %}", "line 1: Jinja syntax error: Expected an expression"),
        ("- apps", "found a list. Write a mapping `apps`"),
        ("apps: [cart]", "apps: found a list"),
        ("#!py\ndef run():\n    raise ValueError('geheim')", "ValueError at cart.sls:3"),
        (
            "#!py\ndef run():\n    return open('/nowhere')",
            "FileNotFoundError: [Errno 2] No such file or directory: '/no",
        ),
        ("apps:\n  cart:\n    run: {{ '1geheim' | strftime('%Y') }}", "line 3: Jinja error: "),
        ("apps:\n  cart:\n    run: {{ raise('no key') }}", "line 3: Jinja error: no key"),
        ("#!nix\napps: {}", ""),
    ],
)
def test_a_file_of_an_app_that_is_wrong_is_named_and_left_out(folder, opts, text, told, caplog):
    caplog.set_level(0)
    path = folder({"shop": SHOP, "cart": text}, test=PLACED.replace("db: {}", "cart: {}"))
    found = all_environments(path, opts, {})
    if told:  # what Salt makes of a renderer that is not there is its own
        assert found["saltdeploy_broken"]["apps/cart.sls"].startswith(told)
    environment = definition.load(found, "test")
    assert list(environment.apps) == ["shop"]
    if "cart" not in found["apps"]:
        assert "environments:test:apps:cart: there is no such app" in environment.broken["cart"]
    assert "geheim" not in str(found.get("saltdeploy_broken")) + str(environment.broken) + caplog.text
    own = own_environment(path, "t1", opts, {})
    assert own["apps"]["shop"]["env"] == {"PASSWORD": "geheim"} and "_errors" not in own


def test_ciphertext_in_an_apps_file_that_does_not_name_gpg_is_refused(folder, opts, sealed):
    text = sealed[1].replace("\n", "\n        ")
    app = f"apps:\n  shop:\n    source: {{pip: shop}}\n    run: ./x\n    env:\n      P: |\n        {text}\n"
    found = all_environments(folder({"shop": app, "db": DB}, test=PLACED), opts, {})
    assert "apps:shop:env:P: is gpg ciphertext that was not decrypted" in definition.load(found, "test").broken["shop"]


@pytest.mark.parametrize("text", ["", "\n", "# nothing yet\n"])
def test_an_empty_file_has_no_apps_and_is_no_mistake(folder, opts, text):
    path = folder({"shop": text}, test=PLACED).parent / "apps"
    for _ in range(2):
        assert appfiles.render(path, opts, {}) == ({"shop": {}}, {})


PLAIN, RENDERED = "apps: {shop: {version: '1.0'}}", "apps: {shop: {version: '{{ 1.0 }}'}}"


@pytest.mark.parametrize(
    "text, renderer, rendered",
    [
        (PLAIN, {}, 1),
        (PLAIN, {"renderer": "jinja|yaml|gpg"}, 2),
        (PLAIN, {"jinja_sls_env": {"line_statement_prefix": "%"}}, 2),
        (RENDERED, {}, 2),
        (f"{{# a comment #}}\n{PLAIN}", {}, 2),
        (f"{{% set a = 1 %}}\n{PLAIN}", {}, 2),
        (f"#!jinja|yaml\n{PLAIN}", {}, 2),
        ("#!py\ndef run():\n    return {'apps': {'shop': {'version': '1.0'}}}\n", {}, 2),
    ],
)
def test_a_file_is_rendered_once_if_it_is_plain_yaml(folder, opts, monkeypatch, text, renderer, rendered):
    """A template or a program may give something else each time."""
    path, made, compiled = folder({"shop": text}, test=PLACED).parent / "apps", [], appfiles._compile
    monkeypatch.setattr(appfiles, "_compile", lambda *args: made.append(1) or compiled(*args))
    for _ in range(2):
        files, broken = appfiles.render(path, {**opts, **renderer}, {})
        assert (files["shop"]["apps"], broken) == ({"shop": {"version": "1.0"}}, {})
        files["shop"]["apps"]["shop"].clear()  # it is the caller's own
    assert len(made) == rendered


def test_a_change_of_a_plain_file_counts_at_once_even_if_its_size_and_time_are_the_same(folder, opts):
    path = folder({"shop": PLAIN}, test=PLACED).parent / "apps"
    stat = (path / "shop.sls").stat()
    for version in ("1.0", "2.0", "1.0"):
        (path / "shop.sls").write_text(PLAIN.replace("1.0", version))
        os.utime(path / "shop.sls", ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert appfiles.render(path, opts, {})[0]["shop"]["apps"]["shop"]["version"] == version
    (path / "shop.sls").write_text("apps: [")
    assert list(appfiles.render(path, opts, {})[1]) == ["apps/shop.sls"]
    (path / "shop.sls").write_bytes(b"apps: \xff")
    assert list(appfiles.render(path, opts, {})[1]) == ["apps/shop.sls"]


def test_what_is_written_while_a_file_is_read_is_not_taken_for_what_was_there_before(folder, opts, monkeypatch):
    path, compiled = folder({"shop": PLAIN}, test=PLACED).parent / "apps", appfiles._compile

    def compiles(file, *args):
        file.write_text(PLAIN.replace("1.0", "2.0"))
        return compiled(file, *args)

    monkeypatch.setattr(appfiles, "_compile", compiles)
    appfiles.render(path, opts, {})
    monkeypatch.undo()
    (path / "shop.sls").write_text(PLAIN)
    assert appfiles.render(path, opts, {})[0]["shop"]["apps"]["shop"]["version"] == "1.0"
