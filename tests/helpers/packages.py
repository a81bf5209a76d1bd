"""Packages from outside, installed as a user would, into a folder of their own."""

import os
import subprocess
import sys
from pathlib import Path

from tests.helpers import ROOT

EXAMPLES = ROOT / "examples"


def installed(package: str, folder: Path) -> dict[str, str]:
    """The environment in which the example package is installed, offline and beside ours."""
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--offline"]
    command += ["--python", sys.executable, "--no-build-isolation", "--no-cache"]
    command += ["--target", str(folder), str(EXAMPLES / package)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    paths = [str(folder), os.environ["PYTHONPATH"]]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def run(program: str, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
