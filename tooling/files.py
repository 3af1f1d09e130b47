"""Files written whole or not at all."""

from __future__ import annotations


def write(path, text):
    """Write ``path`` whole or not at all, its folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)
