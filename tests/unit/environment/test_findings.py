"""The mistakes in a folder of pillar, with file, line and key path."""

from __future__ import annotations

import pytest
import salt.config
from saltdeploy.environment import findings, pillarroots

APP = """\
apps:
  shop:
    source: {pip: shop}
    run: ./serve {port}
    ports: 20000-20009
"""
TEST = """\
environments:
  test:
    nodes:
      web1: {address: 10.0.0.1}
    apps:
      shop:
        version: 1.4.2
"""
SEALED = "|\n          -----BEGIN PGP MESSAGE-----\n          abc\n          -----END PGP MESSAGE-----"


@pytest.fixture
def found(tmp_path):
    """Return the findings in these files, as text."""

    def find(environments=None, apps=None, sealed=True):
        for folder, files in (("environments", environments or {"test": TEST}), ("apps", apps or {"shop": APP})):
            (tmp_path / folder).mkdir(exist_ok=True)
            for name, text in files.items():
                path = tmp_path / folder / f"{name}.sls"
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)
        opts = {**salt.config.DEFAULT_MINION_OPTS, "file_client": "local", "grains": {}}
        opts.update(root_dir=str(tmp_path), cachedir=str(tmp_path / "c"), extension_modules=str(tmp_path / "e"))
        contents = pillarroots.read(tmp_path, opts)
        return [str(finding) for finding in findings.find(contents, sealed)]

    return find


def test_there_are_none_in_what_is_right(found):
    assert found() == []


def test_each_has_its_file_and_its_line(found):
    app, test = APP.replace("run:", "runn:"), TEST.replace("10.0.0.1", "10.0.0.x!").replace("version", "verzion")
    first, second, third, fourth = found({"test": test}, {"shop": app})
    assert first == "apps/shop.sls:2: apps:shop:run: is missing."
    assert second.startswith("apps/shop.sls:4: apps:shop:runn: unknown key (did you mean `run`?).")
    assert third.startswith(
        "environments/test.sls:4: environments:test:nodes:web1:address: '10.0.0.x!' is not an address"
    )
    assert fourth.startswith("environments/test.sls:7: environments:test:apps:shop:verzion: unknown key")


def test_a_value_of_a_base_has_the_file_of_the_base(found):
    production = TEST.replace("test:", "production:", 1) + "    strategy: {drain: 0s}\n"
    test = "environments:\n  test:\n    based_on: production\n    nodes: {t1: {address: 10.1.0.1}}\n"
    both = found({"production": production, "test": test})
    assert [line.partition(" is too short")[0] for line in both] == [
        "environments/production.sls:8: environments:production:strategy:drain: 0s",
        "environments/production.sls:8: environments:test:strategy:drain: 0s",
    ] or both == []


def test_items_of_lists_have_lines(found):
    app = APP + "    checks:\n      - {http: /a}\n      - {http: nowhere}\n"
    [one] = found(apps={"shop": app})
    assert one.startswith("apps/shop.sls:8: apps:shop:checks:1:http: ")


def test_a_file_with_jinja_has_no_lines(found):
    app = "{% set port = 80 %}\n" + APP.replace("run:", "runn:")
    lines = found(apps={"shop": app})
    assert [line.partition(": ")[0] for line in lines] == ["apps/shop.sls"] * 2


def test_a_file_that_is_no_yaml_is_named_with_its_line(found):
    [one] = found({"test": TEST, "broken": "environments:\n  a: {\n"})
    assert one.startswith("environments/broken.sls:3: is not YAML: line 3: ")


def test_a_template_that_cannot_be_rendered_is_named(found):
    [one, other] = found(apps={"shop": APP.replace("./serve", "{{ nothing.here }}")})
    assert one.startswith("apps/shop.sls") and "nothing" in one
    assert other.startswith("environments/test.sls:6: environments:test:apps:shop: there is no such app.")


def test_an_app_that_no_environment_has_is_looked_at_too(found):
    lines = found(apps={"shop": APP, "blog": "apps: {blog: {runn: x, source: {pip: blog}}}\n"})
    assert len(lines) == 2 and all(line.startswith("apps/blog.sls:1: apps:blog:run") for line in lines)


def test_apps_in_folders_are_found(found):
    lines = found(apps={"shop/init": APP.replace("run:", "runn:")})
    assert {line.partition(":")[0] for line in lines} == {"shop/init.sls"}


def test_several_mistakes_are_each_told_once(found):
    """An environment and one that is based on it have the same app."""
    derived = "environments:\n  other:\n    based_on: test\n    nodes: {o1: {address: 10.1.0.1}}\n"
    lines = found({"test": TEST, "other": derived}, {"shop": APP.replace("run:", "runn:")})
    assert len(lines) == 2


def test_ciphertext_may_stay_where_the_keys_are_elsewhere(found):
    app = APP + f"    env:\n      TOKEN: {SEALED}\n    stop:\n      signal: {SEALED}\n"
    assert found(apps={"shop": app}) == []
    lines = found(apps={"shop": app}, sealed=False)
    assert any("apps:shop:env:TOKEN: is gpg ciphertext" in line for line in lines)


def test_no_value_is_shown(found):
    lines = found(apps={"shop": APP + "    env: {A: [hunter2]}\n    source: {pip: hunter2, archive: hunter2}\n"})
    assert lines and "hunter2" not in str(lines)


def test_a_circle_of_bases_is_told(found):
    circle = TEST.replace("    nodes:", "    based_on: test\n    nodes:")
    [one] = found({"test": circle})
    assert one.startswith("environments/test.sls:3: environments:test:based_on: goes round in a circle")


def test_what_is_found_depends_on_no_master(tmp_path):
    with pillarroots.offline() as opts:
        assert opts["file_client"] == "local" and opts["gpg_keydir"].startswith(opts["cachedir"])
    assert pillarroots.folders({"pillar_roots": {"base": [str(tmp_path)]}}) == []
    (tmp_path / "environments").mkdir()
    assert pillarroots.folders({"pillar_roots": {"base": [str(tmp_path)]}}) == [tmp_path]
    assert pillarroots.folders({}) == []


def test_ciphertext_hides_no_other_mistake(found):
    twice = "    checks:\n      - ttl: 5s\n      - ttl: 6s\n"
    app = APP + f"    env:\n      TOKEN: {SEALED}\n" + twice
    [one] = found(apps={"shop": app})
    assert one.startswith("apps/shop.sls:13: apps:shop:checks:1: an app has one `ttl` check at most")
    token = TEST + f"    discovery:\n      consul:\n        token: {SEALED}\n"
    [one] = found({"test": token}, {"shop": APP + twice})
    assert "an app has one `ttl` check at most" in one
    # Each key gets a value that it allows.
    sealed = "".join(f"      {key}: {SEALED}\n" for key in ("drain", "keep_releases", "type", "canary_weight"))
    assert found(apps={"shop": APP + "    strategy:\n" + sealed + f"    data: {SEALED}\n"}) == []


def test_all_mistakes_are_told(found):
    keys = "".join(f"    odd{number}: 1\n" for number in range(30))
    assert len(found(apps={"shop": APP + keys})) == 30
    secrets = "".join(f"      S{number}: {SEALED}\n" for number in range(30))
    assert found(apps={"shop": APP + "    env:\n" + secrets}) == []


def test_a_node_of_two_environments_is_told(found):
    [one] = found({"test": TEST, "prod": TEST.replace("test:", "prod:", 1)})
    assert one == "environments/test.sls:4: environments:test:nodes:web1: is a node of prod, too. Keep it in one."


def test_a_name_that_is_no_text_stops_nothing(found):
    lines = found({"test": TEST.replace("1.4.2", "[x]"), "odd": TEST.replace("test:", "1:", 1).replace("web1", "w9")})
    assert any("the name 1 is not text" in line for line in lines)
    assert any(line.startswith("environments/test.sls:7: environments:test:apps:shop:version: ") for line in lines)


def test_a_key_with_a_blank_has_its_line(found):
    app = APP + "    config:\n      etc/my file.ini: nowhere\n"
    [one] = found(apps={"shop": app})
    assert one.startswith("apps/shop.sls:7: apps:shop:config:etc/my file.ini: ")


def test_jinja_imports_from_the_same_folder(found, tmp_path):
    (tmp_path / "apps").mkdir()
    (tmp_path / "apps/defaults.jinja").write_text("{% set run = './serve' %}")
    assert (
        found(
            apps={"shop": "{% from 'apps/defaults.jinja' import run %}\n" + APP.replace("./serve {port}", "{{ run }}")}
        )
        == []
    )
