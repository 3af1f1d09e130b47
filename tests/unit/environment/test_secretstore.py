"""The secrets of discovery: made once, kept by the master's user only, and never replaced where they are damaged."""

from __future__ import annotations

import datetime
import json
import os
import re
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from saltdeploy import definition
from saltdeploy.core.errors import Refused
from saltdeploy.definition import cluster
from saltdeploy.environment import certificates, secretstore
from saltdeploy.environment.pillar import all_environments, own_environment
from saltdeploy.environment.secretstore import Secrets

from tests.unit.environment.examples import TEST

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
NODES = {
    "web1": {"address": "10.0.0.11", "roles": ["consul-server", "app"]},
    "web2": {"address": "10.0.0.12", "roles": ["consul-server", "app"]},
    "lb1": {"address": "10.0.0.21", "roles": ["loadbalancer"]},
}
SITE = {"nodes": NODES, "consul": {"version": "1.22.3"}}


def test_secrets_are_made_once_and_are_the_masters_own(tmp_path):
    store = Secrets(tmp_path / "saltdeploy")
    wanted = (cluster.identities("site", SITE), ["shop"], NOW)
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda _: store.get("site", *wanted), range(8)))
    assert all(each == found[0] for each in found)
    assert stat.S_IMODE((tmp_path / "saltdeploy").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "saltdeploy/site.json").stat().st_mode) == 0o600
    assert store.authority("site").read_text() == found[0]["ca"]["certificate"]
    assert store.get("other", *wanted)["gossip"] != found[0]["gossip"]


def test_what_comes_is_added_and_what_left_is_forgotten(tmp_path):
    store = Secrets(tmp_path)
    before = store.get("site", cluster.identities("site", SITE), ["shop"], NOW)
    nodes = {**{n: NODES[n] for n in ("web1", "web2")}, "web4": {"address": "10.0.0.14"}}
    after = store.get("site", cluster.identities("site", {**SITE, "nodes": nodes}), ["blog"], NOW)
    assert set(after["tokens"]["agents"]) == set(after["certificates"]) == {"web1", "web2", "web4"}
    assert after["certificates"]["web1"] == before["certificates"]["web1"]
    assert set(after["tokens"]["apps"]) == {"blog"} and after["ca"] == before["ca"]


@pytest.mark.parametrize("days, same", [(0, True), (200, True), (250, False), (400, False)])
def test_a_certificate_is_made_anew_before_it_expires(tmp_path, days, same):
    store, identities = Secrets(tmp_path), cluster.identities("site", SITE)
    before = store.get("site", identities, [], NOW)["certificates"]["web1"]
    after = store.get("site", identities, [], NOW + datetime.timedelta(days=days))["certificates"]["web1"]
    assert (after == before) is same
    ends = certificates._end(x509.load_pem_x509_certificate(after["certificate"].encode()))
    assert ends > NOW + datetime.timedelta(days=days)


def test_a_certificate_is_made_anew_for_another_address(tmp_path):
    store = Secrets(tmp_path)
    before = store.get("site", cluster.identities("site", SITE), [], NOW)["certificates"]
    moved = {**NODES, "lb1": {"address": "10.0.0.22", "roles": ["loadbalancer"]}}
    after = store.get("site", cluster.identities("site", {**SITE, "nodes": moved}), [], NOW)["certificates"]
    assert after["lb1"] != before["lb1"] and after["web1"] == before["web1"]


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
    said = f"{file} holds the secrets of discovery and is damaged. Restore it"
    assert said in own["saltdeploy_broken"]["environment site"] and own["environments"] == {}
    assert said in everything["saltdeploy_broken"]["environments:site"]
    assert definition.load({**everything, "apps": {}}, "test")
    assert file.read_text(errors="surrogateescape") == damaged
