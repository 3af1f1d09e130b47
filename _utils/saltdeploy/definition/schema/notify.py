"""``notify`` of an environment: further receivers of events. Its values may be secret, so they are writeOnly."""

from __future__ import annotations

from ...core.events import EVENTS
from ...core.forms import text
from .keys import FILE, HEADER, Key, Section, mapping

WEBHOOK = Section(
    "webhook",
    {
        "url": Key(
            text("a URL", "an http:// or https:// URL, in ASCII", r"^https?://[!-~]+$", writeOnly=True),
            (
                "The URL to which the master posts each event. It is required. An environment that is ``based_on`` this"
                " environment has the same webhook. Write ``events: []`` there to send nothing. If you write another"
                " ``url`` there, write ``headers`` and ``token_file`` too. Otherwise the master sends these to the"
                " other URL."
            ),
        ),
        "headers": Key(
            {
                **mapping(text("the value of a header", "printable ASCII", r"^[ -~]*$", writeOnly=True), HEADER),
                "writeOnly": True,
            },
            "Further headers of each request.",
        ),
        "token_file": Key(
            {**FILE, "writeOnly": True},
            (
                "Path of a file on the master. The master sends its content as ``Authorization: Bearer …``. It reads"
                " the file for each event, and ``deploy.check`` warns if the master cannot read it."
            ),
        ),
        "events": Key(
            {"type": "array", "items": {"enum": list(EVENTS)}},
            "The events to send, by the last part of their tag. ``[]`` sends none.",
            otherwise="all",
            reason=(
                "You may not notice that an event is left out, and later versions may have more events. The receiver"
                " can still ignore some."
            ),
        ),
    },
    writeOnly=True,
)

NOTIFY = Section(
    "notify",
    {
        "webhook": Key(
            WEBHOOK.schema,
            "A URL for :doc:`events </reference/events>`, beside the master's event bus.",
        ),
    },
    writeOnly=True,
)
