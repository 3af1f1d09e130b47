#!py
"""Every environment and every app: the files of this folder and of ../apps. For the master only."""

import sys
from pathlib import Path


def run():
    # Where `salt-run saltutil.sync_all` puts the package, unless pip did.
    sys.path[len(sys.path) :] = {f"{__opts__['extension_modules']}/utils"} - set(sys.path)
    from saltdeploy import pillar

    return pillar.all_environments(Path(__file__).parent, __opts__, __salt__, __env__)
