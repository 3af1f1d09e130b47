"""A pillar with one app in one environment, and the message on a mistake in it."""

from __future__ import annotations

import pytest
from saltdeploy import definition
from saltdeploy.core.errors import DefinitionError

SHOP = {"source": {"pip": "shop"}, "run": "{release}/bin/shop --port {port}", "ports": "20000-20009"}
NODES = {"web1": {"address": "10.0.0.1"}, "web2": {"address": "10.0.0.2"}}
ARCHIVE = {"archive": "https://host/shop-{version}.tar", "sha256": "0" * 64}


def pillar(app=None, placed=None, without=None, **environment):
    """Return a pillar with the app ``shop`` in the environment ``test``.

    :param app: settings of the app, ``placed``: its settings in the environment.
    :param without: a setting that the app does not have.
    """
    settings = {key: value for key, value in {**SHOP, **(app or {})}.items() if key != without}
    return {
        "apps": {"shop": settings},
        "environments": {"test": {"nodes": NODES, "apps": {"shop": placed or {}}, **environment}},
    }


def shop(app=None, placed=None, **options):
    """Return the app of such a pillar."""
    return definition.load(pillar(app, placed, **options)).apps["shop"]


def mistake(wrong, app=None, **options):
    """Return the message on the environment of the pillar ``wrong``, or on its only app that is wrong."""
    with pytest.raises(DefinitionError) as caught:
        environment = definition.load(wrong, **options)
        definition.find_app(environment, app or next(iter(environment.broken), "shop"))
    return str(caught.value)


def complaint(app, **options):
    """Return the message on an app with the settings ``app``, without the key path of the app itself."""
    message, path = mistake(pillar(app, **options)), "apps:shop:"
    assert message.startswith(path), message
    return message[len(path) :]
