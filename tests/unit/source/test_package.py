"""A Debian package as a source, without a Debian: see tests/integration/test_package_source.py for all else."""

import json
import subprocess
from dataclasses import replace

import pytest
from saltdeploy.core.errors import Failed, Refused
from saltdeploy.core.model import Source
from saltdeploy.source import package, placement
from saltdeploy.source.debian import Offer

REDIS = Source("package", "redis-server", version="5:{version}-1~deb12u1")


def offer(name, version="1", source="nginx", depends=()):
    return Offer(name, version, name, 1, source, frozenset(depends))


class Archive:
    """An apt that knows ``offers``."""

    def __init__(self, *offers):
        self.known = offers

    def offers(self, names):
        return [each for each in self.known if each.name in names]


def test_a_version_of_a_release_is_a_part_of_that_of_the_package():
    source = package.Package(REDIS)
    assert source.origin("7.0.15") == {"kind": "package", "location": "redis-server", "version": "5:7.0.15-1~deb12u1"}
    assert source._short("5:7.0.15-1~deb12u1") == "7.0.15"
    assert [
        source._short(other) for other in ("7.0.15-1~deb12u1", "5:7.0.15-1", "5:-1~deb12u1", "5:1:2-1~deb12u1")
    ] == [""] * 4


def test_a_change_of_the_definition_is_named():
    recorded = {"origin": package.Package(REDIS).origin("7")}
    assert package.Package(REDIS).changes("7", recorded) == []
    assert package.Package(replace(REDIS, location="redis")).changes("7", recorded) == ["package"]
    assert package.Package(replace(REDIS, version="{version}")).changes("7", recorded) == ["version"]
    assert package.Package(REDIS).changes("7", {"origin": {"kind": "pip"}}) == ["kind", "package", "version"]


def test_a_release_keeps_the_packages_that_change_with_it():
    main = offer("nginx-light", depends=("nginx", "libc6"))
    nginx = offer("nginx", depends=("nginx-common", "nginx-light"))
    common, old = offer("nginx-common"), offer("nginx-common", version="0")
    archive = Archive(nginx, old, common, offer("libc6", source="glibc"), offer("nginx-doc"))
    assert package.siblings(archive, main) == [nginx, common]


@pytest.fixture
def claimed(tmp_path):
    """The folder of a node where the app ``shop`` has the package redis-server."""
    (tmp_path / ".packages").mkdir()
    claim = {"app": "shop", "added": [], "held": False, "masked": [], "placed": ""}
    (tmp_path / ".packages/redis-server.json").write_text(json.dumps(claim))
    return tmp_path


def test_a_package_has_one_app(claimed):
    record = {"origin": package.Package(REDIS).origin("7"), "artifact": "", "placed": {}}
    with pytest.raises(Refused, match="redis-server belongs to the app shop on this node, and not to till"):
        placement.put(claimed, "till", claimed, record, 1)
    # What is another app's, or still used, stays.
    placement.release(claimed, "till", set)
    placement.release(claimed, "shop", lambda: {"redis-server"})
    assert placement.owner(claimed, "redis-server") == "shop"


def test_a_package_stays_that_another_job_has_just_put_in_its_place(claimed):
    answers = [set(), {"redis-server"}]
    placement.release(claimed, "shop", lambda: answers.pop(0))
    assert placement.owner(claimed, "redis-server") == "shop" and answers == []


def test_a_node_that_is_cleaned_gives_back_the_packages_of_all_apps(claimed, monkeypatch):
    given = []
    monkeypatch.setattr(placement, "_give_back", lambda name, claim: given.append((name, claim["app"])))
    placement.release_all(claimed)
    assert given == [("redis-server", "shop")] and not list((claimed / ".packages").glob("*.json"))
    placement.release_all(claimed / "nothing")


def test_a_note_that_is_none_is_not_taken_for_one(claimed):
    for text in ("", "[]", "{}"):
        (claimed / ".packages/redis-server.json").write_text(text)
        with pytest.raises(Failed, match="redis-server.json"):
            placement.owner(claimed, "redis-server")


def test_a_script_starts_other_services_only(tmp_path):
    (tmp_path / ".packages").mkdir()
    with placement._starter(tmp_path, ["redis-server", "redis"]) as [option]:
        program = option.partition("=")[2].partition("=")[2].partition(":")[0] + "/invoke-rc.d"
        text = open(program).read().replace("/usr/sbin/invoke-rc.d", "echo")
        for words, said in (("--quiet redis start", ""), ("redis-other start", "redis-other start\n")):
            done = subprocess.run(["sh", "-c", text, "sh", *words.split()], capture_output=True, text=True, check=True)
            assert done.stdout == said
    with placement._starter(tmp_path, []) as options:
        assert options == []
