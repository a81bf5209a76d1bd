"""Figures in the README and the docs are those of the files that the benchmarks wrote."""

import json
import re
import sys

import pytest

from tests.helpers import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import pages

WITH_FIGURES = [page for page in pages.PAGES if "<!-- figures:" in page.read_text()]


@pytest.mark.parametrize("page", WITH_FIGURES, ids=lambda page: page.name)
def test_a_page_has_the_figures_of_the_files(page):
    text = page.read_text()
    assert pages.filled(text) == text, "run benchmarks/pages.py"
    assert text.count("<!-- figures:") == text.count("<!-- /figures -->")
    assert not re.search(r"<!-- figures: \S+ -->\s*<!-- /figures -->", text), "an empty block"


def test_a_figure_that_is_changed_by_hand_is_noticed():
    text = (ROOT / "README.md").read_text()
    changed = re.sub(r"(\| retrieval-store \| )[\d.]+", r"\g<1>0.1", text)
    assert changed != text
    assert pages.filled(changed) == text


def test_the_front_page_and_the_page_of_benchmarks_have_figures():
    named = {
        page.name: set(re.findall(r"<!-- figures: (\S+) -->", page.read_text()))
        for page in WITH_FIGURES
    }
    assert "front" in named["README.md"]
    assert {"systems", "run-systems", "million", "quality"} <= named["benchmarks.md"]
    shown = set().union(*named.values())
    assert {name for name in shown if not name.startswith("run-")} == set(pages.TABLES)


def test_no_table_of_figures_on_the_page_of_benchmarks_is_written_by_hand():
    text = pages.BLOCK.sub("", (ROOT / "docs" / "benchmarks.md").read_text())
    assert not re.search(r"^\|", text, re.MULTILINE)


def test_the_picture_of_the_front_page_says_what_the_table_says():
    """Matplotlib writes each text of a picture as a comment beside its outlines."""
    drawn = (ROOT / "docs" / "benchmarks" / "front.svg").read_text()
    texts = {one.strip() for one in re.findall(r"<!--(.*?)-->", drawn, re.DOTALL)}
    run = json.loads((ROOT / "docs" / "benchmarks" / "systems.json").read_text())
    figures = pages.front_figures(run["results"])
    assert {pages.SHOWN[name] for name in figures} <= texts
    values = {pages.front_cell(key, value) for of in figures.values() for key, value in of.items()}
    assert values <= texts
