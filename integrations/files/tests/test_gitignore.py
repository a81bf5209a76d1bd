"""Patterns have the same meaning as in Git, which is called for comparison."""

import os
import subprocess
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from retrieval_store.errors import InvalidArgumentError
from retrieval_store_files import read_folder
from retrieval_store_files.find import FolderRules, find_files
from retrieval_store_files.gitignore import GitPatterns

NAMES = [
    "a", "b", "ab", "ba", "abc", "A", "1", "a b", "a]", "[a", "a-b", "é", "é.a", "!a", "#a", "**",
]  # fmt: skip
FOLDERS = ["", "a/", "b/", "a/b/", "a/b/a/", "b/a/a/", "a b/"]
PIECES = [
    "a", "b", "A", "1", "é", " ", "*", "**", "/**", "**/", "/", "?", "!", "#", "\\", "[", "]", "-", "^",
    "[a-b]", "[!a]", "[^b]", "[[:alpha:]]", "[[:upper:]]", "[[:digit:]-]", "[]a]", "\t", "\r",
]  # fmt: skip
LINES = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join)
FILES = st.lists(LINES, max_size=4).map("\n".join)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    tree = tmp_path_factory.mktemp("tree")
    subprocess.run(["git", "init", "-q", tree], check=True)
    for folder in FOLDERS:
        (tree / folder).mkdir(parents=True, exist_ok=True)
        for name in NAMES:
            (tree / folder / f"{name}.txt").touch()
            (tree / folder / f"{name}.md").touch()
    (tree / os.fsdecode(b"caf\xe9.txt")).touch()
    return tree


def kept_by_git(tree):
    command = ["git", "ls-files", "-z", "--others", "--exclude-per-directory=.gitignore"]
    out = subprocess.run(command, cwd=tree, capture_output=True, check=True).stdout
    files = {os.fsdecode(one) for one in out.split(b"\0")[:-1]}
    return {one for one in files if not one.endswith(".gitignore")}


@given(FILES, FILES)
@example("*.txt", "/*\n!/b/")
@example("*.txt", "!*/")
@example("a/**/", "")
@example("a/b/*\n!a/b/b.txt", "/b/*/\n!/b/a")
@example("*.txt\t", "a.txt\rb.txt")
@example("a/**/b/**/*.txt", "?.txt")
@example("a/b**/a.*", "a**/**")  # stars after the literal beginning of a path
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_ignored_files_are_those_that_git_ignores(tree, top, below):
    (tree / ".gitignore").write_bytes(top.encode())
    (tree / "a" / ".gitignore").write_bytes(below.encode())
    found = find_files(tree, FolderRules(gitignore=True, own_reader=True))
    unfit = {os.path.relpath(one.path, tree) for one in found.unreadable}
    assert {*found.ids} | unfit == kept_by_git(tree)


def test_names_that_are_no_text_are_compared_too(tmp_path):
    (tmp_path / "a.txt").write_text("A text.")
    (tmp_path / os.fsdecode(b"caf\xe9.md")).write_text("x")
    reports = []
    (one,) = read_folder(tmp_path, include="*.*", exclude="*.log", on_unreadable=reports.append)
    assert one["id"] == "a.txt#0" and [file.why for file in reports] == [
        "its name isn't valid Unicode"
    ]
    assert [*read_folder(tmp_path, exclude="*.*", on_unreadable=reports.append)] == []
    assert len(reports) == 1


@pytest.mark.parametrize("line", ["!", "/", "\\", "a\\", "[", "a[b", "[[:thing:]]", "[a-\\"])
def test_invalid_patterns_are_refused(tmp_path, line):
    with pytest.raises(InvalidArgumentError, match="exclude has .* expected a pattern"):
        read_folder(tmp_path, exclude=line)
    assert GitPatterns.from_content(f"{line}\nb\n".encode()).say("b") is True


@pytest.mark.parametrize("piece", ["*a", "**/a*", "*[ab]", "a**/", "?*", "/**"])
def test_no_pattern_takes_long(piece):
    """Each star might try every split of the text that the one before has left."""
    patterns = GitPatterns([(piece * 30 + "b").encode()])
    start = time.process_time()
    for path in ("a" * 250, "a/" * 120 + "a", "ab/" * 80 + "a"):
        patterns.say(path)
    assert time.process_time() - start < 5


def test_thousands_of_patterns_are_matched():
    lines = [
        f"{kind}{i}".encode() for i in range(2_000) for kind in ("name", "*.ext", "**/a/f", "/b/")
    ]
    patterns = GitPatterns([*lines, b"!name7"])
    messages = [
        patterns.say(one) for one in ("name3", "c/x.ext1999", "c/a/f5", "b/7/", "name7", "c/b/7")
    ]
    assert messages == [True, True, True, True, False, None]
