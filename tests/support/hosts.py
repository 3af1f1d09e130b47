"""A lab for the tests of a package."""

from __future__ import annotations

import contextlib

import pytest

from lab import hosts
from tests.support.site import REPOSITORY


@contextlib.contextmanager
def laboratory(addresses):
    """Yield a Lab with a network for hosts at ``addresses``, and no host yet. Nothing of it is left afterwards."""
    missing = hosts.lacking()
    if missing:
        pytest.fail(missing)
    with hosts.Lab(wait=hosts.OTHERS) as lab:
        if lab.kept:
            pytest.fail("a lab is up on this machine: make lab-down")
        try:
            lab.up(REPOSITORY / ".lab", addresses)
            yield lab
        finally:
            lab.down()
