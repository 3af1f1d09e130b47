"""Certificates of an environment's Consul, as another library verifies them."""

import datetime
import socket
import ssl
import threading

import pytest
from saltdeploy.environment import certificates

NOW = datetime.datetime.now(datetime.timezone.utc)
NAMES, ADDRESSES = ("server.dc1.consul", "localhost"), ("127.0.0.1", "fd00::11")


@pytest.fixture(scope="module")
def authority():
    return certificates.authority("saltdeploy site", NOW)


@pytest.fixture(scope="module")
def node(authority):
    return certificates.issue(authority, NAMES, ADDRESSES, NOW)


def shaken(node, authority, name, folder):
    """Shake hands by TLS, each side with the certificate ``node``, and return what the client knows of the server."""
    (folder / "node.pem").write_text(node["certificate"] + node["key"])
    purposes = (ssl.Purpose.SERVER_AUTH, ssl.Purpose.CLIENT_AUTH)
    client, server = (ssl.create_default_context(p, cadata=authority["certificate"]) for p in purposes)
    for context in (client, server):
        context.load_cert_chain(folder / "node.pem")
    server.verify_mode = ssl.CERT_REQUIRED
    ours, theirs = socket.socketpair()

    def serve():
        try:
            with server.wrap_socket(theirs, server_side=True) as connection:
                connection.recv(1)
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        with client.wrap_socket(ours, server_hostname=name) as connection:
            connection.sendall(b"x")
            return connection.getpeercert()
    finally:
        ours.close()
        thread.join(10)


@pytest.mark.parametrize("name", [*NAMES, *ADDRESSES])
def test_a_node_is_a_server_and_a_client_by_each_of_its_names(node, authority, tmp_path, name):
    found = shaken(node, authority, name, tmp_path)
    assert found["subject"] == ((("commonName", NAMES[0]),),)


@pytest.mark.parametrize("name", ["server.dc2.consul", "10.0.0.12"])
def test_it_is_nobody_else(node, authority, tmp_path, name):
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken(node, authority, name, tmp_path)


def test_another_authority_is_not_trusted(node, tmp_path):
    other = certificates.authority("saltdeploy site", NOW)
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken(node, other, "localhost", tmp_path)


def test_a_node_is_no_authority(node, authority, tmp_path):
    forged = certificates.issue(node, NAMES, ADDRESSES, NOW)
    forged = {**forged, "certificate": forged["certificate"] + node["certificate"]}
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken(forged, authority, "localhost", tmp_path)


@pytest.mark.parametrize(
    "names, addresses, later, usable",
    [
        (NAMES, ADDRESSES, 0, True),
        (NAMES[::-1], ADDRESSES[::-1], 0, True),
        (NAMES[:1], ADDRESSES, 0, False),
        (NAMES, ("127.0.0.1", "fd00::12"), 0, False),
        (NAMES, ADDRESSES, 240, True),
        (NAMES, ADDRESSES, 245, False),
    ],
)
def test_a_certificate_is_usable_for_just_its_names_and_two_thirds_of_its_life(node, names, addresses, later, usable):
    now = NOW + datetime.timedelta(days=later)
    assert certificates.usable(node["certificate"], names, addresses, now) is usable


def test_clocks_may_differ_a_little(authority, tmp_path):
    """The clock of the other node is half an hour behind."""
    ahead = certificates.issue(authority, NAMES, ADDRESSES, NOW + datetime.timedelta(minutes=30))
    assert shaken(ahead, authority, "localhost", tmp_path)
