"""Figures in README and the docs equal those in the benchmarks' files."""

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


# Where a reader meets figures first. Defaults, limits and sizes of models aren't measured: they stand
# in code or without one of these units.
WITHOUT_OTHERS = [
    ROOT / name
    for name in (
        "README.md",
        "docs/index.md",
        "docs/others.md",
        "docs/exact.md",
        "docs/benchmarks.md",
    )
]
MEASURED = re.compile(
    r"\d[\d.,]* ?(?:ms|µs|us|s|seconds?|minutes?|hours?|[kMG]B|%|times|(?:queries|records) a second)(?![\w/])"
)


@pytest.mark.parametrize("page", WITHOUT_OTHERS, ids=lambda page: page.name)
def test_each_measured_number_of_the_first_pages_comes_from_a_run(page):
    by_hand = pages.BLOCK.sub("", page.read_text())
    by_hand = re.sub(r"^```.*?^```", "", by_hand, flags=re.DOTALL | re.MULTILINE)
    assert MEASURED.findall(by_hand) == []


@pytest.mark.parametrize(
    "figure", ["takes 1.3 ms", "8.4 GB of files", "0.7 %", "twice as fast: 2 times"]
)
def test_a_number_written_by_hand_would_be_detected(figure):
    assert MEASURED.search(figure)
