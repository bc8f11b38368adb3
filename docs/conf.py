"""Configuration of Sphinx. Build with: python -m sphinx -W docs docs/_build"""

from __future__ import annotations

import shutil
from pathlib import Path

import laion_xr

HERE = Path(__file__).parent

project = "laion_xr"
author = "laion_xr developers"
copyright = f"2026, {author}"
version = release = laion_xr.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
templates_path = ["_templates"]
default_role = "code"  # single backticks in docstrings are code, as in Markdown
smartquotes = False  # "sub-03" is typed as it is shown

# Sphinx reads sources below docs/ only; the notebooks stay where people look for them, and a copy is built.
shutil.copytree(
    HERE.parent / "notebooks",
    HERE / "notebooks",
    dirs_exist_ok=True,
    ignore=shutil.ignore_patterns(".ipynb_checkpoints"),
)

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autosummary_generate = True
numpydoc_show_class_members = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

nb_execution_mode = "force"  # outputs are never committed, so what the page shows is what the code does today
nb_execution_raise_on_error = False  # a warning with the traceback of the cell, which -W makes an error
nb_execution_show_tb = True
nb_execution_timeout = 180
nb_merge_streams = True

html_theme = "pydata_sphinx_theme"
html_title = "laion_xr"
html_show_sourcelink = False
html_theme_options = {"show_prev_next": True, "secondary_sidebar_items": ["page-toc"]}
html_static_path = ["_static"]
html_css_files = ["laion_xr.css"]
html_sidebars = {"index": [], "dataset": []}  # no pages below them: the room is for the text
