"""``.. definition:: app``: the table of the keys of an app, with type, default, meaning, and why that is the default.

The build fails where the schema has a key without a meaning, or a meaning is left of a key that is gone; and where a
default that a table shows has no reason, or a reason is left of one that is gone, or another now.
"""

from __future__ import annotations

import keytables
from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList


class Definition(Directive):
    """``.. definition:: <section>``: the table of its keys. ``names`` is the table of the names' patterns."""

    required_arguments = 1

    def run(self):
        """Return the table."""
        if keytables.undocumented():
            raise self.error("docs/_ext/meanings.py and reasons.py: " + "; ".join(keytables.undocumented()))
        name = self.arguments[0]
        if name == "names":
            table = [
                ("name of", "must match"),
                *((what, f"``{pattern}``") for what, pattern in keytables.NAMES.items()),
            ]
        else:
            table = [("key", "type", "default", "meaning"), *keytables.rows(name)]
        return self._parsed(_list_table(table))

    def _parsed(self, lines):
        node = nodes.container()
        self.state.nested_parse(StringList(lines, source="definitions"), self.content_offset, node)
        return node.children


def _list_table(table):
    widths = {2: "30 70", 4: "16 22 14 48"}[len(table[0])]
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in table:
        for number, cell in enumerate(row):
            first, *more = cell.split("\n")
            lines += [f"     - {first}" if number else f"   * - {first}", *(f"       {line}" for line in more)]
    return lines


def setup(app):
    """Register the directive."""
    app.add_directive("definition", Definition)
    # What the tables are made of is no part of the page, so Sphinx does not see that it has changed.
    app.connect("env-get-outdated", lambda *_: ["reference/definitions"])
    return {"parallel_read_safe": True, "parallel_write_safe": True}
