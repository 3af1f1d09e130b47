"""Mistakes in definitions: a node looks for them once."""

from saltdeploy.definition import validation
from saltdeploy.node.mistakecache import NodeMistakes


def test_definitions_are_validated_once(tmp_path, monkeypatch):
    """Other definitions, and another schema, are another matter."""
    looked = []
    monkeypatch.setattr(validation, "problems_again", lambda given: looked.append(given) or {"shop": ["wrong"]})
    one, other = {"apps": {"shop": {"run": "a"}}}, {"apps": {"shop": {"run": "b"}}}
    root = tmp_path / "srv"
    mistakes = NodeMistakes(root)
    mistakes.find(one)
    assert not root.exists()  # the search makes no folder
    root.mkdir()
    for definitions in (one, one, other, other):
        assert mistakes.find(definitions) == {"shop": ["wrong"]}
    assert looked == [one, one, other]
    monkeypatch.setattr(validation, "_schema", lambda: "another")
    mistakes.find(other)
    assert looked == [one, one, other, other]
