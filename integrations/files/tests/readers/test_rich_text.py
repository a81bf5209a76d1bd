"""The texts that are read in RTF."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.files.tests.readers.test_kinds import texts
from retrieval_store.errors import DataLoaderError
from retrieval_store_files.readers.files import read_file
from retrieval_store_files.readers.rich_text import read_rtf

STYLES = r"""{\stylesheet{\s0 Normal;}{\s1{\*\hyphen2}\b heading 1;}{\s2\outlinelevel1 Own;}{\s3 Title;}
{\*\cs9 Char;}}"""


def rtf(body, head=""):
    return (r"{\rtf1\ansi\ansicpg1252" + head + body + "}").encode("cp1252")


def test_headings_are_found_by_their_styles_and_their_level():
    body = r"""\pard\s3 The Title\par\pard\plain \s0 Before.\par\pard\s1 Knots {\b tied}\par
\pard\plain M\'f6we\u228? caf{\'e9}\par\pard\s2 Bowline\par\pard text\par\pard\outlinelevel0 Rigs\par"""
    file = read_file(rtf(body, STYLES), "a.rtf")
    assert texts(file) == [
        (("The Title",), "Before."),
        (("The Title", "Knots tied"), "Möweä café"),
        (("The Title", "Knots tied", "Bowline"), "text"),
        (("The Title", "Rigs"), ""),
    ]


def test_notes_comments_headers_boxes_and_results_are_read():
    body = r"""{\header\pard Company\par}{\footer\pard Secret\par}\pard A bow{\footnote\pard\chftn  Its note.}line holds
{\*\atnid B}{\*\atnauthor Bob}{\*\annotation{\*\atnref 1}\pard Really?} firmly.\par\pard next
{\shp{\*\shpinst\shptop0{\sp{\sn name}{\sv value}}{\sp{\sn wzDescription}{\sv A sloop}}{\shptxt\pard In a box.\par}}}
{\object\objemb{\*\objdata 0105}{\result\pard shown\par}}{\field{\*\fldinst PAGE}{\fldrslt 7}}
{\*\mmath{\*\moMath{\mr\b x}{\mf{\mnum{\mr 1}}{\mden{\mr y}}}}}{\deleted old}\par"""
    file = read_file(rtf(body), "a.rtf")
    ((_, text),) = texts(file)
    blocks = text.split("\n\n")
    assert blocks[:2] == ["Company", "Secret"]
    assert blocks[2:5] == [
        "A bowline holds\n firmly.".replace("\n", ""),
        "Its note.",
        "Comment by Bob: Really?",
    ]
    assert blocks[-1] == "A sloop"
    for word in ("In a box.", "shown", "7", "x", "1", "y", "old"):
        assert word in text
    assert "value" not in text and "0105" not in text
    assert file.gaps == ("1 embedded object", "1 deletion that is tracked is read")


def test_tables_and_lists_are_read_as_markdown():
    row = r"\trowd\cellx1\cellx2\intbl a\par b\cell c|d\cell\row"
    later = r"\intbl e\cell\intbl f\cell\trowd\cellx1\cellx2\row"
    items = r"{\pntext\'95\tab}one\par{\listtext\'95\tab}two\par{\listtext 1.\tab}three\par"
    file = read_file(rtf(rf"\pard before\par{row}{later}\pard after\par{items}"), "a.rtf")
    assert texts(file) == [
        (
            (),
            "before\n\n| a b | c\\|d |\n| --- | --- |\n| e | f |\n\nafter\n\n- one\n- two\n1. three",
        )
    ]


def test_properties_of_a_document_are_read_in_its_encoding():
    info = (
        r"{\info{\title Stra\'dfe}{\upr{\author J?rg}{\*\ud{\author J\u246?rg}}}"
        r"{\creatim\yr2025\mo1\dy2}{\revtim\yr2026\mo1\dy2\hr3\min4}}"
    )
    file = read_file(rtf(r"\pard x", info), "a.rtf")
    assert (file.title, file.author, file.date) == ("Straße", "Jörg", "2026-01-02")
    never = read_file(rtf(r"x", r"{\info{\creatim\yr1601\mo1\dy1}}"), "a.rtf")
    assert never.date is None


def test_fonts_have_encodings_and_binary_data_is_no_text():
    fonts = r"{\fonttbl{\f0\fcharset0 A;}{\f1\fcharset204 B;}{\f2\fcharset128 C;}}"
    body = r"\f0 caf\'e9 {\f1 \'ec\'ee\'f0\'e5} {\f2 \'8a\'43} {\pict\bin9 }}{\par x}y \u-10179?\u-8704?\par"
    raw = rtf(body, fonts).replace(b"caf", b"na\xefve caf")
    ((_, text),) = texts(read_file(raw, "a.rtf"))
    assert text.split() == ["naïve", "café", "море", "海", "y", "😀"]
    assert texts(read_file(rb"{\rtf1\mac M\'9awe}", "a.rtf")) == [((), "Möwe")]
    stray = read_file(rtf(r"{\b0\*\cs7 still shown} soft\-hyphen"), "a.rtf")
    assert texts(stray) == [((), "still shown softhyphen")]
    with pytest.raises(DataLoaderError, match="it isn't RTF"):
        read_file(b"text", "a.rtf")


WORDS = iter(f"word{number}" for number in range(10**9))
TEXT = st.builds(lambda: f" {next(WORDS)} ")
PART = st.recursive(
    TEXT,
    lambda inner: st.one_of(
        inner.map(r"{{\b{}}}".format),
        inner.map(r"{{\footnote\pard{}}}".format),
        inner.map(r"{{\*\annotation{}}}".format),
        inner.map(r"{{\shp{{\*\shpinst{{\shptxt{}\par}}}}}}".format),
        inner.map(r"\pard\s1 {}\par ".format),
        inner.map(r"\trowd\cellx1\intbl{}\cell\row\pard ".format),
        st.lists(inner, max_size=3).map(r"\par ".join),
    ),
    max_leaves=8,
)


@given(PART)
def test_each_word_is_read_however_groups_are_nested(body):
    file = read_rtf(rtf(body, STYLES), "a.rtf")
    shown = " ".join(" ".join([*section.headings, section.text]) for section in file.sections)
    assert {*re.findall(r"word\d+", body)} <= {*re.findall(r"word\d+", shown)}
