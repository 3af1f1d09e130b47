"""The definition of an image, its digests, and the files that podman gets for a registry."""

import json
import re
import stat
from pathlib import Path

import pytest
from saltdeploy.core.errors import DefinitionError, Refused
from saltdeploy.core.model import Source
from saltdeploy.definition import sources
from saltdeploy.definition.schema.source import SOURCE
from saltdeploy.runtime import podman
from saltdeploy.source import Asking, Installation, container
from saltdeploy.source.artifacts import Artifacts

A, B = "a" * 64, "b" * 64
SHOP = Source("container", "registry.example:5000/team/shop", sha256={"1.9": A, "1.10": B, "2.0rc1": A})


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"sha256": None}, "source:sha256: is missing. A tag may move"),
        ({"sha256": "https://files.example/SUMS"}, "source:sha256: is no digest."),
        ({"build": "make"}, "source:build: has no meaning with `container`."),
        ({"requirements": ["shop"]}, "source:requirements: has no meaning with `container`."),
        ({"headers": {"X-Token": "hunter2"}}, "source:headers:X-Token: podman can only send a login"),
        ({"headers": {"authorization": "Basic "}}, "source:headers:authorization: podman can only send a login"),
        ({"headers": {"Authorization": "Basic hunter2!"}}, "source:headers:Authorization: podman can only"),
        ({"headers": {"Authorization": "Basic am9l!Omh1bnRlcjI="}}, "source:headers:Authorization: podman can only"),
        ({"headers": {"Authorization": "Basic aHVudGVyMg=="}}, "source:headers:Authorization: podman can only"),
        ({"headers": {"Authorization": "Bearer am9lOmh1bnRlcjI="}}, "source:headers:Authorization: podman can only"),
        ({"container": "http://registry.example/shop", "ca": "/ca"}, "source:ca: has no meaning with a registry"),
    ],
)
def test_mistakes_are_named(changes, told):
    raw = {"container": "registry.example/team/shop", "sha256": {"1": A}, **changes}
    with pytest.raises(DefinitionError) as refused:
        sources.parse({key: value for key, value in raw.items() if value is not None}, "source")
    assert told in str(refused.value) and "hunter2" not in str(refused.value)


def test_the_name_of_the_scheme_of_a_login_has_no_case():
    raw = {"container": "r.example/shop", "sha256": A, "headers": {"Authorization": "basic am9lOmh1bnRlcjI="}}
    assert container.Image(sources.parse(raw, "source"))._login("r.example") == "am9lOmh1bnRlcjI="


@pytest.mark.parametrize("place, good", [("a-b.example/shop", 1), ("-b.example/shop", 0), ("http://.example/shop", 0)])
def test_a_registry_begins_as_a_host_does(place, good):
    pattern = SOURCE.keys["container"].schema["pattern"]
    assert bool(re.search(pattern, place)) == bool(good)


def test_the_definition_alone_says_which_versions_there_are():
    image = container.Image(SHOP)
    assert image.check("1.9", Path("/"), None, None, print) == A
    with pytest.raises(Refused, match=r"no digest is known for version 1\.8.*known: 1\.10, 1\.9, 2\.0rc1"):
        image.check("1.8", Path("/"), None, None, print)
    assert image.newest(Asking(Path("/"), None))["version"] == "1.10"


@pytest.mark.parametrize(
    "version, digest, keys", [("1.9", A, []), ("1.9", B, ["sha256"]), ("0.1", B, []), ("1.10", B, [])]
)
def test_a_release_has_the_digest_of_its_definition(version, digest, keys):
    there = {"origin": {"kind": "container", "location": "elsewhere.example/shop"}, "artifact": digest}
    assert container.Image(SHOP).changes(version, there) == keys


def test_a_pull_has_its_login_and_its_unfinished_parts_in_a_folder_for_root_only(tmp_path, monkeypatch):
    ran = []

    def podman(words, seconds=0.0, env=None):
        if words[0] == "pull":
            ran.append(words)
            [file] = [Path(word.partition("=")[2]) for word in words if word.startswith("--authfile=")]
            assert json.loads(file.read_text()) == {"auths": {"r.example": {"auth": "am9lOmh1bnRlcjI="}}}
            assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
            assert Path(env["TMPDIR"]) == file.parent and file.parent.parent == tmp_path / "build"
        return 0, "f" * 64

    monkeypatch.setattr(container.images, "podman", podman)
    source = Source("container", "http://r.example/shop", sha256=A, headers={"Authorization": "Basic am9lOmh1bnRlcjI="})
    (tmp_path / "build").mkdir()
    with Artifacts(tmp_path / "srv", "shop", tmp_path) as artifacts:
        installation = Installation("1", tmp_path / "build/files", None, artifacts, "joe", "", 60.0)
        assert container.Image(source).install(installation) == {"artifact": A, "image": "f" * 64}
    [words] = ran
    assert "--tls-verify=false" in words and "am9l" not in " ".join(words)
    assert list((tmp_path / "build").iterdir()) == []


def test_an_old_podman_is_told_before_anything_is_installed(monkeypatch):
    monkeypatch.setattr(container.shutil, "which", lambda *_, **__: "/usr/bin/podman")
    monkeypatch.setattr(container.os, "geteuid", lambda: 0)
    monkeypatch.setattr(container.images, "podman", lambda words: (0, "3.4.4\n"))
    told = "source:container: this node has podman 3.4.4. Install podman 4.3 or newer"
    assert list(container.Image(SHOP).missing()) == [told]
    monkeypatch.setattr(container.images, "podman", lambda words: (0, "4.3.1\n"))
    assert list(container.Image(SHOP).missing()) == []


def test_only_root_has_capabilities():
    def words(user):
        return podman.command("shop_1+b_80", "f" * 64, (user, 7), Path("/v"), [(Path("/i"), "ro")], ["serve"])

    mount = "--mount=type=bind,src=/i,dst=/i,ro"
    assert words(7)[-6:] == ["--user=7:7", "--cap-drop=all", "--env-file=/v", mount, "f" * 64, "serve"]
    # Its own events would be in the log of the app, and another engine would leave the control group of the unit.
    assert words(7)[:4] == ["podman", "--runtime=crun", "--events-backend=file", "run"]
    assert "--name=app-shop_1-b_80" in words(7) and "--cap-drop=all" not in words(0)
