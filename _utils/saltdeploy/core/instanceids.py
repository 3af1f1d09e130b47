"""The ids of instances: their form, and their parts.

An id is ``<app>_<version>_<slot>``, or ``<app>_<version>_<slot>-<number>`` if its settings have a number. An app name
has no ``_`` and a slot is a number, so an id is unambiguous. It serves as directory, unit, supervisord program and
Consul service id. Pure.
"""

from __future__ import annotations

from . import editions

SEPARATOR, NUMBERED = "_", "-"


def instance_id(app: str, version: str, slot: int) -> str:
    """Return the id of the instance of ``app`` in ``slot``, given its release or edition ``version``."""
    number = editions.settings(version)
    place = f"{slot}{NUMBERED}{number}" if number else str(slot)
    return SEPARATOR.join((app, editions.release(version), place))


def slot_of(instance: str) -> int:
    """Return the slot in the id of an instance, or -1 for the stand-in of a hook."""
    slot = instance.rpartition(SEPARATOR)[2].partition(NUMBERED)[0]
    return int(slot) if slot.isdigit() else -1


def version_of(instance: str) -> str:
    """Return the edition in the id of an instance: its release, and the number of its settings if they have one."""
    return parts_of(instance)[1]


def parts_of(instance: str) -> tuple[str, str, int]:
    """Return app, edition and slot, which is a number, of the id of an instance."""
    rest, _, place = instance.rpartition(SEPARATOR)
    app, _, release = rest.partition(SEPARATOR)
    slot, _, number = place.partition(NUMBERED)
    return app, editions.of(release, int(number or 0)), int(slot)
