"""A login goes to the server that it is for, and no message shows it."""

import base64

import pytest
from saltdeploy.core.errors import Failed
from saltdeploy.core.model import Source
from saltdeploy.source import credentials, downloads

from tests.support.rogue import certificate, redirect, reply, rogue


def source(url="https://host/shop.tar", **given):
    return Source("archive", url, sha256="0" * 64, **given)


def test_a_token_from_a_file_goes_where_the_archive_is(tmp_path):
    (tmp_path / "token").write_text("hunter2\n")
    given, url = source(token_file=str(tmp_path / "token"), headers={"X-Team": "a"}), "https://host/shop.tar"
    assert credentials.headers(given, url, url + ".sha256") == {"X-Team": "a", "Authorization": "Bearer hunter2"}
    assert credentials.headers(given, url, "https://host:443/other")["X-Team"] == "a"
    for other in ("http://host/shop.tar", "https://other/shop.tar", "https://host:8443/shop.tar"):
        assert credentials.headers(given, url, other) == {}


def test_a_login_from_a_netrc_file_goes_to_its_host(tmp_path):
    (tmp_path / "netrc").write_text("machine host login joe password hunter2\ndefault login a password b\n")
    given = source(netrc=str(tmp_path / "netrc"))
    wanted = {"Authorization": "Basic " + base64.b64encode(b"joe:hunter2").decode()}
    assert credentials.headers(given, "https://a/", "https://host/shop.tar") == wanted
    assert credentials.headers(given, "https://a/", "https://other/shop.tar") == {}


def test_a_source_does_not_show_its_headers():
    assert "hunter2" not in repr(source(headers={"Authorization": "Bearer hunter2"}))


@pytest.mark.parametrize("text", ["", "two words hunter2", "hunter2\nX-Evil: 1", "h\u00fcnter2", "x" * 9000])
def test_a_file_that_holds_no_token(tmp_path, text):
    (tmp_path / "token").write_text(text)
    url = "https://host/shop.tar"
    with pytest.raises(Failed, match="source:token_file: .*/token holds no token") as raised:
        credentials.headers(source(token_file=str(tmp_path / "token")), url, url)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("key", ["token_file", "netrc"])
def test_a_file_that_is_not_there(tmp_path, key):
    url = "https://host/shop.tar"
    with pytest.raises(Failed, match=f"source:{key}: {tmp_path}/gone cannot be read on this node: No such file"):
        credentials.headers(source(**{key: str(tmp_path / "gone")}), url, url)


def test_a_netrc_file_that_is_none(tmp_path):
    (tmp_path / "netrc").write_text("machine host login joe passwd hunter2\n")
    with pytest.raises(Failed, match="netrc, line 1 is not as a netrc file must be") as raised:
        credentials.logins(str(tmp_path / "netrc"))
    assert "hunter2" not in str(raised.value)


def test_a_build_gets_the_logins_of_its_indexes_only(tmp_path):
    (tmp_path / "netrc").write_text(
        "machine index login joe password hunter2\nmachine bank login joe password hunter3\ndefault login a password b\n"
    )
    texts = ["https://index:8443/simple", "gunicorn==23.0.0"]
    found = credentials.of_hosts(str(tmp_path / "netrc"), texts)
    assert found == "machine index login joe password hunter2\n"


def test_each_file_that_cannot_be_used_is_named_once(tmp_path):
    (tmp_path / "netrc").write_text("machine host login joe password hunter2\n")
    (tmp_path / "token").write_text("two words hunter2")
    given = source(netrc=str(tmp_path / "netrc"), token_file=str(tmp_path / "token"))
    (problem,) = credentials.missing(given)
    assert problem.startswith(f"source:token_file: {tmp_path}/token holds no token") and "hunter2" not in problem
    assert list(credentials.missing(source())) == []


# -- a client certificate ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """Return the side of a server that demands a certificate, and the keys of a source that has one."""
    folder = tmp_path_factory.mktemp("tls")
    context, ca = certificate(folder, clients=True)
    key, begin, cert = (folder / "server.pem").read_text().partition("-----BEGIN CERTIFICATE")
    (folder / "key").write_text(key)
    (folder / "cert").write_text(begin + cert)
    return context, {"cert": str(folder / "cert"), "key": str(folder / "key"), "ca": str(ca)}


def fetch(url, path, **given):
    login = credentials.login(source(url, **given), url, url)
    downloads.fetch(url, path, downloads.Terms(login=login))
    return path.read_bytes()


def test_a_server_that_demands_a_certificate(tls, tmp_path):
    context, files = tls
    with rogue(reply(b"shop"), context) as server:
        assert fetch(server.url, tmp_path / "part", **files) == b"shop"
        both = {"cert": files["ca"].replace("authority", "server"), "ca": files["ca"]}
        assert fetch(server.url, tmp_path / "both", **both) == b"shop"
        with rogue(redirect(server.url), context) as other, pytest.raises(Failed) as raised:
            fetch(other.url, tmp_path / "other", **files)
        assert "certificate verify failed" in str(raised.value)  # neither `cert` nor `ca` is for another server


def test_a_server_that_gets_no_certificate(tls, tmp_path):
    context, files = tls
    with rogue(reply(b"shop"), context) as server, pytest.raises(Failed, match="cannot be fetched"):
        fetch(server.url, tmp_path / "part", ca=files["ca"])
    assert not (tmp_path / "part").exists()


@pytest.mark.parametrize(
    "key, text, said",
    [
        ("ca", "x", "source:ca: {path} has no CA certificates in PEM"),
        ("cert", "hunter2", "source:key: .*/key has no private key in PEM that fits the certificate in {path}"),
        ("key", "hunter2", "source:key: {path} has no private key in PEM that fits"),
        ("key", None, "source:key: {path} cannot be read on this node: No such file"),
    ],
)
def test_a_file_that_cannot_be_used(tls, tmp_path, key, text, said):
    path = tmp_path / "file"
    if text is not None:
        path.write_text(text)
    with pytest.raises(Failed, match=said.format(path=path)) as raised:
        credentials.certificate(source(**{**tls[1], key: str(path)}))
    assert "hunter2" not in str(raised.value)
    assert list(credentials.missing(source(**{**tls[1], key: str(path)}))) == [str(raised.value)]


def test_a_key_with_a_password(tls, tmp_path):
    from cryptography.hazmat.primitives import serialization as pem

    with open(tls[1]["key"], "rb") as data:
        key = pem.load_pem_private_key(data.read(), None)
    locked = pem.BestAvailableEncryption(b"hunter2")
    (tmp_path / "key").write_bytes(key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, locked))
    with pytest.raises(Failed, match="the private key has a password"):
        credentials.certificate(source(**{**tls[1], "key": str(tmp_path / "key")}))
