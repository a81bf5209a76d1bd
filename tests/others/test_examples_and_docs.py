"""The examples and every Python snippet of README and the docs run as documented."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.others.interpreters import Interpreter

PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "docs/reference/frameworks.md",
    ROOT / "docs/reference/agents.md",
    ROOT / "docs/reference/filters.md",
    *sorted((ROOT / "integrations").glob("*/README.md")),
]

pytestmark = pytest.mark.models


def python_of(page):
    """The Python blocks of a page, as one program."""
    return "\n".join(
        re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    )


@pytest.fixture(scope="module")
def run():
    """Runs a program; returns its output."""
    programs = [path.read_text() for path in (ROOT / "examples").glob("*.py")]
    interpreter = Interpreter([*programs, *map(python_of, PAGES)])

    def run(*command, cwd):
        done = interpreter.run(*command, cwd=cwd)
        assert done.returncode == 0, done.stderr
        return done.stdout

    yield run
    interpreter.close()


@pytest.mark.checks
def test_the_first_command_of_the_readme_answers_in_a_fresh_clone(tmp_path):
    home, clone = tmp_path / "home", tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    path = os.environ["PATH"].removeprefix(f"{Path(sys.executable).parent}:")
    done = subprocess.run(
        ["bash", "scripts/quickstart"],
        cwd=clone,
        env={"HOME": str(home), "PATH": path, **kept},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\[1\] .*\(durability.md\)", done.stdout, re.MULTILINE)


def test_metadata_filters_example(run, tmp_path):
    lines = run(ROOT / "examples" / "metadata_filters.py", cwd=tmp_path).splitlines()
    answers = {lines[i]: lines[i + 2].strip() for i in range(0, len(lines) - 1, 3)}
    assert answers["inside lists"] == "moby-dick"
    assert answers["a range; several operators mean and"] == "emma, faust"
    assert answers["not equal; books without the key match"] == "moby-dick, emma, faust"
    assert answers["the beginning of strings"] == "moby-dick, emma"
    assert len(answers) == 12
    assert lines[-1] == "the two nearest English books: moby-dick, emma"


@pytest.mark.parametrize("name", ["langchain_rag.py", "llama_index_rag.py"])
def test_rag_examples_answer_and_store(run, tmp_path, name):
    example = ROOT / "examples" / name
    first = run(example, tmp_path / "store", cwd=tmp_path)
    assert re.match(r"\d,\d{3} \w+ of the language reference", first)
    assert "no real language model" in first or "a mock language model" in first
    finally_clause, slices = first.split("\n? ")[1:]
    assert re.search(r"^ +(\d\.\d+ )?(try|compound|return):", finally_clause, re.MULTILINE)
    assert "lice" in slices.partition("\n")[2]
    own = run(example, tmp_path / "store", "--ask", "how to import modules", cwd=tmp_path)
    assert own.splitlines()[0] == first.splitlines()[0]
    assert re.search(r"^ +(\d\.\d+ )?import", own, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_snippets_run_and_print_what_is_documented(page, run, tmp_path):
    """The Python blocks of a page run in order as one program. A comment `# → x` after a printing
    line is its expected output. If the program leaves files, it runs again in the same
    directory."""
    program = python_of(page)
    expected = [
        line.partition("# → ")[2].rstrip() for line in program.splitlines() if "# → " in line
    ]
    assert run("-c", program, cwd=tmp_path).splitlines() == expected
    if any(tmp_path.iterdir()):
        assert run("-c", program, cwd=tmp_path).splitlines() == expected
