"""``hooks`` of an app: commands that a deployment runs before and after its steps."""

from __future__ import annotations

from ...core.forms import DURATION
from ...core.model import Hook
from .keys import Key, Section

HOOK = Section(
    "hook",
    {
        "command": Key(
            {"type": "string", "minLength": 1},
            (
                "The command, in the release's folder, as the app's user, with the app's environment. It must end with"
                " 0. :ref:`Placeholders <placeholders>` except ``{port}`` are filled in. No shell runs it."
                " ``INSTANCES`` and ``PORTS`` in its environment are the ids and the ports of the hook's instances on"
                " that node, if there are any yet. Messages and the history show the command. So put secrets into"
                " ``env``."
            ),
            required=True,
        ),
        "timeout": Key(
            DURATION,
            "The maximum duration. Then the node kills the hook with its children, and the hook has failed.",
            default="5m",
            reason=(
                "Most migrations need less, and somebody may be waiting. For example, a hook must not wait until the"
                " next day for a lock in the database."
            ),
        ),
        "once": Key(
            {"type": "boolean"},
            (
                "Whether it runs on one node only, and once for a release, also if you deploy that again. Otherwise it"
                " runs on every node of every wave."
            ),
            default="false",
            reason=(
                "If a hook prepares a node, it is harmless to run it too often. It is not harmless to leave out nodes."
            ),
        ),
        "on_failure": Key(
            {"enum": ["revert", "freeze"]},
            (
                "The deployment's reaction if the hook fails. ``revert`` reverts it. ``freeze`` changes nothing more,"
                " neither forward nor back. Use ``freeze`` if the old release must not run after the hook, either."
            ),
            default="revert",
            reason=(
                "The old release served clients well. Only the author of a hook can know that the old release must not"
                " run after it."
            ),
        ),
    },
    defaults=vars(Hook),
)

COMMAND = {
    "description": "a command, or command, timeout, once and on_failure",
    "anyOf": [{"type": "string", "minLength": 1}, HOOK.schema],
}
COMMANDS = {
    "description": "a command, or command, timeout, once and on_failure, or a list of these",
    "anyOf": [*COMMAND["anyOf"], {"type": "array", "items": COMMAND}],
}

HOOKS = Section(
    "hooks",
    {
        "before_install": Key(
            COMMANDS,
            (
                "On all nodes without the release at once, before its installation. The command runs in the folder of"
                " the app's releases, as the minion's own user. A new node has no release and no user of the app yet."
            ),
        ),
        "after_install": Key(
            COMMANDS,
            "On those nodes, after all of them have the release.",
        ),
        "before_start": Key(
            COMMANDS,
            (
                "On the nodes of the wave that are to start instances. In place, before the old instances go."
                " Migrations that the new release needs belong here."
            ),
        ),
        "after_start": Key(
            COMMANDS,
            "After the new instances are up and have passed their tests from the node.",
        ),
        "before_publish": Key(
            COMMANDS,
            "After they have passed all tests, before clients find them.",
        ),
        "after_publish": Key(
            COMMANDS,
            "After clients have found them, healthy for ``min_healthy_time``.",
        ),
        "before_retire": Key(
            COMMANDS,
            (
                "On the nodes with old instances to retire, while clients still find them. If a node does not have the"
                " new release, the command runs in the old release."
            ),
        ),
        "after_retire": Key(
            COMMANDS,
            (
                "After they are stopped. With ``once``, after no old instance is left. There you can remove things that"
                " only the old release needs."
            ),
        ),
    },
)
