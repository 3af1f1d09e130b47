"""The documentation says what is there: keys, commands, examples, links."""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from saltdeploy import definition
from saltdeploy.definition import schema, validation
from saltdeploy.source import KINDS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(p for p in [ROOT / "README.md", *DOCS.rglob("*.rst")] if "_build" not in p.parts)


def test_the_tutorials_app_is_a_definition():
    apps = yaml.safe_load((DOCS / "tutorial/hello.sls").read_text())["apps"]
    environments = yaml.safe_load((ROOT / "demo/pillar/environments/demo.sls").read_text())["environments"]
    addition = re.search(r"^   (hello: \{.*\})$", (DOCS / "tutorial/own-app.rst").read_text(), re.MULTILINE)
    environments["demo"]["apps"] = yaml.safe_load(addition[1])
    hello = definition.load({"apps": apps, "environments": environments}).apps["hello"]
    assert (hello.version, hello.instances, hello.user) == ("1.0.0", 3, "root")
    assert [t.origin for t in hello.tests] == ["node", "master"]


def test_the_tutorials_releases_differ_as_it_says(tmp_path):
    page, copy = (DOCS / "tutorial/own-app.rst").read_text(), tmp_path / "hello"
    copy.write_text((DOCS / "tutorial/hello").read_text())
    greets, ours = [], copy.read_text()
    for edit in re.findall(r"^   \$ sed -i '(\S.*)' /tmp/hello/bin/hello$", page, re.MULTILINE):
        subprocess.run(["sed", "-i", edit, copy], check=True)
        text = copy.read_text()
        greets.append((re.search(r"(\w+(?: again)?) from release", text)[1], "\nimport oss\n" in text))
    assert greets == [("goodbye", False), ("hello again", True), ("hello again", False)]
    assert text == ours.replace("hello from", "hello again from")


def examples():
    """Return the YAML examples that hold definitions, each with its page and line."""
    found = []
    for page in PAGES:
        lines = page.read_text().splitlines()
        for number, line in enumerate(lines, 1):
            if re.search(r"(code-block:: |```)yaml$", line.strip()):
                block = _indented(lines[number:])
                if re.search(r"^(apps|environments):", block, re.MULTILINE):
                    found.append(pytest.param(block, id=f"{page.stem}:{number}"))
    return found


def _indented(lines):
    """Return what is indented as the first of ``lines`` that is not empty, up to what is not, or to a fence."""
    first = next(line for line in lines if line.strip())
    indent = len(first) - len(first.lstrip())
    inside = itertools.takewhile(lambda line: not line.strip() or re.match(rf" {{{indent}}}(?!```)", line), lines)
    return "\n".join(line[indent:] for line in inside)


@pytest.mark.parametrize("example", examples())
def test_examples_of_definitions_are_valid(example):
    """They may be parts of a definition, so nothing is required of them."""
    found = validation._validator(jsonschema)(schema.PILLAR).iter_errors(yaml.safe_load(example))
    assert [list(validation._explain(e, {})) for e in found if e.validator != "required"] == []


def functions(path):
    """Return the public functions of a file, as Salt calls them: name -> names of arguments."""
    found = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef) and n.name[0] != "_"]
    return {f.name.rstrip("_"): {a.arg for a in f.args.args} for f in found}


def commands():
    """Return each command of the runner that a page shows: function, names of arguments."""
    shown = re.compile(r"(?:salt-run(?: -c \S+)?|\bsr) deploy\.(\w+)([^\n`;)#]*)")
    found = [(page, *match) for page in PAGES for match in shown.findall(page.read_text())]
    return [pytest.param(f, re.findall(r"\b(\w+)=", rest), id=f"{page.stem}-{f}{rest}") for page, f, rest in found]


@pytest.mark.parametrize("function, arguments", commands())
def test_commands_that_are_shown_exist(function, arguments):
    known = functions(ROOT / "_runners/deploy.py")
    assert function in known
    assert set(arguments) <= known[function]


def test_versions_in_commands_are_text():
    """Salt reads an argument as YAML, and a version that is a number is refused."""
    given = {
        (p.stem, v) for p in PAGES for v in re.findall(r"deploy\.\w+ [^\n`]*\bversion=([\w.+~'\"-]+)", p.read_text())
    }
    assert given and [(page, v) for page, v in sorted(given) if not isinstance(yaml.safe_load(v), str)] == []


def test_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_page_is_in_the_table_of_contents():
    listed = set(re.findall(r"^   (\w+/[\w-]+)$", (DOCS / "index.rst").read_text(), re.MULTILINE))
    assert listed == {
        str(p.relative_to(DOCS).with_suffix("")) for p in PAGES if p.suffix == ".rst" and p.parent != DOCS
    }


def test_each_howto_has_the_same_parts():
    parts = ("Prerequisites", "Verify", "Undo", "See also")
    for page in (DOCS / "howto").glob("*.rst"):
        text = page.read_text()
        missing = [part for part in parts if not re.search(rf"^{part}\n-+$", text, re.MULTILINE)]
        assert (page.name, missing) == (page.name, [])
        assert re.search(r"\n=+\n\nGoal: ", text) and re.search(r"^#\. ", text, re.MULTILINE), page.name


def test_the_files_to_open_for_a_change_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = [row for row in text.splitlines() if row.startswith("| ")][1:]
    paths = {path for row in rows for path in re.findall(r"`([\w./-]*/[\w.-]*|Makefile|CHANGELOG.md)`", row)}
    assert len(rows) >= 15 and len(paths) >= 25
    assert [
        path for path in paths if not any((root / path).exists() for root in (ROOT, ROOT / "_utils/saltdeploy"))
    ] == []
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert links and all((ROOT / link).exists() for link in links)


def test_lines_are_as_long_as_those_of_the_code():
    long = [
        f"{page.relative_to(ROOT)}:{number}"
        for page in (*PAGES, ROOT / "CHANGELOG.md")
        for number, line in enumerate(page.read_text().splitlines(), 1)
        if len(line) > 120
    ]
    assert long == []


def test_the_tests_that_the_page_on_support_names_exist():
    rows = (ROOT / "docs/reference/support.rst").read_text()
    named = set(re.findall(r"``(tests/[a-z_/]+\.py)``", rows))
    assert len(named) > 12 and [name for name in named if not (ROOT / name).exists()] == []
    # Each kind of source and of discovery has a row.
    kinds = (*KINDS, "container", "Consul", "SkyDNS")
    assert [kind for kind in kinds if f"* - ``{kind}``\n" not in rows and f"* - {kind}\n" not in rows] == []


def torn(text):
    """Return the lines of simple tables that have a first cell and no other: the end of a cell that was broken."""
    found, width = [], 0
    lines = text.splitlines()
    for line, following in zip(lines, [*lines[1:], ""]):
        if re.fullmatch(r"\s*=+( +=+)+", line):
            # The last border of a table has nothing below it.
            width = re.match(r"\s*=+", line).end() if following.strip() else 0
        elif line[:width].strip() and not line[width:].strip():
            found.append(line)
    return found


def test_no_cell_of_a_table_is_torn_apart():
    assert torn("====  ====\na     b\n====  ====\nlong  x\nend\n====  ====\n") == ["end"]
    assert {page.stem: torn(page.read_text()) for page in PAGES if torn(page.read_text())} == {}


def test_the_glossary_has_words_that_are_used():
    text = (DOCS / "reference/glossary.rst").read_text()
    words = re.findall(r"^   (\w[\w -]*)$", text, re.MULTILINE)
    assert len(words) > 40 and words == sorted(words, key=str.lower)
    elsewhere = [p for p in PAGES if p.stem not in ("glossary", "index")]
    elsewhere += [p for folder in ("_modules", "_runners", "_states") for p in (ROOT / folder).glob("*.py")]
    used = "\n".join(p.read_text() for p in elsewhere)
    assert [w for w in words if not re.search(rf"\b{w}", used, re.IGNORECASE)] == []
