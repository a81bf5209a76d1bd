"""Real documents of this machine: whether all words that other programs find are read."""

import os
import random
import re
import shutil
import subprocess
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval_store.errors import DataLoaderError
from retrieval_store_files.readers import FileText
from retrieval_store_files.readers.child import ReaderProcess
from retrieval_store_files.readers.files import text_of_bytes
from tests.rehearsal.scenario import Scenario
from tests.rehearsal.steps import step

FOLDERS = os.environ.get("REHEARSE_DOCUMENTS", "/usr/share/doc").split(os.pathsep)
LYNX = ["lynx", "-dump", "-nolist", "-nonumbers", "-width=990", "-display_charset=utf-8"]
TOOLS = {  # what writes the text of files with these endings
    "pdf": ["pdftotext", "-q", "{}", "-"],
    "html": [*LYNX, "-assume_charset=utf-8", "{}"],
    "docx": ["pandoc", "-t", "plain", "--wrap=none", "{}"],
    "odt": ["pandoc", "-t", "plain", "--wrap=none", "{}"],
    "epub": ["pandoc", "-t", "plain", "--wrap=none", "{}"],
}
MOST, LARGEST = 200, 3_000_000  # documents, and bytes of one
ALL_MISSING, MISSING = 0.0002, 0.01  # of the words of all, and of one document
NAMED = re.compile(r"([\d,]+) (?:words? (?:of navigation|that are hidden)|characters? whose)")
OF_LYNX = re.compile(r"^\s*(?:#\S|REFRESH).*|\(BUTTON\)|IFRAME: \S+", re.MULTILINE)  # its own words


def documents() -> list[Path]:
    """Documents of each kind in turn, chosen by a seed."""
    found: dict[str, list[Path]] = {}
    there = {kind for kind, command in TOOLS.items() if shutil.which(command[0])}
    for folder in FOLDERS:
        for path in sorted(Path(folder).rglob("*")):
            kind = path.suffix.lower().removeprefix(".")
            if kind in there and path.is_file() and not path.is_symlink():
                found.setdefault(kind, []).append(path)
    drawn = random.Random(7)
    share = MOST // max(1, len(found))
    paths = [path for each in found.values() for path in drawn.sample(each, min(share, len(each)))]
    return [path for path in paths if path.stat().st_size <= LARGEST]


def text_by_others(path: Path) -> str:
    """The text of a document as another program extracts it."""
    command = [part.format(path) for part in TOOLS[path.suffix.lower().removeprefix(".")]]
    text = subprocess.run(command, capture_output=True, timeout=120).stdout.decode(
        "utf-8", "replace"
    )
    return OF_LYNX.sub("", text) if command[0] == "lynx" else text


def words_of(text: str) -> Iterator[str]:
    """Words of at least three letters; hyphenated words at line ends are joined."""
    plain = unicodedata.normalize("NFKC", re.sub(r"[-\u2010\u00ad][ ]*\n[ ]*", "", text))
    return (word for word in re.findall(r"[^\W_]{3,}", plain.lower()))


def letters_of(file: FileText) -> str:
    """All extracted letters without separators, since programs split words differently."""
    parts = [file.title or ""]
    for section in file.sections:
        parts += [*section.headings, section.text]
    text = re.sub(r"\]\(\S+?\)", "", "\n".join(parts))  # addresses, which others don't write
    plain = unicodedata.normalize("NFKC", text).lower()
    return "".join(re.findall(r"[^\W_]+", re.sub(r"[\u00ad\u200b]", "", plain)))


def named(file: FileText) -> int:
    """The number of words that a file's gaps report."""
    return sum(int(match[1].replace(",", "")) for gap in file.gaps if (match := NAMED.match(gap)))


@step("folder", places=frozenset({"disk"}), least="first")
def documents_have_all_their_words(scenario: Scenario) -> None:
    paths = documents()
    if not paths:
        pytest.skip("no documents, or no program that reads them: pdftotext, lynx, pandoc")
    total = missing = 0
    worst: list[str] = []
    with ReaderProcess() as process:
        for path in paths:
            words = [*words_of(text_by_others(path))]
            try:
                file = text_of_bytes(path.read_bytes(), path.name, process)
            except DataLoaderError:  # which says why
                continue
            letters = letters_of(file)
            lost = [word for word in words if word not in letters]
            left = max(0, len(lost) - named(file))
            total, missing = total + len(words), missing + left
            if left > max(2, MISSING * len(words)):
                worst.append(f"{path}: {left} of {len(words)}, such as {lost[:8]}")
    assert not worst, worst
    assert missing <= ALL_MISSING * total, f"{missing} of {total} words"
