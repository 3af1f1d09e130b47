"""What all of Salt's processes of the tests do first: look once at what does not change meanwhile.

Salt looks for its extensions among all that is installed, and again after half a second, and looks at the folders of all
its modules for each of the dozen loaders that a job has, twice. On a busy machine, that is a third of a job's work. No
test installs an extension; a folder whose time of change is another is looked at again.
"""

import os

# For this process only.
os.environ.pop("PYTHONPATH", None)

from salt.loader.lazy import LazyLoader
from salt.utils import entrypoints


def _once(look):
    """Return ``LazyLoader._refresh_file_mapping``, which looks at folders again only if they changed."""
    seen = {}

    def look_once(loader):
        folders = [each for folder in loader.module_dirs for each in (folder, os.path.join(folder, "__pycache__"))]
        times = [(folder, os.stat(folder).st_mtime_ns) for folder in folders if os.path.exists(folder)]
        key = (*times, *loader.static_modules, *loader.disabled)
        if key not in seen:
            look(loader)
            seen[key] = dict(loader.file_mapping), dict(loader.suffix_map), list(loader.suffix_order)
        files, suffixes, order = seen[key]
        loader.file_mapping, loader.suffix_map, loader.suffix_order = dict(files), dict(suffixes), list(order)

    return look_once


LazyLoader._refresh_file_mapping = _once(LazyLoader._refresh_file_mapping)
entrypoints.iter_entry_points = getattr(entrypoints.iter_entry_points, "__wrapped__", entrypoints.iter_entry_points)
