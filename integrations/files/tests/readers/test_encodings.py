"""The encodings in which texts are read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval_store.errors import DataLoaderError
from retrieval_store_files.readers.encodings import decode
from retrieval_store_files.readers.files import read_file

PANGRAMS = {
    "cp1252": [
        "Größe geändert",
        "Café au lait, naïve façade",
        "El niño comió",
        "Möwe,1",
        "“quoted” for 5 €",
    ],
    "cp1250": ["Zażółć gęślą jaźń, proszę bardzo"],
    "cp1251": ["Съешь же ещё этих мягких французских булок"],
    "koi8_r": ["Съешь же ещё этих мягких французских булок"],
    "cp1253": ["Ξεσκεπάζω την ψυχοφθόρα βδελυγμία"],
    "shift_jis": ["いろはにほへと ちりぬるを 日本語の文章です"],
    "euc_jp": ["いろはにほへと ちりぬるを 日本語の文章です\n" * 20],
    "euc_kr": ["키스의 고유조건은 입술끼리 만나야 하고"],
    "big5": ["天地玄黃，宇宙洪荒。日月盈昃"],
}


@pytest.mark.parametrize(("encoding", "text"), [(k, v) for k, vs in PANGRAMS.items() for v in vs])
def test_files_of_old_programs_are_read_and_named(encoding, text):
    decoded = decode(text.encode(encoding))
    assert decoded.text == text
    assert len(decoded.gaps) == 1 and decoded.gaps[0].startswith(
        "it isn't in UTF-8, and was read as"
    )


ENCODINGS = ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"]
TEXTS = {
    "a.txt": "Der Reiher wartet am Ufer",
    "a.md": "# Vögel\n\nDer Reiher",
    "a.json": json.dumps({"animal": "Reiher"}),
    "a.jsonl": '"Reiher"\n',
    "a.csv": "Name;Größe\nReiher;1,5\n",
    "a.log": "2026 Reiher\n",
    "a.js": "// Reiher",
    "a.ipynb": json.dumps({"cells": [{"cell_type": "markdown", "source": "Reiher"}]}),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", ["a.txt", "a.csv"])
def test_texts_may_have_a_byte_order_mark_or_be_in_utf_16(encoding, name):
    check_reiher(encoding, name)


@pytest.mark.parametrize(("encoding", "name"), zip(ENCODINGS * 2, TEXTS, strict=False))
def test_all_kinds_of_texts_may_be_so(encoding, name):
    check_reiher(encoding, name)


def check_reiher(encoding, name):
    file = read_file(TEXTS[name].encode(encoding), name)
    words = " ".join(one.text for one in file.sections)
    assert "Reiher" in words and "\0" not in words and "\ufeff" not in words
    assert file.gaps == ()


@given(st.text(min_size=1))
def test_utf_8_is_read_as_utf_8(text):
    assert decode(text.encode()).text in (text, text.removeprefix("\ufeff"), *_as_utf_16(text))


def _as_utf_16(text):
    """An equally likely reading of a text with alternating zeros and letters."""
    data = text.encode()
    return (
        [data.decode(one, "ignore") for one in ("utf-16-le", "utf-16-be")] if b"\0" in data else []
    )


@pytest.mark.parametrize(
    "ending", ["txt", "md", "rst", "py", "js", "csv", "adoc", "org", "tex", "srt"]
)
def test_each_kind_of_text_names_a_guess(ending):
    text = "1\n00:00:01,000 --> 00:00:02,000\nGröße geändert, schöne Grüße\n"
    file = read_file(text.encode("cp1252"), f"a.{ending}")
    assert "Größe geändert" in " ".join(section.text for section in file.sections)
    assert file.gaps[0] == "it isn't in UTF-8, and was read as Windows-1252"


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\0\xff\xfe", bytes(range(256)) * 4])
def test_files_without_text_are_refused(data):
    with pytest.raises(DataLoaderError, match="it isn't a text"):
        read_file(data, "a.txt")


def test_characters_without_width_are_left_out():
    page = "<p>Die Donau&shy;dampf<wbr>schiff&shy;fahrt, zero\u200bwidth, नमस्\u200dते"
    (section,) = read_file(page.encode(), "a.html").sections
    assert section.text == "Die Donaudampfschifffahrt, zerowidth, नमस्\u200dते"
    file = read_file("# Ti\u00adtle\n\nwo\u200brd\n".encode(), "a.md")
    assert (file.title, file.sections[0].headings) == ("Title", ("Title",))
    (section,) = file.sections
    assert (section.text, section.start, section.end) == ("word", 10, 15)
