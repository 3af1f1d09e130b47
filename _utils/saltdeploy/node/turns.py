"""Turns on a node: which job may change an app now, and which deployments of it have ended."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core import names, words
from ..core.errors import Failed
from ..system import filelocks
from ..system.files import explained, make_folder, write_file
from . import nodefiles

# The deployment of an instance that an operator or a state started, or that was restored. It never ends.
MANUAL, STATE, RESTORED = "manual", "state", "restored"
NOBODY = (None, "", MANUAL, STATE, RESTORED)
# How many ended deployments a node remembers for each app. Fewer deployments can still have a job on its way.
REMEMBERED = 20
# The files of an app: two locks, the current run, and the deployments that have ended.
LOCK, STARTING, RUN, ENDED = FILES = (".lock", ".starting", ".run", ".ended")


@dataclass
class Turns:
    """The turns of jobs on the minion ``node``, in its folder ``root``. A job may outlive the run that sent it."""

    node: str
    root: Path

    @contextlib.contextmanager
    def alone(
        self, app: str, deployment: str | None = None, after: str | None = None, patience: float = filelocks.MOMENT
    ) -> Iterator[None]:
        """Keep away all other jobs that change ``app`` for its clients.

        :param deployment: the deployment of this step.
        :param after: the deployment whose steps this step reverts. It ends here at once: a job that still waits for
            its turn is refused. This step waits for the job that has the turn, and reverts that as well.
        :param patience: seconds to wait for the turn.
        :raises Failed: ``deployment`` has ended here, because its revert overtook this step. Or a later run than
            ``after`` has begun here. Or the end of ``after`` could not be written. This is raised after the step: a
            full disk must not keep bad instances in use.
        """
        unwritten = None
        try:
            self.end(app, after)
        except filelocks.Held:
            raise
        except Failed as exc:
            unwritten = exc
        with self._turn(app, LOCK, patience):
            self.refuse_ended(app, deployment)
            self.refuse_overtaken(app, after)
            yield
        if unwritten:
            raise Failed(
                f"The step is done, but {self.node} does not refuse late steps of deployment {words.name(after)}:"
                f" {unwritten}"
            ) from unwritten

    @contextlib.contextmanager
    def _turn(self, app: str, name: str, patience: float = filelocks.MOMENT) -> Iterator[None]:
        with contextlib.ExitStack() as held:
            with explained():
                held.enter_context(filelocks.hold(self._folder(app) / name, patience))
            yield

    @contextlib.contextmanager
    def starting(self, app: str, deployment: str | None) -> Iterator[None]:
        """Delay the end of ``deployment`` while it starts instances of ``app``.

        The tests of these instances run outside of this turn. A revert should not have to wait for them.

        :raises Failed: ``deployment`` has ended here.
        """
        with self._turn(app, STARTING):
            self.refuse_ended(app, deployment)
            yield

    def begin(self, app: str, deployment: str) -> None:
        """Make ``deployment`` the current run of ``app``, and end the run before it.

        The lock of the app lets one run begin at a time. So the node can refuse a late job of an earlier run.

        :raises Failed: ``deployment`` has ended here.
        """
        run = self._folder(app) / RUN
        with self._turn(app, STARTING), explained():
            self.refuse_ended(app, deployment)
            before = nodefiles.read(run) or deployment
            if before != deployment:
                self._add_ended(app, before)
            write_file(run, json.dumps(deployment))

    def end(self, app: str, deployment: str | None) -> None:
        """Refuse every later step of ``deployment``. The deployments in NOBODY do not end."""
        if deployment is not None and deployment not in NOBODY:
            with self._turn(app, STARTING), explained():
                self._add_ended(app, deployment)

    def _add_ended(self, app: str, deployment: str) -> None:
        others = [other for other in self.ended(app) if other != deployment]
        write_file(self._folder(app) / ENDED, json.dumps([*others, deployment][-REMEMBERED:]))

    def ended(self, app: str) -> list[str]:
        """Return the deployments of ``app`` that ended here, the latest last."""
        found = nodefiles.read(self._folder(app) / ENDED)
        found = [found] if isinstance(found, str) else found  # the first releases of saltdeploy kept only the last
        return [d for d in found if isinstance(d, str)] if isinstance(found, list) else []

    def refuse_ended(self, app: str, deployment: str | None) -> None:
        """Raise Failed if ``deployment`` of ``app`` has ended here: it was reverted, or a later run has begun."""
        if deployment not in NOBODY and deployment in self.ended(app):
            raise Failed(
                f"Refused on {self.node}: deployment {words.name(deployment)} of {app} has ended there. It was"
                " reverted, or a later run has begun."
            )

    def refuse_overtaken(self, app: str, deployment: str | None) -> None:
        """Raise Failed if the revert of ``deployment`` comes too late, as a later run of ``app`` has begun here."""
        current = None if deployment in NOBODY else nodefiles.read(self._folder(app) / RUN)
        if current not in (None, deployment):
            raise Failed(
                f"Refused on {self.node}: deployment {words.name(current)} of {app} has begun there. So"
                f" deployment {words.name(deployment)} is not undone any more."
            )

    def _folder(self, app: str) -> Path:
        """Return the folder of ``app``. It is made when first needed."""
        folder = self.root / names.app(app)
        with explained():
            make_folder(folder)
        return folder
