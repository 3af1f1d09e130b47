"""The state tree beside a site's own: no app's name is the id of a state."""

import configparser
import re
from pathlib import Path

from tooling import skydns

TREE = Path(__file__).resolve().parents[2] / "salt"


def test_an_app_may_be_called_as_any_state():
    """haproxy and consul are ids of states here, and names of apps elsewhere."""
    ids = re.findall(r"^([^\s{#].*|\{\{.*):$", "\n".join(p.read_text() for p in TREE.rglob("*.sls")), re.MULTILINE)
    assert "haproxy" in ids and "saltdeploy app {{ name }}" in ids
    assert [found for found in ids if re.fullmatch(r"\{\{ *name *\}\}", found)] == []


def test_pip_installs_all_of_the_tree():
    """…so that a master that has the bundle by pip serves the same states."""
    options = configparser.ConfigParser()
    options.read(TREE.parent / "setup.cfg")
    packages, data = options["options"]["packages"].split(), options["options.package_data"]
    files = [p for p in TREE.rglob("*") if p.is_file() and not p.is_symlink() and p.suffix != ".py"]
    files = [p.relative_to(TREE) for p in files if not any(parent.is_symlink() for parent in p.parents)]
    assert len(files) > 20

    def installed(path):
        for folder in path.parents:
            package = ".".join(("saltdeploy_tree", *folder.parts))
            patterns = filter(None, data.get(package, "").split(", "))
            if package in packages and any(path.relative_to(folder).match(pattern) for pattern in patterns):
                return True
        return path.parts == ("top.sls",)  # a site has its own

    assert [str(path) for path in files if not installed(path)] == []


def test_pip_installs_all_of_the_library():
    options = configparser.ConfigParser()
    options.read(TREE.parent / "setup.cfg")
    library = TREE.parent / "_utils"
    there = {".".join(path.parent.relative_to(library).parts) for path in library.rglob("__init__.py")}
    assert "saltdeploy.health" in there
    assert there - {*options["options"]["packages"].split()} == set()


def test_each_coredns_answers_the_names_of_haproxy():
    """The line is in the states, in what the demo and the tests start, and in the how-to for a CoreDNS of one's own."""
    rule = r"rewrite stop name regex ^(.*)_([^.]+)\._tcp\.(.+)\.$ {1}{2}.{3} answer auto"
    assert rule in (TREE / "saltdeploy/skydns/coredns.sls").read_text()
    assert rule in skydns.COREFILE.format(**dict.fromkeys(("domain", "address", "port", "members"), "x"))
    assert rule in (TREE.parent / "docs/howto/loadbalancer.rst").read_text()
