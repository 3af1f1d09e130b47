"""Salt's SaltInvocationError, which ours are, is a TypeError: who catches a TypeError must let ours through."""

import ast
from pathlib import Path

import pytest
from salt.exceptions import SaltInvocationError
from saltdeploy.core import bounds
from saltdeploy.core.errors import DefinitionError, Refused

ROOT = Path(__file__).resolve().parents[2]
# What catches a message of ours, if only by the way.
WIDE = {"TypeError", "WRONG_SHAPE"}
OURS = {"Refused", "DefinitionError", "SaltInvocationError", "SaltException"}
# Called by name, these raise none of ours: such are the constructors of text, numbers and plain dataclasses.
PLAIN = {
    *(
        "loads",
        "fromisoformat",
        "astimezone",
        "isoformat",
        "replace",
        "int",
        "float",
        "str",
        "isinstance",
        "len",
        "get",
        "read_text",
    ),
    *("bind", "SaltInvocationError", "shown", "message", "misshapen", "Refused", "Inconclusive", "DefinitionError"),
    *("_note", "stat", "_finite", "startswith", "items", "parts"),
    *("Service", "tuple", "map", "list"),
}


def names(node):
    return {
        n.id if isinstance(n, ast.Name) else n.attr for n in ast.walk(node) if isinstance(n, (ast.Name, ast.Attribute))
    }


def swallowing(source):
    """Return the lines of handlers that catch a TypeError around code of ours, and let no message of ours through."""
    found = []
    for block in ast.walk(ast.parse(source)):
        if not isinstance(block, ast.Try):
            continue
        calls = {
            (c.func.attr if isinstance(c.func, ast.Attribute) else getattr(c.func, "id", ""))
            for n in block.body
            for c in ast.walk(n)
            if isinstance(c, ast.Call)
        }
        let_through = False
        for handler in block.handlers:
            caught = names(handler.type) if handler.type else set()
            if caught & WIDE and not let_through and not caught & OURS and calls - PLAIN:
                found.append(handler.lineno)
            let_through |= bool(caught & OURS)
    return found


def test_ours_are_type_errors():
    assert issubclass(SaltInvocationError, TypeError) and issubclass(DefinitionError, Refused)
    assert issubclass(Refused, bounds.WRONG_SHAPE)


@pytest.mark.parametrize(
    "source, lines",
    [
        ("try:\n    load()\nexcept TypeError:\n    pass", [3]),
        ("try:\n    load()\nexcept (KeyError, *bounds.WRONG_SHAPE):\n    pass", [3]),
        ("try:\n    load()\nexcept Refused:\n    raise\nexcept TypeError:\n    pass", []),
        ("try:\n    float(x)\nexcept TypeError:\n    pass", []),
    ],
)
def test_the_check(source, lines):
    assert swallowing(source) == lines


def test_no_handler_swallows_a_message_of_ours():
    found = {}
    for folder in ("_utils", "_grains", "_modules", "_states", "_runners", "_output"):
        for path in (ROOT / folder).rglob("*.py"):
            found[str(path.relative_to(ROOT))] = swallowing(path.read_text())
    assert {path: lines for path, lines in found.items() if lines} == {}
