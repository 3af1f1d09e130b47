"""No grain: a minion that looks for its grains imports the bundle, and has it for its jobs, which are forks of it.

A third of a job's processor time is for these imports, which are otherwise done again in each job. An import that fails
here is left to the jobs: before the first sync there is nothing to import.
"""

import contextlib
import importlib
import pkgutil

# What modules of the bundle import when they need it.
LATER = ("consul.std", "jsonschema", "requests")

for name in LATER:
    importlib.import_module(name)
with contextlib.suppress(ImportError):
    for package in map(importlib.import_module, ("saltdeploy.node", "saltdeploy.source")):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            with contextlib.suppress(ImportError):  # what runs within Ansible only
                importlib.import_module(module.name)
