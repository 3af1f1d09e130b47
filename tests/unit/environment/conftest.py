"""A folder of pillar files, a master's options, and gpg keys."""

import shutil
import subprocess

import pytest
import salt.config


@pytest.fixture
def folder(tmp_path):
    def write(apps=(), **files):
        for name, text in files.items():
            (tmp_path / "environments").mkdir(exist_ok=True)
            (tmp_path / "environments" / f"{name}.sls").write_text(text)
        for name, text in dict(apps).items():
            (tmp_path / "apps").mkdir(exist_ok=True)
            (tmp_path / "apps" / f"{name}.sls").write_text(text)
        return tmp_path / "environments"

    return write


@pytest.fixture
def opts(tmp_path):
    found = salt.config.DEFAULT_MASTER_OPTS.copy()
    paths = {"cachedir": tmp_path / "cache", "config_dir": tmp_path, "conf_file": tmp_path / "master"}
    paths.update(pki_dir=tmp_path / "pki/master", extension_modules=tmp_path / "ext")
    found.update({key: str(path) for key, path in paths.items()}, id="m", grains={}, pillar={}, file_client="local")
    found.update(pillar_roots={"base": [str(tmp_path)]}, file_roots={"base": [str(tmp_path)]})
    return found


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """Return a folder of gpg keys, and a message for them."""
    if not shutil.which("gpg"):
        pytest.skip("gpg is not installed")
    home = tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--trust-model", "always"]
    subprocess.run(
        [*gpg, "--passphrase", "", "--quick-generate-key", "m@example.com", "default", "default"], check=True
    )
    sealed = subprocess.run(
        [*gpg, "--armor", "--encrypt", "-r", "m@example.com"], input=b"geheim", capture_output=True, check=True
    )
    yield home, sealed.stdout.decode()
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)
