"""A callback plugin of Ansible: it writes the result of each task to a file, as lines of JSON.

Ansible loads a copy of this file into its own Python, where the rest of saltdeploy is not. Ansible has removed the
results of tasks with ``no_log`` before it calls a plugin.
"""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

# The variable with the path of the file.
FILE = "SALTDEPLOY_EVENTS"
# How much of a text or a diff is written, in characters.
MOST = 1 << 20


class CallbackModule(CallbackBase):
    """Writes an event when a task begins, and when it ends."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "ansibleevents"

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._write({"event": "started", "task": task.get_name(), "path": task.get_path()})

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self.v2_playbook_on_task_start(task, False)

    def v2_runner_on_ok(self, result: Any) -> None:
        found = _result(result)
        changed = found.get("changed", False)
        self._end("changed" if changed else "ok", result, diff=self._diff(found) if changed else "")

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._end("skipped", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool | None = False) -> None:
        self._end("ignored" if ignore_errors else "failed", result, text=_text(_result(result)))

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._end("unreachable", result, text=_text(_result(result)))

    def _diff(self, found: dict[str, Any]) -> str:
        items = [item for item in found.get("results") or [found] if isinstance(item, dict)]
        shown = [item["diff"] for item in items if item.get("diff") and not _is_hidden(item)]
        return "".join(self._get_diff(diff) for diff in shown)[:MOST]

    def _end(self, event: str, result: Any, text: str = "", diff: str = "") -> None:
        task = _part(result, "task")
        about = {"task": task.get_name(), "path": task.get_path()}
        self._write({"event": event, **about, "text": text[:MOST], "diff": diff})

    def _write(self, event: dict[str, Any]) -> None:
        with open(os.environ[FILE], "a") as out:
            out.write(json.dumps(event) + "\n")


def _part(result: Any, name: str) -> Any:
    """Return a part of a result. Before ansible-core 2.19 its parts were private."""
    return getattr(result, name) if hasattr(result, name) else getattr(result, f"_{name}")


def _result(result: Any) -> dict[str, Any]:
    found: dict[str, Any] = _part(result, "result")
    return found


def _is_hidden(found: dict[str, Any]) -> bool:
    return bool(found.get("_ansible_no_log")) or "censored" in found


def _text(found: dict[str, Any]) -> str:
    """Return the message and the output of a task that failed, of a loop those of its failed items."""
    if _is_hidden(found):
        return str(found.get("censored") or "its output is hidden (no_log)")
    items = [item for item in found.get("results") or () if isinstance(item, dict)]
    failed = [item for item in items if item.get("failed") or item.get("unreachable")]
    if failed:
        return "\n".join(f"item {item.get('_ansible_item_label', '')}: {_text(item)}" for item in failed)
    parts = [found.get(name) for name in ("msg", "stderr", "module_stderr", "stdout", "module_stdout")]
    texts = [part if isinstance(part, str) else json.dumps(part, default=str) for part in parts if part]
    # The end of an output has its error.
    return "\n".join(text.strip()[-MOST // 2 :] for text in texts)
