"""The states of each resolver, rendered by Salt: which servers it asks for names that are not Consul's."""

from __future__ import annotations

import json
import re

import pytest
import salt.loader
from saltdeploy.node import localservices

from tests.support.site import REPOSITORY

UPSTREAM = ["10.0.0.53", "[fd00::53]:5353"]
OURS = "# Written by saltdeploy; changes are lost.\nnameserver 127.0.0.1\n"


@pytest.fixture
def host(tmp_path, monkeypatch):
    """Writes the host's own resolv.conf, as it is or as it was kept, and its resolved.conf."""
    files = {"kept": tmp_path / "before", "now": tmp_path / "resolv.conf"}
    monkeypatch.setattr(localservices, "RESOLV_CONF", tuple(map(str, files.values())))
    files["resolved"] = tmp_path / "resolved.conf"
    monkeypatch.setattr(localservices, "RESOLVED_CONF", str(files["resolved"]))
    return lambda which, text: files[which].write_text(text)


@pytest.fixture
def render(opts, host):
    """Renders the state ``dns`` with these settings; returns ``{id: {function: arguments}}``."""

    def rendered(platform="saltdeploy_consul", **dns):
        site = {**opts["pillar"]["environments"]["site"], "dns": dns}
        opts["pillar"] = {**opts["pillar"], "environments": {"site": site}, platform: {"version": "1"}}
        opts.update({"file_roots": {"base": [str(REPOSITORY / "salt")]}, "__cli": "salt-call"})
        found = salt.loader.minion_mods(opts)["state.show_sls"]("dns")
        if not isinstance(found, dict):
            raise ValueError("\n".join(found))
        return found

    return rendered


def argument(states, name, key):
    """Return the argument ``key`` of the state of the file ``name``; its function for ``0``."""
    declared = states[name]["file"]
    if key == 0:
        return next(part for part in declared if isinstance(part, str))
    return next(part[key] for part in declared if isinstance(part, dict) and key in part)


def contents(states, name):
    return argument(states, name, "contents")


def recursors(states):
    """Return the servers that Consul asks; none: there is no file that names one."""
    path = "/etc/consul.d/recursors.json"
    return [] if argument(states, path, 0) == "absent" else json.loads(contents(states, path))["recursors"]


def test_dnsmasq_asks_the_upstream_servers_only(render):
    found = render(upstream=UPSTREAM)
    lines = contents(found, "/etc/dnsmasq.d/saltdeploy.conf").splitlines()
    servers = [line for line in lines if line.startswith(("server=", "no-resolv", "resolv-file"))]
    assert servers == ["server=/consul/127.0.0.1#8600", "no-resolv", "server=10.0.0.53", "server=fd00::53#5353"]
    assert recursors(found) == []


def test_unbound_asks_the_upstream_servers_only(render):
    found = render(resolver="unbound", upstream=UPSTREAM)
    text = contents(found, "/etc/unbound/unbound.conf.d/saltdeploy.conf")
    zone = text.partition("forward-zone:\n")[2]
    assert re.findall(r"^  ([\w-]+): (\S+)$", zone, re.MULTILINE) == [
        ("name", '"."'),
        ("forward-addr", "10.0.0.53"),
        ("forward-addr", "fd00::53@5353"),
    ]
    assert 'module-config: "iterator"' in text  # Their names need not be signed.
    alone = contents(render(resolver="unbound"), "/etc/unbound/unbound.conf.d/saltdeploy.conf")
    assert "forward-zone" not in alone and "module-config" not in alone
    assert recursors(found) == []


def resolved(states):
    """Return the settings of systemd-resolved."""
    text = contents(states, "/etc/systemd/resolved.conf.d/saltdeploy.conf")
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def test_systemd_resolved_has_consul_ask_the_upstream_servers_for_all_names(render, host):
    host("kept", "nameserver 192.0.2.1\n")
    found = render(resolver="systemd-resolved", upstream=UPSTREAM)
    assert recursors(found) == ["10.0.0.53:53", "[fd00::53]:5353"]
    # Used only if no other server is known, and Consul is.
    assert "FallbackDNS" not in resolved(found)
    assert (resolved(found)["DNS"], resolved(found)["Domains"]) == ("127.0.0.1:8600", "~consul ~.")


@pytest.mark.parametrize("which", ["kept", "now"])
def test_systemd_resolved_has_consul_ask_the_servers_that_the_host_had(render, host, which):
    host("now", OURS)
    host(
        which,
        "# nameserver 192.0.2.9\nsearch lan\nnameserver 192.0.2.1 \n\tnameserver fd00::1\nnameserver fe80::1%eth0\n",
    )
    found = render(resolver="systemd-resolved")
    assert recursors(found) == ["192.0.2.1:53", "[fd00::1]:53", "[fe80::1%eth0]:53"]
    # The servers of the links are asked as before.
    assert resolved(found)["Domains"] == "~consul"


@pytest.mark.parametrize(
    "resolver, file, line",
    [
        ("dnsmasq", "/etc/dnsmasq.d/saltdeploy.conf", "server=/sky.lan/127.0.0.1#8600"),
        ("unbound", "/etc/unbound/unbound.conf.d/saltdeploy.conf", '  name: "sky.lan"'),
        ("systemd-resolved", "/etc/systemd/resolved.conf.d/saltdeploy.conf", "Domains=~sky.lan"),
    ],
)
def test_each_resolver_asks_coredns_for_the_domain_of_skydns(render, opts, resolver, file, line):
    site = opts["pillar"]["environments"]["site"]
    site["discovery"] = {"skydns": {"etcd": ["http://10.0.0.1:2379"], "domain": "sky.lan"}}
    found = render("saltdeploy_skydns", resolver=resolver)
    assert line in contents(found, file).splitlines()
    assert not [name for name in found if "consul" in name]


@pytest.mark.parametrize("stub", [True, False])
def test_consul_asks_the_servers_that_systemd_resolved_had_for_the_whole_host(render, host, stub):
    host("now", f"nameserver {'127.0.0.53' if stub else '192.0.2.1'}\noptions edns0\n")
    host(
        "resolved",
        "[Resolve]\n#DNS=192.0.2.8\nDNS=192.0.2.9\nDNS=\nDNS=10.0.0.53 10.0.1.53:5353#dns.lan [fd00::53]:5353 name\n"
        "FallbackDNS=192.0.2.8\n DNS = fd00::54\n",
    )
    found = render(resolver="systemd-resolved")
    of_resolved = ["10.0.0.53:53", "10.0.1.53:5353", "[fd00::53]:5353", "[fd00::54]:53"]
    assert recursors(found) == (of_resolved if stub else ["192.0.2.1:53"])
    # Else these servers were asked for .consul, and before the agent.
    text = contents(found, "/etc/systemd/resolved.conf.d/saltdeploy.conf")
    assert re.findall(r"^DNS=(.*)$", text, re.MULTILINE) == ["", "127.0.0.1:8600"]


@pytest.mark.parametrize("text", ["", "nameserver 127.0.0.53\noptions edns0\n", OURS, 'nameserver 1.1.1.1"]\n'])
def test_consul_asks_no_server_that_would_ask_it_again(render, host, text):
    host("now", text)
    assert recursors(render(resolver="systemd-resolved")) == []


@pytest.mark.parametrize("resolver", ["dnsmasq", "unbound", "systemd-resolved"])
def test_resolv_conf_is_kept_before_anything_replaces_it(render, resolver):
    """Also before the package is installed: systemd-resolved's replaces it."""
    found = render(resolver=resolver)
    kept = {"file": "/etc/resolv.conf.before-saltdeploy"}
    assert argument(found, kept["file"], "source") == "/etc/resolv.conf"
    assert any(kept in part.get("require", ()) for part in found[resolver]["pkg"] if isinstance(part, dict))
    assert argument(found, "/etc/resolv.conf", "require") == [{"service": resolver}]


@pytest.mark.parametrize("resolver", ["dnsmasq", "unbound", "systemd-resolved"])
def test_no_server_is_more_than_a_server(render, resolver):
    with pytest.raises(ValueError, match="environments:site:dns:upstream:0"):
        render(resolver=resolver, upstream=["10.0.0.53\nserver=6.6.6.6"])
