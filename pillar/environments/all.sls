#!py
"""Every environment: the plain YAML files of this folder. For the master only."""

import sys
from pathlib import Path


def run():
    # Where `salt-run saltutil.sync_all` puts the package, unless pip did.
    sys.path[len(sys.path) :] = {f"{__opts__['extension_modules']}/utils"} - set(sys.path)
    from saltdeploy import pillar
    from saltdeploy.errors import Refused

    try:
        return pillar.all_environments(Path(__file__).parent, __opts__)
    except Refused as exc:
        return {"_errors": [str(exc)]}  # as Salt has it, which would make a traceback of it
