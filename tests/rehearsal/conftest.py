"""Keeps what a rehearsal found, as JSON, in the folder that REHEARSE_OUTPUT names."""

import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks.runs import save
from tests.rehearsal import plan

_RUNS: dict[str, dict[str, Any]] = defaultdict(dict)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    told = dict(report.user_properties)
    if report.when == "call" and "setting" in told:
        outcome = {"outcome": report.outcome, "seconds": round(report.duration, 2)}
        _RUNS[told["setting"]][told["act"]] = outcome


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = os.environ.get("REHEARSE_OUTPUT")
    if output is None or hasattr(session.config, "workerinput") or not _RUNS:
        return
    save(Path(output), "rehearsal", dict(_RUNS), [], length=plan.LENGTH)
