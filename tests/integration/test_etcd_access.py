"""Access control of a real etcd: switched on, changed, and refused where somebody else was there before."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading

import pytest
from saltdeploy.core.errors import DiscoveryUnavailable, Failed, Refused
from saltdeploy.discovery import Service, etcd, etcdpeers, skydnsrecords
from saltdeploy.discovery.agent import HealthAgent
from saltdeploy.discovery.etcdaccess import READ, READWRITE, Access, Right
from saltdeploy.discovery.skydns import SkyDNS
from saltdeploy.health.keeper import Keeper
from saltdeploy.health.registry import Registry
from saltdeploy.health.server import Server
from saltdeploy.health.settings import Settings

from tests.support.site import NODES, until

ROLES = {"saltdeploy-a": {Right("/a/", READWRITE), Right("/b", READ)}, "saltdeploy-b": {Right("/b", READWRITE)}}
PASSWORDS = {"saltdeploy-a": "secret-a", "saltdeploy-b": "secret-b"}
PLACE = skydnsrecords.Place("skydns.local", "site", 1)


@pytest.fixture
def url(tmp_path):
    """The URL of an etcd without access control."""
    program = shutil.which("etcd")
    assert program, "these tests need etcd: apt-get install etcd-server"
    address = next(iter(NODES.values()))
    url, peer = f"http://{address}:12379", f"http://{address}:12380"
    options = {"data-dir": tmp_path / "etcd", "listen-client-urls": url, "advertise-client-urls": url}
    options.update(
        {"listen-peer-urls": peer, "initial-advertise-peer-urls": peer, "initial-cluster": f"default={peer}"}
    )
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([program, *(f"--{k}={v}" for k, v in options.items())], stdout=log, stderr=log)
    yield url
    process.kill()
    process.wait()


def bring(url, roles=ROLES, passwords=PASSWORDS, root="secret-root", dry=False, place=None):
    with Access([url], root, "", dry=dry) as access:
        return access.bring(roles, passwords, 60, place)


def write(url, user, key, password=None):
    client = etcd.Etcd([url], etcd.Login(user, password or PASSWORDS[user]))
    return client.transact([], [etcd.put(key, "x")], "write")


def test_access_control_is_brought_to_the_wanted_state(url):
    with pytest.raises(DiscoveryUnavailable):
        bring("http://127.0.0.1:9", dry=True)
    wanted = bring(url)
    assert wanted["access control"] == "on" and set(wanted) == {
        "access control",
        *(f"{kind} {name}" for kind in ("role", "user") for name in ROLES),
    }
    assert not any(password in str(wanted) for password in (*PASSWORDS.values(), "secret-root"))
    assert bring(url) == bring(url, dry=True) == {}
    assert write(url, "saltdeploy-a", "/a/x")
    for key in ("/a", "/b", "/a0", "/b/x"):
        with pytest.raises(Failed, match="permission denied"):
            write(url, "saltdeploy-a", key)

    # Somebody else's user stays. Ours go if they are not known any more, and get back what they had.
    with Access([url], "secret-root", "") as access:
        access._do("user/add", {"name": "operator", "password": "x"}, "add")
        access._do("role/grant", {"name": "saltdeploy-a", "perm": {"permType": READ, "key": "Lw=="}}, "change")
        access._do("user/changepw", {"name": "saltdeploy-a", "password": "x"}, "change")
    less = {"saltdeploy-a": {Right("/a/", READ)}}
    changes = {
        "role saltdeploy-a": {"granted": ["read /a/"], "revoked": ["/", "/b"]},
        "user saltdeploy-a": "has another password",
        "user saltdeploy-b": "removed",
        "role saltdeploy-b": "removed",
    }
    passwords = {"saltdeploy-a": "secret-a"}
    assert bring(url, less, passwords, dry=True) == changes
    assert bring(url, less, passwords) == changes
    assert bring(url, less, passwords) == {}
    with pytest.raises(Failed, match="permission denied"):
        write(url, "saltdeploy-a", "/a/x")
    with pytest.raises(Failed, match="another password of root"):
        bring(url, root="x")


def test_users_from_before_access_control_are_refused(url):
    client = etcd.Etcd([url])
    with Access([url], "secret-root", "") as access:
        access._await_leader(60)
    client.ask("auth/user/add", {"name": "stranger", "password": "x"}, "add")
    with pytest.raises(Failed, match="that saltdeploy has not made.*: stranger"):
        bring(url)
    client.ask("auth/user/delete", {"name": "stranger"}, "remove")
    # An earlier run may have ended before its end.
    client.ask("auth/user/add", {"name": "root", "password": "y"}, "add")
    client.ask("auth/role/add", {"name": "saltdeploy-a"}, "add")
    assert bring(url)["access control"] == "on"
    assert bring(url) == {}


@contextlib.contextmanager
def health_agent(url, folder):
    """Yield the keeper and a client of the health agent of web1, whose lease is short."""
    login = etcd.Login("saltdeploy-node-web1", "secret")
    settings = Settings("web1", (url,), PLACE, folder, NODES["web1"], 18500, login=login, lease=5.0)
    registry = Registry("web1", folder / "services")
    registry.load(believed=False)
    keeper = Keeper(settings, registry)
    server = Server(settings, registry, keeper)
    threads = [threading.Thread(target=run, daemon=True) for run in (keeper.run, server.serve_forever)]
    for thread in threads:
        thread.start()
    try:
        with HealthAgent([f"http://{settings.address}:{settings.port}"]) as agent:
            yield keeper, agent
    finally:
        keeper.stop()
        server.shutdown()
        server.server_close()
        for thread in threads:
            thread.join()


def test_a_missing_right_stops_no_other_service_of_its_node(url, tmp_path):
    """A new app before its rights, an app that leaves the definition while it runs, and a node without its lease."""
    apps = ["old", "shop"]

    def grant(*services):
        keys = [key for each in services for key in (PLACE.entries_of(each, "web1"), PLACE.records_of(each, "web1"))]
        own = [Right("/saltdeploy/site/", READ), Right(PLACE.records, READ), Right(f"{PLACE.agents}web1", READWRITE)]
        name = "saltdeploy-node-web1"
        roles = {name: [*own, *(Right(key, READWRITE) for key in keys)]}
        return bring(url, roles, {name: "secret"}, place=PLACE).get(f"role {name}", {})

    def service(name):
        return Service(f"{name}_1", name, "127.0.0.1", 80)

    def granted():
        login = etcd.Login("saltdeploy-node-web1", "secret")
        with SkyDNS(etcd.Etcd([url], login), PLACE) as discovery:
            return discovery.granted()

    def found():
        with contextlib.closing(etcd.Etcd([url], etcd.Login("root", "secret-root"))) as root:
            _, (records, agents) = root.ranges(etcd.under(PLACE.records), etcd.one(f"{PLACE.agents}web1"))
        is_ready = [agent.text for agent in agents] == [skydnsrecords.READY]
        return sorted(record.key.split("/")[-3] for record in records) if is_ready else None

    grant(*apps)
    assert granted() == {"old", "shop"}
    with health_agent(url, tmp_path / "agent") as (keeper, agent):
        for name in apps:
            agent.publish(service(name))
        with pytest.raises(Failed, match=r"refuses to write .*/new/.*Apply saltdeploy\.skydns on the first") as told:
            agent.publish(service("new"))
        assert not isinstance(told.value, DiscoveryUnavailable)
        agent.withdraw("shop_1")
        assert found() == ["old"]
        agent.publish(service("shop"))
        # Its rights stay for as long as the node has entries of it.
        assert grant("shop", "new").keys() == {"granted"}
        assert granted() == {"new", "shop"} and grant("shop", "new") == {}
        until(lambda: found() == ["new", "old", "shop"], 20, "the new app, which needs no other registration")
        agent.withdraw("old_1")
        assert found() == ["new", "shop"]
        revoked = {PLACE.entries_of("old", "web1"), PLACE.records_of("old", "web1")}
        assert set(grant("shop", "new")["revoked"]) == revoked
        agent.publish(service("shop"))
        # An earlier version revoked them in any case.
        with pytest.raises(Failed, match="refuses to write"):
            agent.publish(service("old"))
    with contextlib.closing(etcd.Etcd([url], etcd.Login("root", "secret-root"))) as root:
        until(lambda: root.get(f"{PLACE.agents}web1") is None, 30, "the lease to end")
    with health_agent(url, tmp_path / "agent") as (keeper, agent):
        until(lambda: found() == ["new", "shop"], 20, "the other services to be back")
        assert keeper.refusal("old_1") and not keeper.refusal("shop_1")
        agent.withdraw("old_1")
        assert not keeper.refusal("old_1") and agent.registered().keys() == {"new_1", "shop_1"}


def test_a_new_member_forms_no_second_cluster(url, tmp_path):
    """From one member to three: the two new ones would be a majority. They may start where all know one another."""
    with Access([url], "secret-root", "") as access:
        access._await_leader(60)
    host = url.rpartition(":")[0]
    one = {"default": f"{host}:12380"}
    three = {**one, "web2": f"{host}:22380", "web3": f"{host}:32380"}

    def start(members, name="web2", state="new"):
        listed = ",".join(f"{member}={peer}" for member, peer in members.items())
        config = {"name": name, "data-dir": str(tmp_path / name), "initial-cluster": listed}
        etcdpeers.refuse_second_cluster({**config, "initial-cluster-state": state})

    told = r"runs on default already.*the role etcd-server from web3 until.*`etcdctl member add web2 --peer-urls=http"
    with pytest.raises(Refused, match=told):
        start(three)
    with pytest.raises(Refused, match="member add web3"):
        start(three, "web3")
    start(three, state="existing")
    with pytest.raises(Refused, match="write `new` or `existing`"):
        start(three, state="old")
    # The members that start together know one another, and nobody answers at the first.
    start(one, "web1")
    start({"web2": three["web2"], "web3": three["web3"]})
    # A member with data starts again, however the definition has changed.
    (tmp_path / "web2/member").mkdir(parents=True)
    start(three)
