"""Sphinx configuration; build with `make docs`."""

from importlib.metadata import version as installed

project = "bptt"
author = "the bptt authors"
version = release = installed("bptt")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"bptt {release}"

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings give types with their shapes
napoleon_numpy_docstring = False

nitpicky = False
doctest_global_setup = "import torch, bptt; _ = torch.manual_seed(0)"
