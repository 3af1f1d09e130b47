"""The output of Debian's package tools."""

import pytest
from saltdeploy.source import debian

SHOWN = """\
Package: nginx-light
Source: nginx
Version: 1.22.1-9+deb12u4
Architecture: all
Depends: libnginx-mod-http-echo (>= 1:0.63-4~), nginx (>= 1.22.1-9+deb12u4), aa | bb:any
Pre-Depends: init-system-helpers (>= 1.54~)
Description: web server
 SHA256: of no package
Size: 81844
SHA256: ABCDEF
Tag: role::metapackage,
 web::server

Package: nginx-light
Status: install ok installed
Version: 1.0

W: a warning
"""


def test_what_apt_can_download():
    """An installed version that no archive has any more cannot be downloaded."""
    depends = frozenset(("libnginx-mod-http-echo", "nginx", "aa", "bb", "init-system-helpers"))
    found = debian.Offer("nginx-light", "1.22.1-9+deb12u4", "abcdef", 81844, "nginx", depends)
    assert debian.parse_offers(SHOWN) == [found]
    assert debian.parse_offers("E: No packages found\n") == []


def test_what_apt_would_change():
    said = """\
Remv apache2 [2.4] [lib:amd64 ]
Inst lib [1.0] (1.1-2 Debian:12/stable [amd64]) [shop:amd64 ]
Inst shop (5:2.0 local [all])
Conf lib (1.1-2 Debian:12/stable [amd64])
"""
    assert debian.INSTALLED.findall(said) == [("lib", "1.1-2"), ("shop", "5:2.0")]
    assert debian.REMOVED.findall(said) == ["apache2"]


def test_the_units_of_a_package():
    listed = """\
-rw-r--r-- root/root       1 2024-01-01 00:00 ./lib/systemd/system/redis-server.service
lrwxrwxrwx root/root       0 2024-01-01 00:00 ./usr/lib/systemd/system/redis.service -> redis-server.service
-rw-r--r-- root/root       1 2024-01-01 00:00 ./lib/systemd/system/redis-server@.service
-rw-r--r-- root/root       1 2024-01-01 00:00 ./lib/systemd/system/redis.socket
-rw-r--r-- root/root       1 2024-01-01 00:00 ./lib/systemd/system/redis.timer
-rw-r--r-- root/root       1 2024-01-01 00:00 ./lib/systemd/system/x.service.d/a.conf
-rwxr-xr-x root/root       1 2024-01-01 00:00 ./etc/init.d/redis-server
-rw-r--r-- root/root       1 2024-01-01 00:00 ./usr/share/doc/etc/init.d/other
"""
    units = ["redis-server.service", "redis.service", "redis-server@.service", "redis.socket"]
    assert debian.UNIT.findall(listed) == units and debian.SCRIPT.findall(listed) == ["redis-server"]


@pytest.mark.parametrize(
    "output, message",
    [
        (
            "dpkg: error processing package shop (--configure):\n installed shop package script failed\n"
            "Errors were encountered while processing:\n shop\nE: Sub-process /usr/bin/dpkg returned an error code (1)\n",
            "dpkg: error processing package shop (--configure): installed shop package script failed",
        ),
        (
            "Some packages could not be installed.\n shop : Depends: lib (>= 2) but 1 is to be installed\nE: Unable to"
            " correct problems\n",
            "shop : Depends: lib (>= 2) but 1 is to be installed E: Unable to correct problems",
        ),
        ("E: Failed to fetch https://joe:hunter2@host/x?token=hunter2\n", "E: Failed to fetch https://host/x"),
        ("a\nb\nc\n", "b c"),
        ("", ""),
    ],
)
def test_the_error_in_the_words_of_the_tool(output, message):
    assert debian.error(output) == message


def test_a_copy_follows_no_link(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(OSError):
        debian.copy(tmp_path / "link", tmp_path / "copy")
    assert debian.copy(tmp_path / "file", tmp_path / "copy").startswith("2d711642b726b044")
