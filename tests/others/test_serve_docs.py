"""docs/serve.md: each command runs against the server shown above it, and units and images use
existing options.
"""

import re
import shlex
import shutil
import subprocess

import click
import pytest

from integrations.server.tests.http.serving import served
from retrieval_store_server.command import serve
from tests.cli.test_page import matches
from tests.helpers import PATIENCE, ROOT
from tests.helpers.terminals import on_terminal

PAGE = (ROOT / "docs" / "serve.md").read_text()
DEPLOY = ROOT / "examples" / "deploy"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(DEPLOY.iterdir())]
BEGIN = "retrieval-store serve "


def blocks():
    """The page's blocks of code: their kind and their text."""
    return re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def parts():
    """The servers of the page, each with the blocks up to the next one."""
    found = []
    for kind, text in blocks():
        line = text.strip().splitlines()[-1]
        if kind == "sh" and line.startswith(BEGIN):
            found.append((shlex.split(line.removeprefix(BEGIN)), []))
        elif kind in ("console", "js") and found:
            found[-1][1].append((kind, text))
    return found


def sessions(text):
    """Each command of a block with its output. A line that begins with > continues the command."""
    for session in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        lines = session.splitlines()
        count = 1
        while lines[count : count + 1] and lines[count].startswith("> "):
            count += 1
        command = "\n".join([lines[0], *(line[2:] for line in lines[1:count])])
        yield command, "\n".join(lines[count:])


@pytest.mark.models
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_each_command_of_the_page_prints_what_is_documented(tmp_path):
    count = 0
    for words, following in parts():
        with served(*words, cwd=tmp_path) as (_, url):
            for kind, text in following:
                here = text.replace("localhost:6333", url.removeprefix("http://"))
                if kind == "js":
                    check_javascript(here)
                    continue
                for command, expected in sessions(here):
                    printed = on_terminal(command, tmp_path, tmp_path / ".program")
                    assert matches(printed, expected), f"$ {command}\n{printed}\nnot:\n{expected}"
                    count += 1
    assert count >= 14


def check_javascript(program):
    """Run it if Node is installed; `// → x` is the expected output of a line."""
    if shutil.which("node") is None:
        return
    done = subprocess.run(
        ["node", "--input-type=module", "-e", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stdout.splitlines() == re.findall(r"// → (.*)", program), done.stderr


def commands_on(page):
    """All serving commands of a page, also in units and images."""
    text = page.read_text()
    found = re.findall(r"(?:^|/|\$ )retrieval-store serve ([^\n`&|]*)", text, re.MULTILINE)
    found += re.findall(r"`(?:retrieval-store )?serve ([^`…]+)`", text)
    for array in re.findall(r'"retrieval-store", "serve", ([^\]]+)\]', text):
        found.append(array.replace(",", " "))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_serve_have_existing_options(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys").write_text("s3cret")
    for command in commands_on(page):
        words = shlex.split(command.replace("%d/", ""))
        with click.Context(serve) as context:
            serve.parse_args(context, words)
            assert context.params["store"] or context.params["temporary"], command


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd")
def test_systemd_understands_the_unit(tmp_path):
    unit = (DEPLOY / "retrieval-store.service").read_text()
    program = re.search(r"ExecStart=(\S+)", unit)[1]
    file = tmp_path / "retrieval-store.service"
    file.write_text(unit.replace(program, "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", file], capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stderr) == (0, "")
