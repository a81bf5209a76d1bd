"""What the site has beside the pages in docs/: those at the top of the project, and examples.

They are written to be read there, so their links are turned to lead from where the site has them.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

TOP = Path(__file__).resolve().parents[2]
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "ARCHITECTURE.md": "architecture.md",
    "integrations/cluster/ARCHITECTURE.md": "architecture_cluster.md",
    "integrations/files/ARCHITECTURE.md": "architecture_files.md",
    "integrations/server/ARCHITECTURE.md": "architecture_server.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The site's files, with the pages of the top among them."""
    for source, name in PAGES.items():
        text = (TOP / source).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=_turned(text)))
    for example in sorted((TOP / "examples").glob("*.*")):
        name = f"examples/{example.name}"
        files.append(File.generated(config, name, content=example.read_bytes()))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """A page of docs/, or of a folder in it, whose links to the top lead to where the site has
    it."""
    for source, name in PAGES.items():
        markdown = re.sub(rf"\]\(((?:\.\./)*)\.\./{re.escape(source)}", rf"](\1{name}", markdown)
    return markdown.replace("](../examples/", "](examples/")


def _turned(text: str) -> str:
    text = text.replace("](../../", "](").replace("](docs/", "](")
    for source, name in PAGES.items():
        text = re.sub(rf"\]\({re.escape(source)}", f"]({name}", text)
    return text
