"""A folder as a source, and deploy.watch: a new version is deployed by itself, and a bad version once only."""

from __future__ import annotations

import re
import signal

import pytest
from saltdeploy.core import versions

from tests.support import apps
from tests.support.site import until

NAME, ENV = "web", "env=site"


class Copy:
    """A working copy of the test's app."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "bin").mkdir(parents=True)
        (folder / "bin/serve").write_text(apps.SERVER)
        (folder / "bin/serve").chmod(0o755)
        (folder / ".git").mkdir()

    def save(self, version, **behaviour):
        """Change the app, as an editor does."""
        lines = [f"{k}={v}" for k, v in {"version": version, **behaviour}.items()]
        (self.folder / "behaviour.new").write_text("\n".join(lines))
        (self.folder / "behaviour.new").rename(self.folder / "behaviour")


@pytest.fixture(scope="module")
def copy(folder):
    return Copy(folder / "copy")


@pytest.fixture(scope="module")
def define(minions, agents, pillar, cli, archives):
    """Define the app with a source. In the end it is removed."""

    def define(source, **settings):
        archives.make("1.0")
        site = apps.environment(agents, apps={NAME: {"instances": 1, **settings}})
        pillar.write({NAME: archives.app(source=source, ports="23000-23019")}, {"site": site})

    yield define
    code, output = cli.deploy("remove", NAME, ENV, "confirm=True")
    assert code == 0, output


def serving(agents):
    return sorted({version for _, _, version in agents.passing(NAME).values()})


def test_a_working_copy_is_deployed_again_when_it_changes(define, copy, cli, agents):
    define({"path": str(copy.folder), "exclude": ["*.swp"]}, version="working-copy")
    copy.save("a")
    plan = cli.result("plan", NAME, ENV)
    first = cli.result("app", NAME, ENV)
    a = first["version"]
    assert versions.is_of_content(a) and plan["version"] == a and serving(agents) == [a]
    assert cli.result("check", NAME, ENV)["version"] == a
    (copy.folder / ".editor.swp").write_text("left out")
    assert f"No new version: web {a} is deployed in site." == cli.result("watch", NAME, ENV)["verdict"]

    copy.save("b")
    dry = cli.result("watch", NAME, ENV, "test=True")
    b = dry["version"]
    assert b != a and any(f"install web {b}" in line for line in dry["plan"]) and serving(agents) == [a]
    second = cli.result("watch", NAME, ENV)
    assert (second["version"], second["outcome"], second["reason"]) == (b, "done", "deploy.watch found a new version")
    assert serving(agents) == [b]

    # A version that cannot start is tried once.
    copy.save("c", exit=1)
    bad = cli.result("watch", NAME, ENV, code=1)
    again = cli.result("watch", NAME, ENV)
    assert f"{bad['version']} is not tried again: see deployment {bad['deployment']} in site" in again["verdict"]
    assert again["changed"] is False and serving(agents) == [b]
    copy.save("a")  # other content, which was good before
    assert cli.result("watch", NAME, ENV)["version"] == a

    # Neither is a version that somebody left.
    assert cli.result("rollback", NAME, ENV)["version"] == b
    left = cli.result("watch", NAME, ENV)
    assert f"web {a} is not tried again" in left["verdict"] and serving(agents) == [b]
    # A version names its content, and the folder has other content now.
    code, output = cli.deploy("app", NAME, ENV, "version=wc-000000000000")
    assert code == 1 and re.search(rf"copy has {a} now, and not wc-000000000000", output), output


@pytest.mark.thorough
def test_watching_goes_on_until_ctrl_c(define, copy, cli, agents):
    define({"path": str(copy.folder)})
    before = serving(agents)
    copy.save("e")
    process = cli.start("salt-run", "deploy.watch", NAME, ENV, "every=500ms")

    def done(outcome):
        newest = cli.result("history", NAME, ENV, "limit=1")["history"][0]
        return newest["version"] not in before and newest["outcome"] == outcome

    until(lambda: done("done"), 60, "the first version")
    first = serving(agents)
    copy.save("f", exit=1)
    until(lambda: done("reverted"), 60, "the failed deployment")
    before += first
    copy.save("g")
    until(lambda: done("done"), 60, "the second version")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert output.splitlines()[-1].startswith("stopped watching web in site: 3 deployments, 1 of them failed"), output
    assert len(serving(agents)) == 1 and serving(agents) != first


def test_an_archive_says_its_newest_version(define, cli, agents, archives, folder):
    archives.make("1.1")
    source = {"archive": archives.url, "sha256": dict(archives.digests)}
    define(source, version="1.0")
    refused = cli.result("watch", NAME, ENV, code=3)
    assert "source:latest: is missing. Write the URL of a file" in refused["verdict"]

    define({**source, "latest": str(folder / "latest")}, version="1.0")
    (folder / "latest").write_text("<html>")
    assert "latest: does not have a version as its only line" in cli.result("watch", NAME, ENV, code=3)["verdict"]
    (folder / "latest").write_text("1.1\n")
    assert cli.result("watch", NAME, ENV)["version"] == "1.1" and serving(agents) == ["1.1"]
    assert "No new version: web 1.1 is deployed" in cli.result("watch", NAME, ENV)["verdict"]
    (folder / "latest").write_text("1.2\n")
    assert "unknown version 1.2 of web" in cli.result("watch", NAME, ENV, code=3)["verdict"]
