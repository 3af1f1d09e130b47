"""A lock is taken away only by force, and only from the run that the operator saw."""

from __future__ import annotations

import pytest
from saltdeploy.core.errors import DONE, Refused
from saltdeploy.master.verbs import unlock

KEY = "deploy/e/shop/lock"
HOLDER = {"owner": "bob@master", "deployment": "d7", "doing": "rolled back", "environment": "e", "app": "shop"}


@pytest.fixture
def locked(here):
    made = here(keys={KEY: HOLDER})
    made.catalog.holders[KEY] = "bob's session"
    return made


def test_an_app_that_nobody_deploys_is_not_locked(here):
    result = unlock.run(here().session, "shop", None, True)
    assert (result["verdict"], result["retcode"]) == ("shop in e is not locked.", DONE)


def test_an_unknown_app_is_no_app_without_a_lock(here):
    with pytest.raises(Refused, match=r"^unknown app 'shpo' in environment e \(did you mean `shop`"):
        unlock.run(here().session, "shpo", None, False)


def test_without_force_the_holder_is_shown(locked):
    with pytest.raises(Refused, match=r"^shop is being rolled back in e by bob@master \(deployment d7\)"):
        unlock.run(locked.session, "shop", None, False)
    assert locked.catalog.holders == {KEY: "bob's session"}


def test_with_force_the_lock_is_free_and_says_who_took_it(locked):
    result = unlock.run(locked.session, "shop", None, True)
    assert result["verdict"] == "shop in e is unlocked. The run of bob@master can write nothing more."
    assert locked.catalog.holders == {}
    assert locked.catalog.values[KEY] == {**HOLDER, "taken_by": locked.session.owner}


def test_the_lock_of_the_environment_is_taken_away_and_its_apps_go_on(here):
    made = here(keys={"deploy/e/lock": {"owner": "bob@master", "deployment": "d7"}})
    assert unlock.run(made.session, None, "e", False)["verdict"] == "e is not locked."
    made.catalog.holders["deploy/e/lock"] = "bob's session"
    with pytest.raises(
        Refused, match=r"^e is being deployed by bob@master .* `salt-run deploy.unlock force=True env=e`"
    ):
        unlock.run(made.session, None, "e", False)
    said = "e is unlocked. The run of bob@master begins no further app. Apps that it has begun go on."
    assert unlock.run(made.session, None, "e", True)["verdict"] == said


def test_a_holder_that_cannot_be_read_is_unlocked_too(locked):
    locked.catalog.values[KEY] = "anything"
    result = unlock.run(locked.session, "shop", None, True)
    assert result["verdict"] == "shop in e is unlocked. The run that held it can write nothing more."


def test_a_lock_that_changed_hands_meanwhile_stays(locked):
    """Another run took it between the look and the write."""
    read = locked.catalog.read

    def overtaken(key):
        seen = read(key)
        locked.catalog.indexes[key] = seen[1] + 1
        return seen

    locked.catalog.read = overtaken
    with pytest.raises(Refused, match="^the lock of shop in e changed hands meanwhile: see who has it now"):
        unlock.run(locked.session, "shop", None, True)
    assert locked.catalog.holders == {KEY: "bob's session"}
