"""Figures in the README and the docs are those of the files that the benchmarks wrote."""

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
