"""Salt's own loaders over this repository's folders, with no daemon."""

from __future__ import annotations

import pytest
import salt.config
import salt.loader

from tests.support.site import REPOSITORY

PILLAR = {
    "apps": {"web": {"source": {"archive": "/nowhere.tar.gz", "sha256": {"1.0": "0" * 64}}, "run": "./bin/web"}},
    "environments": {"site": {"nodes": {"web1": {"address": "127.0.0.1"}}, "apps": {"web": {"version": "1.0"}}}},
}


@pytest.fixture
def opts(tmp_path):
    """A minion's options; its Consul agent is nowhere."""
    opts = salt.config.minion_config(None)
    opts.update(
        id="web1",
        root_dir=str(tmp_path),
        cachedir=str(tmp_path / "cache"),
        extension_modules=str(tmp_path / "extmods"),
        file_client="local",
        module_dirs=[str(REPOSITORY / "_modules")],
        states_dirs=[str(REPOSITORY / "_states")],
        outputter_dirs=[str(REPOSITORY / "_output")],
        runner_dirs=[str(REPOSITORY / "_runners")],
        grains={"id": "web1"},
        pillar=PILLAR,
        test=False,
        color=False,
        saltdeploy={"root": str(tmp_path / "srv"), "runtime": "supervisord", "supervisord": {"socket": "/nowhere"}},
    )
    opts["pillar"]["environments"]["site"]["discovery"] = {"consul": {"agent": "http://127.0.0.1:1"}}
    return opts


@pytest.fixture
def modules(opts):
    return salt.loader.minion_mods(opts)


@pytest.fixture
def states(opts, modules, request):
    """The states; in test mode for a test that asks for ``test_mode``."""
    opts["test"] = "test_mode" in request.fixturenames
    return salt.loader.states(opts, modules, salt.loader.utils(opts), salt.loader.serializers(opts))


@pytest.fixture
def test_mode():
    """Ask for it, and the states only tell what they would do."""


@pytest.fixture
def runners(opts):
    return salt.loader.runner(opts)


@pytest.fixture
def outputters(opts):
    return salt.loader.outputters(opts)
