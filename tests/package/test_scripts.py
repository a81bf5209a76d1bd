"""What the scripts say of themselves."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
NAMES = sorted(
    path.name for path in SCRIPTS.iterdir() if path.is_file() and os.access(path, os.X_OK)
)


@pytest.mark.parametrize("name", NAMES)
def test_help_shows_how_a_script_is_used_and_does_nothing(name, tmp_path):
    shutil.copytree(SCRIPTS, tmp_path / "scripts")
    shown = subprocess.run(
        [f"scripts/{name}", "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"scripts/{name}" in shown.stdout and "usage: " in shown.stdout.lower()
    assert [path.name for path in tmp_path.iterdir()] == ["scripts"]
