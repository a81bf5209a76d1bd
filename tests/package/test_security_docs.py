"""The table of threats in docs/security.md: each has tests, and each test that it names exists."""

import ast
import re

import pytest

from tests.helpers import ROOT

PAGE = ROOT / "docs" / "security.md"


def threats():
    """Threat, promise and the names of tests, row by row."""
    table = PAGE.read_text().partition("| threat | what is promised | tests |\n")[2]
    lines = table.partition("\n\n")[0].splitlines()[1:]
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    assert all(len(row) == 3 for row in rows)
    return [row for row in rows if not re.fullmatch(r"\*\*.+\*\*", row[0])]


def functions_in(path):
    """The names of all functions of a file, which isn't run."""
    found = ast.walk(ast.parse(path.read_text()))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in found if isinstance(node, functions)}


@pytest.mark.parametrize("row", threats(), ids=lambda row: row[0][:60])
def test_each_threat_has_a_promise_and_tests_that_exist(row):
    _, promise, tests = row
    named = re.findall(r"`((?:tests|integrations)/[\w/]+/test_\w+\.py)::(test_\w+)`", tests)
    assert promise
    assert named, "no test is named"
    assert re.sub(r"`[^`]*`", "", tests).strip(", ") == "", "something else than names of tests"
    for file, name in named:
        assert name in functions_in(ROOT / file), f"{file} has no {name}"


def test_no_threat_is_left_out_of_the_check():
    named = re.findall(r"(?:tests|integrations)/[\w/]+\.py::test_\w+", PAGE.read_text())
    assert len(threats()) >= 30
    assert sum(row[2].count("::") for row in threats()) == len(named)
