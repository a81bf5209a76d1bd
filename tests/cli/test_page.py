"""Every command of the documentation page, with its documented output."""

import re

import pytest
from click import Context

from tests.helpers import ROOT
from tests.helpers.terminals import on_terminal

PAGE = (ROOT / "docs" / "command_line.md").read_text()
NOTES = [
    line for line in PAGE.partition("$ cat notes.jsonl\n")[2].splitlines() if line.startswith("{")
][:3]


def sessions():
    """Each command of the page with the output lines that follow it."""
    for block in re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        for session in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = session.partition("\n")
            yield command, printed


def matches(printed: str, expected: str) -> bool:
    """Whether the output is as documented. In the page, … matches anything, and the lengths of runs
    of spaces and of ─ don't matter."""

    def plain(text):
        text = "\n".join(line.rstrip() for line in text.rstrip().splitlines())
        return re.sub(r"─+", "─", re.sub(r" +", " ", text))

    pattern = ".*".join(map(re.escape, plain(expected).split("…")))
    return re.fullmatch(pattern, plain(printed)) is not None


@pytest.mark.checks
def test_each_command_prints_what_is_documented(tmp_path):
    (tmp_path / "notes.jsonl").write_text("\n".join(NOTES) + "\n")
    (tmp_path / "letters").mkdir()
    for name, text in {"2024": "Dear Ada", "2025": "Dear Blaise", "empty": ""}.items():
        (tmp_path / "letters" / f"{name}.txt").write_text(text)
    count = 0
    for command, expected in sessions():
        printed = on_terminal(command, tmp_path, tmp_path / ".program")
        assert matches(printed, expected), f"$ {command}\n{printed}\nexpected:\n{expected}"
        count += 1
    assert count >= 30


@pytest.mark.others
def test_every_command_is_on_the_page():
    from retrieval_store.cli.main import commands

    for name in commands.list_commands(Context(commands)):
        assert f"retrieval-store {name} " in PAGE or f"`{name} " in PAGE, name
    for name in commands.get_command(Context(commands), "import").commands:
        assert f"import {name} " in PAGE or name in ("jsonl", "csv"), name
