"""The environment of each process holds the names of its user, and nothing of this process."""

import os
import pwd

import pytest
from saltdeploy.system import baseenv


def test_without_a_user_it_is_that_of_this_process():
    me = pwd.getpwuid(os.geteuid())
    found = baseenv.base()
    assert (found["USER"], found["LOGNAME"], found["HOME"]) == (me.pw_name, me.pw_name, me.pw_dir)


def test_nothing_of_this_process_is_in_it(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "root's")
    monkeypatch.setenv("HOME", "/elsewhere")
    found = baseenv.base()
    assert set(found) == {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG"} and found["HOME"] != "/elsewhere"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_a_process_of_another_user_has_the_home_of_that_user():
    nobody = pwd.getpwnam("nobody")
    found = baseenv.base("nobody")
    assert (found["USER"], found["HOME"]) == ("nobody", nobody.pw_dir)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_a_user_that_does_not_exist_is_named_by_the_start_and_not_here():
    found = baseenv.base("no-such-user")
    assert (found["USER"], found["HOME"]) == ("no-such-user", "/")
