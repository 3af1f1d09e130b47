"""The files that a definition names are looked for before anything is changed."""

import copy

import pytest
from salt.exceptions import SaltRenderError
from saltdeploy.core.model import Instance
from saltdeploy.node import from_salt, requiredfiles
from saltdeploy.node.host import DEFAULT_ROOT

from tests.unit.node.test_from_salt import PILLAR


def test_all_files_that_a_definition_names_are_looked_for():
    pillar = copy.deepcopy(PILLAR)
    pillar["apps"]["shop"].update(
        states=["shop.there", "shop.not"], config={"etc/a": "salt://a", "etc/b": "salt://b", "etc/c": "salt://c"}
    )
    rendered = []

    def render(source, path, template, **context):
        rendered.append((source, context["address"], context["port"], context["node"]))
        if source == "salt://b":
            raise SaltRenderError("Jinja syntax error: Encountered unknown tag 'fi'.", 2, "")
        return "" if source == "salt://c" else path

    functions = {
        "cp.get_template": render,
        "cp.hash_file": lambda url: {"hsum": "0"} if url == "salt://shop/there/init.sls" else {},
        "state.show_low_sls": lambda sls, **options: [{"state": "test"}],
    }
    lifecycle = from_salt.lifecycle({"id": "web1"}, pillar, functions)
    assert requiredfiles.look(lifecycle, "shop", functions)["problems"] == [
        "apps:shop:states: shop.not is not on the master. Put it into its file_roots.",
        "apps:shop:config:etc/b: salt://b: line 2: Jinja syntax error: Encountered unknown tag 'fi'.",
        "apps:shop:config:etc/c: salt://c: is not on the master: see its file_roots.",
    ]
    assert rendered[0] == ("salt://a", "127.0.0.1", None, "web1")


@pytest.mark.parametrize("version, expected", [(None, "1.0"), ("1.1", "1.1")])
def test_a_template_is_rendered_for_the_release_that_is_asked_for_with_its_data_folder(version, expected):
    """With all placeholders that the instance's own rendering has later."""
    pillar = copy.deepcopy(PILLAR)
    pillar["apps"]["shop"].update(data=True, config={"etc/a": "salt://a"})
    rendered = []
    functions = {
        "cp.get_template": lambda source, path, template, **context: rendered.append(context) or path,
    }
    lifecycle = from_salt.lifecycle({"id": "web1"}, pillar, functions)
    assert requiredfiles.look(lifecycle, "shop", functions, version) == {"problems": [], "warnings": []}
    [context] = rendered
    app, root = lifecycle.app("shop"), f"{DEFAULT_ROOT}/shop"
    assert (context["version"], context["data"]) == (expected, f"{root}/data")
    assert (context["release"], context["instance"]) == (
        f"{root}/releases/{expected}",
        str(lifecycle.host.instances.folder(f"shop_{expected}_0")),
    )
    instance = Instance(f"shop_{expected}_0", "web1", "shop", expected, 0, "127.0.0.1", None)
    assert context == lifecycle.launch(app, instance).values


@pytest.mark.parametrize("states, installed", [([], False), (["shop"], False), ([], True)])
def test_the_files_of_a_source_are_looked_for(tmp_path, states, installed):
    """States may bring them, and a release that is installed does not need them."""
    pillar = copy.deepcopy(PILLAR)
    gone = str(tmp_path / "gone")
    pillar["apps"]["shop"].update(source={"pip": "shop", "netrc": gone, "python": gone}, states=states)
    functions = {
        "cp.hash_file": lambda url: {"hsum": "0"},
        "state.show_low_sls": lambda sls, **options: [],
    }
    lifecycle = from_salt.lifecycle({"id": "web1", "saltdeploy": {"root": str(tmp_path)}}, pillar, functions)
    lifecycle.host.releases.versions = lambda app: ["1.0"] if installed else []
    found = requiredfiles.look(lifecycle, "shop", functions)
    expected = [
        f"apps:shop:source:netrc: {gone} cannot be read on this node: No such file or directory.",
        f"apps:shop:source:python: there is no program {gone} on this node.",
    ]
    assert found["problems"] == ([] if states or installed else expected)
    later = [f"{text} The next release cannot be installed without it." for text in expected]
    assert found["warnings"] == (later if installed else [])
