"""Adds pages outside of docs/ to the site: those at the top of the project, and the examples.

Their links are relative to their place in the project, and are changed to their place on the site.
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
    """The site's files, including the pages at the top of the project."""
    for source, name in PAGES.items():
        text = (TOP / source).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=_turned(text)))
    for example in sorted((TOP / "examples").glob("*.*")):
        name = f"examples/{example.name}"
        files.append(File.generated(config, name, content=example.read_bytes()))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """A page of docs/ or a folder in it, whose links to pages at the top lead to their place on the
    site."""
    for source, name in PAGES.items():
        markdown = re.sub(rf"\]\(((?:\.\./)*)\.\./{re.escape(source)}", rf"](\1{name}", markdown)
    return markdown.replace("](../examples/", "](examples/")


def _turned(text: str) -> str:
    text = text.replace("](../../", "](").replace("](docs/", "](")
    for source, name in PAGES.items():
        text = re.sub(rf"\]\({re.escape(source)}", f"]({name}", text)
    return text
