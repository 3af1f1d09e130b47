"""``.. definition:: app``: the table of the keys of an app, with type, default, meaning, and why that is the default.

The build fails if a mapping of the schema has no table, a default has no reason, or a reason is for another default.
"""

from __future__ import annotations

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from saltdeploy.definition import reference


class Definition(Directive):
    """``.. definition:: <section>``: the table of its keys. ``names`` is the table of the names' patterns."""

    required_arguments = 1

    def run(self):
        """Return the table."""
        if reference.problems():
            raise self.error("_utils/saltdeploy/definition/schema: " + "; ".join(reference.problems()))
        name = self.arguments[0]
        if name == "names":
            table = [
                ("name of", "must match"),
                *((kind, f"``{pattern}``") for kind, pattern in reference.NAMES.items()),
            ]
        else:
            table = [("key", "type", "default", "meaning"), *reference.rows(name)]
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
