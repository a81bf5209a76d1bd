"""The tables of names by which tests reach inside the package."""

from pkgutil import resolve_name

import pytest

from tests.helpers import steps
from tests.helpers.clocks import CLOCKS
from tests.helpers.steps import STEPS
from tests.helpers.tuned import THRESHOLDS, tuned


@pytest.mark.others
def test_each_name_resolves_to_its_object():
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


def test_settings_of_tests_are_undone(monkeypatch):
    ((path,), (step,)) = THRESHOLDS["log_writes"], STEPS["verify_collection"]
    before, real = resolve_name(path), resolve_name(step)
    with monkeypatch.context() as patch:
        tuned(patch, log_writes=before + 1)
        steps.fail(patch, "verify_collection")
        assert resolve_name(path) == before + 1
        with pytest.raises(ZeroDivisionError):
            resolve_name(step)()
    assert (resolve_name(path), resolve_name(step)) == (before, real)
