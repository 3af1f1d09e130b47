"""The runner ``environment``: shows the environments of the master's pillar, and finds the mistakes in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import definition
from ...core import arguments
from ...core.errors import DONE, REVERTED, DefinitionError, Refused
from ...definition import inheritance, origins
from ...environment import findings, pillarroots

if TYPE_CHECKING:
    from .session import Session
    from .task import Result


def listed(session: Session) -> Result:
    """Return each environment with its base, its scale, and how many nodes, apps and mistakes it has."""
    pillar = session.pillar()
    environments = inheritance.named(pillar, "environments")
    rows = [_row(pillar, name) for name in sorted(environments)]
    return {"environments": rows, "left_out": inheritance.unread(pillar), "retcode": DONE}


def _row(pillar: dict[str, Any], name: str) -> dict[str, Any]:
    raw = pillar["environments"][name]
    row = {
        "environment": name,
        "based_on": raw.get("based_on") if isinstance(raw, dict) else None,
        "scale": raw.get("scale", 1) if isinstance(raw, dict) else None,
        "nodes": sorted(inheritance.mapping(raw, "nodes")),
    }
    try:
        environment = definition.load(pillar, name)
    except DefinitionError as exc:
        return {**row, "apps": [], "mistakes": str(exc).splitlines()}
    wrong = [*environment.broken.values(), *environment.clashing.values()]
    mistakes = dict.fromkeys(line for why in wrong for line in why.splitlines())
    return {**row, "apps": environment.names, "mistakes": list(mistakes)}


def show(session: Session, name: object) -> Result:
    """Return all values of an environment and its apps, each with its origin. Values that may be secret are ``***``."""
    pillar = session.pillar()
    found = definition.choose_environment(pillar, arguments.word(name))
    # A mistake in an app does not stop it, and a mistake in the environment does.
    environment = definition.load(pillar, found)
    values = [value._asdict() for value in origins.values(pillar, found)]
    chain = inheritance.chain(pillar["environments"], found)
    session.warn_of_others(environment)
    return {"environment": found, "chain": chain, "values": values, "retcode": DONE}


def validate(session: Session, root: object) -> Result:
    """Return the mistakes in all definitions, with file, line and key path. No master, minion or Consul is asked.

    :param root: a folder of pillar. None takes the folders of this master.
    """
    given = arguments.text("root", root)
    folders = [Path(given)] if given else pillarroots.folders(session.opts)
    missing = [str(folder) for folder in folders if not (folder / pillarroots.ENVIRONMENTS).is_dir()]
    if missing or not folders:
        where = ", ".join(missing) or "pillar_roots"
        raise Refused(f"{where}: has no folder environments. Say root=FOLDER, the folder of pillar.")
    found = [f for folder in folders for f in findings.find(pillarroots.read(folder, session.opts), sealed=False)]
    retcode = REVERTED if found else DONE
    return {"findings": [finding._asdict() for finding in found], "roots": list(map(str, folders)), "retcode": retcode}
