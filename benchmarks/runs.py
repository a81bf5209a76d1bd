"""Saves the results of benchmarks, with the machine and versions needed to compare them.

Runs are saved in docs/benchmarks as NAME.json; `pages.py` writes the tables of the docs from them.
"""

import json
import platform
from collections.abc import Iterable
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def processor() -> str:
    """The processor's name. Figures from different processors can't be compared."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of installed packages."""
    found = {}
    for name in sorted(set(packages)):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def save(output: Path, name: str, results: Any, packages: Iterable[str], **asked: Any) -> None:
    """Save a run: its arguments, the machine, and the results."""
    output.mkdir(parents=True, exist_ok=True)
    run = {
        "machine": processor(),
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "versions": versions(["numpy", "retrieval-store", *packages]),
        **asked,
        "results": results,
    }
    (output / f"{name}.json").write_text(json.dumps(run, indent=1) + "\n")
