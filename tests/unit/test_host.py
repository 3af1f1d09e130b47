"""A node's folder: releases whole or absent, ports without a race, files with the mode that was asked for."""

import contextlib
import errno
import hashlib
import io
import json
import multiprocessing
import os
import shutil
import socket
import stat
import subprocess
import tarfile
import threading
import time
from dataclasses import replace

import pytest
from saltdeploy import host
from saltdeploy.errors import Failed, Refused
from saltdeploy.host import Host, write_file
from saltdeploy.model import App, Instance, PortRange, Source

ADDRESS = "127.0.0.1"
fork = multiprocessing.get_context("fork")


@pytest.fixture
def node(tmp_path):
    return Host("web1", tmp_path / "srv")


def archive(path, text="app", name="app"):
    """Write a tar with one file and return the Source of it."""
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text.encode()))
    return Source("archive", str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture
def app(tmp_path):
    return App("shop", archive(tmp_path / "shop.tar"), "run")


def free_ports(count):
    """Return the first of ``count`` ports in a row that are free on every address."""
    for first in range(10000 + os.getpid() % 100 * 100, 32000, count):  # the kernel gives out those above
        with contextlib.suppress(OSError), contextlib.ExitStack() as bound:
            for port in range(first, first + count):
                bound.enter_context(socket.socket()).bind(("0.0.0.0", port))
            return first
    raise AssertionError("no free ports")


def ported(app, count):
    first = free_ports(count)
    return replace(app, ports=PortRange(first, first + count - 1))


def visible(node):
    """Return what of the releases can be seen without looking for hidden names."""
    return [p.name for p in (node.root / "shop/releases").glob("*") if not p.name.startswith(".")]


def hidden(node):
    return [p.name for p in (node.root / "shop/releases").glob(".*") if p.name != ".lock"]


# -- releases ---------------------------------------------------------------------------------


def test_a_release_is_installed_once(node, app):
    assert not node.installed(app, "1.0")
    assert node.install(app, "1.0", None) is True
    assert (node.release("shop", "1.0") / "app").read_text() == "app"
    assert node.installed(app, "1.0")
    inode = (node.release("shop", "1.0") / "app").stat().st_ino
    assert node.install(app, "1.0", None) is False
    assert (node.release("shop", "1.0") / "app").stat().st_ino == inode
    assert node.releases("shop") == ["1.0"]


def test_no_releases(node):
    assert node.releases("shop") == []


@pytest.mark.parametrize("order", [1, -1])
def test_releases_whose_versions_begin_alike_leave_each_other_alone(node, app, order):
    versions = ["1.0", "1.0-rc1", "1.0-rc1-2", "1.0.1", "1.0_1", "1.0+a~b"]
    for version in versions[::order]:
        node.install(app, version, None)
    assert node.releases("shop") == versions[::order]
    assert all((node.release("shop", v) / "app").read_text() == "app" for v in versions)


def test_a_release_can_be_entered_by_the_app_s_user(node, app):
    before = os.umask(0o022)
    try:
        node.install(app, "1.0", None)
    finally:
        os.umask(before)
    path = node.release("shop", "1.0").resolve()
    while path != node.root.parent:
        assert stat.S_IMODE(path.stat().st_mode) == 0o755, path
        path = path.parent


def test_another_source_under_the_same_version_is_refused(node, app, tmp_path):
    node.install(app, "1.0", None)
    other = replace(app, source=archive(tmp_path / "other.tar", "changed"))
    told = r"shop 1.0 is installed on web1 from another source \(sha256 changed\)"
    with pytest.raises(Refused, match=told):
        node.install(other, "1.0", None)
    with pytest.raises(Refused, match="a release never changes"):
        node.installed(other, "1.0")
    assert (node.release("shop", "1.0") / "app").read_text() == "app"


def test_a_release_that_fails_to_build_leaves_nothing(node, app):
    broken = replace(app, source=replace(app.source, sha256="0" * 64))
    with pytest.raises(Failed, match="wrong digest"):
        node.install(broken, "1.0", None)
    assert visible(node) == hidden(node) == node.releases("shop") == []
    assert node.install(app, "1.0", None) is True


def test_an_archive_of_nested_folders_is_no_trouble_for_the_next_one(node, app, tmp_path):
    """It is refused, nothing of it stays, and a corrected archive of the same version is installed."""
    nested = replace(app, source=archive(tmp_path / "nested.tar", name="a/" * 1100 + "app"))
    with pytest.raises(Failed, match="is too long: a path may have 1024 bytes"):
        node.install(nested, "1.0", None)
    assert hidden(node) == []
    assert node.install(app, "1.0", None) is True


def test_what_an_earlier_installation_left_is_in_nobody_s_way(node, app, monkeypatch):
    """Folders deeper than Python's stack are removed; what cannot be removed stays, and the release is installed."""
    releases = node.root / "shop/releases"
    left = releases / ".1.0@left"
    left.mkdir(parents=True)
    at = left
    for _ in range(1100):
        at = at / "d"
        at.mkdir()
    assert node.install(app, "1.0", None) is True
    assert len(hidden(node)) == 1
    node.remove_release("shop", "1.0")
    (releases / ".1.0@stuck").mkdir(parents=True)

    def stuck(folder):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(host.trees, "remove", stuck)
    assert node.install(app, "1.0", None) is True
    assert (node.release("shop", "1.0") / "app").read_text() == "app"


def test_a_release_that_cannot_be_removed_after_a_failure_does_not_hide_the_failure(node, app, monkeypatch):
    broken = replace(app, source=replace(app.source, sha256="0" * 64))

    def stuck(folder):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(host.trees, "remove", stuck)
    with pytest.raises(Failed, match="wrong digest"):
        node.install(broken, "1.0", None)


@pytest.mark.parametrize("broken", ["no files", "no build", "a loop", "no record", "half a record", "another record"])
def test_a_release_that_is_broken_is_installed_again(node, app, broken):
    node.install(app, "1.0", None)
    release = node.release("shop", "1.0")
    build = release.resolve().parent
    if broken == "no files":
        shutil.rmtree(build / "files")
    elif broken == "no build":
        shutil.rmtree(build)
    elif broken == "a loop":
        release.unlink()
        release.symlink_to("1.0")
    else:
        text = {"no record": None, "half a record": '{"app": "sh', "another record": "[1]"}[broken]
        (build / "release.json").unlink()
        if text:
            (build / "release.json").write_text(text)
    assert not node.installed(app, "1.0")
    if "record" not in broken:
        assert node.releases("shop") == []
    assert node.install(app, "1.0", None) is True
    assert node.installed(app, "1.0") and (release / "app").read_text() == "app"
    node.remove_release("shop", "1.0")
    assert hidden(node) == visible(node) == []


def test_somebody_s_folder_in_the_place_of_a_release(node, app):
    node.release("shop", "1.0").mkdir(parents=True)
    with pytest.raises(Failed, match="releases/1.0 on web1 is no release that was installed here: move it away"):
        node.install(app, "1.0", None)


# -- one content under a version --------------------------------------------------------------


def test_another_digest_than_the_deployment_s_is_refused(node, app, tmp_path):
    """The file of digests has changed between two nodes."""
    sums = tmp_path / "sums"
    sums.write_text(app.source.sha256)
    by_file = replace(app, source=replace(app.source, sha256=str(sums)))
    with pytest.raises(Failed, match=f"wrong digest: sha256 is {app.source.sha256}, the definition says {'f' * 64}"):
        node.install(by_file, "1.0", None, digest="f" * 64)
    assert node.install(by_file, "1.0", None, digest=app.source.sha256) is True
    assert node.install(by_file, "1.0", None, digest=app.source.sha256) is False
    with pytest.raises(Refused, match=r"from another source \(sha256 changed\)"):
        node.install(by_file, "1.0", None, digest="f" * 64)


def test_what_a_node_says_of_a_release(node, app, tmp_path):
    sums = tmp_path / "sums"
    sums.write_text(app.source.sha256)
    by_file = replace(app, source=replace(app.source, sha256=str(sums)))
    digest = app.source.sha256
    assert node.room(by_file, "1.0", None) == {"installed": False, "digest": digest, "now": digest, "packages": []}
    node.install(by_file, "1.0", None)
    assert node.room(by_file, "1.0", None) == {"installed": True, "digest": digest, "now": digest, "packages": []}
    sums.write_text("e" * 64)
    assert node.room(by_file, "1.0", None)["now"] == "e" * 64
    sums.unlink()
    assert node.room(by_file, "1.0", None) == {"installed": True, "digest": digest, "now": "", "packages": []}


def test_the_same_content_from_elsewhere_is_the_same_release(node, app, tmp_path):
    """An artifact server that moved is no reason to give everything a new version."""
    node.install(app, "1.0", None)
    moved = replace(app, source=replace(app.source, location=str(tmp_path / "gone.tar")))
    assert node.installed(moved, "1.0")
    assert node.installed(replace(app, source=replace(app.source, sha256={"1.0": app.source.sha256.upper()})), "1.0")
    assert node.installed(replace(app, source=replace(app.source, sha256={"2.0": "0" * 64})), "1.0")
    with pytest.raises(Refused, match=r"another source \(strip changed\)"):
        node.installed(replace(app, source=replace(app.source, strip=1)), "1.0")


def test_a_release_can_be_entered_whatever_the_umask_is(node, app):
    before = os.umask(0o077)
    try:
        node.install(app, "1.0", None)
    finally:
        os.umask(before)
    path = node.release("shop", "1.0").resolve()
    assert stat.S_IMODE((path / "app").stat().st_mode) == 0o644
    while path != node.root.parent:
        assert stat.S_IMODE(path.stat().st_mode) == 0o755, path
        path = path.parent


def test_a_full_disk_is_told_with_node_and_release(node, app):
    def fetch(url, path):
        raise OSError(28, "No space left on device")

    salty = replace(app, source=replace(app.source, location="salt://shop.tar"))
    with pytest.raises(Failed, match="shop 1.0 cannot be installed on web1: .*No space left"):
        node.install(salty, "1.0", fetch)
    assert hidden(node) == []


def test_killed_while_it_builds_nothing_is_visible_and_the_next_install_cleans_up(node, app):
    """The build is at half of its artifact's download when its process is killed."""
    with socket.create_server((ADDRESS, 0)) as server:
        reached = threading.Event()
        threading.Thread(target=_serve_half, args=[server, reached], daemon=True).start()
        url = f"http://{ADDRESS}:{server.getsockname()[1]}/shop.tar"
        slow = replace(app, source=replace(app.source, location=url))
        process = fork.Process(target=node.install, args=[slow, "1.0", None])
        process.start()
        assert reached.wait(20)
        process.kill()
        process.join()
    assert process.exitcode == -9
    assert visible(node) == node.releases("shop") == []
    assert not node.installed(app, "1.0")
    assert len(hidden(node)) == 1
    assert node.install(app, "1.0", None) is True
    assert visible(node) == ["1.0"]
    assert len(hidden(node)) == 1
    assert (node.release("shop", "1.0") / "app").read_text() == "app"


def _serve_half(server, reached):
    connection, _ = server.accept()
    with connection:
        connection.recv(10000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500)
        reached.set()
        with contextlib.suppress(ConnectionError):
            connection.recv(1)  # until the client is gone


def _install(node, app, results):
    results.put(node.install(app, "1.0", None))


def test_installed_by_many_at_once_it_is_built_once(node, app):
    results = fork.SimpleQueue()
    processes = [fork.Process(target=_install, args=[node, app, results]) for _ in range(4)]
    for process in processes:
        process.start()
    done = [results.get() for _ in processes]
    for process in processes:
        process.join()
    assert sorted(done) == [False, False, False, True]
    assert len(hidden(node)) == 1


def test_remove_release(node, app):
    node.install(app, "1.0", None)
    node.install(app, "2.0", None)
    assert node.remove_release("shop", "1.0") is True
    assert node.remove_release("shop", "1.0") is False
    assert node.releases("shop") == ["2.0"]
    assert len(hidden(node)) == 1
    assert not node.installed(app, "1.0")


def test_a_release_in_use_is_not_removed(node, app):
    node.install(app, "1.0", None)
    instance = node.allocate(app, "1.0", ADDRESS, "d1")
    with pytest.raises(Refused, match="shop 1.0 is in use on web1 by shop_1.0_0: stop that first"):
        node.remove_release("shop", "1.0")
    node.forget(instance.id)
    assert node.remove_release("shop", "1.0") is True


# -- instances --------------------------------------------------------------------------------


def test_an_allocated_instance_is_known(node, app):
    shop = ported(app, 2)
    instance = node.allocate(shop, "1.0_b", ADDRESS, "d1")
    first = shop.ports.first
    assert instance == Instance(f"shop_1.0_b_{first}", "web1", "shop", "1.0_b", first, ADDRESS, first, "d1")
    assert node.instances() == node.instances("shop") == [instance]
    assert node.instances("other") == []
    assert node.folder(instance.id) == node.root / "shop/instances" / instance.id


def test_a_saved_instance_is_read_back(node, app):
    instance = replace(node.allocate(app, "1.0", ADDRESS, "d1"), tested=True, held=True)
    node.save(instance)
    assert node.instances("shop") == [instance]


def test_a_record_of_a_later_saltdeploy_is_read(node, app):
    instance = node.allocate(app, "1.0", ADDRESS, "d1")
    path = node.folder(instance.id) / "instance.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "new_field": 1}))
    assert node.instances() == [instance]


def test_an_instance_that_vanishes_meanwhile_is_not_there(node, app, monkeypatch):
    """As when another job stops it between the listing and the look."""
    first, second = (node.allocate(app, "1.0", ADDRESS, "d1") for _ in range(2))
    read = host.nodefiles.instance

    def slow_read(path):
        node.forget(second.id)
        return read(path)

    monkeypatch.setattr(host.nodefiles, "instance", slow_read)
    assert node.instances() == [first]


def test_forgetting_frees_the_port(node, app):
    shop = ported(app, 1)
    instance = node.allocate(shop, "1.0", ADDRESS, "d1")
    with pytest.raises(Failed):
        node.allocate(shop, "1.0", ADDRESS, "d1")
    node.forget(instance.id)
    assert node.allocate(shop, "1.0", ADDRESS, "d2").port == instance.port


def test_forgetting_what_is_not_there(node):
    node.forget("shop_1.0_1")


# -- ports ------------------------------------------------------------------------------------


def _allocate(node, apps, results, barrier):
    barrier.wait()
    for shop in apps:
        results.put(node.allocate(shop, "1.0", ADDRESS, "d1").port)


def test_many_processes_and_two_apps_never_get_one_port_twice(node, app):
    shop = ported(app, 16)
    cart = replace(shop, name="cart")
    results, barrier = fork.SimpleQueue(), fork.Barrier(8)
    processes = [fork.Process(target=_allocate, args=[node, [shop, cart], results, barrier]) for _ in range(8)]
    for process in processes:
        process.start()
    ports = [results.get() for _ in range(16)]
    for process in processes:
        process.join()
    assert sorted(ports) == list(shop.ports)


@pytest.mark.parametrize("listening", [ADDRESS, "0.0.0.0", "::", f"::ffff:{ADDRESS}"])
def test_a_port_something_listens_on_is_passed_over(node, app, listening):
    if ":" in listening and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    shop = ported(app, 2)
    with socket.socket(socket.AF_INET6 if ":" in listening else socket.AF_INET) as server:
        if ":" in listening:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind((listening, shop.ports.first))
        server.listen()
        assert shop.ports.first in node.ports_taken(ADDRESS)
        assert node.allocate(shop, "1.0", ADDRESS, "d1").port == shop.ports.last
    assert shop.ports.first not in node.ports_taken(ADDRESS)


def test_a_listener_on_another_address_is_no_matter(node, app):
    shop = ported(app, 1)
    with socket.create_server(("127.0.0.2", shop.ports.first)):
        assert node.allocate(shop, "1.0", ADDRESS, "d1").port == shop.ports.first


def test_a_port_that_is_bound_without_listening_is_passed_over(node, app):
    shop = ported(app, 2)
    with socket.socket() as bound:
        bound.bind((ADDRESS, shop.ports.first))
        assert shop.ports.first not in node.ports_taken(ADDRESS)
        assert node.allocate(shop, "1.0", ADDRESS, "d1").port == shop.ports.last


def test_ports_of_instances_are_taken_though_nothing_listens(node, app):
    shop = ported(app, 2)
    taken = {node.allocate(shop, v, ADDRESS, "d1").port for v in ("1.0", "2.0")}
    assert taken == set(shop.ports)
    assert taken <= node.ports_taken(ADDRESS)


def test_an_exhausted_range(node, app):
    shop = ported(app, 1)
    node.allocate(shop, "1.0", ADDRESS, "d1")
    told = f"no port of {shop.ports} is free on web1 for shop: widen apps:shop:ports, or stop what uses it"
    with pytest.raises(Failed, match=told):
        node.allocate(shop, "2.0", ADDRESS, "d1")
    assert len(node.instances()) == 1


def test_a_port_that_was_asked_for(node, app):
    shop = ported(app, 3)
    wanted = shop.ports.first + 1
    assert node.allocate(shop, "1.0", ADDRESS, "d1", slot=wanted).port == wanted
    with pytest.raises(Failed, match=f"^port {wanted} is not free on web1 for shop"):
        node.allocate(shop, "2.0", ADDRESS, "d1", slot=wanted)


@pytest.mark.parametrize("address", ["203.0.113.1", "2001:db8::1"])
def test_an_address_that_is_not_the_node_s(node, app, address):
    with pytest.raises(Failed, match=f"{address} is no address of this node: correct it in the environment's nodes"):
        node.allocate(ported(app, 2), "1.0", address, "d1")


def test_an_ipv6_address_where_the_kernel_has_no_ipv6(node, app, monkeypatch):
    def none(*_):
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    shop = ported(app, 1)
    monkeypatch.setattr(host.socket, "socket", none)
    with pytest.raises(Failed, match="::1 is no address of this node"):
        node.allocate(shop, "1.0", "::1", "d1")


def test_what_a_killed_allocation_left_behind_is_used(node, app):
    shop = ported(app, 1)
    node.folder(f"shop_1.0_{shop.ports.first}").mkdir(parents=True)
    assert node.allocate(shop, "1.0", ADDRESS, "d1").port == shop.ports.first


def test_an_app_without_ports_gets_the_lowest_free_number(node, app):
    first, second, third = (node.allocate(app, v, ADDRESS, "d1") for v in ("1.0", "1.0", "2.0"))
    assert [i.id for i in (first, second, third)] == ["shop_1.0_0", "shop_1.0_1", "shop_2.0_2"]
    assert first.port is None
    node.forget(second.id)
    assert node.allocate(app, "2.0", ADDRESS, "d1").slot == 1
    assert node.allocate(app, "2.0", ADDRESS, "d1", slot=7).slot == 7
    with pytest.raises(Failed, match="slot 7 of shop is in use on web1"):
        node.allocate(app, "2.0", ADDRESS, "d1", slot=7)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_listeners_and_connections_by_ipv6(node, app):
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        instance = Instance("shop_1_1", "web1", "shop", "1", 1, "::1", server.getsockname()[1])
        assert instance.port in node.ports_taken("::1")
        assert node.connections(instance) == 0
        with socket.create_connection(server.getsockname()[:2]):
            assert node.connections(instance) == 1
            # However the record spells it.
            assert node.connections(replace(instance, address="0:0:0:0:0:0:0:1")) == 1


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_an_ipv4_client_of_an_app_that_listens_on_ipv6_is_counted(node, app):
    """Linux shows it as an IPv4-mapped address, ::ffff:127.0.0.1."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        port = server.getsockname()[1]
        instance = Instance("shop_1_1", "web1", "shop", "1", 1, ADDRESS, port)
        with socket.create_connection((ADDRESS, port)), socket.create_connection(("::1", port)):
            assert node.connections(instance) == 1
            assert node.connections(replace(instance, address="::1")) == 1


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("listening", ["::1", "::"])
def test_a_port_something_listens_on_by_ipv6_is_passed_over(node, app, listening):
    shop = ported(app, 2)
    with socket.create_server((listening, shop.ports.first), family=socket.AF_INET6):
        assert node.allocate(shop, "1.0", "::1", "d1").port == shop.ports.last


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_a_listener_by_ipv4_takes_no_port_of_ipv6(node, app):
    shop = ported(app, 1)
    with socket.create_server(("0.0.0.0", shop.ports.first)):
        assert shop.ports.first not in node.ports_taken("::1")
        assert node.allocate(shop, "1.0", "::1", "d1").port == shop.ports.first


def test_open_connections_are_counted(node, app):
    port = free_ports(1)
    with socket.create_server((ADDRESS, port)) as server, socket.create_server(("127.0.0.2", port)) as other:
        instance = Instance("shop_1_1", "web1", "shop", "1", 1, ADDRESS, port)
        assert node.connections(instance) == 0
        with socket.create_connection(server.getsockname()), socket.create_connection(other.getsockname()):
            assert node.connections(instance) == 1
            with socket.create_connection(server.getsockname()):
                assert node.connections(instance) == 2


# -- files ------------------------------------------------------------------------------------


@pytest.fixture(params=[0, 0o077], ids=["umask 000", "umask 077"])
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o500])
def test_files_have_the_mode_asked_for(tmp_path, umask, mode):
    path = tmp_path / "file"
    write_file(path, "text", mode)
    assert path.read_text() == "text"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_secret_is_never_wider_than_asked_for(tmp_path, umask, monkeypatch):
    """Not even in the moment before its mode is set, nor where a wide file was left behind."""
    modes = []
    fchmod = os.fchmod
    monkeypatch.setattr(os, "fchmod", lambda fd, mode: (modes.append(os.fstat(fd).st_mode), fchmod(fd, mode)))
    write_file(tmp_path / "secret", "secret", 0o600)
    assert [stat.S_IMODE(m) & 0o077 for m in modes] == [0]
    (tmp_path / ".secret.partial").write_text("wide")
    (tmp_path / ".secret.partial").chmod(0o666)
    write_file(tmp_path / "secret", "secret", 0o600)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_files_are_given_to_their_owner(tmp_path):
    write_file(tmp_path / "file", "text", 0o600, (12345, 23456))
    owned = (tmp_path / "file").stat()
    assert (owned.st_uid, owned.st_gid, stat.S_IMODE(owned.st_mode)) == (12345, 23456, 0o600)


def test_a_file_that_cannot_be_written_stays_what_it_was(tmp_path):
    write_file(tmp_path / "file", "old")
    with pytest.raises(UnicodeEncodeError):
        write_file(tmp_path / "file", "new \udc80")
    assert (tmp_path / "file").read_text() == "old"


def test_definitions_are_validated_once(node, monkeypatch):
    """Another one, or by another schema, is looked at again."""
    looked = []
    monkeypatch.setattr(host.validation, "problems_again", lambda given: looked.append(given) or {"shop": ["wrong"]})
    one, other = {"apps": {"shop": {"run": "a"}}}, {"apps": {"shop": {"run": "b"}}}
    node.problems(one)
    assert not node.root.exists()  # there may be none yet, and none is made for this
    node.root.mkdir()
    for definitions in (one, one, other, other):
        assert node.problems(definitions) == {"shop": ["wrong"]}
    assert looked == [one, one, other]
    monkeypatch.setattr(host.validation, "_schema", lambda: "another")
    node.problems(other)
    assert looked == [one, one, other, other]


def test_the_default_root():
    assert str(Host("web1").root) == host.DEFAULT_ROOT


def refused(node, app, deployment):
    """Return whether a step of ``deployment`` is refused, of both kinds."""
    found = []
    for turn in (node.starting, node.alone):
        try:
            with turn(app, deployment):
                found.append(False)
        except Failed as exc:
            assert str(exc).startswith(f"Refused on web1: deployment {deployment} of {app} has ended there.")
            found.append(True)
    assert found[0] == found[1]
    return found[0]


def test_a_deployment_that_has_ended_does_nothing_any_more(node):
    """…also where the job that does it is overtaken by the one that undoes it."""
    assert not refused(node, "shop", "d1")
    with node.alone("shop", after="d1"):
        pass
    assert refused(node, "shop", "d1")
    assert not any(refused(node, *other) for other in (("shop", "d2"), ("shop", None), ("till", "d1")))


@pytest.mark.parametrize("torn", [None, "", '"d'])
def test_a_run_ends_when_a_later_one_begins(node, torn):
    """What it was is not known where the power failed as it was written."""
    node.begin("shop", "d1")
    node.begin("shop", "d1")
    assert not refused(node, "shop", "d1")
    if torn is not None:
        (node.root / "shop/.run").write_text(torn)
    node.begin("shop", "d2")
    assert refused(node, "shop", "d1") == (torn is None) and not refused(node, "shop", "d2")
    assert not refused(node, "till", "d1")


def test_deployments_that_have_ended_are_remembered_beside_others(node):
    """…for as long as a job of theirs may be on its way."""
    for number in range(host.ENDED + 1):
        node.end("shop", f"d{number}")
        node.end("shop", "d1")
    assert [d for d in map("d{}".format, range(host.ENDED + 2)) if not refused(node, "shop", d)] == ["d0", "d21"]
    assert len(json.loads((node.root / "shop/.ended").read_text())) == host.ENDED


@pytest.mark.parametrize("nobody", [None, "", "manual", "state", "restored"])
def test_what_stands_for_nobody_does_not_end(node, nobody):
    node.end("shop", "d1")
    node.end("shop", nobody)
    assert not refused(node, "shop", nobody)
    assert json.loads((node.root / "shop/.ended").read_text()) == ["d1"]


@pytest.mark.parametrize("kept", ["d1", ""])
def test_what_an_earlier_saltdeploy_kept_of_a_deployment_that_ended_is_read(node, kept):
    (node.root / "shop").mkdir(parents=True)
    (node.root / "shop/.ended").write_text(json.dumps(kept))
    assert refused(node, "shop", kept) == bool(kept)
    node.end("shop", "d2")
    assert refused(node, "shop", "d2") and refused(node, "shop", kept) == bool(kept)


def test_a_deployment_ends_before_it_is_the_turn_of_its_way_back(node):
    """What is waiting for its turn as well is refused, whoever has it first."""
    back = threading.Thread(target=lambda: node.alone("shop", after="d1").__enter__(), daemon=True)
    with node.alone("shop", "d1"):
        back.start()
        give_up = time.monotonic() + 10
        while time.monotonic() < give_up and "d1" not in node.ended("shop"):
            time.sleep(0.01)
        assert node.ended("shop") == ["d1"] and back.is_alive()
    back.join(10)
    assert not back.is_alive() and refused(node, "shop", "d1")


@pytest.mark.parametrize("torn", ["", '["d1'])
def test_what_was_torn_as_it_was_written_holds_nobody_up(node, torn):
    node.end("shop", "d1")
    (node.root / "shop/.ended").write_text(torn)
    with node.alone("shop", "d2", after="d3"):
        pass
    assert node.ended("shop") == ["d3"]


# -- what somebody or a power cut has left -----------------------------------------------------


BROKEN = {
    "empty": ("", "instance.json is empty"),
    "torn": ('{"id": "shop', "instance.json is no JSON"),
    "a list": ("[]", "instance.json is no mapping"),
    "bare": ("{}", "some of it is missing"),
    "wrong types": (
        '{"id": "shop_1.0_0", "node": "web1", "app": "shop", "version": "1.0", "slot": "0"}',
        "its `slot` is a str",
    ),
    "another's": (
        '{"id": "till_1.0_0", "node": "web1", "app": "till", "version": "1.0", "slot": 0}',
        "not the record of this instance",
    ),
    "nested": ("[" * 100_000, "instance.json is no record"),
    "not text": (b"\xff\xfe", "instance.json is no JSON"),
}


@pytest.mark.parametrize("content, told", BROKEN.values(), ids=BROKEN)
def test_a_broken_record_is_named_and_blocks_nothing(node, app, content, told):
    broken, good = (node.allocate(app, "1.0", ADDRESS, "d1") for _ in range(2))
    till = node.allocate(replace(app, name="till"), "1.0", ADDRESS, "d1")
    path = node.folder(broken.id) / "instance.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert node.instances() == [good, till]
    assert list(node.broken()) == list(node.broken("shop")) == [broken.id] and node.broken("till") == {}
    assert told in node.broken()[broken.id] and str(path) in node.broken()[broken.id]
    # Its number is not given away, nor is its release removed, before it is stopped.
    assert node.allocate(app, "1.0", ADDRESS, "d1").slot == 2
    with pytest.raises(Refused, match=f"in use on web1 by .*{broken.id}"):
        node.remove_release("shop", "1.0")
    node.forget(broken.id)
    assert node.broken() == {}


def test_a_record_that_cannot_be_read_is_named(node, app):
    broken = node.allocate(app, "1.0", ADDRESS, "d1")
    path = node.folder(broken.id) / "instance.json"
    path.unlink()
    path.mkdir()
    assert node.instances() == [] and "Is a directory" in node.broken()[broken.id]


def test_the_port_of_a_broken_instance_is_taken(node, app):
    shop = ported(app, 2)
    broken = node.allocate(shop, "1.0", ADDRESS, "d1")
    (node.folder(broken.id) / "instance.json").write_text("")
    assert broken.port in node.ports_taken(ADDRESS)
    assert node.allocate(shop, "1.0", ADDRESS, "d1").port != broken.port


def dangle(node):
    """Have the files of release 1.0 be gone, as after a power cut."""
    shutil.rmtree(node.release("shop", "1.0").resolve().parent)


def forget_its_origin(node):
    (node.release("shop", "1.0").resolve().parent / "release.json").write_text("")


def point_elsewhere(node):
    node.release("shop", "1.0").unlink()
    elsewhere = node.root / "elsewhere" / "files"
    elsewhere.mkdir(parents=True)
    node.release("shop", "1.0").symlink_to(elsewhere)


@pytest.mark.parametrize("damage", [dangle, forget_its_origin, point_elsewhere])
def test_a_broken_release_is_named_and_installed_again(node, app, damage):
    node.install(app, "1.0", None)
    node.install(app, "2.0", None)
    damage(node)
    assert node.releases("shop") == ["2.0"] and list(node.broken_releases("shop")) == ["1.0"]
    assert not node.installed(app, "1.0")
    assert node.install(app, "1.0", None) is True
    assert (node.release("shop", "1.0") / "app").read_text() == "app"
    assert node.broken_releases("shop") == {} and len(hidden(node)) == 2


@pytest.mark.parametrize("damage", [dangle, forget_its_origin, point_elsewhere])
def test_a_broken_release_can_be_removed(node, app, damage):
    node.install(app, "1.0", None)
    damage(node)
    assert node.remove_release("shop", "1.0") is True
    assert visible(node) == hidden(node) == [] and node.broken_releases("shop") == {}
    assert damage is not point_elsewhere or (node.root / "elsewhere").exists()


def test_the_files_that_an_instance_runs_from_stay_when_its_release_is_repaired(node, app):
    node.install(app, "1.0", None)
    node.allocate(app, "1.0", ADDRESS, "d1")
    running = node.release("shop", "1.0").resolve()
    forget_its_origin(node)
    node.install(app, "1.0", None)
    assert (running / "app").exists() and node.release("shop", "1.0").resolve() != running


def test_of_an_app_that_is_removed_no_folder_stays(node, app):
    node.install(app, "1.0", None)
    node.install(app, "2.0", None)
    instance = node.allocate(app, "1.0", ADDRESS, "d1")
    with node.alone("shop", after="d1"):
        node.forget(instance.id)
    node.remove_release("shop", "1.0")
    assert (node.root / "shop").is_dir()
    node.remove_release("shop", "2.0")
    assert not (node.root / "shop").exists()
    assert node.install(app, "1.0", None) is True


@pytest.mark.parametrize("umask", [0o077, 0o027])
def test_the_app_s_user_reaches_its_release_whatever_the_umask(node, app, umask):
    before = os.umask(umask)
    try:
        node.install(app, "1.0", None)
        instance = node.allocate(app, "1.0", ADDRESS, "d1")
    finally:
        assert os.umask(before) == umask
    for path in (node.release("shop", "1.0").resolve(), node.folder(instance.id)):
        while path != node.root.parent:
            assert stat.S_IMODE(path.stat().st_mode) == 0o755, path
            path = path.parent
    assert (node.release("shop", "1.0") / "app").stat().st_mode & 0o044 == 0o044


def test_locks_are_closed_to_others(node, app):
    node.install(app, "1.0", None)
    with node.alone("shop", after="d1"):
        node.allocate(app, "1.0", ADDRESS, "d1")
    found = [p for p in node.root.rglob(".*") if p.name in (".lock", ".starting")]
    assert len(found) == 4 and {stat.S_IMODE(p.stat().st_mode) for p in found} == {0o600}


@pytest.fixture
def read_only(node, app):
    """Make the node's folder read-only, as a kernel does with a disk that fails."""
    mounted = []

    def mount():
        if subprocess.run(["mount", "--bind", node.root, node.root], capture_output=True, check=False).returncode:
            pytest.skip("this process may not mount")
        mounted.append(node.root)
        subprocess.run(["mount", "-o", "remount,ro,bind", node.root], check=True)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_on_a_disk_that_cannot_be_written_steps_are_done_and_then_it_is_told(node, app, read_only):
    instance = node.allocate(app, "1.0", ADDRESS, "d1")
    with node.alone("shop", after="d0"):
        pass
    read_only()
    done = []
    with node.alone("shop", "d1"):
        done.append("forward")
    told = "done, but late steps of deployment d2 are not refused: .*Read-only file system"
    with pytest.raises(Failed, match=told), node.alone("shop", after="d2"):
        done.append("back")
    assert done == ["forward", "back"]
    path = node.folder(instance.id)
    for act in (lambda: node.save(instance), lambda: node.forget(instance.id), lambda: node.end("shop", "d3")):
        with pytest.raises(Failed, match=r"Read-only file system. See `dmesg` there, repair the file system"):
            act()
    assert node.instances("shop") == [instance] and path.exists()


@pytest.mark.parametrize("kept", ["5", "{}", '{"d1": 1}', "[1, null]", "[[]]"])
def test_what_is_no_list_of_deployments_holds_nobody_up(node, kept):
    (node.root / "shop").mkdir(parents=True)
    (node.root / "shop/.ended").write_text(kept)
    with node.alone("shop", "d2", after="d3"):
        pass
    assert node.ended("shop") == ["d3"]


def test_files_are_on_the_disk_before_they_have_their_name(tmp_path, monkeypatch):
    done = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd)))
    write_file(tmp_path / "file", "text")
    assert done == [str(tmp_path / ".file.partial"), str(tmp_path)]


# -- whose an instance is ---------------------------------------------------------------------


def kept(host, one="shop_1.0_100", **changes):
    """Have a folder of an instance, with a file that says ``changes`` to what is true of it."""
    said = {"id": one, "node": "web1", "app": "shop", "version": "1.0", "slot": 100, "port": 100, "address": ADDRESS}
    folder = host.root / "shop/instances" / one
    folder.mkdir(parents=True)
    (folder / "instance.json").write_text(json.dumps({**said, **changes}))
    return folder


def test_an_instance_is_what_its_folder_and_its_file_agree_on(node):
    kept(node, tested=True, colour="red")
    assert [(i.id, i.node, i.tested) for i in node.instances("shop")] == [("shop_1.0_100", "web1", True)]
    assert node.strays("shop") == []


@pytest.mark.parametrize(
    "changes",
    [
        {"node": "web3"},
        {"id": "shop_1.0_101"},
        {"app": "till"},
        {"version": "1.1"},
        {"slot": 101},
        {"slot": "100"},
        {"port": 101},
        {"version": None},
    ],
    ids=lambda changes: str(next(iter(changes.items()))),
)
def test_a_file_that_does_not_agree_is_nobodys(node, changes):
    kept(node, **changes)
    assert node.instances("shop") == node.instances() == [] and node.strays() == ["shop_1.0_100"]


def test_neither_is_one_that_is_lost_or_unreadable(node):
    for number, text in enumerate(["", "[]", "{", "null", None]):
        path = kept(node, one=f"shop_1.0_{number}") / "instance.json"
        path.unlink() if text is None else path.write_text(text)
    kept(node, one="shop_1.0_99999")  # where hooks run
    (node.root / "shop/instances/lost+found").mkdir()
    assert node.instances("shop") == [] and node.strays("shop") == [f"shop_1.0_{number}" for number in range(5)]


def test_what_was_left_in_a_folder_is_not_taken_over(node, app):
    app = ported(app, 1)
    first = app.ports.first
    folder = kept(node, one=f"shop_1.0_{first}", node="web3", slot=first, port=first)
    (folder / "secret").write_text("another machine's")
    made = node.allocate(app, "1.0", ADDRESS, "d")
    assert made.id == folder.name and [p.name for p in folder.iterdir()] == ["instance.json"]


def test_what_runs_without_a_file_keeps_its_number(node, app):
    assert node.allocate(app, "1.0", ADDRESS, "d", avoid={0, 1}).slot == 2


# -- data -------------------------------------------------------------------------------------


def test_the_data_folder_is_made_once_and_is_the_users_own(node, app, tmp_path):
    for data, path in ((True, node.root / "shop/data"), (str(tmp_path / "far/away"), tmp_path / "far/away")):
        app = replace(app, data=data)
        assert node.data(app) == path and not node.has_data(app)
        node.make_data(app, (os.geteuid(), os.getegid()))
        assert stat.S_IMODE(path.stat().st_mode) == 0o750 and not node.has_data(app)
        (path / "state").write_text("kept")
        path.chmod(0o700)
        node.make_data(app, (os.geteuid(), os.getegid()))
        assert (path / "state").read_text() == "kept" and stat.S_IMODE(path.stat().st_mode) == 0o700
        assert node.has_data(app) and not node.has_data(replace(app, data=False))
    assert [p.name for p in (tmp_path / "far").iterdir()] == ["away"]


def test_what_is_in_its_place_is_left_alone(node, app, tmp_path):
    app = replace(app, data=str(tmp_path / "data"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="data on web1 is no folder: the data of shop cannot be kept there"):
        node.make_data(app)
    (tmp_path / "data").unlink()
    (tmp_path / "data").mkdir()
    with pytest.raises(Refused, match="data on web1 is not owned by app-shop, .* chown -R app-shop "):
        node.make_data(replace(app, user="app-shop"), (os.geteuid() + 1, os.getegid()))
