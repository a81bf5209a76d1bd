"""Texts with a few bytes that aren't in their encoding, and their gaps."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.files.tests.readers.languages import KINDS, PARAGRAPHS
from retrieval_store_files.readers.encodings import decode
from retrieval_store_files.readers.files import read_file

WORDS = "The harbour office opens at nine. It’s closed on Sundays – and on holidays."
BAD = b"It\x92s full."


def words_of(file):
    return " ".join([file.title or "", *(section.text for section in file.sections)])


def text_of(ending):
    """A file of a kind in UTF-8, with one invalid byte."""
    words = WORDS.encode() * 4 + b" " + BAD
    heads = {
        "json": b'{"note": "' + words + b'"}',
        "jsonl": b'{"note": "' + words + b'"}\n',
        "csv": b"name,note\nharbour,\"" + words + b'"\n',
        "html": b"<!doctype html><meta charset=utf-8><body><p>" + words + b"</p>",
        "xhtml": b'<?xml version="1.0" encoding="UTF-8"?><html><body><p>' + words + b"</p></body></html>",
        "xml": b'<?xml version="1.0" encoding="UTF-8"?><a>' + words + b"</a>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><text>' + words + b"</text></svg>",
        "py": b"# -*- coding: utf-8 -*-\nx = '" + words + b"'\n",
        "srt": b"1\n00:00:01,000 --> 00:00:02,000\n" + words + b"\n",
        "eml": b"Subject: x\nContent-Type: text/plain; charset=utf-8\n"
        b"Content-Transfer-Encoding: 8bit\n\n" + words + b"\n",
        "mbox": b"From a Thu Jan  1 00:00:00 2026\nSubject: x\n\n" + words + b"\n",
        "ipynb": json.dumps({"cells": [{"cell_type": "markdown", "source": "@"}]})
        .encode().replace(b"@", words),
    }  # fmt: skip
    return heads.get(ending, words + b"\n")


@pytest.mark.parametrize(
    "ending",
    [
        "txt", "log", "md", "rst", "csv", "json", "jsonl", "ipynb", "py", "js", "yaml", "html",
        "xhtml", "xml", "svg", "eml", "mbox", "srt", "tex", "org", "adoc",
    ],
)  # fmt: skip
def test_utf_8_with_a_bad_byte_is_utf_8_in_every_kind_of_text(ending):
    file = read_file(text_of(ending), f"a.{ending}")
    assert "It’s closed on Sundays – and" in words_of(file)
    assert "It\ufffds full" in words_of(file)
    assert sum("a byte that isn't UTF-8 (0x92)" in gap for gap in file.gaps) == 1, file.gaps


@pytest.mark.parametrize("language", PARAGRAPHS)
@pytest.mark.parametrize("cut", [1, 2])
def test_a_text_that_is_cut_within_a_character_is_read(language, cut):
    text = f"{PARAGRAPHS[language]} €"
    decoded = decode(text.encode()[:-cut])
    assert decoded.text == f"{text[:-1]}\ufffd"
    assert decoded.gaps == ("its last character is cut, as UTF-8 has it",)


@pytest.mark.parametrize("language", PARAGRAPHS)
@pytest.mark.parametrize("stray", [b"\xff", b"\x92", b"\xe9", b"\x80\x80"])
def test_almost_valid_utf_8_is_read_in_every_language(language, stray):
    text = PARAGRAPHS[language]
    data = text.encode() + b"\n" + stray + b"\n" + text.encode()
    decoded = decode(data)
    assert decoded.text.replace("\ufffd", "") == f"{text}\n\n{text}"
    (gap,) = decoded.gaps
    assert gap.startswith("line 2 has ") and "UTF-8 (0x" in gap


@pytest.mark.parametrize(("language", "encoding"), KINDS)
def test_other_encodings_are_not_read_as_broken_utf_8(language, encoding):
    text = PARAGRAPHS[language].replace("’", "'")
    decoded = decode(text.encode(encoding))
    assert decoded.text == text
    assert decoded.gaps[0].startswith("it isn't in UTF-8, and was read as ")


def test_bad_bytes_are_named_with_their_lines():
    text = ["Größe"] * 30
    for i in (2, 5, 9, 12, 20, 28):
        text[i] = "Gr\udcf6\udcdfe"
    (gap,) = decode("\n".join(text).encode("utf-8", "surrogateescape")).gaps
    assert gap == (
        "12 bytes aren't UTF-8 (0xF6, 0xDF, 0xF6, 0xDF, 0xF6, …), in lines 3, 6, 10, 13, 21 and "
        "1 more"
    )
    (gap,) = decode("ä\r\r\r\xfc".encode() + b"\xfc").gaps  # of an old Macintosh
    assert gap == "line 4 has a byte that isn't UTF-8 (0xFC)"


def test_a_text_with_a_byte_order_mark_has_its_encoding_even_with_invalid_bytes():
    decoded = decode(b"\xef\xbb\xbfa\x92b")
    assert decoded == ("a\ufffdb", ("line 1 has a byte that isn't UTF-8 (0x92)",))
    decoded = decode("\ufeffGröße".encode("utf-16-le")[:-1])
    assert decoded.text == "Größ\ufffd"
    assert decoded.gaps == ("1 character that isn't UTF-16-LE, in line 1",)


def test_a_declared_encoding_is_named_where_a_text_has_bytes_that_it_lacks():
    decoded = decode("東京\n".encode("cp932") + b"\xa0\x85\n", "shift_jis")
    assert decoded.text.startswith("東京\n")
    assert decoded.gaps == ("1 character that isn't Shift JIS, in line 2",)


@given(st.text(min_size=1), st.integers(0, 10**6), st.sampled_from([b"\xff", b"\xfe", b"\xc0"]))
def test_a_byte_in_a_text_of_some_length_changes_no_other_character(text, place, stray):
    text = text.replace("\r", "").replace("\0", "").replace("\ufffd", "")
    at = place % (len(text) + 1)
    data = PARAGRAPHS["Russian"].encode() + text[:at].encode() + stray + text[at:].encode()
    assert decode(data).text.replace("\ufffd", "") == PARAGRAPHS["Russian"] + text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "Tide\r\rHigh at nine\r"),
        ("a.md", "# Tide\r\rHigh at nine\r"),
        ("a.rst", "Tide\r====\r\rHigh at nine\r"),
        ("a.adoc", "= Tide\r\r== Today\r\rHigh at nine\r"),
        ("a.org", "* Tide\rHigh at nine\r"),
        ("a.tex", "% no\r\\section{Tide}\rHigh at nine\r"),
        ("a.csv", "Tide,when\rhigh,High at nine\r"),
        ("a.jsonl", '"Tide"\r"High at nine"\r'),
        ("a.py", "def tide():\r    'High at nine'\r"),
        ("a.srt", "1\r00:00:01,000 --> 00:00:02,000\rHigh at nine\r\r"),
        ("a.eml", "Subject: Tide\rFrom: a@b.c\r\rHigh at nine\r"),
        ("a.mbox", "From a Thu Jan  1 00:00:00 2026\rSubject: Tide\r\rHigh at nine\r"),
        ("a.xml", "<a>\r<!-- Tide -->\rHigh at nine\r</a>"),
        ("a.rtf", "{\\rtf1\\ansi\rTide\\par\rHigh at nine\\par}"),
    ],
)
def test_lines_that_end_as_on_an_old_macintosh_are_read_as_lines(name, text):
    old, new = (
        read_file(data, name) for data in (text.encode(), text.replace("\r", "\n").encode())
    )
    assert old == new
    assert "High at nine" in words_of(old)


def test_places_of_such_lines_are_those_of_the_file():
    text = "# Tide\r\rHigh at nine\r"
    (section,) = read_file(text.encode(), "a.md").sections
    assert text[section.start : section.end] == "High at nine" == section.text


@pytest.mark.parametrize(
    ("encoding", "sentence"),
    [
        ("gbk", "港口办公室九点开门。进入之前请打电话。"),
        ("gbk", "船只让渡轮先行，风大的时候不要出海。"),
        ("big5", "港口辦公室九點開門。進入之前請打電話。"),
        ("euc_kr", "항구 사무소는 아홉 시에 문을 엽니다. "),
    ],
)
@pytest.mark.parametrize("times", [2, 4, 30])
def test_text_that_is_valid_utf_8_by_chance_is_read_in_its_encoding(encoding, sentence, times):
    assert decode((sentence * times).encode(encoding)).text == sentence * times


@pytest.mark.parametrize("share", [0.1, 0.3, 0.45])
def test_lines_in_utf_8_and_in_latin_1_are_both_read_correctly(share):
    line = "Die Bücherei ist geöffnet, außer an Feiertagen."
    count = int(40 * share)
    data = b"\n".join([line.encode("latin-1")] * count + [line.encode()] * (40 - count))
    decoded = decode(data)
    assert decoded.text.count(line) == 40 - count
    assert f"{3 * count:,} bytes aren't UTF-8" in decoded.gaps[0]


def test_characters_of_iso_8859_15_are_named_as_the_second_choice():
    text = "Le coût est de 3 €, l'œuvre est achevée à Noël. " * 5
    assert decode(text.encode("iso8859-15")).gaps[0].endswith("; it may be ISO-8859-15")
