"""A virtualenv with Salt, supervisord and what the bundle imports: the demo's, and those of the tests."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from . import ToolError
from .commands import run
from .files import write

REQUIREMENTS = (Path(__file__).parent / "requirements.txt",)
# Salt names timelib as a dependency but runs without it (it parses dates like "next monday"). It is
# to be had as source only, which takes a C compiler and Python's headers: so this stands in for it.
STAND_IN = "timelib-0.3.0+absent"
MINIMUM = (3, 9)


def stamp(venv, requirements=REQUIREMENTS):
    """Return what tells one virtualenv from another: what is in it, for which Python, where."""
    made_of = [*(path.read_text() for path in requirements), STAND_IN, sys.version, sys.base_prefix, str(venv)]
    return hashlib.sha256("\n".join(made_of).encode()).hexdigest()


def ready(venv, requirements=REQUIREMENTS):
    """Return whether the virtualenv is there, whole, and what is wanted now."""
    recorded = venv / "stamp"
    return recorded.exists() and recorded.read_text() == stamp(venv, requirements) and _runs(venv / "bin/python")


def make(venv, on_line, requirements=REQUIREMENTS):
    """Make the virtualenv anew.

    :param on_line: called with each line that pip prints.
    :param requirements: paths of pip's requirements files.
    :raises ToolError: it cannot be made.
    """
    if sys.version_info < MINIMUM:
        raise ToolError(f"python3 is {sys.version.split()[0]}: the demo needs {'.'.join(map(str, MINIMUM))} or newer.")
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        raise ToolError("this Python cannot make virtualenvs. On Debian and Ubuntu: apt install python3-venv")
    if venv.exists():
        shutil.rmtree(venv)
    run([sys.executable, "-m", "venv", venv], on_line)
    write_stand_in(venv / "wheels")
    pip = [venv / "bin/python", "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    found = ["--progress-bar", "off", "--find-links", (venv / "wheels").as_uri()]
    try:
        run([*pip, *found, *(f"--requirement={path}" for path in requirements)], on_line)
    except ToolError as exc:
        raise ToolError(f"{exc}\nIt needs a Python package index: if the network failed, run this again.") from exc
    write(venv / "stamp", stamp(venv, requirements))


def write_stand_in(folder):
    """Write a wheel into ``folder`` that pip takes for timelib, with nothing in it."""
    folder.mkdir(parents=True)
    name, version = STAND_IN.split("-")
    files = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: saltdeploy\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "".join(f"{STAND_IN}.dist-info/{file},,\n" for file in ("METADATA", "WHEEL", "RECORD")),
    }
    with zipfile.ZipFile(folder / f"{STAND_IN}-py3-none-any.whl", "w") as wheel:
        for file, text in files.items():
            wheel.writestr(f"{STAND_IN}.dist-info/{file}", text)


def _runs(python):
    try:
        return subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0
    except OSError:
        return False
