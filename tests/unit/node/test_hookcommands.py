"""Hooks on a node: their folder, their user, their environment, and the report of a hook that fails."""

from dataclasses import replace

import pytest
from saltdeploy.core import hooks
from saltdeploy.core.environment import Environment, Node
from saltdeploy.core.errors import Failed
from saltdeploy.core.model import App, Hook, PortRange, Source
from saltdeploy.master.remote import answers
from saltdeploy.node import hookcommands
from saltdeploy.node.host import Host

PRINT = """sh -c 'echo "$PWD $VERSION $LEVEL $URL ${{PORT-none}} [$INSTANCES] [$PORTS]" > {instance}/../../out'"""
ID = "shop_1.0_101"


class Lifecycle:
    """Stands for lifecycle.Lifecycle: a real folder of releases, of which 1.0 and 1.1 are installed."""

    def __init__(self, root, app):
        self.host, self.node, self._app = Host("web1", root), Node("web1", "127.0.0.1"), app
        self.environment = Environment("site", {"web1": self.node}, {"shop": app})
        for version in ("1.0", "1.1"):
            link = self.host.releases.path("shop", version)
            (link.parent / f".{version}@x" / "files").mkdir(parents=True)
            (link.parent / f".{version}@x" / "release.json").write_text('{"origin": {}}')
            link.symlink_to(f".{version}@x/files")

    def app(self, name):
        return self._app

    def render(self, url, path, context):
        path.write_text(f"{url} {context['port']}")

    def run(self, version="1.1", phase="before_start", instances=(), only=None):
        asked = {hooks.key(phase, hook): hook.command for hook in only or self._app.hooks[phase]}
        value = hookcommands.run(self, "shop", phase, version, list(asked), instances)
        assert answers.hook(value, "web1", asked) == "", "the master would not believe it"
        return value


@pytest.fixture
def node(tmp_path):
    """Return a Lifecycle whose app has these hooks before it starts and before it is installed."""

    def make(*commands, **changes):
        some = tuple(Hook(command) if isinstance(command, str) else command for command in commands)
        phases = dict.fromkeys(("before_start", "before_install", "before_retire"), some)
        app = App("shop", Source("pip", "shop"), "run", user="root", ports=PortRange(100, 109), hooks=phases)
        env = {"LEVEL": "info", "URL": "http://{address}:{port}"}
        return Lifecycle(tmp_path / "srv", replace(app, env=env, **changes))

    return make


def test_it_runs_in_the_environment_of_the_release(node):
    there = node(PRINT)
    assert there.run(instances=[ID, "shop_1.0_102"]) == {
        "node": "web1",
        "ran": [PRINT],
        "problem": "",
        "failed": None,
        "ended": True,
    }
    release = there.host.releases.path("shop", "1.1").resolve()
    assert (there.host.root / "shop" / "out").read_text() == (
        f"{release} 1.1 info http://127.0.0.1:100 none [{ID} shop_1.0_102] [101 102]\n"
    )


def test_it_has_the_configuration_which_is_gone_afterwards(node):
    there = node("grep -q 'salt://shop.ini 100' {instance}/etc/shop.ini", config={"etc/shop.ini": "salt://shop.ini"})
    assert there.run()["problem"] == ""
    assert list((there.host.root / "shop" / "instances").iterdir()) == []
    assert there.host.instances.recorded("shop") == []


def test_without_its_configuration_none_is_started(node):
    there = node("touch {instance}/../../out", config={"etc/shop.ini": "salt://shop.ini"})

    def missing(url, path, context):
        raise Failed(f"{url}: is not on the master")

    there.render = missing
    outcome = there.run()
    assert (outcome["problem"], outcome["failed"]) == ("salt://shop.ini: is not on the master", "")
    assert outcome["ran"] == [] and not (there.host.root / "shop" / "out").exists()


def test_the_first_that_fails_ends_it_with_what_it_printed(node):
    there = node("true", "sh -c 'echo no table; exit 3'", "touch {instance}/../../out")
    outcome = there.run()
    assert outcome["problem"] == "hook `sh -c 'echo no table; exit 3'` ended with 3\nno table"
    assert (outcome["ran"], outcome["ended"]) == (["true"], True)
    assert outcome["failed"] == hooks.key("before_start", Hook("sh -c 'echo no table; exit 3'"))
    assert not (there.host.root / "shop" / "out").exists()


@pytest.mark.parametrize(
    "hook, said, ended",
    [
        (Hook("sleep 60", timeout=0.2), "hook `sleep 60`: `sleep 60` hangs: killed after 0.2s", False),
        (Hook("./bin/none"), "hook `./bin/none`: ./bin/none: No such file or directory", True),
    ],
)
def test_whether_its_end_was_seen(node, hook, said, ended):
    outcome = node(hook).run()
    assert (outcome["problem"], outcome["ended"]) == (said, ended)


def test_before_an_installation_it_runs_beside_the_releases(node):
    there = node("sh -c 'pwd > out; echo $VERSION >> out'", user="nobody-like-this")
    assert there.run(version="2.0", phase="before_install")["problem"] == ""
    folder = there.host.root / "shop" / "releases"
    assert (folder / "out").read_text() == f"{folder}\n2.0\n"


def test_where_the_release_is_not_installed_it_runs_in_the_one_that_goes(node):
    there = node("sh -c 'pwd > ../../out'")
    for one in (ID, f"{ID}-7"):
        assert there.run(version="2.0", phase="before_retire", instances=[one])["problem"] == ""
        assert (there.host.root / "shop/releases/out").read_text().strip().endswith("/.1.0@x/files")
    outcome = there.run(version="2.0")
    assert outcome["problem"] == "shop 2.0 is not installed on web1, so no hook of before_start can run there."
    assert outcome["failed"] == "" and outcome["ended"]


def test_a_hook_that_only_the_master_knows_is_refused_before_any_runs(node):
    there = node("touch {instance}/../../out")
    outcome = there.run(only=[Hook("touch {instance}/../../out"), Hook("./other")])
    assert (
        "other hooks for before_start of shop than the master. Run: salt web1 saltutil.refresh_pillar"
        in outcome["problem"]
    )
    assert not (there.host.root / "shop" / "out").exists()


def test_the_output_of_a_hook_is_told_without_the_values_of_env(node):
    there = node("""sh -c 'echo "LEVEL $LEVEL, $URL"; exit 7'""")
    # `info` has fewer than six characters.
    assert there.run()["problem"].endswith("ended with 7\nLEVEL info, ***")
