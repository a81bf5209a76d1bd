"""The tables of names by which tests reach inside the package."""

import subprocess
import sys
from pkgutil import resolve_name

import pytest

from tests.helpers import ROOT, steps
from tests.helpers.clocks import CLOCKS
from tests.helpers.steps import STEPS
from tests.helpers.tuned import THRESHOLDS, tuned


def test_each_name_leads_to_what_is_there():
    for paths in (CLOCKS.values(), *STEPS.values(), *THRESHOLDS.values()):
        for path in paths:
            resolve_name(path)


def test_a_name_that_no_table_has_is_an_error(monkeypatch):
    with pytest.raises(KeyError, match="no threshold 'sizes'"):
        tuned(monkeypatch, sizes=1)
    with pytest.raises(KeyError, match="no step 'go'"):
        steps.fail(monkeypatch, "go")
    with pytest.raises(KeyError, match="no step 'go'"):
        steps.noted(monkeypatch, "go")


def collected(*arguments):
    """The names of the tests that a run with these arguments tries."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [line.partition("::")[2] for line in run.stdout.splitlines() if "::" in line]


def test_of_what_takes_long_a_share_is_tried_of_a_folder_and_all_of_a_file(monkeypatch):
    monkeypatch.delenv("TEST_FULL", raising=False)
    monkeypatch.delenv("TEST_TURN", raising=False)
    chosen = ["-k", "test_a_filter_changes_how_many_are_looked_at_and_not_what_is_found"]
    of_folder = collected("tests/indexes", *chosen)
    of_file = collected("tests/indexes/test_signs.py", *chosen)
    assert len(of_file) == 6
    assert set(of_folder) < set(of_file)
    monkeypatch.setenv("TEST_TURN", "1")
    of_next = collected("tests/indexes", *chosen)
    assert set(of_next) < set(of_file) and of_next != of_folder
    monkeypatch.setenv("TEST_FULL", "yes")
    assert collected("tests/indexes", *chosen) == of_file
    values = [set(name.partition("[")[2].rstrip("]").split("-")) for name in of_folder]
    assert set().union(*values) == {
        value for name in of_file for value in name.partition("[")[2].rstrip("]").split("-")
    }


def test_what_was_set_is_undone(monkeypatch):
    ((path,), (step,)) = THRESHOLDS["log_writes"], STEPS["verify_collection"]
    before, real = resolve_name(path), resolve_name(step)
    with monkeypatch.context() as patch:
        tuned(patch, log_writes=before + 1)
        steps.fail(patch, "verify_collection")
        assert resolve_name(path) == before + 1
        with pytest.raises(ZeroDivisionError):
            resolve_name(step)()
    assert (resolve_name(path), resolve_name(step)) == (before, real)
