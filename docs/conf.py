"""How `make docs` builds the site. Its root is that of the repository, so that links work here and on GitHub alike."""

import lamina

project = "lamina"
version = release = lamina.__version__
copyright = "the authors of lamina"
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = ["docs/**", "pipelines/*/README.md", "bench/README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
exclude_patterns = [".*", "build", "data", "models", "ensembles", "weights", "reports", "mlflow", "src", "tests"]

myst_heading_anchors = 4  # links to headings, as on GitHub
myst_links_external_new_tab = False
nb_execution_mode = "off"  # a test runs the notebook; the site shows what it printed when it was saved

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
default_role = "code"
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"  # no scripts and no fonts of other sites
html_title = f"lamina {version}"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_extra_path = ["index.html"]  # leads from the root of the site to the first page
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#5b3fa0", "color-brand-content": "#5b3fa0"},
    "dark_css_variables": {"color-brand-primary": "#b7a2ee", "color-brand-content": "#b7a2ee"},
}
