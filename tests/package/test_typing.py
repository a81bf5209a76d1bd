"""Both type checkers accept typical code, and find errors in it."""

import json
import re
import subprocess
import sys

import pytest

from tests.helpers import ROOT

pytestmark = pytest.mark.checks
CODE = ROOT / "tests" / "package" / "typing" / "user_code.py"


def printed(*command):
    run = [sys.executable, "-m", *map(str, command)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stderr or done.stdout
    return done.stdout


def refused_by_mypy(tmp_path):
    output = printed("mypy", "--strict", CODE)  # with what it has cached
    return {int(line) for line in re.findall(r"user_code\.py:(\d+): error", output)}


def refused_by_pyright(tmp_path):
    settings = tmp_path / "pyrightconfig.json"
    found = {"include": [str(CODE)], "typeCheckingMode": "strict", "extraPaths": [str(ROOT)]}
    settings.write_text(json.dumps({**found, "reportUnusedExpression": False}))
    output = json.loads(printed("basedpyright", "--outputjson", "--project", settings))
    errors = [one for one in output["generalDiagnostics"] if one["severity"] == "error"]
    return {one["range"]["start"]["line"] + 1 for one in errors}


@pytest.mark.parametrize("refused", [refused_by_mypy, refused_by_pyright])
def test_a_type_checker_refuses_exactly_the_wrong_lines(tmp_path, refused):
    lines = CODE.read_text().splitlines()
    wrong = {i for i, line in enumerate(lines, 1) if line.endswith("# wrong")}
    assert len(wrong) > 10
    assert refused(tmp_path) == wrong
