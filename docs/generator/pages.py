"""What the site adds to pages as they are read: nothing of it is written to disk."""

import pathlib
import shutil

import ssljax
from generator import methods

SIDEBAR = {  # heading -> pages
  "Use": (
    *("docs/data", "docs/running", "docs/evaluation", "docs/weights"),
    *("docs/devices", "docs/questions"),
  ),
  "Methods": ("docs/methods/README",),
  "Results": (
    *("docs/cifar10_on_a_cpu", "docs/recipes", "docs/collapse"),
    "docs/one_picture",
  ),
  "Cost": ("docs/speed", "docs/canvas"),
  "Build": ("docs/layout", "docs/add_a_method", "docs/reference/README"),
  "Notebooks and examples": (
    *("notebooks/quick_start", "notebooks/simclr_step_by_step"),
    *("notebooks/moco_queue", "notebooks/collapse", "notebooks/load_a_checkpoint"),
    *("notebooks/continue_from_weights", "notebooks/attention_and_patches"),
    *("notebooks/write_a_method", "notebooks/own_pictures"),
    "examples/detection/README",
  ),
  "Project": ("CHANGELOG", "CONTRIBUTING", "SECURITY"),
}


def complete(app, docname, source):
  """Adds to a page's text what is read off the code; Sphinx hands over `[text]`."""
  folder, _, name = docname.rpartition("/")
  if docname == "README":
    source[0] += "".join(toctree(*group) for group in SIDEBAR.items())
  elif docname == "docs/methods/README":
    source[0] += methods.table() + toctree("", methods.names())
  elif folder == "docs/methods":
    source[0] = methods.page(name, source[0])
  elif docname == "docs/reference/README":
    source[0] += "".join(map(reference, ssljax.__all__))


def toctree(caption, names):
  """Writes a list of pages for the sidebar, and for no page."""
  under = f":caption: {caption}\n" if caption else ""
  return "\n\n```{toctree}\n:hidden:\n" + under + "\n" + "\n".join(names) + "\n```\n"


def reference(name):
  """Writes the entry of one of the package's public names."""
  found = getattr(ssljax, name)
  kind = "autoclass" if isinstance(found, type) else "autofunction"
  members = "   :members:\n" if name == "Method" else ""
  entry = f".. {kind}:: {found.__module__}.{name}\n{members}"
  return f"\n\n## {name}\n\n```{{eval-rst}}\n{entry}```\n"


def begin_with_readme(app, exception):
  """Copies README's page to index.html, where a server looks first."""
  if exception is None:
    site = pathlib.Path(app.outdir)
    shutil.copyfile(site / "README.html", site / "index.html")
