"""The help of the scripts, and their exit codes."""

import os
import shutil
import subprocess
import sys
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


@pytest.mark.parametrize(("words", "fails"), [((), "-m pytest"), (("--all",), "check"), ((), "")])
def test_a_failure_is_the_exit_status_of_all_tests(words, fails, tmp_path):
    """In a tree with environments whose Python runs no test."""
    shutil.copytree(SCRIPTS, tmp_path / "scripts")
    for name in (".venv-test", ".venv-all"):
        (tmp_path / name / "bin").mkdir(parents=True)
        python = tmp_path / name / "bin" / "python"
        python.write_text(f'#!/bin/sh\n[ "$1" = -m ] || exec {sys.executable} "$@"\n')
        if fails == "-m pytest":
            python.write_text(python.read_text() + "exit 1\n")
        shutil.copy(python, python.with_name("uv"))
        for file in (python, python.with_name("uv")):
            file.chmod(0o755)
    (tmp_path / "retrieval_store/indexes/native").mkdir(parents=True)
    (tmp_path / "retrieval_store/indexes/native/kernel.so").touch()
    (tmp_path / "scripts/check").write_text(f"#!/bin/sh\nexit {int(fails == 'check')}\n")
    for name in (".venv-test", ".venv-all"):
        (tmp_path / name / "installed").touch()
    run = [tmp_path / "scripts/test", *words]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60)
    assert done.returncode == (1 if fails else 0), done.stdout + done.stderr
    assert ("Not run: " in done.stdout) == (not fails)
