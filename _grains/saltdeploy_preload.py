"""
No grain: the modules of the bundle in the minion's memory
==========================================================

A minion starts a process for each job, and a job of this bundle would spend most of its processor time on importing a
hundred modules. The minion looks for its grains when it starts and after each ``saltutil.sync_all``, so this imports
them then, and the jobs, which are forks of it, have them.

The minion keeps the modules aside. A job that imports the bundle gets them only if none of their files has changed
since. So a release of the bundle counts from the first job after its sync on, as if nothing were kept.
"""

import importlib
import importlib.util
import logging
import os
import pkgutil
import sys

log = logging.getLogger(__name__)

BUNDLE = "saltdeploy"
# What jobs need: packages with all that is in them but the plugin that runs within Ansible, and libraries.
PACKAGES = ("discovery", "node", "runtime", "source", "system.probes")
OTHERS = {"saltdeploy.source.ansibleevents"}
LIBRARIES = ("consul.std", "jsonschema", "requests")


class Kept:
    """The modules of the bundle, for the first process that imports it. It is a finder and a loader of importlib.

    :param modules: name -> module.
    :param times: the file of each -> what :func:`_looks` said of it before it was read.
    """

    package = BUNDLE

    def __init__(self, modules, times):
        self.modules, self.times = modules, times
        self._spec = modules[BUNDLE].__spec__

    def current(self):
        """Return whether no file has changed since."""
        return all(_looks(path) == times for path, times in self.times.items())

    def find_spec(self, name, path=None, target=None):
        """Offer the bundle to the first import of it, if no file has changed."""
        if name != self.package:
            return None
        self.leave()
        return importlib.util.spec_from_loader(name, self) if self.current() else None

    def leave(self):
        """Leave the list of finders. The list that is being gone through stays as it is."""
        sys.meta_path = [finder for finder in sys.meta_path if finder is not self]

    def create_module(self, spec):
        """Return the bundle's package, which has run already."""
        return self.modules[self.package]

    def exec_module(self, module):
        """Put all modules into ``sys.modules``."""
        module.__spec__ = self._spec
        sys.modules.update(self.modules)


def preload():
    """
    Import the bundle, if this is a minion that starts a process for each job. Return no grains.

    Set ``saltdeploy_preload: false`` in the configuration of a minion that is to save the memory, about 10 MB.
    """
    forks = __opts__.get("__cli") == "salt-minion" and __opts__.get("multiprocessing", True)
    if not forks or not __opts__.get("saltdeploy_preload", True) or BUNDLE in sys.modules:
        return {}
    kept = next((finder for finder in sys.meta_path if getattr(finder, "package", None) == BUNDLE), None)
    if kept and kept.current():
        return {}
    if kept:
        kept.leave()
    # Salt adds this folder to sys.path when it starts, but only if the folder exists.
    before = list(sys.path)
    sys.path.append(os.path.join(__opts__["extension_modules"], "utils"))
    importlib.invalidate_caches()
    try:
        sys.meta_path.insert(0, _imported())
    except Exception as exc:  # before the first sync, or while files are written: jobs import what they need
        log.debug("the modules of %s are not kept: %s", BUNDLE, exc)
    finally:
        sys.path[:] = before
    return {}


def _imported():
    """Import the modules, and return them as :class:`Kept`. They are not left in ``sys.modules``."""
    try:
        for name in LIBRARIES:
            importlib.import_module(name)
        # Taken before the files are read, so a file that is written meanwhile counts as changed.
        times = _times(importlib.util.find_spec(BUNDLE).submodule_search_locations)
        for package in PACKAGES:
            found = importlib.import_module(f"{BUNDLE}.{package}")
            for module in pkgutil.iter_modules(found.__path__, f"{found.__name__}."):
                if module.name not in OTHERS:
                    importlib.import_module(module.name)
    finally:
        modules = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == BUNDLE}
    return Kept(modules, {module.__file__: times[module.__file__] for module in modules.values()})


def _times(folders):
    paths = (os.path.join(folder, name) for top in folders for folder, _, names in os.walk(top) for name in names)
    return {path: _looks(path) for path in paths if path.endswith(".py")}


def _looks(path):
    """Return what changes when a file does."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
