"""Files of environments and apps as pillar: the master's all of them, a node's its own, and nobody's mistake a block."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import salt.config
from saltdeploy import definition
from saltdeploy.core.errors import DefinitionError, Refused
from saltdeploy.environment import appfiles, environmentfiles, secretstore
from saltdeploy.environment.pillar import all_environments, own_environment

PRODUCTION = "environments: {production: {nodes: {p1: {address: 10.1.0.1}}, apps: {shop: {instances: 4}}}}"
TEST = "environments: {test: {based_on: production, scale: 0.5, nodes: {t1: {address: 10.2.0.1}}}}"
SHOP = "apps: {shop: {source: {pip: shop}, run: ./shop, env: {PASSWORD: geheim}, roles: [web]}}"


@pytest.fixture
def folder(tmp_path):
    def write(apps=(), **files):
        for name, text in files.items():
            (tmp_path / "environments").mkdir(exist_ok=True)
            (tmp_path / "environments" / f"{name}.sls").write_text(text)
        for name, text in dict(apps).items():
            (tmp_path / "apps").mkdir(exist_ok=True)
            (tmp_path / "apps" / f"{name}.sls").write_text(text)
        return tmp_path / "environments"

    return write


@pytest.fixture
def opts(tmp_path):
    found = salt.config.DEFAULT_MASTER_OPTS.copy()
    paths = {"cachedir": tmp_path / "cache", "config_dir": tmp_path, "conf_file": tmp_path / "master"}
    paths.update(pki_dir=tmp_path / "pki/master", extension_modules=tmp_path / "ext")
    found.update({key: str(path) for key, path in paths.items()}, id="m", grains={}, pillar={}, file_client="local")
    found.update(pillar_roots={"base": [str(tmp_path)]}, file_roots={"base": [str(tmp_path)]})
    return found


def test_all_plain_files_are_read(folder):
    path = folder(production=PRODUCTION, test=TEST, all="#!py\ndef run(): raise Exception\n")
    (path / "notes.txt").write_text("environments: {notes: {}}")
    assert sorted(all_environments(path)["environments"]) == ["production", "test"]


def test_own_is_the_one_that_lists_the_node_resolved(folder):
    own = own_environment(folder(production=PRODUCTION, test=TEST), "t1")
    test = {"nodes": {"t1": {"address": "10.2.0.1"}}, "apps": {"shop": {"instances": 2}}}
    assert own == {"environments": {"test": test}}
    assert own_environment(folder(), "stranger") == {"environments": {}}


def test_a_file_is_read_again_when_it_has_changed_and_what_was_read_is_nobody_elses(folder):
    path = folder(test=TEST.replace("based_on: production, ", ""))
    all_environments(path)["environments"]["test"]["nodes"].clear()
    assert list(all_environments(path)["environments"]["test"]["nodes"]) == ["t1"]
    folder(test=TEST.replace("t1", "another1"))
    assert list(all_environments(path)["environments"]["test"]["nodes"]) == ["another1"]


@pytest.mark.parametrize(
    "text, told",
    [
        ("environments: {", "is not YAML: line 2"),
        ("- environments", "must hold a mapping `environments`"),
        ("", "must hold a mapping `environments`"),
        ("environments: [test]", "must hold a mapping `environments`"),
        (TEST, "environment test is defined in environments/test.sls too"),
        ("environments:\n  x: {{ grains.id }}\n", "is not YAML: line 2 has Jinja, and a file of environments is plain"),
        ("{% if x %}\nenvironments: {}\n{% endif %}", "is not YAML: line 1 has Jinja"),
        ("#!jinja|yaml\nenvironments: {}", "the first line names 'jinja|yaml'"),
        ("environments: {x: {nodes: *geheim}}", "is not YAML: line 1: found undefined alias"),
        ("environments: {x: {scale: !!int geheim}}", "is not YAML: a value is not as its tag says"),
        ("environments: {x: {scale: !geheim 1}}", "is not YAML: line 1: could not determine a constructor for the tag"),
    ],
)
def test_a_file_that_is_wrong_is_named_and_left_out(folder, text, told):
    found = all_environments(folder(production=PRODUCTION, test=TEST, zzz=text))
    assert found["saltdeploy_broken"]["environments/zzz.sls"].startswith(told)
    assert "geheim" not in str(found)
    assert "production" in found["environments"]
    # Who is asked for is loaded, and who is not there is said to be left out.
    assert definition.load({**found, "apps": {}}, "production").broken.keys() == {"shop"}
    with pytest.raises(
        Refused, match=r"unknown environment 'zzz'.* Left out is environments/zzz.sls: " + re.escape(told)
    ):
        definition.load({**found, "apps": {}}, "zzz")
    own = own_environment(folder(), "p1")
    assert list(own["environments"]) == ["production"] and own["saltdeploy_broken"] == found["saltdeploy_broken"]


def test_what_is_based_on_a_file_that_is_wrong_says_so(folder):
    path = folder(production="environments: {", test=TEST)
    with pytest.raises(DefinitionError, match=r"no environment 'production'.*Left out is environments/production.sls"):
        definition.load(all_environments(path), "test")
    own = own_environment(path, "t1")
    assert own["environments"] == {}
    with pytest.raises(Refused, match=r"t1 is a node of no environment.*environments/production.sls: is not YAML"):
        definition.load_own("t1", own)


def test_states_are_not_given_what_nobody_has_checked(folder):
    """They write it into files of the system."""
    wrong = TEST.replace("based_on: production, scale: 0.5", 'dns: {upstream: ["192.0.2.1\\n  evil: yes"]}')
    own = own_environment(folder(test=wrong), "t1")
    assert own["environments"] == {}
    assert "dns:upstream:0: '192.0.2.1\\n  evil: yes' is not" in own["saltdeploy_broken"]["environment test"]


NODES = "nodes: {t1: {address: 10.2.0.1, roles: [web]}, t2: {address: 10.2.0.2, roles: [db]}}"
PLACED = f"environments: {{test: {{{NODES}, apps: {{shop: {{version: '1', env: {{TOKEN: streng}}}}, db: {{}}}}}}}}"
DB = "apps: {db: {source: {pip: db}, run: ./db, roles: [db], hooks: {before_start: ./x --key heimlich}}}\ndb_key: eigen"


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


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """Return a folder of gpg keys, and a message for them."""
    if not shutil.which("gpg"):
        pytest.skip("gpg is not installed")
    home = tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--trust-model", "always"]
    subprocess.run(
        [*gpg, "--passphrase", "", "--quick-generate-key", "m@example.com", "default", "default"], check=True
    )
    sealed = subprocess.run(
        [*gpg, "--armor", "--encrypt", "-r", "m@example.com"], input=b"geheim", capture_output=True, check=True
    )
    yield home, sealed.stdout.decode()
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)


@pytest.mark.parametrize("shebang", ["", "#!yaml|gpg\n", "#!yaml | gpg\n"])
def test_ciphertext_is_decrypted_on_the_master(folder, opts, sealed, shebang):
    home, text = sealed
    lines = text.replace("\n", "\n            ")
    placed = f"{shebang}environments:\n  test:\n    {NODES}\n    apps:\n      shop:\n        env:\n          PASSWORD: |\n            {lines}\n      db: {{}}\n"
    path = folder({"shop": SHOP, "db": DB}, test=placed)
    opts["gpg_keydir"] = str(home)
    assert definition.load(all_environments(path, opts, {}), "test").apps["shop"].env == {"PASSWORD": "geheim"}
    assert definition.load_own("t1", own_environment(path, "t1", opts, {})).apps["shop"].env == {"PASSWORD": "geheim"}
    assert "PGP" not in str(own_environment(path, "t2", opts, {}))
    # Without the key it is refused by its key path, and only the app that it is of.
    for without in (
        {**opts, "gpg_keydir": str(home / "none")},
        {**opts, "gpg_decrypt_must_succeed": True, "gpg_keydir": str(home / "none")},
    ):
        environment = definition.load(all_environments(path, without, {}), "test")
        assert list(environment.apps) == ["db"]
        assert environment.broken["shop"].startswith("environments:test:apps:shop:env:PASSWORD: is gpg ciphertext that")


def test_ciphertext_in_an_apps_file_that_does_not_name_gpg_is_refused(folder, opts, sealed):
    text = sealed[1].replace("\n", "\n        ")
    app = f"apps:\n  shop:\n    source: {{pip: shop}}\n    run: ./x\n    env:\n      P: |\n        {text}\n"
    found = all_environments(folder({"shop": app, "db": DB}, test=PLACED), opts, {})
    assert "apps:shop:env:P: is gpg ciphertext that was not decrypted" in definition.load(found, "test").broken["shop"]


def test_each_file_is_read_once_for_all_nodes(folder, monkeypatch):
    path, read = folder(production=PRODUCTION, test=TEST), []
    load = environmentfiles.yamlfile.load
    monkeypatch.setattr(environmentfiles.yamlfile, "load", lambda path: read.append(path.name) or load(path))
    for _ in range(3):
        assert own_environment(path, "t1")["environments"] and own_environment(path, "p1")["environments"]
    assert sorted(read) == ["production.sls", "test.sls"]


CONSUL = "environments: {site: {nodes: {s1: {address: 10.3.0.1, roles: [consul-server]}}, consul: {version: 1.22.3}}}"
NOBODY = 65534


@pytest.fixture
def debian(opts):
    """A master's options and ``/etc/salt/pki`` as Debian's package has it: only ``master`` is the master's user's."""
    with tempfile.TemporaryDirectory() as scratch:  # not tmp_path, which nobody else may enter
        path, pki = Path(scratch, "environments"), Path(scratch, "pki")
        path.mkdir()
        (path / "site.sls").write_text(CONSUL)
        (path / "test.sls").write_text(TEST.replace("based_on: production, ", ""))
        (pki / "master").mkdir(parents=True)
        for inside, mode in ((Path(scratch), 0o755), (pki, 0o555), (pki / "master", 0o700)):
            inside.chmod(mode)
        if os.geteuid() == 0:
            os.chown(pki / "master", NOBODY, NOBODY)
        yield path, {**opts, "pki_dir": str(pki / "master")}, pki
        for inside in (pki, pki / "saltdeploy", pki / "master/saltdeploy"):
            if inside.is_dir():
                inside.chmod(0o700)


def unprivileged(work):
    """Return what ``work`` returns in a process whose user is not root."""
    if os.geteuid():
        return work()
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            found = work()
        except BaseException as exc:
            found = repr(exc)
        os.write(theirs, json.dumps(found).encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as file:
        found = json.load(file)
    os.waitpid(child, 0)
    return found


def both(path, opts):
    """Return the pillar of the node s1, and that of the master."""
    return unprivileged(lambda: [own_environment(path, "s1", opts, {}), all_environments(path, opts, {})])


def test_a_master_that_is_not_root_keeps_its_secrets_below_its_keys(debian):
    path, opts, pki = debian
    own, everything = both(path, opts)
    assert own["saltdeploy_consul"]["config"]["node_name"] == "s1"
    assert everything["environments"]["site"]["discovery"]["consul"]["ca"] == f"{pki}/master/saltdeploy/site-ca.pem"
    modes = {f.name: f.stat().st_mode & 0o777 for f in [*pki.glob("master/*"), *pki.glob("master/saltdeploy/*.json")]}
    assert modes == {"saltdeploy": 0o700, "site.json": 0o600}


def test_secrets_of_an_earlier_version_stay_where_they_are(opts):
    pki = Path(opts["pki_dir"])
    assert secretstore.folder(opts) == pki / "saltdeploy"
    (pki.parent / "saltdeploy").mkdir(parents=True)
    assert secretstore.folder(opts) == pki.parent / "saltdeploy"


@pytest.mark.parametrize("place", ["earlier", "new"])
def test_a_master_that_cannot_keep_secrets_says_which_command_helps(debian, place):
    path, opts, pki = debian
    pki.chmod(0o755)
    kept = pki / ("saltdeploy" if place == "earlier" else "master/saltdeploy")
    kept.mkdir(mode=0o700)
    kept.chmod(0o700 if os.geteuid() == 0 else 0o500)
    own, everything = both(path, opts)
    command = re.compile(rf"`install -d -m 700 -o \S+ {kept} && chown -R \S+ {kept}`\.$")
    assert own["environments"] == {} and command.search(own["saltdeploy_broken"]["environment site"])
    # The other environment is in nobody's way, and is not taken for the one that is left out.
    assert definition.load({**everything, "apps": {}}, "test")
    assert command.search(everything["saltdeploy_broken"]["environments:site"])
    for env in ("site", None):
        with pytest.raises(Refused, match="install -d -m 700"):
            definition.load({**everything, "apps": {}}, env)


@pytest.mark.parametrize("damaged", ["", "{", "[]", "\udcff"])
def test_damaged_secrets_are_named_and_not_replaced(debian, damaged):
    path, opts, pki = debian
    both(path, opts)
    file = pki / "master/saltdeploy/site.json"
    file.write_text(damaged, errors="surrogateescape")
    own, everything = both(path, opts)
    said = f"{file} holds Consul's secrets and is damaged. Restore it"
    assert said in own["saltdeploy_broken"]["environment site"] and own["environments"] == {}
    assert said in everything["saltdeploy_broken"]["environments:site"]
    assert definition.load({**everything, "apps": {}}, "test")
    assert file.read_text(errors="surrogateescape") == damaged
