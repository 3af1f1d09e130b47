"""The environment variables that instances, tests, hooks and commands have, beside those of the definition.

Nothing of the minion's or of the supervisor's own environment is among them: there may be secrets in it.
"""

from __future__ import annotations

import os
import pwd

# As login(1) of Debian sets it for root: there are programs like ip that apps ask for.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def base(user=""):
    """Return the environment of a process of ``user``.

    :param user: empty, or where this process may not change: as whoever this process is.
    """
    try:
        entry = pwd.getpwnam(user) if user and os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    except KeyError:  # there is no such user, which whoever starts the process says
        name, home = user or str(os.geteuid()), "/"
    else:
        name, home = entry.pw_name, entry.pw_dir
    return {"PATH": PATH, "HOME": home, "USER": name, "LOGNAME": name, "SHELL": "/bin/sh", "LANG": "C.UTF-8"}
