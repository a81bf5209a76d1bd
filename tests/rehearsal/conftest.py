"""Saves the results of a rehearsal as JSON in the folder REHEARSE_OUTPUT, and prints failures at
once. Runs all steps of a setting in one process, so that its scenario is created once.
"""

import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from benchmarks.runs import save
from tests.rehearsal import plan

_RUNS: dict[str, dict[str, Any]] = defaultdict(dict)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    fields = dict(report.user_properties)
    if report.when == "call" and "setting" in fields:
        outcome = {"outcome": report.outcome, "seconds": round(report.duration, 2)}
        _RUNS[fields["setting"]][fields["step"]] = outcome
    if report.failed:
        why = [line for line in report.longreprtext.splitlines() if line.startswith("E ")]
        print(f"\n{report.nodeid}, {report.when}:", *why[:5], sep="\n")


class BySetting(LoadScopeScheduling):
    """Tests of the same setting go to the same process, in order."""

    def _split_scope(self, nodeid: str) -> str:
        return plan.setting_in(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return BySetting(config, log)


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = os.environ.get("REHEARSE_OUTPUT")
    if output is None or hasattr(session.config, "workerinput") or not _RUNS:
        return
    save(Path(output), "rehearsal", dict(_RUNS), [], length=plan.LENGTH)
