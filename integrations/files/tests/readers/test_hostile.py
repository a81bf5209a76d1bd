"""Malicious files: each ends within its limits, and the next one is read."""

import os
import socket
import struct
import subprocess
import sys
from itertools import pairwise

import pytest

from integrations.files.tests.readers import files
from retrieval_store.errors import DataLoaderError
from retrieval_store_files.readers.child import ReaderProcess
from retrieval_store_files.readers.files import read_file, text_of_bytes
from tests.helpers import ROOT
from tests.helpers.processes import ends_within_patience

LINUX = sys.platform == "linux"


def still_reads(process):
    file = text_of_bytes(files.pdf("The sea."), "a.pdf", process)
    assert [one.text for one in file.sections] == ["The sea."]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("loops", "longer than 1 s"),
        ("sleeps", "longer than 1 s"),
        ("crashes", "crashed"),
        ("exits", "crashed"),
        ("returns_odd", "has returned 7"),
        ("gone", "has no attribute 'gone'"),
    ],
)
def test_a_reader_that_fails_ends_alone(what, message):
    with ReaderProcess(seconds=1) as hurried, pytest.raises(DataLoaderError, match=message):
        hurried.read(f"integrations.files.tests.readers.bad:{what}", b"", "a")


def test_after_a_crash_the_next_file_is_read(process):
    with pytest.raises(DataLoaderError):
        process.read("integrations.files.tests.readers.bad:crashes", b"", "a")
    still_reads(process)


@pytest.mark.skipif(not LINUX, reason="memory is limited on Linux alone")
@pytest.mark.parametrize("what", ["hoards", "talks_for_ever"])
def test_a_reader_gets_no_more_memory_than_it_may(process, what):
    with pytest.raises(DataLoaderError, match="more memory|more than 400 MB"):
        process.read(f"integrations.files.tests.readers.bad:{what}", b"", "a")
    still_reads(process)


def test_printed_output_of_a_reader_is_no_message(process, capfd):
    assert (
        process.read("integrations.files.tests.readers.bad:babbles", b"", "a").sections[0].text
        == "said"
    )
    still_reads(process)


def test_a_reader_reaches_nothing(process, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1]).encode()
        mine = tmp_path / "mine"
        mine.write_text("mine")
        before = mine.stat()
        target = os.fsencode(tmp_path / "made")
        for what, data in (
            ("connects", port),
            ("looks_up", b""),
            ("runs", target),
            ("shells", target),
            ("writes", target),
            ("writes_low", target),
            ("removes", os.fsencode(mine)),
            ("changes_mode", os.fsencode(mine)),
            ("changes_owner", os.fsencode(mine)),
            ("changes_times", os.fsencode(mine)),
            ("makes_database", target),
            *([("sets_attribute", os.fsencode(mine))] if LINUX else []),
        ):
            with pytest.raises(DataLoaderError, match="a reader of files may not"):
                process.read(f"integrations.files.tests.readers.bad:{what}", data, "a")
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()
    assert [one.name for one in tmp_path.iterdir()] == ["mine"]
    after = mine.stat()
    assert (after.st_mode, after.st_mtime) == (before.st_mode, before.st_mtime)


def test_invalid_unicode_of_a_reader_is_replaced_or_refused(process):
    with_half = process.read("integrations.files.tests.readers.bad:half", b"", "a").sections[0].text
    with pytest.raises(DataLoaderError, match="isn't valid Unicode"):
        read_file(b"", "a.txt", reader=lambda data, name: "\udfff")
    assert with_half == "a?"


def test_the_process_ends_with_its_program():
    code = """
import sys
from retrieval_store_files.readers.child import ReaderProcess
process = ReaderProcess(seconds=600)
process.read("integrations.files.tests.readers.bad:babbles", b"", "a")
print(process._process.pid, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, cwd=ROOT, text=True,
    ) as program:  # fmt: skip
        pid = int(program.stdout.readline())
        os.kill(pid, 0)
        program.kill()
    assert ends_within_patience(pid)


BODY = "word/document.xml"


def with_document(content, size=None):
    """A document of Word whose text is replaced. size: the false size that the zip declares."""
    data = bytearray(
        files.changed(files.word(), lambda name, old: content if name == BODY else old)
    )
    place = -1
    while size is not None and (place := data.find(b"PK\x01\x02", place + 1)) >= 0:
        length = struct.unpack_from("<H", data, place + 28)[0]
        if data[place + 46 : place + 46 + length] == BODY.encode():
            struct.pack_into("<I", data, place + 24, size)
    return bytes(data)


SPACE = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
LETTERS = "abcdefghij"
LAUGHS = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in pairwise(LETTERS))


def document(text, declared=""):
    return (
        f'<?xml version="1.0"?>{declared}<w:document {SPACE}><w:body><w:p><w:r><w:t>{text}'
        "</w:t></w:r></w:p></w:body></w:document>"
    )


def million_objects():
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]>>",
    ]
    return files.assembled(objects + ["<</A[1 2 3]>>"] * 1_000_000)


HOSTILE = {
    "zip bomb": ("a.docx", lambda: with_document("x" * 300_000_000), "files of 300 MB in it"),
    "lying zip bomb": (
        "a.docx",
        lambda: with_document(document("x" * 300_000_000), 100),
        None,
    ),
    "laughs": (
        "a.docx",
        lambda: with_document(document("&j;", f'<!DOCTYPE x [<!ENTITY a "ha">{LAUGHS}]>')),
        None,
    ),
    "objects": ("a.pdf", million_objects, "no text"),
    "stream": ("a.pdf", lambda: files.pdf("x", stream=b"0 " * 150_000_000), None),
    "operators": (
        "a.pdf",
        lambda: files.pdf("x", stream=b"BT /F1 1 Tf " + b"(x) Tj " * 5_000_000 + b"ET"),
        None,
    ),
    "circle": (
        "a.pdf",
        lambda: files.pdf("x").replace(b"/Kids[4 0 R]", b"/Kids[2 0 R]"),
        None,
    ),
    "nested page": ("a.html", lambda: b"<b>" * 5_000_000 + b"text", "too large"),
    "cell": ("a.csv", lambda: b"a,b\n1," + b"x" * 40_000_000, None),
    "nested JSON": ("a.json", lambda: b"[" * 10_000_000, "nested too deep"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_bomb_does_nothing_to_the_program(process, what):
    name, make, message = HOSTILE[what]
    if what == "objects":
        assert text_of_bytes(make(), name, process).sections == []
    else:
        with pytest.raises(DataLoaderError, match=message):
            text_of_bytes(make(), name, process)
    still_reads(process)


def test_entities_are_not_resolved_to_files(process, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("SECRET")
    declared = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]>'
    data = with_document(document("before &e; after", declared))
    try:
        shown = str(text_of_bytes(data, "a.docx", process))
    except DataLoaderError as error:
        shown = str(error)
    assert "SECRET" not in shown


def test_programs_nested_without_end_are_read_by_their_lines():
    for text in (b"(" * 300_000, b"-" * 1_000_000 + b"1"):
        assert read_file(text, "a.py").sections[0].text == text.decode()


def test_a_file_has_no_more_text_than_it_may(process):
    with pytest.raises(DataLoaderError, match="more than 10,000,000 characters"):
        text_of_bytes(b"x" * 10_000_001, "a.txt", process)
    row = b",".join([b"x" * 20] * 20_000)
    with pytest.raises(DataLoaderError, match="more than 10,000,000 characters"):
        text_of_bytes(b"\n".join([row] * 30), "a.csv", process)


def test_a_program_without_an_interpreter_reports_it(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(DataLoaderError, match="no process can be started"):
        read_file(b"x = 1", "a.py")


def test_modules_in_the_working_directory_are_not_imported(tmp_path):
    for name in ("json", "csv", "selectolax", "signal", "base64"):
        (tmp_path / f"{name}.py").write_text("open('imported', 'w'); raise SystemExit(1)")
    program = (
        "from retrieval_store_files.readers.files import read_file\n"
        "assert read_file(b'a,b\\n1,2\\n', 'a.csv').sections\n"
        "assert read_file(b'<p>x</p>', 'a.html').sections\n"
    )
    # -c puts the working directory first in the module path, -P doesn't.
    done = subprocess.run([sys.executable, "-P", "-c", program], cwd=tmp_path, check=False)
    assert done.returncode == 0 and not (tmp_path / "imported").exists()
