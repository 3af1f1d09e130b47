"""Runs a playbook on this node, and reads the results of its tasks."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..core import redaction, words
from ..core.errors import Failed
from ..system import commands, processes
from ..system.files import write_file
from .builder import proxies

PLUGIN = Path(__file__).with_name("ansibleevents.py")
# How much of Ansible's own messages, and of the diffs of a dry run, is shown, in characters.
SHOWN, DIFFS = 1000, 8000
# The most characters of the output of a single task, and of its difference.
KEPT = 4000


@dataclass(frozen=True)
class Event:
    """The result of a task, or its beginning.

    :param event: ``started``, ``ok``, ``changed``, ``skipped``, ``ignored``, ``failed`` or ``unreachable``.
    :param path: the file and line of the task.
    :param text: the message and the output of a failure.
    :param diff: the difference that the task makes, if it says it.
    """

    event: str
    task: str
    path: str = ""
    text: str = ""
    diff: str = ""

    def __str__(self) -> str:
        return f"the task `{self.task}` ({self.path})"


@dataclass(frozen=True)
class Playbook:
    """A playbook, and the place where it runs.

    :param programs: the folder with Ansible's programs.
    :param work: a folder of this process's own, with the playbook's folder ``content`` in it.
    :param name: the path of the playbook in ``content``.
    :param own: the variables of saltdeploy.
    :param variables: the variables of the definition. Their values may be secret.
    """

    programs: Path
    work: Path
    name: str
    own: Mapping[str, str]
    variables: Mapping[str, Any] = field(repr=False)

    @property
    def content(self) -> Path:
        return self.work / "content"

    def install_collections(self, collections: Sequence[str], seconds: float) -> None:
        """Bring collections of Ansible, for this playbook only.

        :param collections: ``namespace.name:version``, or the path of a file in the playbook's folder.
        :raises Failed: one of them could not be brought.
        """
        named = [str(self.content / each) if each.endswith(".tar.gz") else each for each in collections]
        command = ["ansible-galaxy", "collection", "install", "--no-deps", "-p", str(self.work / "collections"), *named]
        code, output = self._execute(command, seconds, "ansible-galaxy")
        if code:
            raise Failed(f"ansible-galaxy: {self._own_words(output)}")

    def run(self, seconds: float, check: bool = False) -> list[Event]:
        """Run it, and return the events of its tasks.

        :param check: only find out the changes that it would make.
        :raises Failed: it failed, or did not end in time. No process of it is left.
        """
        write_file(self.work / "vars.json", json.dumps({**self.variables, **self.own}), 0o600)
        events, said = self.work / "events", f"{self.name}{' in check mode' if check else ''}"
        write_file(events, "", 0o600)
        # A host that a task is delegated to has neither this connection nor this folder.
        here = {"ansible_connection": "local", "ansible_remote_tmp": str(self.work / "tmp")}
        write_file(self.work / "hosts.json", json.dumps({"all": {"hosts": {"localhost": here}}}), 0o600)
        command = ["ansible-playbook", "-i", str(self.work / "hosts.json"), "-e", f"@{self.work / 'vars.json'}"]
        command += [*(["--check", "--diff"] if check else []), str(self.content / self.name)]
        code, output = self._execute(command, seconds, said)
        found = [event for event in self._events() if event.event != "started"]
        if code:
            raise Failed(words.message(f"{said}: {self._failure(found, code, output)}"))
        if not found:
            raise Failed(f"{said}: no task of it ran. The host of its plays is `localhost`: write `hosts: all`.")
        return found

    def _failure(self, found: Sequence[Event], code: int, output: str) -> str:
        """Return why the playbook failed. A rescued task has failed, too, so the last one counts."""
        bad = [event for event in found if event.event in ("failed", "unreachable")]
        if not bad:
            return f"exit code {code}: {self._own_words(output)}"
        last = bad[-1]
        if last.event == "unreachable":
            return f"{last} cannot reach its host: {last.text}"
        return f"{last} failed: {last.text}"

    def _execute(self, command: Sequence[str], seconds: float, said: str) -> tuple[int, str]:
        """Run a program of Ansible, and end all processes that it leaves behind.

        :raises Failed: it could not be started, or did not end in time.
        """
        program = str(self.programs / command[0])
        try:
            return commands.execute([program, *command[1:]], self.work, self._environment(), "", seconds)
        except commands.CommandFailed as exc:
            if isinstance(exc.__cause__, subprocess.TimeoutExpired):
                last = next((f", in {event}" for event in reversed(self._events()) if event.event == "started"), "")
                raise Failed(words.message(f"{said}: killed after {seconds:.0f}s{last}")) from None
            raise Failed(f"{said}: {exc}") from exc
        finally:
            # Each has the path of this folder in its environment.
            processes.end(lambda: processes.using(self.work), signal.SIGKILL, 0)

    def _environment(self) -> dict[str, str]:
        """Return the variables of Ansible. It reads no configuration of this node, of root or of the playbook."""
        plugins, config = self.work / "plugins", self.work / "ansible.cfg"
        plugins.mkdir(exist_ok=True)
        shutil.copyfile(PLUGIN, plugins / PLUGIN.name)
        config.touch()
        return {
            **proxies(),
            "ANSIBLE_CONFIG": str(config),
            "ANSIBLE_HOME": str(self.work / "home"),
            "ANSIBLE_LOCAL_TEMP": str(self.work / "local"),
            "ANSIBLE_COLLECTIONS_PATH": str(self.work / "collections"),
            "ANSIBLE_ROLES_PATH": str(self.content / "roles"),
            "ANSIBLE_CALLBACK_PLUGINS": str(plugins),
            "ANSIBLE_STDOUT_CALLBACK": PLUGIN.stem,
            "ANSIBLE_PYTHON_INTERPRETER": "auto_silent",
            "ANSIBLE_RETRY_FILES_ENABLED": "0",
            "ANSIBLE_NOCOWS": "1",
            "ANSIBLE_NOCOLOR": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "SALTDEPLOY_EVENTS": str(self.work / "events"),
        }

    def _events(self) -> list[Event]:
        path, found = self.work / "events", []
        for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
            # A playbook that was killed may have left half a line.
            with contextlib.suppress(ValueError):
                event = Event(**{name: self._public(value) for name, value in json.loads(line).items()})
                # It is cut afterwards, so that no half of a secret is left.
                found.append(replace(event, text=_shortened(event.text), diff=event.diff[:KEPT]))
        return found

    def _public(self, text: str) -> str:
        """Return ``text`` without secrets, and without the paths of folders that are there only now."""
        text = redaction.without(text, _values(self.variables)).strip("\n")
        return text.replace(f"{self.content}/", "").replace(self.own["directory"], "<directory>")

    def _own_words(self, output: str) -> str:
        """Return the errors in Ansible's own messages."""
        lines = [line for line in self._public(output).splitlines() if line.strip()]
        first = next((n for n, line in enumerate(lines) if line.lstrip("[").startswith("ERROR")), 0)
        return words.message("\n".join(lines[first:])[:SHOWN])


def told(events: Sequence[Event]) -> list[str]:
    """Return the changes that a dry run found, with the differences, as texts for people."""
    left, found = DIFFS, []
    for event in events:
        if event.event == "changed":
            diff = event.diff if len(event.diff) <= left else f"{event.diff[:left]}… (cut)"
            left = max(0, left - len(diff))
            found.append(words.harmless(f"{event.task} ({event.path})" + (f"\n{diff}" if diff else "")))
    return found


def _shortened(text: str) -> str:
    """Return the beginning of a long text, which has the message, and the end, which has the error of an output."""
    return text if len(text) <= KEPT else f"{text[: KEPT // 2]} … {text[-KEPT // 2 :]}"


def _values(value: Any) -> Iterator[object]:
    """Yield all single values in mappings and lists."""
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else None
    if inner is None:
        yield value
        if isinstance(value, str):  # a diff has a sign before each line
            yield from (line.strip() for line in value.splitlines())
        return
    for each in inner:
        yield from _values(each)
