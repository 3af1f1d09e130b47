"""Environment files (plain YAML) as pillar: all of them for the master, its own for a node."""

from __future__ import annotations

from pathlib import Path

from . import bounds, cluster, definition, words, yamlfile
from .errors import DefinitionError


def all_environments(folder, opts=None):
    """Return ``{"environments": {...}}`` of every plain YAML ``*.sls`` in ``folder``.

    A file whose first line is a shebang (``#!py``) is a program, not an environment.

    :param opts: the master's options: where secrets are kept, which Consuls that are set up need. None: no secrets.
    :raises DefinitionError: a file is no YAML, or two define the same environment.
    """
    environments = {}
    for path in sorted(Path(folder).glob("*.sls")):
        if yamlfile.is_program(path):
            continue
        for name, environment in _environments(path).items():
            if name in environments:
                raise DefinitionError(
                    f"{path}: environment {words.name(name)} is defined in another file too: keep one."
                )
            environments[name] = environment
    # All of them before any is changed: one may be based on another.
    computed = {name: _discovery_of_master(environments, name, opts) for name in environments} if opts else {}
    for name, discovery in computed.items():
        if discovery:
            environments[name]["discovery"] = discovery
    return {"environments": environments}


def own_environment(folder, minion, opts=None):
    """Return ``{"environments": {...}}`` of the one environment in ``folder`` that lists ``minion``, resolved.

    Where it has its Consul set up, ``saltdeploy_consul`` is beside it: all that this node needs for that.

    The minion's id decides, which it has a key for; never its grains, which it sets itself.

    :param opts: the master's options, see :func:`all_environments`.
    """
    found = definition.own_environment(all_environments(folder)["environments"], minion)
    for name, environment in found["environments"].items():
        if opts and cluster.wanted(environment):
            kept = _secrets(name, environment, opts)
            computed = cluster.discovery_of_node(kept["tokens"]["nodes"])
            environment["discovery"] = definition.merge(computed, environment.get("discovery") or {})
            found["saltdeploy_consul"] = cluster.node(name, environment, minion, kept)
    return found


def _discovery_of_master(environments, name, opts):
    """Return how the master reaches the Consul of an environment that has it set up; None where it has not."""
    try:
        resolved = definition.resolve(environments, name)
        if not cluster.wanted(resolved):
            return None
        cluster.identities(name, resolved)
    except (*bounds.WRONG_SHAPE, DefinitionError):
        return None  # whoever uses this environment is told what is wrong with it
    token = _secrets(name, resolved, opts)["tokens"]["deployer"]
    computed = cluster.discovery_of_master(resolved, token, _store(opts).authority(name))
    return definition.merge(computed, resolved.get("discovery") or {})


def _secrets(name, environment, opts):
    return _store(opts).get(name, cluster.identities(name, environment), sorted(environment.get("apps") or {}))


def _store(opts):
    from . import secrets  # the master has what it needs, a node may not

    return secrets.Secrets(secrets.folder(opts))


def _environments(path):
    data = yamlfile.load(path)
    environments = data.get("environments") if isinstance(data, dict) else None
    if not isinstance(environments, dict):
        raise DefinitionError(f"{path}: must hold a mapping `environments`, of names to definitions.")
    try:
        bounds.check({"environments": environments})
    except DefinitionError as exc:
        raise DefinitionError(f"{path}: {exc}") from exc
    return environments
