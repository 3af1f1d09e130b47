"""uv gets the settings that a node has for pip, or is not used."""

import os

import pytest
from saltdeploy.source import pipsettings, uv


@pytest.fixture(autouse=True)
def no_files(monkeypatch):
    monkeypatch.setattr(pipsettings, "FILES", ())


def settings(tmp_path, text="", mode=0o644, **variables):
    path = tmp_path / ".config/pip/pip.conf"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(mode)
    return pipsettings.for_uv({"HOME": str(tmp_path), **variables})


def test_files_sections_and_variables_in_their_order(tmp_path):
    text = "[install]\nno_index = yes\n[global]\nindex-url = https://b\nfind-links =\n  /a\n  /b\nprogress-bar = off\n"
    found = settings(tmp_path, text, PIP_INDEX_URL="https://c", PIP_NO_INDEX="0", PIP_DISABLE_PIP_VERSION_CHECK="1")
    assert found == ({"UV_DEFAULT_INDEX": "https://c", "UV_FIND_LINKS": "/a,/b"}, [])


def test_no_index_is_an_option(tmp_path):
    assert settings(tmp_path, "[install]\nno-index = true\n[list]\nformat = json\n") == ({}, ["--no-index"])


def test_a_file_that_a_variable_names(tmp_path):
    (tmp_path / "own").write_text("[global]\nretries = 7\n")
    assert settings(tmp_path, PIP_CONFIG_FILE=str(tmp_path / "own")) == ({"UV_HTTP_RETRIES": "7"}, [])


def test_no_file_if_a_variable_says_so(tmp_path):
    assert settings(tmp_path, "[global]\nno-index = yes\n", PIP_CONFIG_FILE=os.devnull) == ({}, [])


@pytest.mark.parametrize("key", ["extra-index-url", "constraint", "pre", "no-binary", "a-new-key"])
def test_a_setting_that_uv_does_not_have(tmp_path, key):
    assert settings(tmp_path, f"[global]\n{key} = x\n") is None


@pytest.mark.parametrize("text, mode", [("[global]\nretries = 1\n", 0o600), ("retries = 1\n", 0o644)])
def test_a_file_that_pip_may_not_or_cannot_read(tmp_path, text, mode):
    assert settings(tmp_path, text, mode) is None


def test_uv_has_no_settings_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(uv, "_program", lambda path: "/bin/uv")
    of_pip = {"PATH": "/bin", "HOME": str(tmp_path), "PIP_CERT": "/ca", "REQUESTS_CA_BUNDLE": "/other"}
    found = uv.find(of_pip, tmp_path, ["shop==1.0 --hash=sha256:00"], "https://index")
    assert found.options == ("--require-hashes",)
    assert found.environment["UV_DEFAULT_INDEX"] == "https://index" and found.environment["SSL_CERT_FILE"] == "/ca"
    assert found.environment["UV_NO_CONFIG"] == "1" and "PIP_CERT" not in found.environment
    assert uv.find(of_pip, tmp_path, ["shop==1.0", "--pre"], "") is None
