"""The state `clean` of each tree, rendered by Salt for a node in each condition, and applied where nothing runs.

Every path of the states is below a folder of the test.
"""

from __future__ import annotations

import re
import shutil

import pytest
import salt.loader

from tests.support.site import REPOSITORY

TREES = ("app", "loadbalancer", "dns", "consul", "saltdeploy")
OURS = "# Written by saltdeploy; changes are lost.\n"
ABSOLUTE = re.compile(r"(?<![\w.])/(?=(etc|var/lib|opt|usr/local|run)\b)")
RESOLVERS = {
    "dnsmasq": "etc/dnsmasq.d/saltdeploy.conf",
    "unbound": "etc/unbound/unbound.conf.d/saltdeploy.conf",
    "systemd-resolved": "etc/systemd/resolved.conf.d/saltdeploy.conf",
}


class Node:
    """A node's files, below ``root``, and the state tree for it."""

    def __init__(self, root, opts):
        self.root, self.opts = root / "node", opts
        roots = root / "tree"
        for name in TREES:
            shutil.copytree(REPOSITORY / "salt" / name, roots / name)
            for path in roots.glob(f"{name}/**/*.sls"):
                path.write_text(ABSOLUTE.sub(f"{self.root}/", path.read_text()))
        opts.update({"file_roots": {"base": [str(roots)]}, "__cli": "salt-call", "state_events": False})
        # Else Salt loads every module, in search of a service manager of this machine.
        opts["providers"] = {"service": "systemd_service"}

    @property
    def modules(self):
        return salt.loader.minion_mods(self.opts, utils=salt.loader.utils(self.opts))

    def write(self, path, text=OURS):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def link(self, path, target):
        self.root.joinpath(path).parent.mkdir(parents=True, exist_ok=True)
        self.root.joinpath(path).symlink_to(target)

    def installed(self, name):
        """Note that a tree installed the package ``name`` here."""
        self.write(f"var/lib/saltdeploy-installed-{name}", "")

    def show(self, sls):
        """Return ``{function: [arguments]}`` of the states of an SLS, each with its id."""
        found = self.modules["state.show_low_sls"](sls)
        assert all(isinstance(low, dict) for low in found), found
        shown = {}
        for low in found:
            shown.setdefault(f"{low['state']}.{low['fun']}", []).append(low)
        return shown

    def apply(self, sls):
        """Apply an SLS, which must succeed. Return what it changed: the ids of the states."""
        found = self.modules["state.sls"](sls)
        assert isinstance(found, dict), found
        assert all(state["result"] for state in found.values()), found
        return sorted({state["__id__"] for state in found.values() if state["changes"]})

    def files(self):
        return sorted(str(p.relative_to(self.root)) for p in self.root.rglob("*") if not p.is_dir() or p.is_symlink())


@pytest.fixture
def node(tmp_path, opts):
    return Node(tmp_path, opts)


def names(states):
    return {state["name"].rpartition("/node/")[2] for state in states}


@pytest.mark.parametrize("tree", ["app", "loadbalancer", "dns", "consul", "saltdeploy.skydns"])
def test_a_node_that_never_had_it_is_left_as_it_is(node, tree):
    for path in ("etc/haproxy/haproxy.cfg", "etc/resolv.conf", "etc/systemd/system/consul.service"):
        node.write(path, "# The site's own.\n")
    before = node.files()
    assert node.apply(f"{tree}.clean") == [] and node.files() == before


# -- loadbalancer -----------------------------------------------------------------------------

CONFIG, KEPT = "etc/haproxy/haproxy.cfg", "etc/haproxy/haproxy.cfg.before-saltdeploy"


def test_haproxy_that_we_installed_goes_with_its_package(node):
    node.write(CONFIG)
    node.installed("haproxy")
    found = node.show("loadbalancer.clean")
    assert list(found) == ["service.dead", "file.absent", "pkg.purged"]
    assert found["service.dead"][0]["enable"] is False
    # The note goes last: until then, the next run goes on.
    assert [names([state]).pop() for state in found["file.absent"]][-1] == "var/lib/saltdeploy-installed-haproxy"


def test_haproxy_of_the_site_runs_on_with_the_configuration_that_it_had(node):
    node.write(CONFIG)
    node.write(KEPT, "own")
    found = node.show("loadbalancer.clean")
    assert list(found) == ["file.rename", "service.running", "file.absent"]
    assert names(found["file.absent"]).isdisjoint({CONFIG})


def test_haproxy_without_a_configuration_before_stops_and_its_package_stays(node):
    node.write(CONFIG)
    found = node.show("loadbalancer.clean")
    assert list(found) == ["service.dead", "file.absent"] and CONFIG in names(found["file.absent"])


def test_haproxy_that_somebody_has_configured_since_stays(node):
    node.write(CONFIG, "own")
    node.installed("haproxy")
    assert node.apply("loadbalancer.clean") == ["saltdeploy haproxy files"]
    assert node.files() == [CONFIG]


# -- dns --------------------------------------------------------------------------------------

NOW, BEFORE, LINK = "etc/resolv.conf", "etc/resolv.conf.before-saltdeploy", "etc/resolv.conf.link-before-saltdeploy"
STUB = "run/systemd/resolve/stub-resolv.conf"


def test_resolv_conf_is_as_it_was(node):
    node.write(NOW)
    node.write(BEFORE, "nameserver 192.0.2.1\n").chmod(0o640)
    assert node.apply("dns.clean") == ["saltdeploy resolv.conf is as before"]
    assert node.files() == [NOW] and (node.root / NOW).read_text() == "nameserver 192.0.2.1\n"
    assert (node.root / NOW).stat().st_mode & 0o777 == 0o640
    assert node.apply("dns.clean") == []


def test_resolv_conf_that_was_a_link_is_a_link_again(node):
    node.write(STUB, "nameserver 127.0.0.53\n")
    node.link(NOW, "../" + STUB)
    # As `dns` does it.
    assert node.apply("dns.before") == [f"{node.root}/{p}" for p in (BEFORE, LINK)]
    (node.root / NOW).unlink()
    node.write(NOW)
    assert node.apply("dns.before") == []
    assert "saltdeploy resolv.conf is as before" in node.apply("dns.clean")
    assert node.files() == [NOW, STUB] and (node.root / NOW).readlink().as_posix() == "../" + STUB


def test_resolv_conf_that_was_not_there_goes(node):
    node.write(NOW)
    node.apply("dns.clean")
    assert node.files() == []


def test_resolv_conf_that_somebody_has_replaced_stays(node):
    node.write(NOW, "nameserver 192.0.2.9\n")
    node.write(BEFORE, "nameserver 192.0.2.1\n")
    node.apply("dns.clean")
    assert node.files() == [NOW] and "192.0.2.9" in (node.root / NOW).read_text()


def test_the_link_of_systemd_resolved_is_ours_only_beside_our_configuration(node):
    node.write(STUB, "")
    node.link(NOW, f"{node.root}/{STUB}")
    node.write(BEFORE, "nameserver 192.0.2.1\n")
    assert "file.rename" not in node.show("dns.clean")
    node.write(RESOLVERS["systemd-resolved"])
    assert names(node.show("dns.clean")["file.rename"]) == {NOW}


def test_a_resolver_goes_only_if_we_installed_it(node):
    """All that an environment has had, one after the other, go at once."""
    for name, path in RESOLVERS.items():
        node.write(path)
        if name != "systemd-resolved":
            node.installed(name)
    found = node.show("dns.clean")
    assert [s["name"] for s in found["service.running"]] == ["systemd-resolved"]
    assert [s["name"] for s in found["pkg.purged"]] == ["dnsmasq", "unbound"]
    assert {(s["name"], s["enable"]) for s in found["service.dead"]} == {("dnsmasq", False), ("unbound", False)}
    assert set(RESOLVERS.values()) < names(found["file.absent"])


# -- consul -----------------------------------------------------------------------------------

UNIT = "etc/systemd/system/consul.service"


@pytest.fixture
def consul(node):
    """A node with all files of our Consul."""
    node.write(UNIT)
    for file in ("consul.json", "recursors.json", "tls/ca.pem", "tls/node.pem", "tls/node.key"):
        node.write(f"etc/consul.d/{file}", "")
    for version in ("1.21.0", "1.22.3"):
        node.write(f"opt/consul/{version}/consul", "")
    node.link("usr/local/bin/consul", f"{node.root}/opt/consul/1.22.3/consul")
    node.write("var/lib/consul/node-id", "")
    return node


def test_of_an_agent_nothing_stays(consul):
    found = consul.show("consul.clean")
    assert list(found)[:2] == ["discovery.left", "service.dead"]
    gone = names(found["file.absent"])
    left = [f for f in consul.files() if not any(f == g or f.startswith(f"{g}/") for g in gone)]
    assert left == [] and [state["name"] for state in found["user.absent"]] == ["consul"]
    # The unit says that it is ours.
    assert names(found["file.absent"][-1:]) == {UNIT}
    assert all(state["failhard"] for state in found["discovery.left"])


def test_the_data_of_a_server_stay_unless_they_are_asked_for(consul):
    consul.write("var/lib/consul/raft/raft.db", "")
    found = consul.show("consul.clean")
    assert "user.absent" not in found and "var/lib/consul" not in names(found["file.absent"])
    assert "data of this Consul server stay" in found["test.show_notification"][0]["text"]
    consul.opts["pillar"] = {**consul.opts["pillar"], "saltdeploy": {"remove_server_data": True}}
    found = consul.show("consul.clean")
    assert "user.absent" in found and "var/lib/consul" in names(found["file.absent"])


def test_files_of_somebody_else_beside_our_consul_stay(consul):
    """Debian's package of HashiCorp has its data in /opt/consul."""
    foreign = {"etc/consul.d/own.hcl", "opt/consul/raft/raft.db"}
    for path in foreign:
        consul.write(path, "")
    found = consul.show("consul.clean")
    gone = names(found["file.absent"])
    assert not [f for f in foreign if any(f == g or f.startswith(f"{g}/") for g in gone)]
    assert all(state["name"].startswith("rmdir --ignore-fail-on-non-empty ") for state in found["cmd.run"])
    (consul.root / "usr/local/bin/consul").unlink()
    consul.write("usr/local/bin/consul", "")
    assert "usr/local/bin/consul" not in names(consul.show("consul.clean")["file.absent"])


# -- skydns -----------------------------------------------------------------------------------

UNITS = [f"etc/systemd/system/{name}.service" for name in ("saltdeploy-health", "coredns", "etcd")]
DATA, KEPT_DATA = "var/lib/etcd/saltdeploy", "var/lib/etcd/saltdeploy/.kept-by-saltdeploy"


@pytest.fixture
def member(node):
    """A member of etcd, with all files of our SkyDNS."""
    for path in UNITS:
        node.write(path)
    for path in ("saltdeploy/health.json", "saltdeploy/etcd-ca.pem", "coredns/Corefile", "etcd/saltdeploy.json"):
        node.write(f"etc/{path}", "")
    for path in ("etc/etcd/tls/node.pem", "etc/etcd/tls/node.key", f"{DATA}/member/snap/db"):
        node.write(path, "")
    for version in ("1.12.4", "1.13.1"):
        node.write(f"opt/coredns/{version}/coredns", "")
    node.link("usr/local/bin/coredns", f"{node.root}/opt/coredns/1.13.1/coredns")
    return node


def left_of(node, found):
    gone = names(found["file.absent"])
    return [f for f in node.files() if not any(f == g or f.startswith(f"{g}/") for g in gone)]


def test_of_skydns_nothing_stays_but_the_data_of_etcd(member):
    found = member.show("saltdeploy.skydns.clean")
    assert left_of(member, found) == [f"{DATA}/member/snap/db"]
    folders = {state["name"].rpartition("/node/")[2] for state in found["cmd.run"]}
    assert folders == {"etc/coredns", "opt/coredns", "etc/etcd/tls"}
    assert names(found["file.managed"]) == {KEPT_DATA}
    assert "data of this member of etcd stay" in found["test.show_notification"][0]["text"]
    # Each unit says that its part is ours, so it goes last.
    for state in found["user.absent"]:
        unit = next(s for s in found["file.absent"] if s["name"].endswith(f"{state['name']}.service"))
        assert unit["order"] > state["order"]


def test_the_data_of_etcd_go_at_once_or_later(member):
    member.opts["pillar"] = {**member.opts["pillar"], "saltdeploy": {"remove_server_data": True}}
    found = member.show("saltdeploy.skydns.clean")
    assert left_of(member, found) == [] and "test.show_notification" not in found
    # An earlier run kept them.
    for path in UNITS:
        (member.root / path).unlink()
    assert left_of(member, member.show("saltdeploy.skydns.clean")).count(f"{DATA}/member/snap/db") == 1
    member.write(KEPT_DATA, "")
    assert DATA in names(member.show("saltdeploy.skydns.clean")["file.absent"])
    member.opts["pillar"]["saltdeploy"] = {}
    assert DATA not in names(member.show("saltdeploy.skydns.clean")["file.absent"])


# -- app --------------------------------------------------------------------------------------


FOUND = {"instances": {"web": ["web_1.0_80"]}, "releases": {}, "folders": [], "data": ["/srv/x"], "warnings": []}


def cleaned(states, monkeypatch, test):
    def clean(**asked):
        assert asked == {"test": test}
        return FOUND

    monkeypatch.setitem(states["app.cleaned"].__globals__, "__salt__", {"app.clean": clean})
    ret = states["app.cleaned"]("apps")
    assert ret["changes"] == {"stopped": {"web": ["web_1.0_80"]}} and "warnings" not in ret
    return ret["result"], ret["comment"]


def test_the_state_tells_what_went_and_where_data_stay(states, monkeypatch):
    assert cleaned(states, monkeypatch, False) == (True, "all apps were removed; data stay in /srv/x")


def test_the_state_tells_what_would_go(states, monkeypatch, test_mode):
    assert cleaned(states, monkeypatch, True) == (None, "Would remove all apps; data stay in /srv/x")
