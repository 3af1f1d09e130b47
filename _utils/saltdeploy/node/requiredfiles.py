"""Checks whether a node can use the files that the definition of an app names, before anything is changed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import salt.exceptions

from ..core.errors import Failed
from ..definition import templateerrors
from ..source import choose
from . import launch

if TYPE_CHECKING:
    from ..core.model import App
    from .from_salt import Functions
    from .lifecycle import Lifecycle


class Report(TypedDict):
    """Sentences on the files that a definition names.

    A problem stops the deployment. A warning is about a file that this release does not need, because the release is
    installed.
    """

    problems: list[str]
    warnings: list[str]


def look(lifecycle: Lifecycle, name: str, functions: Functions, version: str | None = None) -> Report:
    """Look at each file that the definition of app ``name`` names. This changes nothing.

    :param version: the release that is to be deployed. None takes the release that the definition names.
    """
    app, version = lifecycle.app(name), version or lifecycle.app(name).version
    problems = [*_of_states(app, version, functions), *_of_config(app, version, lifecycle)]
    missing = list(choose(app.source).missing()) if app.source else []
    if app.unit and lifecycle.runtime.name != "systemd":
        problems.append(f"unit: {lifecycle.host.node} has {lifecycle.runtime.name}. Write `run` in place of `unit`.")
    installed = version in lifecycle.host.releases.versions(name)
    if not installed and not (app.states or app.packages):  # these may bring the file
        problems += [f"{problem}." for problem in missing]
    warnings = [f"{problem}. The next release cannot be installed without it." for problem in missing if installed]
    at = f"apps:{name}:"
    return {"problems": [at + text for text in problems], "warnings": [at + text for text in warnings]}


def _of_states(app: App, version: str, functions: Functions) -> Iterator[str]:
    """Yield the problems of the SLS in ``states``: an SLS is missing, or they cannot be rendered together."""
    there = [sls for sls in app.states if any(functions["cp.hash_file"](url) for url in _places(sls))]
    for sls in app.states:
        if sls not in there:
            yield f"states: {sls} is not on the master. Put it into its file_roots."
    if not there:
        return
    # The pillar is as in the state app.release. A state run that is under way does not change the rendered result.
    options = {"pillar": {"saltdeploy": {"app": app.name, "version": version}}, "queue": False, "concurrent": True}
    try:
        with templateerrors.quiet():
            found = functions["state.show_low_sls"](there, **options)
    except salt.exceptions.SaltException as exc:
        found = [str(exc)]
    for error in found:
        # After some mistakes Salt returns the whole content of the SLS, too.
        if isinstance(error, str) and not error.startswith("Error when rendering state with contents"):
            yield f"states: {templateerrors.sls_mistake(error)}."


def _places(sls: str) -> tuple[str, str]:
    """Return the URLs that an SLS may have. The master's list of its files may be 20 seconds old."""
    path = f"salt://{sls.replace('.', '/')}"
    return f"{path}.sls", f"{path}/init.sls"


def _of_config(app: App, version: str, lifecycle: Lifecycle) -> Iterator[str]:
    """Yield the problems of the templates in ``config``.

    The templates are rendered into a folder that is removed at once. No sentence shows a rendered value.
    """
    values = launch.values(app, lifecycle.host, lifecycle.node.address, lifecycle.environment.name, version)
    with tempfile.TemporaryDirectory() as folder:
        for target, template in app.config.items():
            try:
                lifecycle.render(template, Path(folder, "rendered"), values)
            except Failed as exc:
                yield f"config:{target}: {exc}"
