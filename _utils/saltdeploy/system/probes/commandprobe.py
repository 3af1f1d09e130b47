"""A command in the folder of the release."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ...core import placeholders
from ...core.model import Probe
from .. import commands
from .base import SHOWN, ProbeFailed


class Command:
    """A command must end with 0. It runs where the release is installed, with the instance's environment."""

    def filled(self, probe: Probe, values: Mapping[str, Any]) -> Probe:
        """Return ``probe`` as it is, because a result shows the command as the definition has it."""
        return probe

    def ask(self, probe: Probe, values: Mapping[str, Any], env: Mapping[str, str] | None, user: str) -> str:
        """Run the command, whose words are filled in one by one, without a shell."""
        command = [placeholders.fill(word, values) for word in shlex.split(probe.target)]
        try:
            code, output = commands.execute(command, values["release"], env, user, probe.timeout)
        except commands.CommandFailed as exc:
            raise ProbeFailed(str(exc)) from exc
        end = output.strip()[-SHOWN:]
        if code:
            raise ProbeFailed(f"`{shlex.join(command)}` ended with {code}: {end}".removesuffix(": "))
        return end
