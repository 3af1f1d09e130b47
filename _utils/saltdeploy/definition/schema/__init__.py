"""The keys of a definition. Each is declared once: the JSON Schema, the reference and the messages come from there.

A key stands in the file of its section, with its meaning and the reason for its default. The default itself is in
``core/model.py``. The reference, ``docs/reference/definitions.rst``, shows all of them.

A message on a wrong value uses ``title``, ``description`` and the first of ``examples``. It quotes the value only if
the key has ``examples``, or takes a number, true, false or a word from a list. No other key is free of secrets.
"""

from __future__ import annotations

from ...core.forms import A_NAME
from .analysis import ANALYSIS, MEASURED, PROMETHEUS
from .app import APP, CHECK_RESTART, FRONTEND, RELOAD, RESOURCES, SERVICE, STOP
from .consul import CLUSTER, CONSUL, DISCOVERY, DNS, PLATFORM, SKYDNS
from .environment import APPROVALS, ENVIRONMENT, GROUP, NODE, WINDOW
from .hooks import HOOK, HOOKS
from .keys import mapping, optional
from .notify import NOTIFY, WEBHOOK
from .probes import CHECK, GRPC, HTTP, TEST
from .source import SOURCE
from .strategy import STRATEGY

# All mappings with fixed keys, each with a table in the reference.
SECTIONS = (
    *(
        APP,
        SOURCE,
        CHECK,
        TEST,
        HTTP,
        GRPC,
        HOOKS,
        HOOK,
        RESOURCES,
        STOP,
        RELOAD,
        CHECK_RESTART,
        SERVICE,
        FRONTEND,
        STRATEGY,
        ANALYSIS,
        MEASURED,
        PROMETHEUS,
    ),
    *(ENVIRONMENT, NODE, GROUP, APPROVALS, WINDOW, DISCOVERY, CONSUL, SKYDNS, CLUSTER, PLATFORM, DNS, NOTIFY, WEBHOOK),
)

APPS = mapping(APP.schema, A_NAME)
ENVIRONMENTS = mapping(ENVIRONMENT.schema, A_NAME)
PILLAR = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"apps": APPS, "environments": ENVIRONMENTS},
}
# A node gets only a part of an app that may not run there, see appfiles.
OF_NODE = {**PILLAR, "properties": {"apps": mapping(optional(APP), A_NAME), "environments": ENVIRONMENTS}}
