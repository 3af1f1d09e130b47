"""The files that an instance is started from."""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
from dataclasses import replace

import pytest
from saltdeploy.core.errors import Refused
from saltdeploy.core.model import App, PortRange, Source
from saltdeploy.node import launch
from saltdeploy.node.launch import Launch

ADDRESS = "127.0.0.1"
USER = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def app():
    source = Source("pip", "shop")
    return App("shop", source, "env", user=USER, ports=PortRange(20000, 20010), env={"URL": "http://{host}:{port}/'"})


@pytest.fixture
def launched(node):
    """Return the Launch of a new instance of an app."""

    def launched(app):
        made = node.instances.allocate(app, "1.0", ADDRESS, "d1")
        node.releases.path(app.name, "1.0").mkdir(parents=True, exist_ok=True)
        return Launch(app, made, node, "test")

    return launched


def render(url, path, context):
    path.write_text(f"{url} {context['port']} {context['app']}")


def run(launched):
    """Run the start script with the variables of a supervisor, and return those of the app."""
    script = launched.folder / "start"
    printed = subprocess.run([script], env={"PATH": os.environ["PATH"], "OF_SUPERVISOR": "1"}, capture_output=True)
    return dict(line.partition("=")[::2] for line in printed.stdout.decode().splitlines())


def test_the_app_has_its_own_variables_and_none_of_the_supervisor(launched, app):
    made = launched(app)
    made.write(made.rendered(render))
    env, port = run(made), made.instance.port
    assert env["URL"] == f"http://127.0.0.1:{port}/'" and env["SALTDEPLOY_INSTANCE"] == str(made.folder)
    assert (env["ADDRESS"], env["PORT"], env["VERSION"]) == (ADDRESS, str(port), "1.0") and "DATA" not in env
    assert "OF_SUPERVISOR" not in env


def test_a_unit_of_a_package_has_the_variables_in_a_file(launched, app):
    odd = 'a "b" \\ `c` $d\n#e'
    made = launched(replace(app, run="", unit="shop.service", env={"ODD": odd}))
    made.write({})
    path = made.folder / ".variables"
    assert (made.unit.adopted, made.unit.command, made.unit.user) == ("shop.service", path, "")
    assert path.stat().st_mode & 0o777 == 0o600 and not (made.folder / "start").exists()
    # For such quotes, systemd and a shell have the same rules.
    printed = subprocess.run(["sh", "-c", f'. {path}; printf %s "$ODD"'], capture_output=True, text=True)
    assert printed.stdout == odd


def test_words_of_the_command_with_spaces_stay_words(launched, app):
    made = launched(replace(app, run="printf 'a b=%s\\n' 'it is {port}'"))
    made.write(made.rendered(render))
    assert run(made) == {"a b": f"it is {made.instance.port}"}


def test_configuration_is_rendered_into_the_folder_and_nobody_else_may_read_it(launched, app):
    made = launched(replace(app, config={"etc/shop.ini": "salt://shop.ini"}))
    made.write(made.rendered(render))
    rendered = made.folder / "etc/shop.ini"
    assert rendered.read_text() == f"salt://shop.ini {made.instance.port} shop"
    assert rendered.stat().st_mode & 0o777 == 0o600 and made.folder.stat().st_mode & 0o777 == 0o750
    assert [path.name for path in rendered.parent.iterdir()] == ["shop.ini"]


@pytest.mark.parametrize("image, known", [("f" * 64, False), ("", True)])
def test_configuration_of_a_container_cannot_name_the_folder_of_its_release(launched, app, monkeypatch, image, known):
    monkeypatch.setattr(Launch, "image", image)
    made = launched(replace(app, config={"shop.ini": "salt://x"}))
    assert made.rendered(lambda url, path, context: path.write_text(str("release" in context))) == {
        "shop.ini": str(known)
    }


def test_configuration_outside_of_the_folder_is_refused(launched, app):
    with pytest.raises(Refused, match=r"leaves the folder of the instance"):
        launched(replace(app, config={"../../x": "salt://x"})).rendered(render)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_user_that_the_node_does_not_have_is_named(launched, app):
    with pytest.raises(Refused, match=r"this node has no user nobody-of-ours\. Apply the state app\.release"):
        launched(replace(app, user="nobody-of-ours")).write({})


def test_an_app_with_data_has_its_folder(launched, app, node):
    made = launched(replace(app, data=True, run="env"))
    made.write(made.rendered(render))
    folder = node.root / "shop" / "data"
    assert folder.is_dir() and run(made)["DATA"] == str(folder) == made.values["data"]


def test_an_app_without_ports_has_a_watcher_beside_it(launched, app):
    made = launched(replace(app, ports=None, run="true", env={}))
    made.write(made.rendered(render))
    words = shlex.split((made.folder / "start").read_text())
    assert str(made.folder / ".watcher.py") in words and str(made.instance.watch) in words
    assert (made.folder / ".watcher.py").read_text().startswith('"""Runs beside the process of an instance')


def test_placeholders_before_there_is_an_instance_are_those_of_the_first(app, node, launched):
    found = launch.values(replace(app, version="1.0"), node, ADDRESS, "test")
    assert found == launched(app).values
    assert launch.values(replace(app, ports=None), node, ADDRESS, "test")["port"] is None
