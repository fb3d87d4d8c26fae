"""How Sphinx builds the pages of this folder: sphinx-build -W docs SITE"""

from rtprune_cli import __version__

project = "rtprune"
author = "rtprune maintainers"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3  # links to #headings, as on GitHub
root_doc = "index"

html_theme = "furo"
html_title = f"rtprune {release}"
html_copy_source = False
smartquotes = False  # they would turn --flags into dashes
