"""Measure the English of this project: ``python3 -m tooling.prose`` fails if it got worse than the limits below.

The counts are per 1,000 words, for pages, docstrings and messages. The limits come down as texts get better, and never
go up. ``python3 -m tooling.prose FILE…`` shows the places in these files.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CODE = ("_grains", "_modules", "_output", "_runners", "_states", "_utils")
# Words that have a plainer one.
BANNED = re.compile(r"\b(anew|wholly|mend(?:s|ed)?|whoever|whatever|thereby|hence)\b", re.IGNORECASE)
# "what" and "who" without the thing that they stand for; "one" in the place of a noun.
HEADLESS = re.compile(r"(?<!know )(?<!see )\b(what|who)\b(?! (is|are|do|does) you\b)", re.IGNORECASE)
ONE = re.compile(r"\b(the|that|this|each|another|no|any|of) one\b|\bone (that|which|who)\b|\bones\b", re.IGNORECASE)
LONG = 25
# How a block begins that is a directive, a table or code.
NO_PROSE = (".. ", "```", "|", "===", "---")
# The most of each, per 1,000 words: pages, docstrings, messages.
LIMITS = {
    "pages": {"headless": 0.2, "one": 0.2, "semicolons": 0.2, "banned": 0.1, "long sentences": 0.3},
    "docstrings": {"headless": 0.2, "one": 0.2, "semicolons": 0.2, "banned": 0.1, "long sentences": 0.2},
    "messages": {"headless": 0.2, "one": 1.5, "semicolons": 0.6, "banned": 0.1, "long sentences": 0.2},
}


def pages(files):
    """Yield the prose of each page among ``files``: no code, no tables, no directives."""
    for path in files:
        if path.suffix in (".rst", ".md"):
            yield path, prose(path.read_text())


def prose(text):
    """Return the sentences of ``text``, in reStructuredText or Markdown."""
    kept = []
    for block in re.split(r"\n\s*\n", text):
        lines = block.splitlines()
        if all(line.startswith(("   ", "\t")) for line in lines) or lines[0].startswith(
            (".. ", "```", "|", "===", "---")
        ):
            continue
        if any(set(line) <= set("=-~ ") and line.strip() for line in lines):
            continue
        kept.append(" ".join(line.strip(" *-") for line in lines))
    text = "\n".join(kept)
    return re.sub(r"``[^`]*``|`[^`]*`", "X", re.sub(r":\w+:`[^`]*`", "X", text))


def docstrings(files):
    """Yield each docstring in ``files``."""
    for path, tree in _trees(files):
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                found = ast.get_docstring(node)
                if found:
                    yield path, re.sub(r"``[^`]*``|`[^`]*`|:\w+( \w+)?:", "X", found.split("CLI Example")[0])


def messages(files):
    """Yield each text in ``files`` that has words enough to be a message."""
    for path, tree in _trees(files):
        docs = {id(n.body[0].value) for n in ast.walk(tree) if getattr(n, "body", None) and _is_docstring(n)}
        parts = {id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values}
        for node in ast.walk(tree):
            text = ""
            if isinstance(node, ast.JoinedStr):
                text = "".join(v.value if isinstance(v, ast.Constant) else "X" for v in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs | parts:
                text = node.value
            if text.count(" ") > 3 and re.search(r"[a-z] [a-z]", text):
                yield path, text


def _trees(files):
    for path in files:
        if path.suffix == ".py":
            yield path, ast.parse(path.read_text())


def _is_docstring(node):
    body = node.body
    if not isinstance(body, list) or not body or not isinstance(body[0], ast.Expr):
        return False
    return isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and isinstance(body[0].value, ast.Constant)


def measure(texts):
    """Return the counts per 1,000 words of ``texts``, pairs of a path and a text."""
    texts = [text for _, text in texts]
    words = max(1, sum(len(re.findall(r"\b[A-Za-z'-]+\b", text)) for text in texts))
    counts = dict.fromkeys(LIMITS["pages"], 0)
    for text in texts:
        for name, _ in hits(text):
            counts[name] += 1
    return {name: round(1000 * count / words, 1) for name, count in counts.items()}


def hits(text):
    """Yield the name and the place of each hit in ``text``."""
    for name, pattern in (("headless", HEADLESS), ("one", ONE), ("semicolons", re.compile(";")), ("banned", BANNED)):
        for match in pattern.finditer(text):
            yield name, " ".join(text[max(0, match.start() - 40) : match.end() + 30].split())
    for sentence in re.split(r"(?<=[.!?:])\s+|\n\n|\n(?=:)", text):
        if len(sentence.split()) > LONG:
            yield "long sentences", " ".join(sentence.split())


def main(names):
    """Print the counts, or the hits in the files ``names``. Return 1 if a count is above its limit."""
    code = [path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py"))]
    docs = [path for path in sorted((ROOT / "docs").rglob("*.rst")) if "_build" not in path.parts]
    files = [Path(name) for name in names] or [ROOT / "README.md", *docs, *code]
    worse = 0
    for kind, texts in (("pages", pages), ("docstrings", docstrings), ("messages", messages)):
        if names:
            for path, text in texts(files):
                for name, place in hits(text):
                    print(f"{path}: {kind}: {name}: {place}")
            continue
        found = measure(texts(files))
        print(
            f"{kind}: " + ", ".join(f"{name} {count} (at most {LIMITS[kind][name]})" for name, count in found.items())
        )
        worse |= any(count > LIMITS[kind][name] for name, count in found.items())
    return int(worse)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
