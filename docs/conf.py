"""Sphinx configuration: ``python -m sphinx -W docs docs/_build``."""

import sys
import types
from pathlib import Path

from sphinx import addnodes

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "_utils"), str(ROOT / "docs" / "_ext")]

# The names that setup.cfg gives these folders, for autodoc: `app` alone would be both a module and a state.
for kind in ("modules", "states", "runners"):
    package = types.ModuleType(f"saltdeploy_{kind}")
    package.__path__ = [str(ROOT / f"_{kind}")]
    sys.modules[package.__name__] = package

import saltdeploy  # noqa: E402

project = "saltdeploy"
author = "the saltdeploy authors"
copyright = f"2026, {author}"
release = version = saltdeploy.__version__

extensions = ["sphinx.ext.autodoc", "definitions"]
exclude_patterns = ["_build", "requirements.txt"]
autodoc_member_order = "bysource"
add_module_names = False
python_use_unqualified_type_names = True
highlight_language = "none"
nitpicky = True

html_theme = "alabaster"
html_title = f"saltdeploy {release}"
html_theme_options = {
    "description": "Services on your own machines: installed beside, tested, then published",
    "page_width": "1100px",
    "sidebar_width": "240px",
    "fixed_sidebar": True,
}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
html_show_sourcelink = False


def setup(app):
    """Show functions as one calls them: `app.start(name, version, …)`."""
    app.connect("autodoc-process-signature", _without_kwargs)
    app.connect("doctree-read", _name_as_called)


def _without_kwargs(_app, _what, _name, _obj, _options, signature, annotation):
    # They are taken only to refuse them with a message.
    return (signature or "").replace(", *extra", "").replace(", **kwargs", ""), annotation


def _name_as_called(_app, doctree):
    for signature in doctree.findall(addnodes.desc_signature):
        name = signature.next_node(addnodes.desc_name)
        module = signature["module"].partition(".")[2]
        signature.insert(signature.index(name), addnodes.desc_addname("", f"{module}."))
