"""The environment variables that instances, tests, hooks and commands have, beside those of the definition.

None of them comes from the environment of the minion or of the supervisor, which may hold secrets.
"""

from __future__ import annotations

import os
import pwd

# As login(1) of Debian sets it for root, because programs like ip, which apps ask for, are in these folders.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def base(user: str = "") -> dict[str, str]:
    """Return the environment of a process of ``user``.

    :param user: the user's name. If it is empty, or this process may not change its user, the process's own user.
    """
    try:
        entry = pwd.getpwnam(user) if user and os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    except KeyError:  # there is no such user, which the start of the process reports
        name, home = user or str(os.geteuid()), "/"
    else:
        name, home = entry.pw_name, entry.pw_dir
    return {"PATH": PATH, "HOME": home, "USER": name, "LOGNAME": name, "SHELL": "/bin/sh", "LANG": "C.UTF-8"}
