"""The documentation site is built without a network, with every page and without broken links."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

from tests.helpers import ROOT


class Page(HTMLParser):
    """The targets and the links of a page."""

    def __init__(self, path):
        super().__init__()
        self.path, self.ids, self.links, self.loaded = path, set(), [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        has = dict(attributes)
        self.ids |= {has[key] for key in ("id", "name") if has.get(key)}
        if tag == "a" and has.get("href"):
            self.links.append(has["href"])
        elif tag in ("img", "script", "iframe", "source") and has.get("src"):
            self.loaded.append(has["src"])
        elif tag == "link" and "canonical" not in has.get("rel", ""):
            self.loaded.append(has["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    without_network = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(
        [*map(str, command)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **without_network, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "WARNING" not in done.stderr, done.stderr
    return {path: Page(path) for path in sorted(folder.rglob("*.html")) if path.name != "404.html"}


def root_of(site):
    return min(site, key=lambda path: len(path.parts)).parent


def is_inside(link):
    parts = urlsplit(link)
    return not parts.scheme and not parts.netloc


def target_of(page, link):
    parts = urlsplit(link)
    path = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
    return path, unquote(parts.fragment)


@pytest.mark.checks
def test_no_link_is_broken_and_nothing_is_loaded_from_elsewhere(site):
    broken = []
    for page in site.values():
        assert not [source for source in page.loaded if not is_inside(source)], page.path
        for link in [*filter(is_inside, page.links), *page.loaded]:
            path, fragment = target_of(page, link)
            known = site[path].ids if path in site else set()
            if not path.is_file() or (fragment and path in site and fragment not in known):
                broken.append((page.path.name, link))
    assert not broken


@pytest.mark.checks
def test_no_script_or_style_of_the_site_fetches_from_elsewhere(site):
    for style in root_of(site).rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", style.read_text()), style


@pytest.mark.checks
def test_every_page_is_reached_by_links_in_the_text(site):
    """By links in the pages' own text, not only by the menu."""
    home = root_of(site) / "index.html"
    reached, open_ones = {home}, [home]
    while open_ones:
        page = site[open_ones.pop()]
        own = page.path.read_text().partition("<article")[2].partition("</article>")[0]
        for link in re.findall(r'<a[^>]* href="([^"]+)"', own):
            path = target_of(page, link)[0] if is_inside(link) else None
            if path in site and path not in reached:
                reached.add(path)
                open_ones.append(path)
    assert {path.name for path in site if path not in reached} == set()
