#!py
"""The one environment of this folder that lists the minion, merged and scaled, and its apps. For nodes."""

import sys
from pathlib import Path


def run():
    # Where `salt-run saltutil.sync_all` puts the package, unless pip did.
    sys.path[len(sys.path) :] = {f"{__opts__['extension_modules']}/utils"} - set(sys.path)
    from saltdeploy import pillar

    return pillar.own_environment(Path(__file__).parent, __opts__["id"], __opts__, __salt__, __env__)
