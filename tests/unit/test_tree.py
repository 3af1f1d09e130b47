"""The state tree beside a site's own: no app's name is the id of a state."""

import re
from pathlib import Path

TREE = Path(__file__).resolve().parents[2] / "salt"


def test_an_app_may_be_called_as_any_state():
    """haproxy and consul are ids of states here, and names of apps elsewhere."""
    ids = re.findall(r"^([^\s{#].*|\{\{.*):$", "\n".join(p.read_text() for p in TREE.rglob("*.sls")), re.MULTILINE)
    assert "haproxy" in ids and "saltdeploy app {{ name }}" in ids
    assert [found for found in ids if re.fullmatch(r"\{\{ *name *\}\}", found)] == []
